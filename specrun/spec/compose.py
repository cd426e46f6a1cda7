"""Entries of the spec: which kind each is of, its values filled in, its model validated."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from specrun.graph import expand_matrix
from specrun.model.address import NAME_PATTERN, Address, path_safe
from specrun.model.diagnostic import Position
from specrun.spec.annotations import COMMON_FIELDS
from specrun.spec.interpolation import Scope
from specrun.spec.kind import Declaration, Kind, NodeSpec, Registry, Section
from specrun.spec.references import Reference, find_references, with_one_spelling
from specrun.spec.report import Report
from specrun.spec.suggest import did_you_mean, listed, nearest
from specrun.spec.tree import Entry, Items, Scalar, ScalarValue, Table, kind_of_value
from specrun.spec.validation import validated

_NAME = re.compile(NAME_PATTERN)
_IN_ADDRESS = re.compile(r"[\[\],=]")
_ALWAYS = ("specrun", "project", "include", "vars", "settings")


@dataclass(frozen=True)
class Declared:
    """One entry, or one instance of its matrix. where: its name. spec: None when it has mistakes."""

    address: Address
    section: Section
    kind_name: str
    kind: Kind | Declaration
    where: Position
    tree: Table
    references: tuple[Reference, ...]
    spec: Any


@dataclass
class Composition:
    """entries: every instance, in the order of the registry and then of the spec.
    declared: the names, with those whose kind is unknown."""

    entries: dict[Address, Declared] = field(default_factory=dict)
    declared: dict[Address, Position] = field(default_factory=dict)
    registry: Registry = field(default_factory=dict)
    project_dir: Path = Path()

    def spec(self, address: str) -> Any | None:
        """model.kind.Lookup: of a matrix without `[…]`, the first instance."""
        found = self._find(address)
        return found.spec if found else None

    def kind_of(self, address: str) -> str | None:
        found = self._find(address)
        return f"{found.section.name}.{found.kind_name}" if found else None

    def addresses(self, section: str) -> list[str]:
        return [str(address) for address in self.entries if address.section == section]

    def _find(self, address: str) -> Declared | None:
        if not self._by_text:
            for key, entry in self.entries.items():
                self._by_text[str(key)] = entry
                self._by_text.setdefault(str(key.base), entry)
        return self._by_text.get(address.removesuffix("[*]"))

    def __post_init__(self) -> None:
        self._by_text: dict[str, Declared] = {}


def check_top_level(tree: Table, registry: Registry, report: Report) -> None:
    """`specrun: 1`, and no section that is not known."""
    known = [*_ALWAYS, *registry]
    version = tree.entries.get("specrun")
    if version is None:
        report.error(tree.where, "the spec does not say which grammar it is written in", 'Add "specrun: 1" at the top.')
    elif not (isinstance(version.value, Scalar) and version.value.value == 1 and version.value.value is not True):
        report.error(version.value.where, "this specrun reads grammar 1", 'Write "specrun: 1".')
    if "project" not in tree.entries:
        report.error(tree.where, "the spec has no project", "Add `project: {name: …}`.")
    for key, entry in tree.entries.items():
        if key not in known:
            report.error(entry.where, f'unknown section "{key}"', did_you_mean(key, known, otherwise="Sections are"))
        elif key in registry or key in ("project", "settings", "vars"):
            _section_table(entry, report)


def compose(tree: Table, registry: Registry, scope: Scope, report: Report, project_dir: Path) -> Composition:
    """Every entry of every section that the registry knows."""
    found = Composition(registry=registry, project_dir=project_dir)
    for name, section in registry.items():
        table = tree.get(name)
        if isinstance(table, Table):
            _check_names(name, table, report)
            for entry in table.entries.values():
                if _NAME.fullmatch(entry.key):
                    found.declared[Address(name, entry.key)] = entry.where
                    for declared in _declared(section, entry, scope, report):
                        found.entries[declared.address] = declared
    return found


def _section_table(entry: Entry, report: Report) -> None:
    value = entry.value
    if not isinstance(value, Table) and not (isinstance(value, Scalar) and (value.value is None or value.broken)):
        hint = "Write a mapping of names, each with its own keys below it."
        report.error(entry.where, f'"{entry.key}" must be a mapping, not {kind_of_value(value)}', hint)


def _check_names(section: str, table: Table, report: Report) -> None:
    folded: dict[str, Entry] = {}
    for entry in table.entries.values():
        if not _NAME.fullmatch(entry.key):
            proper = re.sub(r"[^A-Za-z0-9_-]+", "_", entry.key).strip("_")
            hint = f'Did you mean "{proper}"?' if _NAME.fullmatch(proper) else None
            message = f'"{entry.key}" is no name: names are letters, digits, _ and -, starting with a letter'
            report.error(entry.where, message, hint)
        first = folded.setdefault(entry.key.lower(), entry)
        if first is not entry:
            message = f"{section}.{entry.key} and {section}.{first.key} differ in case only"
            hint = "Rename one: on some disks they would be one folder."
            report.error(entry.where, message, hint, related=(first.where,))


def _declared(section: Section, entry: Entry, scope: Scope, report: Report) -> Iterator[Declared]:
    address = Address(section.name, entry.key)
    table = _entry_table(entry, address, report)
    chosen = _kind(section, table, entry, address, scope, report) if table is not None else None
    if table is None or chosen is None:
        return
    kind_name, kind = chosen
    if "kind" not in kind.Spec.model_fields:
        table = table.without("kind")
    scope.matrix_keys_used.clear()
    instances = _instances(table, kind, address, scope, report)
    for instance in instances:
        matrix = instance if "matrix" in table.entries else None
        tree = scope.resolved(table, matrix=matrix, late=section.late)
        assert isinstance(tree, Table)
        references = list(find_references(tree, kind.Spec))
        tree, references = with_one_spelling(tree, references)
        own = Address(section.name, entry.key, tuple((key, value_text(v.value)) for key, v in instance.items()))
        spec = validated(kind.Spec, tree, str(address), entry.where, report)
        yield Declared(own, section, kind_name, kind, entry.where, tree, tuple(references), spec)
    if instances and not any(value.broken for value in instances[0].values()):
        _check_matrix_is_used(table, kind, address, scope, report)


def _entry_table(entry: Entry, address: Address, report: Report) -> Table | None:
    if isinstance(entry.value, Table):
        return entry.value
    if isinstance(entry.value, Scalar) and entry.value.value is None and not entry.value.broken:
        return Table({}, entry.where)
    report.error(entry.value.where, f"{address} must be a mapping of keys, not {kind_of_value(entry.value)}")
    return None


def _kind(
    section: Section, table: Table, entry: Entry, address: Address, scope: Scope, report: Report
) -> tuple[str, Kind | Declaration] | None:
    written = table.entries.get("kind")
    if written is None or not section.has_kind_key:
        if written is not None:
            report.error(written.where, f'unknown key "kind" in {address}', f"All {section.name} are of one kind.")
            return None
        if section.default is None:
            meant = next((e for e in table.entries.values() if e.key == "type" or nearest(e.key, ["kind"])), None)
            hint = 'Did you mean "kind"?' if meant else f"Kinds are {listed(section.kinds)}."
            report.error(meant.where if meant else entry.where, f"{address} needs a kind", hint)
            return None
        return section.default, section.load(section.default)
    value = scope.resolved(written.value)
    name = value.value if isinstance(value, Scalar) else None
    if isinstance(name, str) and name in section.kinds:
        return name, section.load(name)
    if not (isinstance(value, Scalar) and value.broken):
        known = did_you_mean(str(name), section.kinds, otherwise="Kinds are")
        report.error(value.where, f'unknown kind "{name}" in {address}', known)
    return None


def _instances(
    table: Table, kind: Kind | Declaration, address: Address, scope: Scope, report: Report
) -> list[dict[str, Scalar]]:
    """The combinations of the matrix; one empty one without a matrix, none after a mistake."""
    written = table.get("matrix")
    if written is None or not issubclass(kind.Spec, NodeSpec):
        return [{}]
    matrix = scope.resolved(written)
    if isinstance(matrix, Scalar) and matrix.value is None:
        return [{}]
    if not isinstance(matrix, Table) or not matrix.entries:
        report.error(written.where, f"{address}.matrix must be a mapping of lists", "Write matrix: {key: [a, b]}.")
        return []
    values: dict[str, list[Scalar]] = {}
    good = True
    for key, entry in matrix.entries.items():
        if not _NAME.fullmatch(key):
            report.error(entry.where, f'the matrix key "{key}" is no name')
            good = False
        checked = _matrix_values(entry, address, report)
        good = good and checked is not None
        values[key] = checked or []
    return expand_matrix(values) if good else []


def _matrix_values(entry: Entry, address: Address, report: Report) -> list[Scalar] | None:
    name = f"{address}.matrix.{entry.key}"
    if not isinstance(entry.value, Items) or not entry.value.items:
        report.error(entry.where, f"{name} must be a list of values", f"Write {entry.key}: [a, b].")
        return None
    seen: dict[str, Scalar] = {}
    for item in entry.value.items:
        if not isinstance(item, Scalar):
            report.error(item.where, f"{name} holds {kind_of_value(item)}; its values are single ones")
            return None
        text = value_text(item.value)
        if _IN_ADDRESS.search(text) or text != text.strip():
            report.error(item.where, f'"{text}" cannot stand in an address', "Leave out brackets, commas and equals.")
            return None
        if path_safe(text).lower() in seen:
            report.error(item.where, f'{name} holds "{text}" twice', related=(seen[path_safe(text).lower()].where,))
            return None
        seen[path_safe(text).lower()] = item
    return list(seen.values())


def _check_matrix_is_used(
    table: Table, kind: Kind | Declaration, address: Address, scope: Scope, report: Report
) -> None:
    """A key that nothing names would make the same node several times."""
    matrix = table.get("matrix")
    for key, entry in matrix.entries.items() if isinstance(matrix, Table) else ():
        if key not in scope.matrix_keys_used:
            value = f"${{matrix.{key}}}"
            use = f"{key}: {value}" if key in kind.Spec.model_fields else f"{value} where it belongs"
            message = f"{address}.matrix.{key} is used nowhere: its nodes would be the same but for their names"
            report.error(entry.where, message, f"Write {use}.")


def value_text(value: ScalarValue) -> str:
    """A matrix value inside an address."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case _:
            return str(value)


def own_keys(tree: Table) -> Table:
    """Without the keys that every node has."""
    return tree.without(*COMMON_FIELDS)


def as_defaults(table: Table, defaults: Mapping[str, ScalarValue]) -> Table:
    """The table with values for keys that are not written."""
    added = {key: Entry(key, table.where, Scalar(value, table.where)) for key, value in defaults.items()}
    return replace(table, entries={**added, **table.entries})
