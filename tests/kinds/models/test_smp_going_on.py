"""Trainings that were killed, or are given more epochs, and losses that are no numbers. Slow: torch."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from specrun.errors import NodeError, StopRequested
from tests.support.shapes import run_smp, shapes_context, write_shapes

pytest.importorskip("lightning")
torch = pytest.importorskip("torch")
pytestmark = pytest.mark.slow

_ROOT = Path(__file__).parents[3]
_TRAIN: dict[str, Any] = {"epochs": 2, "batch": 2, "image_size": [32, 32], "pictures": 0, "checkpoints": {"top_k": 2}}
_AUGMENT = {"mixup": 0.5, "mosaic": 0.5}


def _weights(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = torch.load(folder / "weights" / "last.ckpt", weights_only=True)["state_dict"]
    return loaded


def _state(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    for row in [*found["rows"], found["best"]]:
        for timed in ("images/s", "data_wait"):
            row.pop(timed, None)
    return found


def _same(one: Path, other: Path) -> None:
    found, expected = _weights(one), _weights(other)
    assert found.keys() == expected.keys()
    assert [name for name in expected if not torch.equal(found[name], expected[name])] == []
    assert _state(one) == _state(other)
    kept = [sorted(path.name for path in (folder / "weights" / "top").iterdir()) for folder in (one, other)]
    assert kept[0] == kept[1]


_KILLED = """
import ast, os, signal, sys
from pathlib import Path
from specrun.training.smp.watch import Watch
from tests.support.shapes import run_smp, shapes_context

place, export, moment = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
count, train, augment = map(ast.literal_eval, sys.argv[4:])
method, seen = getattr(Watch, moment), []

def counted(self, *arguments):
    if moment == "save" and len(seen) == count:
        self.state.save(self.folder)
    if len(seen) == count:
        os.kill(os.getpid(), signal.SIGKILL)
    seen.append(None)
    return method(self, *arguments)

setattr(Watch, moment, counted)
run_smp(shapes_context(place, export), train=train, augment=augment)
"""


@pytest.mark.parametrize(
    ("moment", "count"),
    [("on_train_batch_end", 1), ("on_train_batch_end", 4), ("on_train_epoch_end", 1), ("save", 4), ("save", 5)],
)
def test_a_training_whose_process_was_killed_ends_as_an_uninterrupted_one(
    tmp_path: Path, moment: str, count: int
) -> None:
    """Three steps an epoch, a checkpoint after each: killed in both epochs, and between two files of one moment."""
    export = write_shapes(tmp_path / "export", train=6, val=2, size=32)
    train = {**_TRAIN, "checkpoints": {"top_k": 2, "every": "0s"}}
    whole = shapes_context(tmp_path / "whole", export)
    run_smp(whole, train=train, augment=_AUGMENT)
    arguments = [str(tmp_path / "killed"), str(export), moment, str(count), repr(train), repr(_AUGMENT)]
    environ = {**os.environ, "PYTHONPATH": str(_ROOT)}
    done = subprocess.run([sys.executable, "-c", _KILLED, *arguments], env=environ, timeout=300, cwd=tmp_path)
    assert done.returncode == -signal.SIGKILL
    resumed = shapes_context(tmp_path / "killed", export)
    run_smp(resumed, train=train, augment=_AUGMENT)
    _same(resumed.staging, whole.staging)


def test_with_more_epochs_a_finished_training_goes_on(tmp_path: Path) -> None:
    export = write_shapes(tmp_path / "export", train=4, val=2, size=32)
    long = shapes_context(tmp_path / "long", export)
    run_smp(long, train={**_TRAIN, "epochs": 3})
    first = shapes_context(tmp_path / "first", export)
    run_smp(first, train=_TRAIN)
    more = shapes_context(tmp_path / "more", export, previous=first.staging)
    outputs = run_smp(more, train={**_TRAIN, "epochs": 3})
    assert outputs.facts["epochs"] == 3
    trained = {event.step for event in more.events if getattr(event, "name", "") == "train/loss"}  # type: ignore[attr-defined]
    assert trained == {3}
    _same(more.staging, long.staging)


def test_a_checkpoint_lists_every_weight_once(tmp_path: Path) -> None:
    export = write_shapes(tmp_path / "export", train=2, val=2, size=32)
    context = shapes_context(tmp_path, export)
    run_smp(context, train={**_TRAIN, "epochs": 1})
    parts = {name.partition(".")[0] for name in _weights(context.staging)}
    assert parts == {"net", "loss"}


def test_a_checkpoint_that_lists_every_weight_twice_is_gone_on_with(tmp_path: Path) -> None:
    """As earlier versions wrote them."""
    export = write_shapes(tmp_path / "export", train=4, val=2, size=32)
    long = shapes_context(tmp_path / "long", export)
    run_smp(long, train={**_TRAIN, "epochs": 3})
    first = shapes_context(tmp_path / "first", export)
    run_smp(first, train=_TRAIN)
    last = first.staging / "weights" / "last.ckpt"
    content = torch.load(last, weights_only=True)
    net = {name: value for name, value in content["state_dict"].items() if name.startswith("net.")}
    content["state_dict"] |= {f"forward_{name}": value for name, value in net.items()}
    torch.save(content, last)
    more = shapes_context(tmp_path / "more", export, previous=first.staging)
    run_smp(more, train={**_TRAIN, "epochs": 3})
    _same(more.staging, long.staging)


def test_an_image_that_is_left_alone_for_the_last_batch_is_learnt_and_that_is_said(tmp_path: Path) -> None:
    export = write_shapes(tmp_path / "export", train=3, val=1, size=32)
    context = shapes_context(tmp_path, export)
    outputs = run_smp(context, train={**_TRAIN, "epochs": 1})
    assert outputs.facts["epochs"] == 1
    assert any("one image is left for the last batch" in getattr(event, "text", "") for event in context.events)  # type: ignore[attr-defined]


def test_a_training_that_stopped_by_itself_does_not_go_on(tmp_path: Path) -> None:
    export = write_shapes(tmp_path / "export", train=2, val=2, size=32)
    train = {**_TRAIN, "epochs": 6, "early_stopping": {"patience": 1, "min_delta": 1.0}}
    first = shapes_context(tmp_path / "first", export)
    stopped_after = run_smp(first, train=train).facts["epochs"]
    assert stopped_after == 2
    more = shapes_context(tmp_path / "more", export, previous=first.staging)
    assert run_smp(more, train={**train, "epochs": 9}).facts["epochs"] == stopped_after


@pytest.mark.parametrize("monitor", ["val/iou", "train/loss"])
def test_a_loss_that_is_no_number_ends_the_training_and_says_where(tmp_path: Path, monitor: str) -> None:
    export = write_shapes(tmp_path / "export", train=4, val=2, size=32)
    context = shapes_context(tmp_path, export)
    train = {**_TRAIN, "optimizer": {"name": "sgd", "lr": 1e30}, "checkpoints": {"monitor": monitor}}
    with pytest.raises(NodeError, match=r"the loss became (nan|inf) in epoch \d, batch \d of 2") as caught:
        run_smp(context, train=train)
    assert "train.optimizer.lr" in str(caught.value.hint)


def test_an_image_smaller_than_the_crop_is_filled_up(tmp_path: Path) -> None:
    export = write_shapes(tmp_path / "export", train=2, val=1, size=20)
    context = shapes_context(tmp_path, export)
    outputs = run_smp(context, train={**_TRAIN, "epochs": 1, "fit": "crop"})
    assert outputs.facts["epochs"] == 1


def test_a_label_map_of_another_size_than_its_image_is_named(tmp_path: Path) -> None:
    from PIL import Image

    from specrun.errors import FormatError

    export = write_shapes(tmp_path / "export", train=2, val=1, size=32)
    mask = export / "annotations" / "train" / "001.png"
    Image.open(mask).resize((16, 16), Image.Resampling.NEAREST).save(mask)
    with pytest.raises(FormatError, match=r"001\.png: is 16x16 pixels, its image 32x32"):
        run_smp(shapes_context(tmp_path, export), train=_TRAIN)


def test_an_export_without_training_images_is_refused(tmp_path: Path) -> None:
    export = write_shapes(tmp_path / "export", train=0, val=2, size=32)
    with pytest.raises(NodeError, match="the split train has no images"):
        run_smp(shapes_context(tmp_path, export), train=_TRAIN)


def test_a_stop_in_the_second_epoch_loses_nothing(tmp_path: Path) -> None:
    export = write_shapes(tmp_path / "export", train=6, val=2, size=32)
    whole = shapes_context(tmp_path / "whole", export)
    run_smp(whole, train=_TRAIN, augment=_AUGMENT)
    stopped = shapes_context(tmp_path / "stopped", export)

    def stop() -> bool:
        return any(getattr(event, "step", 0) == 1 for event in stopped.events)  # type: ignore[attr-defined]

    left = [2]

    def stop_later() -> bool:
        left[0] -= stop()
        return left[0] < 0

    stopped.stop = stop_later
    with pytest.raises(StopRequested):
        run_smp(stopped, train=_TRAIN, augment=_AUGMENT)
    loaded = torch.load(stopped.staging / "weights" / "last.ckpt", weights_only=True)
    assert 3 < loaded["global_step"] < 6
    resumed = shapes_context(tmp_path / "stopped", export)
    run_smp(resumed, train=_TRAIN, augment=_AUGMENT)
    _same(resumed.staging, whole.staging)


_ENDED = """
import ast, os, signal, sys
from pathlib import Path
from specrun.errors import StopRequested
from specrun.training.smp.watch import Watch
from tests.support.shapes import run_smp, shapes_context

asked = []
signal.signal(signal.SIGTERM, lambda *_: asked.append(True))  # as a worker does
method = getattr(Watch, sys.argv[3])

def ended(self, *arguments):
    if not asked:
        os.kill(os.getpid(), signal.SIGTERM)
    return method(self, *arguments)

setattr(Watch, sys.argv[3], ended)
context = shapes_context(Path(sys.argv[1]), Path(sys.argv[2]), stop=lambda: bool(asked))
try:
    run_smp(context, train=ast.literal_eval(sys.argv[4]))
except StopRequested:
    sys.exit(4)
"""


@pytest.mark.parametrize("moment", ["on_train_batch_end", "on_validation_batch_end"])
def test_a_signal_to_stop_waits_for_a_checkpoint(tmp_path: Path, moment: str) -> None:
    """Two batches to a step of the optimizer: the signal comes between them, or in the middle of a validation."""
    export = write_shapes(tmp_path / "export", train=8, val=4, size=32)
    train = {**_TRAIN, "accumulate": 2}
    arguments = [str(tmp_path / "ended"), str(export), moment, repr(train)]
    environ = {**os.environ, "PYTHONPATH": str(_ROOT)}
    done = subprocess.run([sys.executable, "-c", _ENDED, *arguments], env=environ, timeout=600, cwd=tmp_path)
    assert done.returncode == 4
    resumed = shapes_context(tmp_path / "ended", export)
    assert 0 < torch.load(resumed.staging / "weights" / "last.ckpt", weights_only=True)["global_step"] < 4
    run_smp(resumed, train=train)
    whole = shapes_context(tmp_path / "whole", export)
    run_smp(whole, train=train)
    _same(resumed.staging, whole.staging)
