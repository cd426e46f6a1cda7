"""Real training on generated shapes: what it learns, and that an interruption changes nothing. Slow: torch."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from specrun.errors import FormatError, NodeError, OutOfMemory, StopRequested
from tests.support.fake_wandb import FakeWandb
from tests.support.shapes import run_smp, shapes_context, write_shapes
from tests.support.told_progress import never_falls, told_progress

pytest.importorskip("lightning")
torch = pytest.importorskip("torch")
pytestmark = pytest.mark.slow

_SHORT: dict[str, Any] = {
    "epochs": 2,
    "batch": 2,
    "accumulate": 2,
    "image_size": [64, 64],
    "optimizer": {"lr": 3e-3},
    "scheduler": {"name": "plateau", "patience": 0, "warmup_epochs": 0.5},
    "pictures": 0,
}
_AUGMENT = {"rotate": 10, "color_jitter": 0.2, "noise": 0.05, "mixup": 0.5, "cutmix": 0.5, "mosaic": 0.5}


def _last(context: Any) -> dict[str, Any]:
    loaded: dict[str, Any] = torch.load(context.staging / "weights" / "last.ckpt", weights_only=True)
    return loaded


def _rows(context: Any) -> list[dict[str, float]]:
    rows: list[dict[str, float]] = json.loads((context.staging / "training.json").read_text())["rows"]
    timed = ("images/s", "data_wait")
    return [{name: value for name, value in row.items() if name not in timed} for row in rows]


def test_it_learns_generated_shapes(tmp_path: Path) -> None:
    export = write_shapes(tmp_path / "export", train=24, val=8)
    context = shapes_context(tmp_path, export)
    train = {
        "epochs": 25,
        "batch": 4,
        "image_size": [64, 64],
        "optimizer": {"lr": 3e-3},
        "scheduler": {"name": "onecycle"},
    }
    outputs = run_smp(context, encoder="resnet18", train=train, export={"torchscript": {}})
    losses = [row["train/loss"] for row in _rows(context)]
    assert losses[-1] < losses[0] / 3
    assert outputs.facts["metrics"]["val/iou"] > 0.7  # type: ignore[index]
    assert outputs.facts["classes"] == ["box", "disc"]
    names = {artifact.name for artifact in outputs.artifacts}
    assert {"best", "last", "model", "predictions", "torchscript"} <= names
    assert (context.staging / "tensorboard").is_dir()
    assert len((context.staging / "metrics.csv").read_text().splitlines()) == 26


@pytest.mark.parametrize("asked", [0, 1, 2, 4])
def test_an_interrupted_training_ends_with_the_weights_of_an_uninterrupted_one(tmp_path: Path, asked: int) -> None:
    """asked: how often it asks whether to stop before it is told to, so that each stops elsewhere in an epoch."""
    export = write_shapes(tmp_path / "export", train=11, val=3)
    whole = shapes_context(tmp_path / "whole", export)
    run_smp(whole, train=_SHORT, augment=_AUGMENT)

    left = [asked]

    def stop() -> bool:
        left[0] -= 1
        return left[0] < 0

    stopped = shapes_context(tmp_path / "stopped", export)
    run = {"train": _SHORT, "augment": _AUGMENT}
    reading = 11 + 3  # it also asks at each label map
    left[0] += reading
    stopped.stop = stop
    with pytest.raises(StopRequested):
        run_smp(stopped, **run)
    half = _last(stopped)
    resumed = shapes_context(tmp_path / "stopped", export)
    run_smp(resumed, **{**run, "train": {**_SHORT, "workers": 1}})

    assert half["global_step"] < _last(whole)["global_step"] == _last(resumed)["global_step"]
    for name, expected in _last(whole)["state_dict"].items():
        assert torch.equal(_last(resumed)["state_dict"][name], expected), name
    assert _rows(resumed) == _rows(whole)


def test_a_frozen_encoder_stays_as_it_was_with_its_running_means(tmp_path: Path) -> None:
    context = shapes_context(tmp_path, write_shapes(tmp_path / "export"))
    run_smp(context, train={**_SHORT, "freeze_encoder": True})
    found = _last(context)["state_dict"]
    assert not found["net.encoder.model.bn1.running_mean"].any()
    assert int(found["net.encoder.model.bn1.num_batches_tracked"]) == 0
    assert found["net.decoder.blocks.0.conv1.1.running_mean"].any()


def test_the_share_of_time_spent_waiting_for_images_is_measured_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading is slow in the first epoch; afterwards the images are in memory."""
    import time

    from specrun.kinds.models import smp_job
    from specrun.model.event import LogLine, Metric

    read = smp_job.read_upright_rgb

    def slowly(path: Path) -> Any:
        time.sleep(0.5)
        return read(path)

    monkeypatch.setattr(smp_job, "read_upright_rgb", slowly)
    context = shapes_context(tmp_path, write_shapes(tmp_path / "export", train=4, val=0))
    run_smp(context, train={**_SHORT, "cache": "memory"})
    first, second = [e.value for e in context.events if isinstance(e, Metric) and e.name == "data_wait"]  # type: ignore[attr-defined]
    assert 0 <= second < first <= 1
    assert first > 0.2
    told = [e.text for e in context.events if isinstance(e, LogLine) and "waiting for images" in e.text]  # type: ignore[attr-defined]
    assert [text.split(" was ")[0].partition(" ")[2] for text in told] == ["of epoch 1"]
    assert "data_wait" in (context.staging / "metrics.csv").read_text().splitlines()[0]


def test_changing_only_the_export_trains_nothing_again(tmp_path: Path) -> None:
    export = write_shapes(tmp_path / "export")
    first = shapes_context(tmp_path / "a", export)
    run_smp(first, train=_SHORT)
    again = shapes_context(tmp_path / "b", export, previous=first.staging)
    run_smp(again, train=_SHORT, export={"torchscript": {}})
    best = "weights/best.safetensors"
    assert (again.staging / best).read_bytes() == (first.staging / best).read_bytes()
    extra = {"specrun.json": ""}
    script = torch.jit.load(str(again.staging / "weights" / "best.torchscript"), _extra_files=extra)
    assert json.loads(extra["specrun.json"])["classes"] == ["box", "disc"]
    assert script(torch.zeros((1, 3, 64, 64))).shape == (1, 3, 64, 64)
    for context in (first, again):
        told = told_progress(context.events)  # type: ignore[attr-defined]
        assert never_falls(told)
        said = dict.fromkeys(said for _, said in told)
        assert list(said)[:2] == ["starting PyTorch and Lightning", "looking at the data"]
        assert not any(share for share, text in told if text.startswith("reading label maps, train"))
    assert "exporting to torchscript" in said


def test_a_warm_start_keeps_the_rows_of_classes_that_stay(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    first = shapes_context(tmp_path / "a", write_shapes(tmp_path / "one"))
    run_smp(first, train=_SHORT)
    names = ("background", "disc", "ring")
    second = shapes_context(tmp_path / "b", write_shapes(tmp_path / "two", names=names), previous=first.staging)
    frozen = {**_SHORT, "epochs": 1, "optimizer": {"name": "sgd", "lr": 1e-12}, "scheduler": None}
    run_smp(second, train=frozen, start_from="previous")
    old, new = (load_file(context.staging / "weights" / "best.safetensors") for context in (first, second))
    head = "segmentation_head.0.weight"
    assert torch.allclose(new[head][0], old[head][0], atol=1e-6)
    assert torch.allclose(new[head][1], old[head][2], atol=1e-6)
    assert not torch.allclose(new[head][2], old[head][1], atol=1e-3)


def test_without_a_validation_split_the_training_loss_decides_and_that_is_said(tmp_path: Path) -> None:
    context = shapes_context(tmp_path, write_shapes(tmp_path / "export", val=0))
    outputs = run_smp(context, train=_SHORT)
    assert outputs.facts["monitor"] == "train/loss"
    assert any("no validation split" in note for note in outputs.notes)


def test_a_validation_split_without_any_class_does_not_make_the_first_epoch_the_best(tmp_path: Path) -> None:
    export = write_shapes(tmp_path / "export")
    _paint_masks(export / "annotations" / "val", 0)
    outputs = run_smp(shapes_context(tmp_path, export), train={**_SHORT, "epochs": 4, "accumulate": 1})
    assert outputs.facts["monitor"] == "val/loss"
    assert any(note.startswith("no class occurs in the validation split") for note in outputs.notes)
    rows = _rows(shapes_context(tmp_path, export))
    lowest = min(rows, key=lambda row: row["val/loss"])
    assert outputs.facts["best_epoch"] == lowest["epoch"]


def test_the_score_of_a_class_with_loss_in_its_name_is_better_when_higher(tmp_path: Path) -> None:
    export = write_shapes(tmp_path / "export", names=("background", "glossy", "disc"))
    train = {**_SHORT, "epochs": 4, "accumulate": 1, "checkpoints": {"monitor": "val/iou/glossy"}}
    outputs = run_smp(shapes_context(tmp_path, export), train=train)
    rows = _rows(shapes_context(tmp_path, export))
    assert outputs.facts["best_epoch"] == max(rows, key=lambda row: row["val/iou/glossy"])["epoch"]


@pytest.mark.parametrize(("value", "what"), [(0, "no pixel of the split train"), (255, "every pixel of train is ign")])
def test_a_training_split_that_shows_nothing_is_refused(tmp_path: Path, value: int, what: str) -> None:
    export = write_shapes(tmp_path / "export")
    _paint_masks(export / "annotations" / "train", value)
    with pytest.raises(FormatError, match=what):
        run_smp(shapes_context(tmp_path, export), train=_SHORT)


def _paint_masks(folder: Path, value: int) -> None:
    from PIL import Image

    for path in folder.glob("*.png"):
        Image.fromarray(np.full((64, 64), value, dtype=np.uint8)).save(path)


def test_one_image_and_a_class_that_never_occurs(tmp_path: Path) -> None:
    export = write_shapes(tmp_path / "export", train=1, val=1, names=("background", "box", "disc", "never"))
    outputs = run_smp(shapes_context(tmp_path, export), arch="DeepLabV3", arch_options={}, train=_SHORT)
    assert any(note == "never never occurs in the split train" for note in outputs.notes)
    assert "val/iou" in outputs.facts["metrics"]  # type: ignore[operator]


@pytest.mark.parametrize(("mode", "activation"), [("auto", "sigmoid"), ("multiclass", "softmax")])
def test_one_class(tmp_path: Path, mode: str, activation: str) -> None:
    context = shapes_context(tmp_path, write_shapes(tmp_path / "export", names=("background", "box")))
    run_smp(context, mode=mode, train=_SHORT)
    described = json.loads((context.staging / "model.json").read_text())
    assert described["activation"] == activation
    assert described["channels"] == (["box"] if activation == "sigmoid" else ["background", "box"])


def test_classes_that_may_overlap(tmp_path: Path) -> None:
    context = shapes_context(tmp_path, write_shapes(tmp_path / "export"))
    run_smp(context, mode="multilabel", train={**_SHORT, "loss": ["focal", {"name": "lovasz", "weight": 0.5}]})
    described = json.loads((context.staging / "model.json").read_text())
    assert described["channels"] == ["box", "disc"]


def test_out_of_memory_names_the_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _out_of_memory_above(1, monkeypatch)
    context = shapes_context(tmp_path, write_shapes(tmp_path / "export"))
    with pytest.raises(OutOfMemory, match=r"train\.batch \(2 → 1\)"):
        run_smp(context, train=_SHORT)


def test_out_of_memory_goes_on_with_half_the_batch_and_twice_the_accumulation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _out_of_memory_above(2, monkeypatch)
    context = shapes_context(tmp_path, write_shapes(tmp_path / "export"))
    outputs = run_smp(context, train={**_SHORT, "batch": 8, "accumulate": 1, "on_oom": "halve"})
    assert (outputs.facts["batch"], outputs.facts["accumulate"]) == (2, 4)
    assert _last(context)["global_step"] == 2


def test_out_of_memory_in_the_middle_of_an_epoch_goes_on_after_the_images_that_were_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from specrun.training.smp.module import SmpModule

    seen: list[int] = []
    step = SmpModule.training_step

    def counted(self: Any, batch: Any, batch_idx: int) -> Any:
        if len(seen) == 2 and len(batch[0]) == 4:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        seen.append(len(batch[0]))
        return step(self, batch, batch_idx)

    monkeypatch.setattr(SmpModule, "training_step", counted)
    context = shapes_context(tmp_path, write_shapes(tmp_path / "export", train=16))
    train = {**_SHORT, "epochs": 1, "batch": 4, "accumulate": 1, "on_oom": "halve", "checkpoints": {"every": "0s"}}
    run_smp(context, train=train)
    assert seen == [4, 4, 2, 2, 2, 2]
    assert _last(context)["global_step"] == 4


def _out_of_memory_above(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from specrun.training.smp.module import SmpModule

    step = SmpModule.training_step

    def limited(self: Any, batch: Any, batch_idx: int) -> Any:
        if len(batch[0]) > limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return step(self, batch, batch_idx)

    monkeypatch.setattr(SmpModule, "training_step", limited)


def test_a_mask_with_an_unknown_value_is_named_with_its_value(tmp_path: Path) -> None:
    from PIL import Image

    export = write_shapes(tmp_path / "export")
    path = export / "annotations" / "train" / "003.png"
    pixels = np.asarray(Image.open(path)).copy()
    pixels[5, 5] = 7
    Image.fromarray(pixels).save(path)
    with pytest.raises(FormatError, match=r"train/003\.png: has the value 7, which is no class"):
        run_smp(shapes_context(tmp_path, export), train=_SHORT)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"train": {**_SHORT, "checkpoints": {"monitor": "val/iou/cube"}}}, 'there is no class "cube"'),
        ({"train": {**_SHORT, "class_weights": {"cube": 2.0}}}, "there is no class cube"),
        ({"train": {**_SHORT, "class_weights": [1.0, 2.0]}}, "2 numbers for 3 classes"),
        ({"train": {**_SHORT, "optimizer": {"options": {"foo": 1}}}}, "AdamW refuses its arguments"),
        ({"train": _SHORT, "encoder_weights": "none.safetensors"}, "there is no such file"),
        ({"train": _SHORT, "mode": "binary"}, "has 2 classes: box, disc"),
    ],
)
def test_what_cannot_be_done_is_said_before_training(tmp_path: Path, spec: dict[str, Any], message: str) -> None:
    export = write_shapes(tmp_path / "export")
    with pytest.raises(NodeError, match=message):
        run_smp(shapes_context(tmp_path, export), **spec)


def test_weights_from_the_hub_without_a_network_say_how_to_give_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    export = write_shapes(tmp_path / "export")
    with pytest.raises(NodeError, match="encoder_weights: the weights of resnet18 are not on this machine") as caught:
        run_smp(shapes_context(tmp_path, export), encoder="resnet18", encoder_weights="imagenet", train=_SHORT)
    assert "path/to/model.safetensors" in str(caught.value.hint)


def test_a_tracker_gets_the_numbers_of_every_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", client)
    export = write_shapes(tmp_path / "export", train=4, val=2)
    context = shapes_context(tmp_path, export, settings={"tracking": {"wandb": {}}})
    run_smp(context, train=_SHORT)
    (run,) = client.runs
    expected = [
        (int(row["epoch"]), {k: v for k, v in row.items() if k in ("val/iou", "train/loss")}) for row in _rows(context)
    ]
    assert [
        (step, {k: v for k, v in row.items() if k in ("val/iou", "train/loss")}) for step, row in run.rows
    ] == expected
    assert (run.ended, run.fields["config"]["classes"]) == (0, ["box", "disc"])
