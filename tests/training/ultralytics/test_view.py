from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from specrun.errors import FormatError
from specrun.training.ultralytics.view import check_label_classes, class_names, make_view


def _export(folder: Path, *names: str, split: str = "train", label: str = "0 0.5 0.5 0.2 0.2\n") -> Path:
    for name in names:
        image = folder / "images" / split / name
        text = folder / "labels" / split / Path(name).with_suffix(".txt")
        image.parent.mkdir(parents=True, exist_ok=True)
        text.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16)).save(image)
        text.write_text(label)
    content = {"train": "images/train", "val": "images/val", "names": ["Pocillopora", "Äste/枝"], "kpt_shape": [4, 3]}
    (folder / "data.yaml").write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return folder


def _whole_export(folder: Path) -> Path:
    _export(folder, "a.png", "sub/b.png")
    return _export(folder, "c.png", split="val")


def _labels_beside(image: Path) -> Path:
    """Where Ultralytics looks."""
    before, _, after = str(image).rpartition("/images/")
    return Path(f"{before}/labels/{after}").with_suffix(".txt")


def test_every_image_of_the_view_has_its_label_where_the_library_looks(tmp_path: Path) -> None:
    view = make_view(_whole_export(tmp_path / "export"), tmp_path / "view", task="detect")
    images = sorted((tmp_path / "view").rglob("*.png"))
    assert [str(image.relative_to(tmp_path / "view")) for image in images] == [
        "train/images/a.png",
        "train/images/sub/b.png",
        "val/images/c.png",
    ]
    assert all(_labels_beside(image).read_text().startswith("0 ") for image in images)
    assert (view.classes, view.images) == (("Pocillopora", "Äste/枝"), {"train": 2, "val": 1})
    described = json.loads(view.data.read_text(encoding="utf-8"))
    assert described["names"] == ["Pocillopora", "Äste/枝"]
    assert (described["train"], described["kpt_shape"]) == ("train/images", [4, 3])


def test_files_written_beside_the_view_do_not_reach_the_export(tmp_path: Path) -> None:
    export = _whole_export(tmp_path / "export")
    before = {path: path.read_bytes() for path in export.rglob("*") if path.is_file()}
    make_view(export, tmp_path / "view", task="detect")
    for image in list((tmp_path / "view").rglob("*.png")):
        label = _labels_beside(image)
        label.parent.with_suffix(".cache").write_text("cache")
        image.with_suffix(".npy").write_text("pixels")
        replacement = image.with_name(".new")
        replacement.write_text("restored JPEG")
        replacement.replace(image)
    assert {path: path.read_bytes() for path in export.rglob("*") if path.is_file()} == before


def test_a_folder_named_images_inside_a_split_keeps_its_labels(tmp_path: Path) -> None:
    export = tmp_path / "export"
    _export(export, "c.png", split="val")
    _export(export, "plain.png")
    # The library replaces the last `images` of a path, so that is where such an export has its label.
    image = export / "images" / "train" / "images" / "deep.png"
    image.parent.mkdir()
    Image.new("RGB", (16, 16)).save(image)
    label = export / "images" / "train" / "labels" / "deep.txt"
    label.parent.mkdir()
    label.write_text("1 0.5 0.5 0.1 0.1\n")
    make_view(export, tmp_path / "view", task="detect")
    assert (tmp_path / "view" / "train" / "labels" / "images_" / "deep.txt").read_text().startswith("1 ")


def test_made_again_the_view_follows_the_export(tmp_path: Path) -> None:
    export = _whole_export(tmp_path / "export")
    make_view(export, tmp_path / "view", task="detect")
    (tmp_path / "view" / "train" / "labels.cache").write_text("kept")
    (export / "images" / "train" / "a.png").unlink()
    assert make_view(export, tmp_path / "view", task="detect").images["train"] == 1
    assert (tmp_path / "view" / "train" / "labels.cache").read_text() == "kept"


@pytest.mark.parametrize("line", ["2 0.5 0.5 0.1 0.1", "-1 0 0 0 0", "0.5 0 0 0 0", "small 0 0 0 0", "nan 0 0 0 0"])
def test_a_class_that_is_not_in_the_list_names_file_and_line(tmp_path: Path, line: str) -> None:
    path = tmp_path / "a.txt"
    path.write_text(f"0 0.5 0.5 0.1 0.1\n\n{line}\n")
    with pytest.raises(FormatError, match=r"a\.txt:3: class .* is not one of the 2 classes"):
        check_label_classes(path, 2)


def test_a_split_without_images_says_what_to_do(tmp_path: Path) -> None:
    export = _export(tmp_path / "export", "a.png")
    (export / "images" / "val").mkdir()
    with pytest.raises(FormatError, match="the split val has no images") as caught:
        make_view(export, tmp_path / "view", task="detect")
    assert "ratios" in (caught.value.hint or "")


def test_class_numbers_must_have_no_gaps() -> None:
    assert class_names({"names": {0: "a", 1: "b"}}, Path("data.yaml")) == ("a", "b")
    with pytest.raises(FormatError, match="names"):
        class_names({"names": {0: "a", 2: "b"}}, Path("data.yaml"))


def test_a_classification_export_keeps_its_class_folders(tmp_path: Path) -> None:
    for split, name in (("train", "cat/a.png"), ("train", "dog/b.png"), ("val", "cat/c.png")):
        path = tmp_path / "export" / split / name
        path.parent.mkdir(parents=True)
        Image.new("RGB", (16, 16)).save(path)
    view = make_view(tmp_path / "export", tmp_path / "view", task="classify")
    assert (view.data, view.classes, view.images) == (tmp_path / "view", ("cat", "dog"), {"train": 2, "val": 1})
