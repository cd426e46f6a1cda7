"""What is told before anything is trained."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from specrun.errors import NodeError, SpecError
from specrun.kinds.models.ultralytics import Ultralytics
from specrun.kinds.models.ultralytics_spec import UltralyticsSpec
from specrun.kinds.registry import REGISTRY
from specrun.spec.project import load_project
from specrun.training.ultralytics.arguments import installed_folder
from specrun.training.ultralytics.released import read_released, released_checkpoints
from specrun.training.ultralytics.weights import checkpoint_file, task_by_name
from tests.support.specs import write_spec

needs_release = pytest.mark.skipif(installed_folder() is None, reason="the extra yolo is not installed")


class _Lookup:
    def __init__(self, folder: Path, task: str = "segment", kind: str = "exports.yolo") -> None:
        self.project_dir = folder
        self.task, self.kind = task, kind

    def spec(self, address: str) -> Any:
        return SimpleNamespace(task=self.task) if address == "exports.yolo" else None

    def kind_of(self, address: str) -> str | None:
        return {"exports.yolo": self.kind, "models.unet": "models.smp"}.get(address)


def _problems(folder: Path, task: str = "segment", kind: str = "exports.yolo", **spec: Any) -> list[tuple[str, str]]:
    values = {"weights": "yolo11n-seg.yaml", "data": "exports.yolo", **spec}
    found = Ultralytics().check(UltralyticsSpec(**values), _Lookup(folder, task, kind))
    return [(p.path, f"{p.message} {p.hint or ''}") for p in found if not p.warning]


@needs_release
def test_a_right_spec_has_no_problem(tmp_path: Path) -> None:
    assert _problems(tmp_path, train={"epochs": 3, "imgsz": 128}) == []


@needs_release
def test_mistakes_in_train_stand_under_their_path(tmp_path: Path) -> None:
    found = _problems(tmp_path, train={"epohcs": 3, "project": "x", "batch": "many"})
    assert [path for path, _ in found] == ["train.epohcs", "train.project", "train.batch"]


@pytest.mark.parametrize(
    ("weights", "task"),
    [
        ("yolo11n-seg.yaml", "segment"),
        ("yolo11m.pt", "detect"),
        ("yolov8s-pose.pt", "pose"),
        ("yolo26n-obb.pt", "obb"),
        ("yolo11-cls-resnet18.yaml", "classify"),
        ("rtdetr-l.pt", "detect"),
        ("models/best.pt", None),
        ("yolo_mine-seg.pt", None),
    ],
)
def test_the_name_of_a_release_says_its_task(weights: str, task: str | None) -> None:
    assert task_by_name(weights) == task


@needs_release
def test_weights_for_another_task_than_the_export_are_refused(tmp_path: Path) -> None:
    ((path, text),) = _problems(tmp_path, task="detect")
    assert path == "weights"
    assert "yolo11n-seg.yaml is a model for segment; exports.yolo is written for detect" in text


def test_an_export_of_another_kind_is_refused(tmp_path: Path) -> None:
    found = _problems(tmp_path, kind="exports.coco")
    assert ("data", "exports.yolo is exports.coco; Ultralytics trains on exports of kind yolo. ") in found


@needs_release
def test_an_architecture_that_is_not_shipped_is_suggested(tmp_path: Path) -> None:
    for written in ("yolo11n-sag.yaml", "yolo11n-sge.yaml"):
        ((path, text),) = _problems(tmp_path, weights=written)
        assert path == "weights"
        assert 'Did you mean "yolo11n-seg.yaml"?' in text


@needs_release
@pytest.mark.parametrize("written", ["yolo11n-sge.pt", "yolo11n-segg.pt"])
def test_a_release_that_does_not_exist_is_suggested_and_not_taken_for_another_task(
    tmp_path: Path, written: str
) -> None:
    ((path, text),) = _problems(tmp_path, weights=written)
    assert path == "weights"
    assert f'There is no file "{written}", and no released checkpoint of that name.' in text
    assert 'Did you mean "yolo11n-seg.pt"?' in text


@needs_release
def test_released_checkpoints_and_files_of_any_name_are_taken(tmp_path: Path) -> None:
    (tmp_path / "yolo11n-sge.pt").write_bytes(b"x")
    for written in ("yolo11n-seg.pt", "yolo11n-sge.pt", "mine-sge.pt"):
        assert _problems(tmp_path, weights=written) == []


@needs_release
def test_the_list_of_releases_is_that_of_the_library() -> None:
    downloads = pytest.importorskip("ultralytics.utils.downloads")
    assert released_checkpoints() == {name for name in downloads.GITHUB_ASSETS_NAMES if name.endswith(".pt")}


def test_a_list_of_releases_that_is_written_otherwise_tells_nothing(tmp_path: Path) -> None:
    (tmp_path / "downloads.py").write_text("GITHUB_ASSETS_NAMES = frozenset(make(n) for n in NAMES)\n")
    assert read_released(tmp_path / "downloads.py") == frozenset()


@needs_release
def test_a_model_of_the_other_trainer_is_no_beginning(tmp_path: Path) -> None:
    ((path, text),) = _problems(tmp_path, start_from="models.unet")
    assert path == "start_from"
    assert "models.unet is models.smp, not a model of kind ultralytics." in text


@needs_release
def test_what_has_no_effect_on_training_is_not_suggested(tmp_path: Path) -> None:
    ((path, text),) = _problems(tmp_path, train={"augmnt": True})
    assert path == "train.augmnt"
    assert '"augment"' not in text


@needs_release
def test_files_and_layers_that_do_not_exist_are_refused(tmp_path: Path) -> None:
    (tmp_path / "here.pt").write_bytes(b"x")
    found = _problems(tmp_path, train={"pretrained": "nofile.pt", "freeze": ["a"]})
    assert sorted(path for path, _ in found) == ["train.freeze", "train.pretrained"]
    assert _problems(tmp_path, train={"pretrained": "here.pt", "freeze": [0, "23.cv2"]}) == []
    assert _problems(tmp_path, train={"pretrained": False, "freeze": 10}) == []


def test_an_architecture_without_data_is_refused(tmp_path: Path) -> None:
    assert ("data", "An architecture must be trained. Name an export: data: exports.yolo.") in _problems(
        tmp_path, data=None
    )


def test_train_without_data_is_refused(tmp_path: Path) -> None:
    (tmp_path / "best.pt").write_bytes(b"x")
    assert [path for path, _ in _problems(tmp_path, weights="best.pt", data=None, train={"epochs": 1})] == ["train"]


def test_a_path_to_a_missing_checkpoint_is_refused(tmp_path: Path) -> None:
    found = _problems(tmp_path, weights="weights/missing.pt")
    assert [path for path, _ in found] == ["weights"]


@needs_release
def test_a_seed_in_two_places_is_refused(tmp_path: Path) -> None:
    assert _problems(tmp_path, seed=1, train={"batch": 8}) == []
    assert _problems(tmp_path, seed=1, train={"seed": 2}) == [
        ("train.seed", "The seed is given twice. Leave `seed` or `train.seed` out.")
    ]


@needs_release
def test_a_batch_that_the_gpus_cannot_share_is_refused(tmp_path: Path) -> None:
    assert _problems(tmp_path, resources={"gpus": 2}, train={"batch": 8}) == []
    assert _problems(tmp_path, resources={"gpus": 2}, train={"batch": 7}) == [
        ("train.batch", "A batch of 7 cannot be shared by 2 GPUs. Write a multiple of 2: the batch is that of all GPUs "
         "together."),
    ]  # fmt: skip


def test_a_format_whose_packages_are_missing_is_told_with_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from specrun.training.ultralytics import exporting

    monkeypatch.setitem(exporting._PACKAGES, "onnx", ("no_such_package",))
    found = Ultralytics().check(UltralyticsSpec(weights="yolo11n-seg.yaml", export={"onnx": {}}), _Lookup(tmp_path))
    ((problem),) = [problem for problem in found if problem.path == "export.onnx"]
    assert problem.warning
    assert problem.message == "onnx needs no_such_package, which cannot be imported here."
    assert problem.hint == "Install the extra: pip install 'specrun[onnx]'."


def test_a_checkpoint_to_start_from_must_be_there(tmp_path: Path) -> None:
    assert [path for path, _ in _problems(tmp_path, start_from="missing.pt")] == ["start_from"]
    assert _problems(tmp_path, start_from="previous") == []
    assert [need.ref for need in Ultralytics().inputs(UltralyticsSpec(weights="w.pt", start_from="models.x"))] == [
        "models.x"
    ]


def test_an_unknown_export_format_is_refused(tmp_path: Path) -> None:
    assert [path for path, _ in _problems(tmp_path, export={"onxx": {}})] == ["export.onxx"]


@needs_release
def test_mistaken_export_arguments_stand_under_their_path(tmp_path: Path) -> None:
    found = _problems(tmp_path, export={"onnx": {"dynamick": True, "opset": "x"}})
    assert [path for path, _ in found] == ["export.onnx.dynamick", "export.onnx.opset"]
    assert 'Did you mean "dynamic"?' in found[0][1]


def test_a_release_that_is_not_here_says_how_to_give_a_file(tmp_path: Path) -> None:
    with pytest.raises(NodeError, match="YOLO_OFFLINE") as caught:
        checkpoint_file("yolo11n-seg.pt", tmp_path, tmp_path / "cache", offline=True)
    assert "put it beside the spec" in (caught.value.hint or "")


def test_a_local_checkpoint_is_taken_before_any_download(tmp_path: Path) -> None:
    (tmp_path / "yolo11n-seg.pt").write_bytes(b"x")
    assert checkpoint_file("yolo11n-seg.pt", tmp_path, tmp_path / "c", offline=True) == tmp_path / "yolo11n-seg.pt"


def test_the_content_of_the_weights_file_is_observed(tmp_path: Path) -> None:
    look = SimpleNamespace(
        record=SimpleNamespace(observation={"weights": "old"}),
        project_dir=tmp_path,
        file_digest=lambda path: "new" if path == tmp_path / "best.pt" else None,
    )
    seen = asyncio.run(Ultralytics().observe(UltralyticsSpec(weights="best.pt"), look))
    assert seen.value == {"weights": "new"}
    assert seen.differences == ("weights: best.pt changed",)


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        ("start_from", {"start_from": "~/x.pt"}),
        ("weights", {"weights": "~/x.pt"}),
        ("train.pretrained", {"train": {"pretrained": "~/x.pt"}}),
    ],
)
def test_a_file_in_the_home_folder_is_observed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, spec: dict[str, Any]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    look = SimpleNamespace(record=None, project_dir=tmp_path, file_digest=lambda path: str(path))
    seen = asyncio.run(Ultralytics().observe(UltralyticsSpec(**{"weights": "yolo11n.yaml", **spec}), look))
    assert seen.value[name] == str(tmp_path / "home" / "x.pt")


def _result_train(folder: Path, train: str) -> Any:
    """Of a spec with this `train` block, what the fingerprint covers."""
    text = f"""
    sources: {{photos: {{kind: images, path: "."}}}}
    datasets: {{d: {{from: sources.photos, split: {{ratios: {{train: 0.8, val: 0.2}}}}}}}}
    exports: {{e: {{kind: yolo, dataset: d, task: detect}}}}
    models: {{m: {{kind: ultralytics, weights: yolo11n.yaml, data: e, train: {train}}}}}
    """
    nodes = load_project(write_spec(folder, text), REGISTRY, environ={}).nodes
    return next(node.result_config["train"] for node in nodes if str(node.address) == "models.m")


@needs_release
def test_the_fingerprint_covers_only_what_decides_the_weights(tmp_path: Path) -> None:
    assert _result_train(tmp_path, "{lr0: 0.1, plots: false, workers: 2}") == {"lr0": 0.1}


def test_an_interrupted_training_goes_on_under_other_settings_that_have_no_say_in_the_weights() -> None:
    settings = {"plots": False, "verbose": False, "workers": 2, "save_period": 5}
    kind = Ultralytics()
    keys = [kind.resume_key(UltralyticsSpec(weights="w.pt", train={"lr0": 0.1, **more})) for more in ({}, settings)]
    assert keys[0] == keys[1]
    assert kind.resume_key(UltralyticsSpec(weights="w.pt", train={"lr0": 0.2})) != keys[0]


@needs_release
def test_a_model_that_starts_from_itself_is_told_where_that_is_written(tmp_path: Path) -> None:
    text = """
    sources: {photos: {kind: images, path: "."}}
    datasets: {d: {from: sources.photos, split: {ratios: {train: 0.8, val: 0.2}}}}
    exports: {yolo: {kind: yolo, dataset: d, task: detect}}
    models:
      yolo:
        kind: ultralytics
        weights: yolo11n.yaml
        data: yolo
        start_from: models.yolo
    """
    with pytest.raises(SpecError, match=r"project.yaml:11:17: models.yolo: models.yolo names itself"):
        load_project(write_spec(tmp_path, text), REGISTRY, environ={})
