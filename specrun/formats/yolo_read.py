"""YOLO data sets (Ultralytics' and Darknet's layout) as entries.

- `train`, `val` and `test` of data.yaml: a folder, a list of them, or a text file that lists images.
- An image of several splits belongs to the first of them that is read, and is counted.
- The labels of `…/images/…/a.png` lie in `…/labels/…/a.txt`, or beside the image.
- An image without a label file was not annotated; an empty label file means annotated and nothing there.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from specrun.errors import FormatError
from specrun.formats.reading import Entry, Reading
from specrun.formats.yolo_lines import LineReader, YoloTask
from specrun.formats.yolo_yaml import YoloData, find_data_file, load_yolo_data


def read_yolo(path: Path, reading: Reading, task: YoloTask | None = None) -> Iterator[Entry]:
    """path: data.yaml, obj.data or their folder. task None: see yolo_lines. Raises FormatError."""
    data = load_yolo_data(find_data_file(path))
    if task == "pose" and data.keypoints is None:
        raise FormatError(f"{data.file}: has no `kpt_shape`, which pose needs.", hint="Add kpt_shape: [17, 3].")
    if not any(data.places.values()):
        raise FormatError(f"{data.file}: names no images.", hint="Add train, val or test.")
    reading.add_classes(data.names.values())
    lines = LineReader(data.names, task, data.keypoints, data.point_names or {}, reading)
    first_split: dict[str, str] = {}
    for split, places in data.places.items():
        for file in dict.fromkeys(file for place in places for file in _images(place, split, data, reading)):
            if not reading.wants(split):
                continue
            if (first := first_split.setdefault(file, split)) != split:
                reading.lost.add("image", f"{{are}} in {first} and {split}; {first} counts")
                continue
            labels_file = _labels_file(file, data, reading)
            labels = lines.read(labels_file, reading.size_of(reading.media.root / file)) if labels_file else ()
            yield reading.entry_of(file, labels, subset=split, group="", annotated=labels_file is not None)


def _images(place: str, split: str, data: YoloData, reading: Reading) -> Iterator[str]:
    """The images that one path of data.yaml stands for, relative to the media folder."""
    target = _existing(place, data)
    if target is not None and target.suffix == ".txt" and target.is_file():
        yield from _listed(target, split, reading)
        return
    folder = _relative_folder(place, target, reading)
    prefix = "" if folder == "." else f"{folder}/"
    found = [name for name in reading.media.names if name.startswith(prefix)]
    if not found:
        raise FormatError(
            f"{data.file}: `{split}` is {place}, and no images lie there (looked in {target or data.root / place}).",
            hint="Mend the path, or set media to the folder of the images.",
        )
    yield from found


def _existing(place: str, data: YoloData) -> Path | None:
    """Roboflow writes `../train/images` although the images lie beside data.yaml; Ultralytics allows it."""
    tried = [data.root / place]
    if place.startswith("../"):
        tried.append(data.root / place[3:])
    return next((path.resolve() for path in tried if path.exists()), None)


def _relative_folder(place: str, target: Path | None, reading: Reading) -> str:
    root = reading.media.root.resolve()
    if target is not None and target.is_relative_to(root):
        return target.relative_to(root).as_posix()
    return PurePosixPath(place.removeprefix("./").removeprefix("../")).as_posix()


def _listed(listing: Path, split: str, reading: Reading) -> Iterator[str]:
    for line in listing.read_text(encoding="utf-8-sig").splitlines():
        name = line.strip()
        if not name:
            continue
        file = _absolute_inside(name, reading) or reading.media.find(name, split, f"images/{split}")
        if file is None:
            reading.missing.append(name)
        else:
            yield file


def _absolute_inside(name: str, reading: Reading) -> str | None:
    path = Path(name)
    if path.is_absolute() and path.is_relative_to(reading.media.root):
        return path.relative_to(reading.media.root).as_posix()
    return None


def _labels_file(file: str, data: YoloData, reading: Reading) -> Path | None:
    """file: of the image, relative to the media folder. None: it has no label file."""
    text = PurePosixPath(file).with_suffix(".txt")
    swapped = _swapped(text)
    if swapped is not None:
        tried = [reading.media.root / swapped, data.root / swapped]
    else:
        tried = [reading.media.root / "labels" / text, data.root / "labels" / text]
    root_name = reading.media.root.name
    if root_name == "images":
        tried.insert(0, reading.media.root.parent / "labels" / text)
    return next((path for path in [*tried, reading.media.root / text, data.root / text] if path.is_file()), None)


def _swapped(text: PurePosixPath) -> PurePosixPath | None:
    """The last folder `images` replaced by `labels`, as Ultralytics does."""
    parts = list(text.parts)
    for i in range(len(parts) - 2, -1, -1):
        if parts[i] == "images":
            return PurePosixPath(*parts[:i], "labels", *parts[i + 1 :])
    return None
