"""Pascal VOC detection (one XML file an image) as entries.

- Boxes are taken as they are written, edges in pixels from 0, as CVAT, FiftyOne and Roboflow write them; the
  original challenge counted from 1.
- `truncated` and `difficult` become attributes, `occluded` the flag; parts of objects and segmentation pictures
  are counted and left out.
- Splits come from `ImageSets/Main/<split>.txt`, else from a folder train, val or test on the way to the file.
- Classes in the order of `labelmap.txt` if there is one, else sorted.
Source: the PASCAL VOC 2012 development kit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from specrun.errors import FormatError
from specrun.formats.reading import USUAL_SPLITS, Entry, Reading, split_folder
from specrun.formats.xml_elements import Element, stream_elements
from specrun.model.labels import AttributeValue, Box

_FLAGS = ("truncated", "difficult")


def read_voc(path: Path, reading: Reading) -> Iterator[Entry]:
    """path: the folder of the data set, or one XML file. Raises FormatError with file and line."""
    files = [path] if path.is_file() else sorted(path.rglob("*.xml"))
    if not files:
        raise FormatError(f"{path}: holds no VOC annotations (.xml).", hint="Check `format` and `path`.")
    folder = path.parent if path.is_file() else path
    if (folder / "SegmentationClass").is_dir():
        reading.lost.add("segmentation folder", "{were} left out (format: masks reads class indices)")
    splits = _splits(folder)
    reading.add_classes(_labelmap(folder / "labelmap.txt"))
    known = set(reading.classes)
    for file in files:
        subset = splits.get(file.stem) or split_folder(file.relative_to(folder).as_posix())
        if reading.wants(subset):
            entry = _read_file(file, subset, reading)
            if entry is not None:
                yield entry
    ordered = [*(name for name in reading.classes if name in known), *sorted(set(reading.classes) - known)]
    reading.classes.clear()
    reading.add_classes(ordered)


def _splits(folder: Path) -> dict[str, str]:
    """Split by the image's name without suffix."""
    found: dict[str, str] = {}
    for file in sorted(folder.glob("ImageSets/Main/*.txt")):
        if file.stem.lower() in USUAL_SPLITS:
            lines = file.read_text(encoding="utf-8-sig").splitlines()
            found |= {Path(line.split()[0]).name: file.stem for line in lines if line.strip()}
    return found


def _labelmap(file: Path) -> list[str]:
    """CVAT's `name:colour:parts:actions` lines; the background is no class."""
    if not file.is_file():
        return []
    lines = (line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines())
    names = [line.split(":")[0] for line in lines if line and not line.startswith("#")]
    return [name for name in names if name != "background"]


def _read_file(file: Path, subset: str, reading: Reading) -> Entry | None:
    root = next(stream_elements(file, depth=0), None)
    if root is None or root.tag != "annotation":
        found = root.tag if root else "nothing"
        raise FormatError(f"{file}: the root element is <{found}>, not <annotation>.", hint="Check `format`.")
    labels = tuple(_box(element, file, reading) for element in root.all("object"))
    size = root.child("size")
    stated = (int(_number(size, "width", file)), int(_number(size, "height", file))) if size else None
    name = root.value("filename")
    if not name:
        raise FormatError(f"{file}:{root.line}: <annotation> has no filename.")
    # Some writers put 0 where they did not know the size.
    return reading.entry(name, labels, near=file, subset=subset, stated_wh=stated if stated and all(stated) else None)


def _box(element: Element, file: Path, reading: Reading) -> Box:
    box = element.child("bndbox")
    name = element.value("name")
    if box is None or not name:
        raise FormatError(f"{file}:{element.line}: <object> has no {'name' if box else 'bndbox'}.")
    left, top, right, bottom = (_number(box, key, file) for key in ("xmin", "ymin", "xmax", "ymax"))
    if right < left or bottom < top:
        raise FormatError(f"{file}:{box.line}: the box ends before it begins.")
    if element.child("part"):
        reading.lost.add("object", "{have} parts, which were left out")
    attributes: dict[str, AttributeValue] = {flag: True for flag in _FLAGS if element.value(flag) == "1"}
    extra = element.child("attributes")
    for attribute in extra.all("attribute") if extra else ():
        attributes[attribute.value("name")] = attribute.value("value")
    return Box(
        label=name,
        x=left,
        y=top,
        width=right - left,
        height=bottom - top,
        rotation=_rotation(attributes),
        occluded=element.value("occluded") == "1",
        attributes=attributes,
    )


def _rotation(attributes: dict[str, AttributeValue]) -> float:
    """CVAT writes a box's rotation among its attributes."""
    try:
        rotation = float(attributes.get("rotation", 0.0))
    except ValueError:
        return 0.0
    attributes.pop("rotation", None)
    return rotation if math.isfinite(rotation) else 0.0


def _number(element: Element, tag: str, file: Path) -> float:
    text = element.value(tag)
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise FormatError(f'{file}:{element.line}: <{tag}> is "{text}", a number is needed.')
    return value
