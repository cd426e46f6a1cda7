"""Captions that people keep in files: `a.txt` beside `a.png`, and metadata.jsonl or metadata.csv (Hugging Face's
imagefolder layout: `file_name`, relative to the file's own folder, and a column of text)."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from io import StringIO
from pathlib import Path
from typing import Any

from specrun.errors import FormatError
from specrun.formats.image_names import is_image, name_key
from specrun.kinds.captions.text import is_label_file, why_no_caption

METADATA_NAMES = ("metadata.jsonl", "metadata.csv")
TEXT_COLUMNS = ("text", "caption", "prompt")
_NAME_COLUMNS = ("file_name", "image", "filename", "file")
_LARGEST = 1 << 20


def read_sidecar(media: Path, suffix: str, refused: Counter[str]) -> str | None:
    """refused: is told of files that hold no caption. Raises FormatError: not UTF-8."""
    path = media.with_suffix(suffix)
    if path == media or not path.is_file():
        return None
    if path.stat().st_size > _LARGEST:
        refused[f"{path.name} is too large for a caption"] += 1
        return None
    text = _text_of(path)
    if is_label_file(text):
        refused["sidecar files hold labels of boxes and no captions"] += 1
        return None
    if text.strip() and (why := why_no_caption(text)):
        refused[f"{path.name} {why}"] += 1
        return None
    return text.strip() or None


class MetadataFiles:
    """Reads each file once. path: the only file to look at, or None. project_dir: what it is relative to."""

    def __init__(self, path: Path | None, column: str | None) -> None:
        self._only = None if path is None else self._read(path, column)
        self._path, self._column = path, column
        self._by_folder: dict[Path, Mapping[str, str]] = {}
        self._used: dict[Path, set[str]] = {}

    def caption(self, media: Path, root: Path) -> str | None:
        """root: the topmost folder to look in. Raises FormatError: a file cannot be read."""
        if self._only is not None and self._path is not None:
            return self._take(self._path.parent, self._only, media) or self._by_name(self._path.parent, media)
        for folder in media.parents:
            if not folder.is_relative_to(root):
                return None
            found = self._take(folder, self._of_folder(folder), media)
            if found is not None:
                return found
        return None

    def unused(self) -> Iterator[tuple[Path, list[str]]]:
        """Folder and the file names that no image has."""
        files = dict(self._by_folder)
        if self._only is not None and self._path is not None:
            files[self._path.parent] = self._only
        for folder, rows in files.items():
            left = [name for name in rows if name not in self._used.get(folder, ())]
            if left:
                yield folder, left

    def _take(self, folder: Path, rows: Mapping[str, str], media: Path) -> str | None:
        if not media.is_relative_to(folder):
            return None
        name = name_key(media.relative_to(folder).as_posix())
        if name in rows:
            self._used.setdefault(folder, set()).add(name)
        return rows.get(name) or None

    def _by_name(self, folder: Path, media: Path) -> str | None:
        """A file that lies elsewhere than the images names them without folders."""
        assert self._only is not None
        name = name_key(media.name)
        if name in self._only:
            self._used.setdefault(folder, set()).add(name)
        return self._only.get(name) or None

    def _of_folder(self, folder: Path) -> Mapping[str, str]:
        if folder not in self._by_folder:
            rows: dict[str, str] = {}
            for name in reversed(METADATA_NAMES):
                if (folder / name).is_file():
                    rows |= self._read(folder / name, self._column)
            self._by_folder[folder] = rows
        return self._by_folder[folder]

    def _read(self, path: Path, column: str | None) -> dict[str, str]:
        rows = list(_json_rows(path) if path.suffix == ".jsonl" else _csv_rows(path))
        if not rows:
            return {}
        columns = {name for row in rows for name in row}
        name_at = next((name for name in _NAME_COLUMNS if name in columns), None)
        text_at = column or next((name for name in TEXT_COLUMNS if name in columns), None)
        if name_at is None or text_at is None or text_at not in columns:
            lacking = "file_name" if name_at is None else column or " or ".join(TEXT_COLUMNS)
            raise FormatError(
                f"{path}: it has no column {lacking}.", hint=f"Its columns: {', '.join(sorted(map(str, columns)))}."
            )
        return {name_key(str(row.get(name_at))).removeprefix("./"): str(row.get(text_at) or "").strip() for row in rows}


def _json_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    for number, line in enumerate(_text_of(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise FormatError(f"{path}:{number}: not JSON ({error}).", hint="Mend the line.") from None
        if not isinstance(row, dict):
            raise FormatError(f"{path}:{number}: not an object.", hint='Write {"file_name": …, "text": …}.')
        yield row


def _csv_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        for row in csv.DictReader(StringIO(_text_of(path), newline="")):
            yield {name: value for name, value in row.items() if name is not None}
    except csv.Error as error:
        raise FormatError(f"{path}: not CSV ({error}).", hint="Mend the file.") from None


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise FormatError(f"{path}: is not UTF-8.", hint="Save it as UTF-8.") from None
    except OSError as error:
        raise FormatError(f"{path}: cannot be read ({error.strerror}).") from None


def lone_sidecars(folders: Iterable[Path], suffix: str = ".txt") -> list[str]:
    """Text files in folders of images that no image belongs to, by name."""
    lone = []
    for folder in folders:
        names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
        stems = {Path(name).stem for name in names if is_image(name)}
        lone += [name for name in names if name.endswith(suffix) and Path(name).stem not in stems]
    return sorted(lone)
