"""The view of an export that Ultralytics trains on: a folder of the node's own, made of links.

    <view>/data.yaml
    <view>/train/images/a.jpg -> the export's image      <view>/train/labels/a.txt -> its label file
    <view>/train/labels.cache                              written by the library

Every file is a link of its own in a real folder. Linked folders were rejected: the library writes `*.cache`
beside the labels, `*.npy` beside the images (cache: disk), and replaces broken JPEGs; through a linked folder
all of these land in the export, through a linked file they land here.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from specrun.errors import FormatError

_IMAGE_SUFFIXES = frozenset(
    {".avif", ".bmp", ".dng", ".heic", ".heif", ".jp2", ".jpeg", ".jpg", ".mpo", ".png", ".tif", ".tiff", ".webp"}
)
_SPLITS = ("train", "val", "test")
_KEPT_KEYS = ("kpt_shape", "flip_idx", "channels")


@dataclass(frozen=True, slots=True)
class View:
    """data: what the library is given (`data.yaml`, or the folder for classification). images: by split.
    unused: classes without a label in the split train."""

    data: Path
    classes: tuple[str, ...]
    images: Mapping[str, int]
    unused: tuple[str, ...] = ()


def make_view(export: Path, view: Path, *, task: str) -> View:
    """Link the export into `view`, checking every label's class on the way.

    Raises FormatError: no data.yaml, an empty split, no label to learn from, or a label whose class is not in the list
    (with file and line).
    """
    if task == "classify":
        return _view_of_folders(export, view)
    described = read_data_yaml(export / "data.yaml")
    classes = class_names(described, export / "data.yaml")
    images = {}
    labels: dict[str, Counter[int]] = {}
    for split in _SPLITS:
        if described.get(split):
            labels[split] = Counter()
            images[split] = _link_split(export, described, split, view, len(classes), labels[split])
    _require_splits(images, export)
    if not labels["train"]:
        raise FormatError(
            f"{export}: no image of the split train has a label, so there is nothing to learn.",
            hint="Look at the label field and the classes of the dataset and of the export.",
        )
    content: dict[str, Any] = {"path": str(view), "names": list(classes)}
    content |= {key: described[key] for key in _KEPT_KEYS if key in described}
    content |= {split: f"{split}/images" for split in images}
    # JSON is YAML, and needs no YAML library here; names beyond ASCII stay readable.
    (view / "data.yaml").write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")
    unused = tuple(name for number, name in enumerate(classes) if not labels["train"][number])
    return View(view / "data.yaml", classes, images, unused)


def read_data_yaml(path: Path) -> dict[str, Any]:
    """Raises FormatError: missing, or not a mapping."""
    # Tens of milliseconds; validation does not need them.
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        content = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FormatError(f"{path}: cannot be read ({error.strerror}); a YOLO export has a data.yaml.") from error
    except YAMLError as error:
        raise FormatError(f"{path}: is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise FormatError(f"{path}: must be a mapping with the keys names, train and val.")
    return content


def class_names(described: Mapping[str, Any], path: Path) -> tuple[str, ...]:
    """The classes in the order of their numbers. Raises FormatError: no names, or numbers left out."""
    names = described.get("names")
    if isinstance(names, list):
        return tuple(str(name) for name in names)
    if isinstance(names, dict) and set(names) == set(range(len(names))):
        return tuple(str(names[number]) for number in range(len(names)))
    raise FormatError(f"{path}: `names` must be a list of classes, or a mapping that counts them from 0.")


def check_label_classes(label_file: Path, count: int) -> Counter[int]:
    """How often each class occurs. The library calls a file with another class corrupt and drops the image without
    failing.

    Raises FormatError: a line whose first number is not a class from 0 to count - 1.
    """
    seen: Counter[int] = Counter()
    for number, line in enumerate(label_file.read_bytes().splitlines(), start=1):
        if not line.strip():
            continue
        first = line.split(None, 1)[0]
        try:
            known = float(first).is_integer() and 0 <= float(first) < count
        except ValueError:
            known = False
        if not known:
            raise FormatError(
                f"{label_file}:{number}: class {first.decode(errors='replace')} is not one of the {count} classes, "
                f"numbered from 0, that data.yaml lists.",
                hint="Make the export anew with --replace.",
            )
        seen[int(float(first))] += 1
    return seen


def _link_split(
    export: Path, described: Mapping[str, Any], split: str, view: Path, classes: int, seen: Counter[int]
) -> int:
    root = export / str(described.get("path") or "")
    target = view / split
    # The label cache of an interrupted run stays: the library checks it against names, sizes and dates.
    for name in ("images", "labels"):
        shutil.rmtree(target / name, ignore_errors=True)
        (target / name).mkdir(parents=True)
    made = {target / "images", target / "labels"}
    count = 0
    for image, relative in _images(root, described[split]):
        label = _label_of(image)
        inside = _placed(relative)
        links = [(image, target / "images" / inside)]
        if label.is_file():
            seen.update(check_label_classes(label, classes))
            links.append((label, (target / "labels" / inside).with_suffix(".txt")))
        for source, link in links:
            if link.parent not in made:
                link.parent.mkdir(parents=True, exist_ok=True)
                made.add(link.parent)
            os.symlink(_final(source), link)
        count += 1
    return count


def _images(root: Path, entries: str | Sequence[str]) -> Iterator[tuple[Path, str]]:
    """Every image of a split with its path below the split's folder, in order."""
    for entry in [entries] if isinstance(entries, str) else entries:
        place = root / entry
        if place.is_dir():
            yield from sorted(_walk(place))
        elif place.is_file():
            for line in place.read_text(encoding="utf-8").splitlines():
                image = place.parent / line.strip()
                if line.strip():
                    yield image, image.relative_to(root).as_posix() if image.is_relative_to(root) else image.name
        else:
            raise FormatError(f"{place}: named by data.yaml, but there is no such folder or file.")


def _walk(folder: Path) -> Iterator[tuple[Path, str]]:
    for parent, _, names in os.walk(folder, followlinks=True):
        base = Path(parent)
        for name in names:
            if os.path.splitext(name)[1].lower() in _IMAGE_SUFFIXES:
                yield base / name, (base / name).relative_to(folder).as_posix()


def _label_of(image: Path) -> Path:
    """The library's rule: the last folder `images` becomes `labels`, the suffix `.txt`."""
    before, found, after = str(image).rpartition(f"{os.sep}images{os.sep}")
    return Path(f"{before}{os.sep}labels{os.sep}{after}" if found else str(image)).with_suffix(".txt")


def _placed(relative: str) -> str:
    """A folder named `images` inside the split would be taken for the one that becomes `labels`."""
    *folders, name = relative.split("/")
    return "/".join([*("images_" if folder == "images" else folder for folder in folders), name])


def _final(path: Path) -> str:
    """What a link of the export points to, so that the view has one hop to the image, as the export has."""
    return os.path.realpath(path) if path.is_symlink() else os.path.abspath(path)


def _require_splits(images: Mapping[str, int], export: Path) -> None:
    for split in ("train", "val"):
        if not images.get(split):
            raise FormatError(
                f"{export}: the split {split} has no images; Ultralytics needs train and val.",
                hint="Give the dataset split ratios, for example split: {ratios: {train: 0.8, val: 0.2}}.",
            )


def _view_of_folders(export: Path, view: Path) -> View:
    """Classification: <split>/<class>/<image>. Every class gets a folder in every split, also where it has no image,
    since the library numbers the folders that it sees."""
    splits = [split for split in _SPLITS if (export / split).is_dir()]
    classes = sorted({path.name for split in splits for path in (export / split).iterdir() if path.is_dir()})
    images: Counter[str] = Counter()
    used: set[str] = set()
    for split in splits:
        shutil.rmtree(view / split, ignore_errors=True)
        for name in classes:
            (view / split / name).mkdir(parents=True)
        for image, relative in sorted(_walk(export / split)):
            link = view / split / relative
            link.parent.mkdir(parents=True, exist_ok=True)
            os.symlink(_final(image), link)
            images[split] += 1
            if split == "train":
                used.add(relative.split("/")[0])
    _require_splits(images, export)
    return View(view, tuple(classes), dict(images), tuple(name for name in classes if name not in used))
