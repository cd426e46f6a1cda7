"""CVAT's `annotations.xml`: "CVAT for images 1.1" and "CVAT for video 1.1".

- An image that is listed without shapes was looked at and is empty: annotated, no labels.
- Deleted frames are not listed by CVAT; images on disk that the file does not list are not part of the source.
- In a project's export several tasks may have images of the same name: the task's id is part of the key, and
  the images are looked for in `images/<subset>/` first, where CVAT puts them.
- Cuboids are counted and left out; ellipses become polygons (see cvat_shapes).
Source: CVAT's "XML annotation format" page, versions 1.1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from specrun.errors import FormatError
from specrun.formats.cvat_shapes import (
    ELLIPSE_TOLERANCE_PX,
    NO_COUNTERPART,
    Definitions,
    read_definitions,
    shape_to_label,
)
from specrun.formats.cvat_tracks import Track, read_tracks
from specrun.formats.reading import Entry, FieldValue, Reading
from specrun.formats.xml_elements import Element, stream_elements
from specrun.model.labels import AnyLabel

XML_NAME = "annotations.xml"
_NO_SHAPES = ("attribute",)


def read_cvat_xml(path: Path, reading: Reading) -> Iterator[Entry]:
    """path: the XML file. Raises FormatError with file and line."""
    meta = _Meta()
    tracks: list[Track] = []
    seen: set[str] = set()
    for element in stream_elements(path, depth=1):
        seen.add(element.tag)
        match element.tag:
            case "version":
                _check_version(element, path)
            case "meta":
                meta = _Meta.read(element)
                reading.add_classes(meta.definitions.classes)
            case "image":
                entry = _read_image(element, meta, path, reading)
                if entry is not None:
                    yield entry
            case "track":
                tracks.append(Track.read(element, meta.definitions, path, reading))
    if not seen:
        raise FormatError(
            f"{path}: holds no annotations.", hint='Export the task again as "CVAT for images 1.1", or mend `format`.'
        )
    if tracks or (meta.is_video and "image" not in seen):
        yield from read_tracks(tracks, meta.element, reading)


@dataclass(frozen=True)
class _Meta:
    """subset and task: of a task's or job's own export, where the images do not repeat them."""

    definitions: Definitions = field(default_factory=Definitions)
    subset: str = ""
    task: str = ""
    element: Element | None = None

    @property
    def is_video(self) -> bool:
        return self.element is not None and self.element.value("mode") == "interpolation"

    @classmethod
    def read(cls, meta: Element) -> _Meta:
        element = meta.child("task", "project", "job")
        if element is None:
            return cls()
        labels = element.child("labels")
        return cls(
            definitions=read_definitions(labels) if labels else Definitions(),
            subset=element.value("subset"),
            task=element.value("id") if element.tag == "task" else "",
            element=element,
        )


def _check_version(element: Element, path: Path) -> None:
    version = element.text.strip()
    if version != "1.1":
        raise FormatError(
            f"{path}:{element.line}: CVAT XML version {version}, only 1.1 is known.",
            hint='Export it again as "CVAT for images 1.1".',
        )


def _read_image(image: Element, meta: _Meta, path: Path, reading: Reading) -> Entry | None:
    raw = image.attributes
    subset = raw.get("subset", meta.subset)
    if not reading.wants(subset):
        return None
    try:
        name, stated = raw["name"], (int(raw["width"]), int(raw["height"]))
    except KeyError as error:
        raise FormatError(f"{path}:{image.line}: <image> has no {error.args[0]}.") from error
    except ValueError as error:
        raise FormatError(f"{path}:{image.line}: <image> has a width or height that is no whole number.") from error
    labels = _labels(image, meta.definitions, path, reading)
    task = raw.get("task_id", meta.task)
    fields: dict[str, FieldValue] = {"cvat_task": task} if task else {}
    return reading.entry(name, labels, near=path, subset=subset, group=task or subset, stated_wh=stated, fields=fields)


def _labels(image: Element, definitions: Definitions, path: Path, reading: Reading) -> tuple[AnyLabel, ...]:
    labels: list[AnyLabel] = []
    for shape in image.children:
        label = shape_to_label(shape, definitions, path)
        if label is not None:
            labels.append(label)
            _count_changed(shape, reading)
        elif shape.tag not in _NO_SHAPES:
            reading.lost.add(shape.tag, NO_COUNTERPART)
    return tuple(labels)


def _count_changed(shape: Element, reading: Reading) -> None:
    """Notes shapes that are kept in another form."""
    if shape.tag == "ellipse":
        reading.lost.add("ellipse", f"{{were}} turned into polygons, at most {ELLIPSE_TOLERANCE_PX} pixels off")
