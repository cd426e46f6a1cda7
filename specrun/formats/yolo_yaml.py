"""What a YOLO data set says of itself: `data.yaml`, or Darknet's `obj.data` beside `obj.names`.

Source: the Ultralytics "Datasets overview" pages; the Darknet files are what CVAT writes as "YOLO 1.1".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from specrun.errors import FormatError
from specrun.formats.plain_text import plain_text

_SPLITS = ("train", "val", "test")
_DARKNET_SPLITS = {"train": "train", "valid": "val", "test": "test"}
_MAX_YAML_BYTES = 4 << 20


@dataclass(frozen=True)
class YoloData:
    """file: what was read. root: the folder that relative paths start from. places: folders and lists of
    images by split, as written. names: class by index. keypoints: (number, values each), None: no pose.
    point_names: by class index."""

    file: Path
    root: Path
    names: Mapping[int, str]
    places: Mapping[str, tuple[str, ...]]
    keypoints: tuple[int, int] | None = None
    point_names: Mapping[int, tuple[str, ...]] | None = None


def find_data_file(path: Path) -> Path:
    """The file that describes the data set; path: that file or its folder. Raises FormatError."""
    if path.is_file():
        return path
    for name in ("data.yaml", "data.yml", "dataset.yaml", "obj.data"):
        if (path / name).is_file():
            return path / name
    found = sorted([*path.glob("*.yaml"), *path.glob("*.yml")])
    if len(found) == 1:
        return found[0]
    raise FormatError(
        f"{path}: holds {'several YAML files' if found else 'no data.yaml'}.",
        hint="Name the file that lists the classes in `path`.",
    )


def load_yolo_data(file: Path) -> YoloData:
    """Raises FormatError with the line where known."""
    return _load_darknet(file) if file.suffix == ".data" else _load_yaml(file)


def _load_yaml(file: Path) -> YoloData:
    data = _parse(file)
    if not isinstance(data, dict) or "names" not in data:
        raise FormatError(f"{file}: has no `names`.", hint="It must list the classes, as for Ultralytics.")
    places: dict[str, tuple[str, ...]] = {}
    for split in _SPLITS:
        value = data.get(split) or ()
        listed = (value,) if isinstance(value, str) else value
        if not isinstance(listed, Sequence) or not all(isinstance(place, str) for place in listed):
            raise FormatError(f"{file}: `{split}` must be a path or a list of paths.")
        places[split] = tuple(listed)
    return YoloData(
        file=file,
        root=_root(file, data.get("path")),
        names=_names(file, data["names"]),
        places=places,
        keypoints=_keypoint_shape(file, data.get("kpt_shape")),
        point_names=_point_names(data.get("kpt_names")),
    )


def _parse(file: Path) -> Any:
    if file.stat().st_size > _MAX_YAML_BYTES:
        raise FormatError(f"{file}: larger than {_MAX_YAML_BYTES >> 20} MiB, which no data.yaml is.")
    try:
        return YAML(typ="safe", pure=True).load(file)
    except MarkedYAMLError as error:
        mark = error.problem_mark
        place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise FormatError(f"{file}{place}: not YAML ({error.problem}).") from error
    except (YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise FormatError(f"{file}: not YAML ({type(error).__name__}).") from error


def _root(file: Path, written: object) -> Path:
    """Ultralytics looks below its own settings folder too; here relative means relative to the file, and a
    path that does not exist (of the machine the data came from) means the file's folder."""
    if isinstance(written, str):
        root = (file.parent / written).resolve()
        if root.is_dir():
            return root
    return file.parent


def _names(file: Path, written: object) -> dict[int, str]:
    if isinstance(written, Mapping):
        try:
            return {
                int(index): plain_text(str(name))
                for index, name in sorted(written.items(), key=lambda pair: int(pair[0]))
            }
        except (ValueError, TypeError):
            raise FormatError(f"{file}: the keys of `names` must be whole numbers.") from None
    if isinstance(written, Sequence) and not isinstance(written, str):
        return {index: plain_text(str(name)) for index, name in enumerate(written)}
    raise FormatError(f"{file}: `names` must be a list, or a mapping from index to name.")


def _keypoint_shape(file: Path, written: object) -> tuple[int, int] | None:
    if written is None:
        return None
    match written:
        case [int(number), 2 | 3 as values] if number > 0:
            return number, values
    raise FormatError(f"{file}: `kpt_shape` must be [number of points, 2 or 3].")


def _point_names(written: object) -> dict[int, tuple[str, ...]] | None:
    if not isinstance(written, Mapping):
        return None
    return {int(index): tuple(str(name) for name in names) for index, names in written.items()}


def _load_darknet(file: Path) -> YoloData:
    values: dict[str, str] = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        key, separator, value = line.partition("=")
        if separator:
            values[key.strip()] = value.strip()
    names_file = file.parent / Path(values.get("names", "obj.names")).name
    if not names_file.is_file():
        raise FormatError(f"{file}: its list of classes {names_file} does not exist.")
    lines = [plain_text(line.strip()) for line in names_file.read_text(encoding="utf-8").splitlines()]
    # The paths start with `data/`, a folder of the machine that trains; the files lie beside this one.
    places = {split: (Path(values[key]).name,) if key in values else () for key, split in _DARKNET_SPLITS.items()}
    return YoloData(file, file.parent, dict(enumerate(line for line in lines if line)), places)
