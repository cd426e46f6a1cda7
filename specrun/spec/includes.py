"""A spec and the files that it includes, as one tree."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from specrun.model.diagnostic import Position
from specrun.spec.loader import parse_tree, read_text
from specrun.spec.report import Report
from specrun.spec.tree import Entry, Items, Scalar, Table, Tree, kind_of_value

MAX_FILES = 200
_ONLY_IN_THE_SPEC = ("project",)


class _Files:
    def __init__(self, report: Report) -> None:
        self.report = report
        self.merged: dict[str, Entry] = {}
        self.read: dict[Path, None] = {}
        self.open: list[Path] = []


def load_with_includes(path: Path, report: Report) -> tuple[Table | None, tuple[Path, ...]]:
    """The merged tree (None after a mistake that leaves nothing to look at) and every file that was read.

    Each name belongs to one file: a name twice is a mistake that shows both places.
    """
    files = _Files(report)
    top = _load(path, str(path), files, where=None)
    if top is None:
        return None, tuple(files.read)
    return Table(files.merged, top.where), tuple(files.read)


def _load(path: Path, name: str, files: _Files, where: Position | None) -> Table | None:
    report = files.report
    resolved = path.resolve()
    if resolved in files.open:
        circle = " → ".join(p.name for p in [*files.open[files.open.index(resolved) :], resolved])
        report.error(where, f"files that include each other: {circle}", "Remove one of the includes.")
        return None
    if resolved in files.read:
        return None
    if len(files.read) >= MAX_FILES:
        report.error(where, f"more than {MAX_FILES} files are included")
        return None
    files.read[resolved] = None
    text = read_text(path, name, report, where=where)
    tree = parse_tree(text, name, report) if text is not None else None
    if text is None or (tree is None and report.failed):
        return None
    if tree is None or (isinstance(tree, Scalar) and tree.value is None):
        if where is None:
            report.error(Position(name, 1), "the spec is empty", "`specrun init` writes a starter spec.")
        return None
    if not isinstance(tree, Table):
        message = f"a spec is a mapping of sections, and this is {kind_of_value(tree)}"
        report.error(tree.where, message, 'The first line is "specrun: 1".')
        return None
    files.open.append(resolved)
    _merge(tree, files, included=where is not None)
    for item in _include_list(tree, report):
        _load(path.parent / str(item.value), str(Path(name).parent / str(item.value)), files, item.where)
    files.open.pop()
    return tree


def _include_list(tree: Table, report: Report) -> list[Scalar]:
    found = tree.get("include")
    if found is None or (isinstance(found, Scalar) and found.value is None):
        return []
    items: tuple[Tree, ...] = found.items if isinstance(found, Items) else (found,)
    names = []
    for item in items:
        if isinstance(item, Scalar) and isinstance(item.value, str) and "${" not in item.value:
            names.append(item)
        else:
            report.error(item.where, "include takes file names", "Write include: [taxonomies.yaml].")
    return names


def _merge(tree: Table, files: _Files, *, included: bool) -> None:
    for key, entry in tree.entries.items():
        if key == "include":
            continue
        if included and key in _ONLY_IN_THE_SPEC:
            files.report.error(entry.where, f'"{key}" stands in the spec itself, not in a file that it includes')
        elif key == "specrun" and key in files.merged:
            continue
        elif key not in files.merged:
            files.merged[key] = entry
        else:
            files.merged[key] = _merged_section(files.merged[key], entry, files.report)


def _merged_section(first: Entry, second: Entry, report: Report) -> Entry:
    """Names of both files. A section that is no mapping in one of them is reported when it is composed."""
    if not isinstance(second.value, Table):
        return first if isinstance(second.value, Scalar) and second.value.value is None else second
    if not isinstance(first.value, Table):
        return second if isinstance(first.value, Scalar) and first.value.value is None else first
    entries = dict(first.value.entries)
    for name, entry in second.value.entries.items():
        if name in entries:
            there = entries[name].where
            report.error(
                entry.where, f"{first.key}.{name} is declared twice, first in {there.short}", "Remove or rename one.",
                related=(there,),
            )  # fmt: skip
            continue
        entries[name] = entry
    return replace(first, value=replace(first.value, entries=entries))
