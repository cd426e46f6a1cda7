"""YAML text → tree with line marks, with caps against hostile files.

The tree is built from ruamel's parser events: they carry exact places, and nothing is constructed
from tags. ruamel's own loaders keep marks for mappings only, and would build the expansion of
aliases before it could be counted.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from specrun.model.diagnostic import Position
from specrun.spec.report import Report
from specrun.spec.scalars import plain_scalar, tagged_scalar
from specrun.spec.suggest import nearest
from specrun.spec.tree import Entry, Items, Scalar, Table, Tree
from specrun.spec.yaml_errors import explain

MAX_FILE_BYTES = 16 << 20
MAX_DEPTH = 64
MAX_VALUES = 500_000
"""Values in one file, those that aliases repeat counted each time."""
_MERGE_KEY = "<<"
_LINE_BREAK = re.compile(r"\r\n|\r|\n")


def read_text(path: Path, name: str, report: Report, *, where: Position | None = None) -> str | None:
    """The text of a spec file, registered with the report; None after a reported mistake.

    name: the file as the user named it. where: the `include` that asks for it.
    """
    try:
        if path.is_dir():
            inside = path / "project.yaml"
            hint = f'Did you mean "{Path(name) / inside.name}"?' if inside.is_file() else "Give the spec file in it."
            report.error(where, f'"{name}" is a folder, not a file', hint)
            return None
        if path.stat().st_size > MAX_FILE_BYTES:
            report.error(where, f'"{name}" is larger than {MAX_FILE_BYTES >> 20} MiB; a spec is text by people')
            return None
        data = path.read_bytes()
    except FileNotFoundError:
        report.error(where, f'there is no file "{name}"', _similar_file(path, name))
        return None
    except OSError as error:
        report.error(where, f'"{name}" cannot be read: {error.strerror}')
        return None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8", "replace")
        report.sources[name] = before.split("\n")
        place = Position(name, before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1)
        report.error(place, f"byte 0x{data[error.start]:02x} is not UTF-8", "Save the file as UTF-8.")
        return None
    report.sources[name] = _LINE_BREAK.split(text)
    return text


def _similar_file(path: Path, name: str) -> str | None:
    try:
        files = [p.name for p in path.parent.iterdir() if p.suffix in (".yaml", ".yml")]
    except OSError:
        return f'The folder "{Path(name).parent}" does not exist.'
    found = nearest(path.name, files)
    if found:
        return f'Did you mean "{Path(name).with_name(found)}"?'
    return "`specrun init` writes a starter spec." if name == "project.yaml" else None


def parse_tree(text: str, name: str, report: Report) -> Tree | None:
    """The file's one document; None when it is empty or after a reported mistake."""
    builder = _Builder(name, report)
    return builder.document(text)


class _TooMuch(Exception):
    """A cap was passed and reported; the rest of the file is not read."""


@dataclass(slots=True)
class _Open:
    """A list or mapping whose end has not come yet."""

    where: Position
    anchor: str | None
    is_table: bool
    items: list[Tree]
    entries: dict[str, Entry]
    merged: list[tuple[Position, Tree]]
    key: Scalar | None
    has_key: bool
    size: int


class _Builder:
    def __init__(self, name: str, report: Report) -> None:
        self.name = name
        self.report = report
        self.stack: list[_Open] = []
        self.anchors: dict[str, tuple[Tree, int]] = {}
        self.count = 0
        self.root: Tree | None = None
        self.documents = 0

    def document(self, text: str) -> Tree | None:
        # Here and not at the top: the compiled plan is read without a YAML parser (25 ms).
        from ruamel.yaml import YAML
        from ruamel.yaml.error import YAMLError

        yaml = YAML(typ="safe", pure=True)
        try:
            for event in yaml.parse(text):
                self._take(event)
        except _TooMuch:
            return None
        except YAMLError as error:
            self.report.error(*explain(error, self.name, text))
            return None
        except RecursionError:
            self.report.error(Position(self.name, 1), "nested too deeply to be read")
            return None
        return self.root

    def _take(self, event: Any) -> None:
        match type(event).__name__:
            case "ScalarEvent":
                self._add(self._scalar(event), event.anchor, 1)
            case "MappingStartEvent" | "SequenceStartEvent":
                self._open(event)
            case "MappingEndEvent" | "SequenceEndEvent":
                self._close()
            case "AliasEvent":
                self._alias(event)
            case "DocumentStartEvent":
                self.documents += 1
                if self.documents == 2:
                    place = self._place(event)
                    self.report.error(place, "a second document starts here", "A spec is one document: remove `---`.")
                    raise _TooMuch

    def _place(self, event: Any) -> Position:
        start, end = event.start_mark, event.end_mark
        length = end.column - start.column if end.line == start.line else 1
        return Position(self.name, start.line + 1, start.column + 1, max(length, 1))

    def _scalar(self, event: Any) -> Scalar:
        where = self._place(event)
        tag = str(event.ctag or "") if hasattr(event, "ctag") else str(event.tag or "")
        plain = event.implicit[0]
        try:
            if tag and tag != "!":
                return Scalar(tagged_scalar(event.value, tag), where)
            return Scalar(plain_scalar(event.value) if plain else event.value, where)
        except ValueError as error:
            self.report.error(where, str(error))
            return Scalar(None, where, broken=True)

    def _open(self, event: Any) -> None:
        where = Position(self.name, event.start_mark.line + 1, event.start_mark.column + 1)
        if len(self.stack) >= MAX_DEPTH:
            self.report.error(where, f"nested more than {MAX_DEPTH} levels deep")
            raise _TooMuch
        tag = str(event.tag or "")
        if tag and tag not in ("!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"):
            self.report.error(where, f"the tag {tag} is not known here; leave it out")
        is_table = type(event).__name__ == "MappingStartEvent"
        self.stack.append(_Open(where, event.anchor, is_table, [], {}, [], None, False, 1))

    def _close(self) -> None:
        done = self.stack.pop()
        tree = Table(self._with_merges(done), done.where) if done.is_table else Items(tuple(done.items), done.where)
        self._add(tree, done.anchor, done.size)

    def _alias(self, event: Any) -> None:
        where = self._place(event)
        if event.anchor not in self.anchors:
            self.report.error(where, f"*{event.anchor} stands before (or inside) the &{event.anchor} that it repeats")
            self._add(Scalar(None, where, broken=True), None, 1)
            return
        tree, size = self.anchors[event.anchor]
        self._add(tree, None, size)

    def _add(self, tree: Tree, anchor: str | None, size: int) -> None:
        """Puts a finished value where it belongs: the document, a list, a key or the value of a key."""
        if anchor:
            self.anchors[anchor] = (tree, size)
        if not self.stack:
            self.root = tree
            return
        parent = self.stack[-1]
        parent.size += size
        if parent.size > MAX_VALUES:
            self.report.error(tree.where, f"more than {MAX_VALUES:,} values, aliases counted each time")
            raise _TooMuch
        if not parent.is_table:
            parent.items.append(tree)
        elif not parent.has_key:
            parent.key, parent.has_key = self._key(tree), True
        else:
            if parent.key is not None:
                self._put(parent, parent.key, tree)
            parent.key, parent.has_key = None, False

    def _key(self, tree: Tree) -> Scalar | None:
        if isinstance(tree, Scalar):
            return tree
        self.report.error(tree.where, "a key must be a word, not a list or a mapping", "Put quotes around it.")
        return None

    def _put(self, parent: _Open, key: Scalar, value: Tree) -> None:
        text = _key_text(key)
        if text == _MERGE_KEY:
            parent.merged.append((key.where, value))
            return
        first = parent.entries.get(text)
        if first is not None:
            message = f'the key "{text}" stands twice, first in line {first.where.line}'
            self.report.error(key.where, message, "Remove one.", related=(first.where,))
            return
        parent.entries[text] = Entry(text, key.where, value)

    def _with_merges(self, done: _Open) -> dict[str, Entry]:
        """`<<: *defaults`: keys of the merged mappings stand in for those that are not written."""
        entries = done.entries
        for where, value in done.merged:
            tables = value.items if isinstance(value, Items) else (value,)
            for table in tables:
                if not isinstance(table, Table):
                    self.report.error(where, "`<<` takes a mapping, for example `<<: *defaults`")
                    continue
                entries = {**table.entries, **entries}
        return entries


def _key_text(key: Scalar) -> str:
    """Keys are text, as in JSON."""
    match key.value:
        case str() as text:
            return text
        case None:
            return "null"
        case bool() as flag:
            return str(flag).lower()
        case number:
            return str(number)
