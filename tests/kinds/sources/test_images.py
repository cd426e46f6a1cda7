from __future__ import annotations

import subprocess
import sys
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest

from specrun.errors import FormatError, NodeError
from specrun.formats.samples import load_samples
from specrun.kinds.sources.images import Images, ImagesSpec
from specrun.model.artifact import Outputs
from specrun.model.digest import file_digest
from specrun.model.labels import Sample
from specrun.model.state import Observation
from tests.support.context import make_context
from tests.support.data_sets import write_image
from tests.support.look import make_look

ADDRESS = "sources.photos"


@dataclass(frozen=True)
class Project:
    """The part of the spec's Lookup that `check` uses."""

    project_dir: Path


def run(root: Path, **spec: Any) -> tuple[Outputs, list[Sample]]:
    context = make_context(root, ADDRESS)
    made = Images().run(ImagesSpec(path="photos", **spec), context)
    return made, list(load_samples(context.staging / "samples.jsonl", root))


def observe(root: Path, observed: Any = None, **spec: Any) -> Observation:
    return anyio.run(Images().observe, ImagesSpec(path="photos", **spec), make_look(root, ADDRESS, observed=observed))


def test_every_image_below_the_folder_is_a_sample(tmp_path: Path) -> None:
    image = write_image(tmp_path / "photos/x/a.PNG", (8, 6))
    (tmp_path / "photos/readme.txt").write_text("no image")
    made, samples = run(tmp_path)
    (sample,) = samples
    assert (sample.key, sample.name, sample.media) == ("photos/x/a.PNG", "x/a.PNG", image)
    assert (sample.digest, sample.size_wh, sample.split) == (file_digest(image), (8, 6), None)
    assert not sample.annotated
    assert made.facts["images"] == 1
    assert made.notes == ()


def test_include_and_exclude_choose(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.png", "raw/c.jpg"):
        write_image(tmp_path / "photos" / name)
    _, samples = run(tmp_path, include=["**/*.jpg"], exclude=["raw/**"])
    assert [sample.name for sample in samples] == ["a.jpg"]


def test_matching_files_that_are_no_images_are_noted(tmp_path: Path) -> None:
    write_image(tmp_path / "photos/a.jpg")
    (tmp_path / "photos/a.txt").write_text("")
    made, samples = run(tmp_path, include=["a.*"])
    assert len(samples) == 1
    assert made.notes == ("1 matching file is no image and was left out",)


def test_keys_are_composed_unicode_and_paths_stay_as_on_disk(tmp_path: Path) -> None:
    on_disk = unicodedata.normalize("NFD", "récif.png")
    write_image(tmp_path / "photos" / on_disk)
    _, (sample,) = run(tmp_path)
    assert (sample.key, sample.media.name) == ("photos/récif.png", on_disk)


def test_unreadable_images_are_counted_and_named_together(tmp_path: Path) -> None:
    write_image(tmp_path / "photos/good.png")
    for name in ("bad1.png", "bad2.jpg"):
        (tmp_path / "photos" / name).write_bytes(b"no image")
    with pytest.raises(FormatError, match=r"2 of 3 images cannot be read:\n.*bad1\.png.*\n.*bad2\.jpg"):
        run(tmp_path)


def test_a_folder_without_images_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(FormatError, match="no images match"):
        run(tmp_path)


def test_outputs_below_the_folder_are_no_input(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png")
    write_image(tmp_path / "outputs/exports/yolo/a.png")
    context = make_context(tmp_path, ADDRESS)
    made = Images().run(ImagesSpec(path="."), context)
    assert made.facts["images"] == 1


def test_the_same_images_have_the_same_parts(tmp_path: Path) -> None:
    write_image(tmp_path / "photos/a.png")
    first, _ = run(tmp_path)
    second, _ = run(tmp_path)
    assert first.parts == second.parts
    write_image(tmp_path / "photos/a.png", (9, 9))
    third, _ = run(tmp_path)
    assert third.parts["media"] != first.parts["media"]


def test_what_a_run_saw_is_what_the_next_look_sees(tmp_path: Path) -> None:
    write_image(tmp_path / "photos/a.png")
    made, _ = run(tmp_path)
    assert observe(tmp_path).value == made.observation


def test_changed_added_and_removed_images_are_named(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "c.png"):
        write_image(tmp_path / "photos" / name)
    before = observe(tmp_path).value
    write_image(tmp_path / "photos/a.png", (9, 9))
    write_image(tmp_path / "photos/b.png", (9, 9))
    (tmp_path / "photos/c.png").unlink()
    write_image(tmp_path / "photos/d.png")
    assert observe(tmp_path, before).differences == (
        "2 images changed: a.png, b.png",
        "+1 image: d.png",
        "-1 image: c.png",
    )


def test_nothing_changed_means_no_differences(tmp_path: Path) -> None:
    write_image(tmp_path / "photos/a.png")
    before = observe(tmp_path).value
    seen = observe(tmp_path, before)
    assert (seen.value, seen.differences) == (before, ())


def test_a_file_that_is_no_image_changes_nothing(tmp_path: Path) -> None:
    write_image(tmp_path / "photos/a.png")
    before = observe(tmp_path).value
    (tmp_path / "photos/notes.txt").write_text("")
    assert observe(tmp_path, before).value == before


def test_without_the_cache_the_counts_must_do(tmp_path: Path) -> None:
    write_image(tmp_path / "photos/a.png")
    recorded = {"media": {"digest": "unknown", "count": 3}}
    assert observe(tmp_path, recorded).differences == ("3 → 1 images",)


def test_a_folder_that_is_gone_is_named_when_looked_at(tmp_path: Path) -> None:
    with pytest.raises(NodeError, match=r"photos: no such folder"):
        observe(tmp_path)


def test_a_missing_folder_is_a_mistake_that_names_the_resolved_path(tmp_path: Path) -> None:
    (problem,) = Images().check(ImagesSpec(path="photos"), Project(tmp_path))  # type: ignore[arg-type]
    assert (problem.path, problem.message) == ("path", f"{tmp_path / 'photos'} does not exist")


def test_planning_imports_neither_numpy_nor_pillow() -> None:
    code = (
        "import sys, specrun.kinds.sources.images, specrun.kinds.sources.annotations\n"
        "print([name for name in ('numpy', 'PIL', 'torch', 'fiftyone') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
