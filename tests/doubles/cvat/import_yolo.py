"""Labels of YOLO 1.1 and of the Ultralytics formats that come back: boxes and outlines."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

from tests.doubles.cvat.reading import BINDINGS, Reading
from tests.doubles.cvat.state import Failed, Json


def darknet(reading: Reading, files: dict[str, bytes]) -> Json:
    names = _needed(files, "obj.names", "obj.data", page="format-yolo").decode().splitlines()
    texts = {name: data for name, data in files.items() if re.search(r"obj_\w+_data/.*\.txt$", name)}
    return _shapes(reading, texts, names, r".*obj_\w+_data/", outlines=False)


def ultralytics(reading: Reading, files: dict[str, bytes], *, outlines: bool) -> Json:
    content = _needed(files, "data.yaml", "data.yaml", page="format-yolo-ultralytics").decode()
    names = [name.strip() for _, name in sorted(_numbered(content))]
    texts = {name: data for name, data in files.items() if re.search(r"(^|/)labels/.*\.txt$", name)}
    return _shapes(reading, texts, names, r".*?labels/[^/]*/", outlines=outlines)


def _numbered(content: str) -> Iterable[tuple[int, str]]:
    return ((int(number), name) for number, name in re.findall(r"^ +(\d+): *(.+)$", content, re.MULTILINE))


def _needed(files: dict[str, bytes], wanted: str, told: str, *, page: str) -> bytes:
    for name, content in files.items():
        if PurePosixPath(name).name == wanted:
            return content
    raise Failed(
        f"{BINDINGS}.CvatDatasetNotFoundError: Check [format docs]"
        f"(https://docs.cvat.ai/docs//manual/advanced/formats/{page}). "
        f'Dataset must contain a file: "{told}"\n'
    )


def _shapes(reading: Reading, texts: dict[str, bytes], names: list[str], folder: str, *, outlines: bool) -> Json:
    shapes = []
    by_frame = {reading.frame(re.sub(f"^{folder}", "", path)): path for path in texts}
    for frame, path in sorted(by_frame.items()):
        picture = reading.frames[frame]
        for row in texts[path].decode().splitlines():
            number, *shares = row.split()
            label = reading.label(names[int(number)], f"Image {PurePosixPath(path).stem}: can't import annotation")
            sizes = (picture.width, picture.height)
            values = [float(share) * sizes[place % 2] for place, share in enumerate(shares)]
            shape = {"type": "polygon", "points": [round(value, 2) for value in values]} if outlines else _box(values)
            head = {"label_id": label.id, "frame": frame, "source": "file", "group": 0, "z_order": 0, "rotation": 0}
            shapes.append({**head, "occluded": False, "outside": False, "attributes": [], **shape})
    return {"tags": [], "shapes": shapes, "tracks": []}


def _box(values: list[float]) -> Json:
    x, y, width, height = values
    corners = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    return {"type": "rectangle", "points": [round(value, 2) for value in corners]}
