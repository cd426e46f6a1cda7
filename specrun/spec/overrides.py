"""`--var name=value` and `--set a.b.c=value`: values for one command, over what stands in the files."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from specrun.model.diagnostic import Position
from specrun.spec.loader import parse_tree
from specrun.spec.report import Report
from specrun.spec.scalars import plain_scalar
from specrun.spec.suggest import did_you_mean
from specrun.spec.tree import Entry, Items, Scalar, Table, Tree, child


def with_variables(tree: Table, variables: Mapping[str, str], report: Report) -> Table:
    """`--var`: only variables that the spec declares."""
    declared = tree.get("vars")
    known = declared.entries if isinstance(declared, Table) else {}
    for name, text in variables.items():
        option = f"--var {name}"
        report.sources[option] = [f"{name}={text}"]
        where = Position(option, 0, 1, len(name))
        if name not in known:
            hint = did_you_mean(name, known, otherwise="It has") or "Declare it under `vars:` first."
            report.error(where, f'the spec has no variable "{name}"', hint)
            continue
        assert isinstance(declared, Table)
        value = _parsed(text, option, len(name) + 1, report)
        declared = declared.with_entry(Entry(name, where, value))
        tree = tree.with_entry(replace(tree.entries["vars"], value=declared))
    return tree


def with_sets(tree: Table, sets: Mapping[str, str], known: Collection[str], entry_sections: Collection[str],
              report: Report) -> Table:  # fmt: skip
    """`--set`: any path below an entry that exists.

    known: top-level keys. entry_sections: those whose children are entries, which must exist already.
    """
    for path, text in sets.items():
        option = f"--set {path}"
        report.sources[option] = [f"{path}={text}"]
        where = Position(option, 0, 1, len(path))
        keys = path.split(".")
        if len(keys) < 2 or not all(keys):
            report.error(where, f'"{path}" is no path', "Write for example --set models.unet.train.epochs=5.")
            continue
        if keys[0] not in known:
            hint = did_you_mean(keys[0], known, otherwise="Sections are")
            report.error(where, f'a spec has no section "{keys[0]}"', hint)
            continue
        if keys[0] in entry_sections and not _has_entry(tree, keys, where, report):
            continue
        value = _parsed(text, option, len(path) + 1, report)
        found = _set(tree, keys, value, where, report)
        tree = found if isinstance(found, Table) else tree
    return tree


def _has_entry(tree: Table, keys: list[str], where: Position, report: Report) -> bool:
    section = tree.get(keys[0])
    names = section.entries if isinstance(section, Table) else {}
    if keys[1] in names:
        return True
    hint = did_you_mean(keys[1], names, otherwise=f"{keys[0]} has")
    report.error(where, f"the spec has no {keys[0]}.{keys[1]}", hint)
    return False


def _set(tree: Tree, keys: list[str], value: Tree, where: Position, report: Report) -> Tree | None:
    """A copy with the value at the path; missing mappings on the way are made. None after a mistake."""
    key, rest = keys[0], keys[1:]
    if isinstance(tree, Items):
        below = child(tree, key)
        if below is None:
            report.error(where, f'there is no item "{key}": the list has {len(tree.items)}, counted from 0')
            return None
        new = _set(below, rest, value, where, report) if rest else value
        if new is None:
            return None
        items = list(tree.items)
        items[int(key)] = new
        return replace(tree, items=tuple(items))
    if isinstance(tree, Scalar) and tree.value is not None:
        report.error(where, f'"{key}" cannot be set: there is a single value, no mapping', related=(tree.where,))
        return None
    table = tree if isinstance(tree, Table) else Table({}, where)
    if rest:
        inner = _set(table.get(key) or Table({}, where), rest, value, where, report)
        if inner is None:
            return None
        entry = table.entries.get(key)
        return table.with_entry(replace(entry, value=inner) if entry else Entry(key, where, inner))
    return table.with_entry(Entry(key, where, value))


def _parsed(text: str, option: str, offset: int, report: Report) -> Tree:
    """A YAML scalar, or a list or mapping in brackets. offset: characters before the value."""
    where = Position(option, 0, offset + 1, max(len(text), 1))
    stripped = text.strip()
    if stripped[:1] in ("[", "{", '"', "'"):
        own = Report()
        own.sources[option] = [text]
        parsed = parse_tree(text, option, own)
        for mistake in own.diagnostics():
            place = _moved(mistake.where, offset) if mistake.where else where
            report.error(place, mistake.message, mistake.hint)
        return _relocated(parsed, offset) if parsed is not None else Scalar(None, where, broken=True)
    try:
        return Scalar(plain_scalar(stripped), where)
    except ValueError as error:
        report.error(where, str(error))
        return Scalar(None, where, broken=True)


def _moved(where: Position, offset: int) -> Position:
    return replace(where, line=0, column=where.column + offset)


def _relocated(tree: Tree, offset: int) -> Tree:
    where = _moved(tree.where, offset)
    match tree:
        case Scalar():
            return replace(tree, where=where)
        case Items():
            return replace(tree, items=tuple(_relocated(item, offset) for item in tree.items), where=where)
        case Table():
            entries = {
                key: Entry(key, _moved(entry.where, offset), _relocated(entry.value, offset))
                for key, entry in tree.entries.items()
            }
            return Table(entries, where)
