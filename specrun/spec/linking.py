"""Who needs whom: references followed, with every mistake at its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from specrun.graph import CycleError, topological_order
from specrun.model.address import Address
from specrun.model.diagnostic import Position
from specrun.model.metric_names import meant_metrics, spoken_metric
from specrun.model.node import Input
from specrun.spec.compose import Composition, Declared
from specrun.spec.kind import Best, Kind, Need, Problem
from specrun.spec.references import Reference, Targets, UnknownReference
from specrun.spec.report import Report
from specrun.spec.suggest import did_you_mean, listed
from specrun.spec.tree import Items, Scalar, Tree, child, child_position, scalars


@dataclass
class Links:
    """inputs and after of every node; declarations: what each entry names of sections without nodes."""

    inputs: dict[Address, tuple[Input, ...]] = field(default_factory=dict)
    after: dict[Address, tuple[Address, ...]] = field(default_factory=dict)
    declarations: dict[Address, tuple[Address, ...]] = field(default_factory=dict)

    def needs(self, address: Address) -> list[Address]:
        """Nodes and declarations."""
        inputs = (used.address for used in self.inputs.get(address, ()))
        return [*inputs, *self.after.get(address, ()), *self.declarations.get(address, ())]


def link(composition: Composition, report: Report) -> Links:
    """Follows every reference and asks every kind for its mistakes and its inputs."""
    return _Linking(composition, report).links()


class _Linking:
    def __init__(self, composition: Composition, report: Report) -> None:
        self.composition = composition
        self.report = report
        self.targets = Targets(composition.entries, composition.declared, composition.registry)
        self.found = Links()
        self.unknown: set[str] = set()
        """Addresses that some field names and that there are not: told where they are written, and nowhere else."""

    def links(self) -> Links:
        failed = {address: self._references(entry) for address, entry in self.composition.entries.items()}
        for entry in self.composition.entries.values():
            self._after(entry)
            if entry.spec is None:
                continue
            for problem in entry.kind.check(entry.spec, self.composition):
                self._problem(entry, problem)
            if isinstance(entry.kind, Kind):
                self._inputs(entry, entry.kind, failed[entry.address])
        self._cycles()
        return self.found

    def _references(self, entry: Declared) -> set[str]:
        """Checks what the fields name; the texts that name nothing."""
        failed: set[str] = set()
        named: dict[Address, None] = {}
        for reference in entry.references:
            text, sections = reference.text, reference.ref.sections
            place = reference.scalar.where
            try:
                addresses = self._resolve(entry, text, sections, place, many=reference.many)
            except UnknownReference as error:
                failed.add(text)
                self.unknown.add(reference.ref.address(text))
                self.report.error(place, f"{_field(entry, reference)}: {error.message}", error.hint)
                continue
            named.update(dict.fromkeys(a for a in addresses if not self.composition.registry[a.section].nodes))
        self.found.declarations[entry.address] = tuple(named)
        return failed

    def _resolve(
        self, entry: Declared, text: str, sections: tuple[str, ...], place: Position, *, many: bool = False
    ) -> list[Address]:
        """Raises UnknownReference. Warns about a target that is switched off."""
        addresses = self.targets.resolve(text, sections, many=many)
        if entry.address in addresses or (addresses and addresses[0].base == entry.address.base and not many):
            same = entry.address in addresses
            raise UnknownReference(f"{entry.address} names {'itself' if same else 'its own matrix'}")
        for address in addresses:
            spec = self.composition.entries[address].spec
            if getattr(spec, "enabled", True) is False and getattr(entry.spec, "enabled", True):
                self.report.warning(
                    place, f"{address} is not enabled, so {entry.address.base} is left as it is too",
                    related=(self.composition.entries[address].where,),
                )  # fmt: skip
        return addresses

    def _after(self, entry: Declared) -> None:
        written = entry.tree.get("after")
        if not isinstance(entry.kind, Kind) or not isinstance(written, Items):
            return
        nodes = tuple(name for name, section in self.composition.registry.items() if section.nodes)
        found: dict[Address, None] = {}
        for item in written.items:
            if isinstance(item, Scalar) and isinstance(item.value, str) and not item.broken:
                try:
                    found.update(dict.fromkeys(self._resolve(entry, item.value, nodes, item.where)))
                except UnknownReference as error:
                    self.report.error(item.where, f"{entry.address.base}.after: {error.message}", error.hint)
        self.found.after[entry.address] = tuple(found)

    def _inputs(self, entry: Declared, kind: Kind, failed: set[str]) -> None:
        inputs: dict[Input, None] = {}
        for need in kind.needs(entry.spec, self.composition):
            text, many = _need_text(need)
            if text in failed:
                continue
            try:
                place = _place_of(entry, text) or entry.where
                addresses = self._resolve(entry, text, (), place, many=many)
            except UnknownReference as error:
                if not failed and text not in self.unknown:
                    self.report.error(place, f"{entry.address.base}: {error.message}", error.hint)
                continue
            best = _best_of(need)
            if best and addresses and not addresses[0].instance:
                message = f"{entry.address.base}: {text} has no matrix, so there is no best of it"
                self.report.error(place, message, f"Write {text.partition('.')[2]} itself.")
                continue
            if best:
                self._check_metric(entry, best[0], addresses)
            for address in addresses:
                if self.composition.registry[address.section].nodes:
                    inputs[Input(need.role, address, tuple(need.parts), best)] = None
                elif address not in self.found.declarations[entry.address]:
                    self.found.declarations[entry.address] += (address,)
        self.found.inputs[entry.address] = tuple(inputs)

    def _check_metric(self, entry: Declared, metric: str, addresses: Sequence[Address]) -> None:
        """A misspelt metric would be noticed only when all instances are made."""
        found = [self.composition.entries[address] for address in addresses]
        lists = [one.kind.reports(one.spec) if isinstance(one.kind, Kind) and one.spec else () for one in found]
        known = list(dict.fromkeys(name for names in lists for name in names))
        if not all(lists) or any(name.endswith("/") and metric.startswith(name) for name in known):
            return
        meant = meant_metrics(metric, known)
        if len(meant) == 1:
            return
        spoken = [spoken_metric(name) for name in meant or known if not name.endswith("/")]
        if meant:
            message, hint = f"{metric} can be several metrics of {addresses[0].base}", f"Write {listed(spoken)}."
        else:
            message = f'{addresses[0].base} reports no metric "{metric}"'
            hint = did_you_mean(metric, spoken, otherwise="Write") or ""
        self.report.error(_place_of(entry, metric) or entry.where, f"{entry.address.base}: {message}", hint)

    def _problem(self, entry: Declared, problem: Problem) -> None:
        place = place_of_path(entry.tree, problem.path, problem.message) or entry.where
        name = ".".join(part for part in (str(entry.address.base), problem.path) if part)
        message = problem.message if name in problem.message else f"{name}: {problem.message}"
        if problem.warning:
            self.report.warning(place, message, problem.hint)
        else:
            self.report.error(place, message, problem.hint)

    def _cycles(self) -> None:
        """Each cycle once; one that shares a node with an earlier one shows when that is mended."""
        needs: Mapping[Address, list[Address]] = {a: self.found.needs(a) for a in self.composition.entries}
        while True:
            try:
                topological_order(needs)
                return
            except CycleError as error:
                self._cycle(error.path)
                needs = {address: below for address, below in needs.items() if address not in error.path}

    def _cycle(self, path: tuple[Address, ...]) -> None:
        entries = self.composition.entries
        start = min(range(len(path) - 1), key=lambda i: entries[path[i]].where)
        turned = [*path[start:-1], *path[:start]]
        steps = [f"{address} ({entries[address].where.short})" for address in turned]
        message = f"entries that need each other: {' → '.join([*steps, str(turned[0])])}"
        places = [entries[address].where for address in turned]
        self.report.error(places[0], message, "Remove one of these references.", related=places[1:])


def _field(entry: Declared, reference: Reference) -> str:
    return ".".join([str(entry.address.base), *map(str, reference.path)])


def _need_text(need: Need) -> tuple[str, bool]:
    """The address, and whether every instance is meant."""
    if isinstance(need.ref, Best):
        return need.ref.best, True
    if isinstance(need.ref, Mapping):
        return str(need.ref["best"]), True
    return need.ref, False


def _best_of(need: Need) -> tuple[str, ...]:
    """Metric and mode; (): every one that is named counts."""
    if isinstance(need.ref, Best):
        return need.ref.metric, need.ref.mode
    return (str(need.ref["metric"]), str(need.ref.get("mode", "max"))) if isinstance(need.ref, Mapping) else ()


def _place_of(entry: Declared, text: str) -> Position | None:
    """Where the entry writes an address that its kind asked for."""
    bare = text.partition(".")[2]
    # The whole address first: the bare name may be that of an entry in another section.
    written = reversed(list(scalars(entry.tree)))
    places = {scalar.value: scalar.where for scalar in written if isinstance(scalar.value, str)}
    return places.get(text) or places.get(bare)


def place_of_path(tree: Tree, path: str, message: str) -> Position | None:
    """The place of a dotted path, or of its nearest written part: the key where the message quotes the key
    or the value is a list or mapping, the value otherwise. Keys may hold dots."""
    where: Position | None = None
    parts = path.split(".") if path else []
    while parts:
        for size in range(len(parts), 0, -1):
            key = ".".join(parts[:size])
            below = child(tree, key)
            if below is not None:
                break
        else:
            return where
        key_place = child_position(tree, key)
        where = key_place if not isinstance(below, Scalar) or f'"{key}"' in message else below.where
        tree, parts = below, parts[size:]
    return where
