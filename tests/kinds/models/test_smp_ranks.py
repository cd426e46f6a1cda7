"""Training in two processes on the CPU, joined by gloo. Slow: each imports torch."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from specrun.errors import NodeError, StopRequested
from specrun.model.event import LogLine, Metric
from tests.support.shapes import run_smp, shapes_context, write_shapes

pytest.importorskip("lightning")
torch = pytest.importorskip("torch")
pytestmark = pytest.mark.slow

_ROOT = Path(__file__).parents[3]
_FAULTY = ("-m", "tests.support.smp_rank")
_TRAIN: dict[str, Any] = {"epochs": 2, "image_size": [32, 32], "pictures": 0, "checkpoints": {"every": "0s"}}
_TWO: dict[str, Any] = {**_TRAIN, "devices": 2, "batch": 2}
_PLAIN: dict[str, Any] = {
    # No batch norm in training mode, so that it does not matter which images are normalised together.
    "freeze_encoder": True,
    "optimizer": {"name": "sgd", "lr": 0.5, "options": {"momentum": 0.9}},
    "loss": ["dice_ce", "focal", "lovasz"],
    "class_weights": "auto",
    "clip": 1.0,
}
_NO_NORM = {"arch_options": {"decoder_channels": [16, 16, 16, 8, 8], "decoder_use_norm": False}}
_AUGMENT = {"mixup": 0.5, "mosaic": 0.5, "cutmix": 0.5, "rotate": 10}
_TIMED = ("images/s", "data_wait")


@pytest.fixture(autouse=True)
def _no_process_is_left(tmp_path: Path) -> Iterator[None]:
    import psutil

    yield
    left = [one for one in psutil.process_iter(["cmdline"]) if str(tmp_path) in " ".join(one.info["cmdline"] or ())]
    assert left == []


def _weights(context: Any) -> dict[str, Any]:
    loaded: dict[str, Any] = torch.load(context.staging / "weights" / "last.ckpt", weights_only=True)["state_dict"]
    return loaded


def _rows(context: Any) -> list[dict[str, float]]:
    rows = json.loads((context.staging / "training.json").read_text(encoding="utf-8"))["rows"]
    return [{name: value for name, value in row.items() if name not in _TIMED} for row in rows]


def _told(context: Any) -> list[str]:
    return [event.text for event in context.events if isinstance(event, LogLine)]


def _close(one: Any, other: Any) -> None:
    """As good as equal: sums over pixels are added up in another order."""
    for row, expected in zip(_rows(one), _rows(other), strict=True):
        assert row == pytest.approx(expected, rel=1e-4, abs=1e-5)
    found, expected = _weights(one), _weights(other)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.allclose(found[name].float(), value.float(), rtol=1e-3, atol=1e-5), name


def _same(one: Any, other: Any) -> None:
    found, expected = _weights(one), _weights(other)
    assert [name for name in expected if not torch.equal(found[name], expected[name])] == []
    assert _rows(one) == _rows(other)


def _stop_after(context: Any, steps: int) -> None:
    """Once that many steps of an epoch have been told of."""
    from specrun.model.event import Progress

    def stop() -> bool:
        done = {event.done for event in context.events if isinstance(event, Progress) and "epoch " in event.phase}
        return len(done) >= steps

    context.stop = stop


def test_two_processes_with_half_the_batch_learn_as_one_with_the_whole_of_it(tmp_path: Path) -> None:
    """Five images by four: the last step has one image, so that one process has none that counts; and it stops by
    itself, both of them."""
    export = write_shapes(tmp_path / "export", train=5, val=5, size=32)
    train = {**_PLAIN, "epochs": 4, "early_stopping": {"patience": 1, "min_delta": 1.0}}
    one, two = shapes_context(tmp_path / "one", export), shapes_context(tmp_path / "two", export)
    run_smp(one, train={**_TRAIN, **train, "batch": 4}, augment={"flip": 0.5}, **_NO_NORM)
    outputs = run_smp(two, train={**_TWO, **train}, augment={"flip": 0.5}, **_NO_NORM)
    assert {name: outputs.facts[name] for name in ("devices", "batch", "epochs")} == {
        "devices": 2,
        "batch": 2,
        "epochs": 2,
    }
    _close(two, one)
    steps = [event.step for event in two.events if isinstance(event, Metric) and event.name == "val/iou"]
    assert steps == [1, 2]
    assert len((two.staging / "metrics.csv").read_text().splitlines()) == 3
    assert len(list((two.staging / "tensorboard").iterdir())) == 1
    assert not (two.staging / ".work").exists()
    assert "2 processes on the CPU, 2 images at a time on each; 4 images to a step of the optimizer" in _told(two)


_KILLED = """
import ast, sys
from pathlib import Path
from specrun.kinds.models import smp_job
from tests.support.shapes import run_smp, shapes_context

smp_job.PROGRAM = ("-m", "tests.support.smp_rank")
place, export = Path(sys.argv[1]), Path(sys.argv[2])
train, augment = map(ast.literal_eval, sys.argv[3:])
run_smp(shapes_context(place, export), train=train, augment=augment)
"""


def test_a_training_whose_processes_were_all_killed_ends_as_an_uninterrupted_one(tmp_path: Path) -> None:
    """Four batches an epoch, two to a step: killed in the third batch of the second epoch."""
    export = write_shapes(tmp_path / "export", train=14, val=3, size=32)
    train = {**_TWO, "accumulate": 2, "optimizer": {"lr": 3e-3}}
    whole = shapes_context(tmp_path / "whole", export)
    run_smp(whole, train=train, augment=_AUGMENT)
    environ = {**os.environ, "PYTHONPATH": str(_ROOT), "FAULT": "kill", "FAULT_RANK": "1", "FAULT_STEP": "6"}
    arguments = [str(tmp_path / "killed"), str(export), repr(train), repr(_AUGMENT)]
    done = subprocess.run([sys.executable, "-c", _KILLED, *arguments], env=environ, cwd=tmp_path, process_group=0)
    assert done.returncode == -signal.SIGKILL
    resumed = shapes_context(tmp_path / "killed", export)
    assert 1 < torch.load(resumed.staging / "weights" / "last.ckpt", weights_only=True)["global_step"] == 3
    run_smp(resumed, train=train, augment=_AUGMENT)
    _same(resumed, whole)


def test_a_stop_saves_and_another_number_of_devices_goes_on(tmp_path: Path) -> None:
    export = write_shapes(tmp_path / "export", train=12, val=3, size=32)
    whole = shapes_context(tmp_path / "whole", export)
    run_smp(whole, train={**_TRAIN, **_PLAIN, "batch": 4}, **_NO_NORM)
    stopped = shapes_context(tmp_path / "stopped", export)
    _stop_after(stopped, 1)
    with pytest.raises(StopRequested, match="goes on from here"):
        run_smp(stopped, train={**_TWO, **_PLAIN}, **_NO_NORM)
    assert 0 < torch.load(stopped.staging / "weights" / "last.ckpt", weights_only=True)["global_step"] < 6
    resumed = shapes_context(tmp_path / "stopped", export)
    outputs = run_smp(resumed, train={**_TRAIN, **_PLAIN, "batch": 4}, **_NO_NORM)
    assert (outputs.facts["devices"], outputs.facts["batch"]) == (1, 4)
    assert "going on from the last checkpoint" in _told(resumed)
    _close(resumed, whole)


def test_out_of_memory_in_one_process_halves_the_batch_of_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from specrun.kinds.models import smp_job

    monkeypatch.setattr(smp_job, "PROGRAM", _FAULTY)
    for name, value in {"FAULT": "oom", "FAULT_RANK": "1", "FAULT_STEP": "2", "PYTHONPATH": str(_ROOT)}.items():
        monkeypatch.setenv(name, value)
    export = write_shapes(tmp_path / "export", train=12, val=2, size=32)
    context = shapes_context(tmp_path, export)
    outputs = run_smp(context, train={**_TWO, "epochs": 1, "on_oom": "halve"})
    assert {name: outputs.facts[name] for name in ("devices", "batch", "accumulate")} == {
        "devices": 2,
        "batch": 1,
        "accumulate": 2,
    }
    assert torch.load(context.staging / "weights" / "last.ckpt", weights_only=True)["global_step"] == 3
    assert [text for text in _told(context) if "Batch 2 → 1, accumulate 1 → 2" in text]


def test_a_process_that_dies_ends_the_node_with_its_last_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from specrun.kinds.models import smp_job

    monkeypatch.setattr(smp_job, "PROGRAM", _FAULTY)
    for name, value in {"FAULT": "die", "FAULT_RANK": "1", "FAULT_STEP": "1", "PYTHONPATH": str(_ROOT)}.items():
        monkeypatch.setenv(name, value)
    export = write_shapes(tmp_path / "export", train=12, val=2, size=32)
    with pytest.raises(NodeError, match=r"rank 1 was ended by SIGKILL (.*\n)+  the rank is about to die"):
        run_smp(shapes_context(tmp_path, export), train=_TWO)
