"""References: which fields name another entry, and which entries a text names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel

from specrun.model.address import Address, parse_address
from specrun.spec.annotations import (
    alternatives,
    fields_by_key,
    is_choice,
    is_model,
    item_annotation,
    model_for,
    value_annotation,
)
from specrun.spec.kind import Best, Ref
from specrun.spec.suggest import did_you_mean, listed, nearest
from specrun.spec.tree import Items, PathKey, Scalar, Table, Tree, replaced

Path = tuple[PathKey, ...]


@dataclass(frozen=True, slots=True)
class Reference:
    """A field that names another entry. many: several instances are meant (`{best: …}`)."""

    path: Path
    scalar: Scalar
    ref: Ref
    many: bool = False

    @property
    def text(self) -> str:
        """The address as text, perhaps with `[…]`."""
        written = str(self.scalar.value)
        return self.ref.address(written) if len(self.ref.sections) == 1 or self.ref.bare else written


def find_references(tree: Table, model: type[BaseModel], path: Path = ()) -> Iterator[Reference]:
    """Every reference below a mapping that `model` describes, also where the mapping has mistakes."""
    fields = fields_by_key(model)
    for key, entry in tree.entries.items():
        info = fields.get(key)
        if info is not None:
            yield from _search(entry.value, info.annotation, _marker(info.metadata), (*path, key))


def _marker(metadata: Iterable[Any]) -> Ref | None:
    return next((item for item in metadata if isinstance(item, Ref)), None)


def _search(tree: Tree, annotation: Any, marker: Ref | None, path: Path) -> Iterator[Reference]:
    members = [(member, _marker(metadata) or marker) for member, metadata in alternatives(annotation)]
    match tree:
        case Scalar(value=str() as value) if not tree.broken:
            if any(is_choice(member, value) for member, _ in members):
                return
            ref = next((ref for member, ref in members if ref and member is str), None)
            if ref is not None:
                yield Reference(path, tree, ref)
        case Items():
            for member, ref in members:
                inner = item_annotation(member)
                if inner is not None:
                    for index, item in enumerate(tree.items):
                        yield from _search(item, inner, ref, (*path, index))
                    return
        case Table():
            yield from _search_table(tree, members, path)


def _search_table(tree: Table, members: list[tuple[Any, Ref | None]], path: Path) -> Iterator[Reference]:
    models = {member: ref for member, ref in members if is_model(member)}
    if Best in models and "best" in tree.entries:
        chosen, ref = tree.get("best"), models[Best]
        if ref is not None and isinstance(chosen, Scalar) and isinstance(chosen.value, str):
            yield Reference((*path, "best"), chosen, ref, many=True)
        return
    model = model_for(tree, [model for model in models if model is not Best])
    if model is not None:
        yield from find_references(tree, model, path)
        return
    for member, ref in members:
        inner = value_annotation(member)
        if inner is not None:
            for key, entry in tree.entries.items():
                yield from _search(entry.value, inner, ref, (*path, key))


def with_one_spelling(tree: Table, references: Sequence[Reference]) -> tuple[Table, list[Reference]]:
    """Where one section is possible, `sources.a` becomes `a`, since both mean the same; `best` gets the address."""
    found: list[Reference] = []
    for reference in references:
        value = str(reference.scalar.value)
        wanted = value
        if len(reference.ref.sections) == 1:
            prefix = f"{reference.ref.sections[0]}."
            wanted = reference.text if reference.many else value.removeprefix(prefix)
        if wanted != value:
            scalar = replace(reference.scalar, value=wanted)
            changed = replaced(tree, reference.path, scalar)
            assert isinstance(changed, Table)
            tree, reference = changed, replace(reference, scalar=scalar)
        found.append(reference)
    return tree, found


class UnknownReference(Exception):
    """message and hint, without the place."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class Targets:
    """The entries that a reference can name. declared: with those that have mistakes of their own."""

    def __init__(self, instances: Iterable[Address], declared: Iterable[Address], sections: Iterable[str]) -> None:
        self._sections = list(sections)
        self._instances: dict[Address, list[Address]] = {address.base: [] for address in declared}
        for address in instances:
            self._instances.setdefault(address.base, []).append(address)

    def resolve(self, text: str, sections: Sequence[str] = (), *, many: bool = False) -> list[Address]:
        """text: `models.unet`, perhaps with `[key=value]` or `[*]`. sections: those allowed, () for any.

        many: every instance of a matrix is meant. An empty list: it names an entry that has mistakes.
        Raises UnknownReference.
        """
        every = text.endswith("[*]")
        try:
            wanted = parse_address(text.removesuffix("[*]"))
        except ValueError:
            raise UnknownReference(f'"{text}" is no address', self._address_hint(text, sections)) from None
        if wanted.section not in self._sections:
            raise UnknownReference(f'there is no section "{wanted.section}"', self._near(wanted, sections))
        if sections and wanted.section not in sections:
            message = f"{text} is in {wanted.section}, but this must be in {listed(sections)}"
            raise UnknownReference(message, self._near(wanted, sections))
        if wanted.base not in self._instances:
            raise UnknownReference(f"there is no {wanted.base}", self._near(wanted, sections))
        return self._select(wanted, every=every, many=many)

    def _select(self, wanted: Address, *, every: bool, many: bool) -> list[Address]:
        instances = self._instances[wanted.base]
        has_matrix = any(address.instance for address in instances)
        if not has_matrix or ((every or many) and not wanted.instance):
            if wanted.instance and instances:
                raise UnknownReference(f"{wanted.base} has no matrix", f'Write "{wanted.base}".')
            return list(instances)
        names = [str(address) for address in instances]
        if not wanted.instance:
            ways = f'"{wanted.base}[*]" for all or {{best: {wanted.base}, metric: …}}'
            hint = f'Write "{names[0]}" for one; where a field takes them, also {ways}.'
            raise UnknownReference(f"{wanted.base} has a matrix of {len(names)} nodes", hint)
        chosen = [a for a in instances if set(wanted.instance) <= set(a.instance)]
        if not chosen:
            message = f"{wanted.base} has no instance {str(wanted).removeprefix(str(wanted.base))}"
            raise UnknownReference(message, f"There are {listed(names, 'and')}.")
        if len(chosen) > 1:
            hint = f"Name every key: {listed(map(str, chosen))}."
            raise UnknownReference(f"{wanted} names {len(chosen)} nodes of the matrix", hint)
        return chosen

    def _names(self, sections: Sequence[str]) -> list[Address]:
        return [base for base in self._instances if not sections or base.section in sections]

    def _near(self, wanted: Address, sections: Sequence[str]) -> str | None:
        """A name like it, in an allowed section; else what there is."""
        candidates = self._names(sections)
        if len(sections) == 1:
            names = [address.name for address in candidates]
            return did_you_mean(wanted.name, names, otherwise=f"{sections[0]} has") or (
                f"The spec has no {sections[0]}." if not names else None
            )
        same_name = [address for address in candidates if address.name.lower() == wanted.name.lower()]
        if same_name:
            return f'Did you mean "{same_name[0]}"?'
        near = nearest(wanted.name, [address.name for address in candidates])
        meant = next((address for address in candidates if address.name == near), None)
        if meant:
            return f'Did you mean "{meant}"?'
        return f"There are {listed(map(str, candidates), 'and')}." if candidates else None

    def _address_hint(self, text: str, sections: Sequence[str]) -> str | None:
        """A bare name where several sections are possible, or no name at all."""
        candidates = self._names(sections)
        same = next((address for address in candidates if address.name == text), None)
        if same:
            return f'Write "{same}".'
        near = nearest(text, [address.name for address in candidates])
        meant = next((address for address in candidates if address.name == near), None)
        return f'Did you mean "{meant}"?' if meant else "Write section.name, for example sources.photos."
