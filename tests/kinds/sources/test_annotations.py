from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from specrun.errors import FormatError, StopRequested
from specrun.formats.samples import load_samples
from specrun.kinds.sources.annotations import Annotations, AnnotationsSpec
from specrun.model.artifact import Outputs
from specrun.model.digest import file_digest
from specrun.model.event import Progress
from specrun.model.labels import Sample
from specrun.model.state import Observation
from tests.support.context import make_context
from tests.support.data_sets import write_image, write_text
from tests.support.look import make_look

ADDRESS = "sources.reef"
CVAT = """<annotations><version>1.1</version><meta><task><id>7</id><subset>{subset}</subset><labels>
<label><name>coral</name><type>polygon</type></label><label><name>fish</name><type>rectangle</type></label>
</labels></task></meta>{images}</annotations>"""
IMAGE = """<image name="{name}" width="8" height="6">
<polygon label="coral" points="0,0;4,0;4,3"/><cuboid label="fish"/></image>"""


@dataclass(frozen=True)
class Project:
    """The part of the spec's Lookup that `check` uses."""

    project_dir: Path


def write_cvat(root: Path, *names: str, subset: str = "train", folder: str = "data") -> None:
    images = "\n".join(IMAGE.format(name=name) for name in names)
    write_text(root / folder / "annotations.xml", CVAT.format(subset=subset, images=images))
    for name in names:
        write_image(root / folder / "images" / name, (8, 6))


def run(root: Path, **spec: Any) -> tuple[Outputs, list[Sample]]:
    context = make_context(root, ADDRESS)
    made = Annotations().run(AnnotationsSpec(**spec), context)
    return made, list(load_samples(context.staging / "samples.jsonl", root))


def observe(root: Path, observed: Any = None, **spec: Any) -> Observation:
    look = make_look(root, ADDRESS, observed=observed)
    return anyio.run(Annotations().observe, AnnotationsSpec(**spec), look)


@pytest.mark.parametrize("path", ["data", "data/annotations.xml"])
def test_cvat_from_a_folder_or_its_file(tmp_path: Path, path: str) -> None:
    write_cvat(tmp_path, "a.png")
    made, (sample,) = run(tmp_path, format="cvat", path=path)
    image = tmp_path / "data/images/a.png"
    assert (sample.key, sample.name, sample.media) == ("reef/7/a.png", "a.png", image)
    assert (sample.digest, sample.split, len(sample.labels)) == (file_digest(image), "train", 1)
    assert made.facts == {
        "images": 1,
        "annotated": 1,
        "labels": {"coral": 1, "fish": 0},
        "classes": ["coral", "fish"],
        "splits": {"train": 1},
        "shapes": {"polygon": 1},
    }
    assert made.notes == ("1 cuboid has no counterpart here and was left out",)


def test_media_may_lie_elsewhere(tmp_path: Path) -> None:
    write_cvat(tmp_path, "a.png")
    (tmp_path / "data/images").rename(tmp_path / "photos")
    _, (sample,) = run(tmp_path, format="cvat", path="data/annotations.xml", media="photos")
    assert sample.media == tmp_path / "photos/a.png"


def write_zip(root: Path, folder: str = "data") -> None:
    with zipfile.ZipFile(root / "export.zip", "w") as archive:
        for path in sorted((root / folder).rglob("*")):
            archive.write(path, path.relative_to(root / folder))


def test_an_exported_archive_is_unpacked_into_the_output(tmp_path: Path) -> None:
    write_cvat(tmp_path, "a.png")
    write_zip(tmp_path)
    made, (sample,) = run(tmp_path, format="cvat", path="export.zip")
    assert sample.media == tmp_path / "outputs/sources/reef/unpacked/images/a.png"
    assert made.known_digests == {"unpacked/images/a.png": sample.digest}
    staging = make_context(tmp_path, ADDRESS).staging
    assert (staging / "unpacked/images/a.png").is_file()


def test_an_archive_is_unpacked_again_over_what_an_interrupted_run_left(tmp_path: Path) -> None:
    write_cvat(tmp_path, "a.png")
    write_zip(tmp_path)
    write_image(make_context(tmp_path, ADDRESS).staging / "unpacked/images/old.png")
    made, _ = run(tmp_path, format="cvat", path="export.zip")
    assert made.notes == ("1 cuboid has no counterpart here and was left out",)


def test_an_archive_without_images_says_what_to_do(tmp_path: Path) -> None:
    write_cvat(tmp_path, "a.png")
    (tmp_path / "data/images/a.png").unlink()
    write_zip(tmp_path)
    with pytest.raises(FormatError, match=r"export\.zip: images .* not found in the archive: 1 of 1 \(train/a\.png\)"):
        run(tmp_path, format="cvat", path="export.zip")


def test_masks_in_colours_take_their_classes_from_the_labelmap(tmp_path: Path) -> None:
    write_image(tmp_path / "data/images/a.png", (2, 1))
    (tmp_path / "data/masks").mkdir()
    Image.fromarray(np.array([[[1, 2, 3], [0, 0, 0]]], dtype=np.uint8)).save(tmp_path / "data/masks/a.png")
    write_text(tmp_path / "data/labelmap.txt", "background:0,0,0::\nroad:1,2,3::\n")
    assert problems(tmp_path, format="masks") == []
    made, (sample,) = run(tmp_path, format="masks", path="data")
    assert (made.facts["classes"], [label.label for label in sample.labels]) == (["road"], ["road"])

    before = observe(tmp_path, format="masks", path="data")
    write_text(tmp_path / "data/labelmap.txt", "background:0,0,0::\nstreet:1,2,3::\n")
    assert observe(tmp_path, format="masks", path="data").value != before.value


def test_a_mistake_in_an_archive_is_told_with_the_name_of_the_archive(tmp_path: Path) -> None:
    write_image(tmp_path / "data/images/train/a.png")
    write_text(tmp_path / "data/data.yaml", "names: [cat]\ntrain: images/train\n")
    write_text(tmp_path / "data/labels/train/a.txt", "0 nonsense\n")
    write_zip(tmp_path)
    with pytest.raises(FormatError) as caught:
        run(tmp_path, format="yolo", path="export.zip")
    assert caught.value.message.startswith(f"{tmp_path}/export.zip: labels/train/a.txt:1: ")


def test_a_path_in_the_middle_of_a_message_lies_below_the_archive(tmp_path: Path) -> None:
    write_image(tmp_path / "data/images/train/a.png")
    write_text(tmp_path / "data/data.yaml", "names: [cat]\ntrain: images/gone\n")
    write_zip(tmp_path)
    with pytest.raises(FormatError) as caught:
        run(tmp_path, format="yolo", path="export.zip")
    assert "unpacked" not in caught.value.message
    assert f"looked in {tmp_path}/export.zip/images/gone" in caught.value.message


def test_images_that_are_not_there_are_an_error_with_the_first_few(tmp_path: Path) -> None:
    names = ["a.png", "b.png", "c.png", "d.png", "e.png"]
    write_cvat(tmp_path, *names)
    for name in names[1:]:
        (tmp_path / "data/images" / name).unlink()
    with pytest.raises(FormatError, match=r"4 of 5 \(train/b\.png, train/c\.png, train/d\.png, …\)") as caught:
        run(tmp_path, format="cvat", path="data")
    assert "missing: skip" in str(caught.value)


def test_missing_images_are_skipped_on_request_and_noted(tmp_path: Path) -> None:
    write_cvat(tmp_path, "a.png", "b.png")
    (tmp_path / "data/images/b.png").unlink()
    made, samples = run(tmp_path, format="cvat", path="data", missing="skip")
    assert [sample.name for sample in samples] == ["a.png"]
    assert "1 image is not there and was skipped" in made.notes


def test_images_that_are_not_listed_are_noted(tmp_path: Path) -> None:
    write_cvat(tmp_path, "a.png")
    write_image(tmp_path / "data/images/deleted.png")
    made, _ = run(tmp_path, format="cvat", path="data")
    assert "1 image lies there but is not listed" in made.notes


def test_subsets_become_splits(tmp_path: Path) -> None:
    write_cvat(tmp_path, "a.png", subset="holdout")
    _, (sample,) = run(tmp_path, format="cvat", path="data", subsets={"holdout": "test"})
    assert sample.split == "test"


def test_images_of_a_subset_that_is_not_wanted_are_counted(tmp_path: Path) -> None:
    for folder, subset in (("one", "train"), ("two", "{junk}")):
        write_cvat(tmp_path, "a.png", folder=f"data/{folder}", subset=subset)
    made, samples = run(tmp_path, format="cvat", path="data", subsets={"train": "train"})
    assert [sample.split for sample in samples] == ["train"]
    assert '1 image was left out with the subset "{junk}"' in made.notes


def test_a_subset_that_does_not_occur_is_an_error_that_names_those_that_do(tmp_path: Path) -> None:
    write_cvat(tmp_path, "a.png")
    with pytest.raises(FormatError, match=r'there is no subset "trian"\. There are: "train"\.'):
        run(tmp_path, format="cvat", path="data", subsets={"trian": "train"})


def test_a_file_of_another_format_is_an_error(tmp_path: Path) -> None:
    write_cvat(tmp_path, "a.png")
    with pytest.raises(FormatError, match="holds no COCO file"):
        run(tmp_path, format="coco", path="data")


def test_several_exports_in_one_folder(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        write_cvat(tmp_path, "a.png", folder=f"data/{folder}")
    _, samples = run(tmp_path, format="cvat", path="data")
    assert [sample.name for sample in samples] == ["one/images/a.png", "two/images/a.png"]


def test_coco(tmp_path: Path) -> None:
    write_image(tmp_path / "data/train2017/a.png", (8, 6))
    data = {
        "images": [{"id": 1, "file_name": "a.png", "width": 8, "height": 6}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1]}],
        "categories": [{"id": 1, "name": "cat"}],
    }
    write_text(tmp_path / "data/annotations/instances_train2017.json", json.dumps(data))
    _, (sample,) = run(tmp_path, format="coco", path="data/annotations/instances_train2017.json")
    assert (sample.key, sample.split, len(sample.labels)) == ("reef/train/train2017/a.png", "train", 1)


def test_yolo(tmp_path: Path) -> None:
    write_image(tmp_path / "data/images/train/a.png", (8, 6))
    write_text(tmp_path / "data/labels/train/a.txt", "0 0.5 0.5 1 1\n")
    write_text(tmp_path / "data/data.yaml", "names: [cat]\ntrain: images/train\n")
    _, (sample,) = run(tmp_path, format="yolo", path="data/data.yaml")
    assert (sample.key, sample.split, len(sample.labels)) == ("reef/images/train/a.png", "train", 1)


def test_masks(tmp_path: Path) -> None:
    write_image(tmp_path / "data/train/images/a.png", (2, 1))
    (tmp_path / "data/train/masks").mkdir()
    Image.fromarray(np.array([[1, 255]], dtype=np.uint8)).save(tmp_path / "data/train/masks/a.png")
    made, (sample,) = run(tmp_path, format="masks", path="data", classes=["sky", "road"], ignore_index=255)
    assert [label.label for label in sample.labels] == ["road"]
    assert made.facts["classes"] == ["sky", "road"]


def test_voc(tmp_path: Path) -> None:
    write_image(tmp_path / "data/a.png")
    write_text(tmp_path / "data/a.xml", "<annotation><filename>a.png</filename></annotation>")
    _, (sample,) = run(tmp_path, format="voc", path="data")
    assert sample.annotated


def test_image_classification(tmp_path: Path) -> None:
    write_image(tmp_path / "data/train/cat/a.png")
    _, (sample,) = run(tmp_path, format="image_classification", path="data")
    assert [label.label for label in sample.labels] == ["cat"]


def test_labels_and_media_are_separate_parts(tmp_path: Path) -> None:
    write_cvat(tmp_path, "a.png")
    first, _ = run(tmp_path, format="cvat", path="data")
    xml = tmp_path / "data/annotations.xml"
    xml.write_text(xml.read_text().replace("4,3", "4,4"))
    second, _ = run(tmp_path, format="cvat", path="data")
    assert second.parts["media"] == first.parts["media"]
    assert second.parts["labels"] != first.parts["labels"]


def test_white_space_in_the_annotations_changes_no_part(tmp_path: Path) -> None:
    write_cvat(tmp_path, "a.png")
    first, _ = run(tmp_path, format="cvat", path="data")
    xml = tmp_path / "data/annotations.xml"
    xml.write_text(xml.read_text().replace("\n", "\n  "))
    second, _ = run(tmp_path, format="cvat", path="data")
    assert second.parts == first.parts


def test_progress_is_told_in_images(tmp_path: Path) -> None:
    write_cvat(tmp_path, "a.png", "b.png")
    context = make_context(tmp_path, ADDRESS)
    Annotations().run(AnnotationsSpec(format="cvat", path="data"), context)
    told = [event for event in context.events if isinstance(event, Progress)]  # type: ignore[attr-defined]
    assert (told[-1].done, told[-1].total, told[-1].unit) == (2, 2, "images")


def test_a_stop_is_obeyed_between_images(tmp_path: Path) -> None:
    write_cvat(tmp_path, "a.png")
    with pytest.raises(StopRequested):
        Annotations().run(
            AnnotationsSpec(format="cvat", path="data"), make_context(tmp_path, ADDRESS, stop=lambda: True)
        )


@pytest.mark.parametrize("path", ["data", "data/annotations.xml"])
def test_changed_annotations_and_images_are_named(tmp_path: Path, path: str) -> None:
    write_cvat(tmp_path, "a.png")
    before = observe(tmp_path, format="cvat", path=path).value
    write_cvat(tmp_path, "a.png", "b.png")
    seen = observe(tmp_path, before, format="cvat", path=path)
    assert seen.differences == ("annotations.xml changed", "+1 image: b.png")


def test_an_archive_is_watched_as_one_file(tmp_path: Path) -> None:
    write_cvat(tmp_path, "a.png")
    write_zip(tmp_path)
    before = observe(tmp_path, format="cvat", path="export.zip").value
    write_cvat(tmp_path, "a.png", "b.png")
    write_zip(tmp_path)
    assert observe(tmp_path, before, format="cvat", path="export.zip").differences == ("export.zip changed",)


@pytest.mark.parametrize(
    ("form", "files"),
    [("yolo", ["data/data.yaml", "data/labels/a.txt"]), ("voc", ["data/a.xml"]), ("coco", ["data/a.json"])],
)
def test_a_look_and_a_run_see_the_same_files(tmp_path: Path, form: str, files: list[str]) -> None:
    write_image(tmp_path / "data/images/a.png")
    contents = {
        "data/data.yaml": "names: [cat]\ntrain: images\n",
        "data/labels/a.txt": "",
        "data/a.xml": "<annotation><filename>a.png</filename></annotation>",
        "data/a.json": '{"images": [{"id": 1, "file_name": "a.png", "width": 8, "height": 6}]}',
    }
    for file in files:
        write_text(tmp_path / file, contents[file])
    made, _ = run(tmp_path, format=form, path="data")
    assert observe(tmp_path, format=form, path="data").value == made.observation
    assert isinstance(made.observation, dict)
    assert made.observation["labels"] == {**made.observation["labels"], "count": len(files)}  # type: ignore[dict-item]


def problems(root: Path, **spec: Any) -> list[tuple[str, str]]:
    (root / "data").mkdir(exist_ok=True)
    found = Annotations().check(AnnotationsSpec(**{"path": "data", **spec}), Project(root))  # type: ignore[arg-type]
    return [(problem.path, problem.message) for problem in found]


def test_a_right_spec_has_no_problems(tmp_path: Path) -> None:
    assert problems(tmp_path, format="masks", classes=["a", "b"], ignore_index=255) == []


def test_a_missing_path_is_named_as_resolved(tmp_path: Path) -> None:
    assert problems(tmp_path, format="cvat", path="gone.xml") == [("path", f"{tmp_path / 'gone.xml'} does not exist")]


def test_a_missing_media_folder_is_named_as_resolved(tmp_path: Path) -> None:
    assert problems(tmp_path, format="cvat", media="gone") == [("media", f"{tmp_path / 'gone'} is not a folder")]


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({"format": "masks"}, "format"),
        ({"format": "masks", "classes": ["a", "a"]}, "classes"),
        ({"format": "cvat", "classes": ["a"]}, "classes"),
        ({"format": "coco", "ignore_index": 0}, "ignore_index"),
        ({"format": "voc", "task": "detect"}, "task"),
    ],
)
def test_keys_that_do_not_belong_together_are_a_mistake(tmp_path: Path, spec: dict[str, Any], path: str) -> None:
    assert [where for where, _ in problems(tmp_path, **spec)] == [path]


@pytest.mark.parametrize(
    "spec", [{"format": "fiftyone"}, {"format": "cvat", "subsets": {"a": "trian"}}, {"format": "masks", "classes": []}]
)
def test_values_that_are_not_known_are_refused(spec: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        AnnotationsSpec(path="data", **spec)
