"""taxonomies: which classes there are, which are merged and which are dropped."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from specrun.model.digest import Json
from specrun.model.taxonomy import ERROR, ResolvedTaxonomy
from specrun.spec.kind import Declaration, Lookup, Problem, Ref, Strict
from specrun.spec.suggest import did_you_mean

_COLOR = re.compile(r"#[0-9a-fA-F]{6}")
ClassName = Annotated[str, Field(min_length=1)]


class ToClass(Strict):
    """Labels that nothing else is said about become one class."""

    to: ClassName
    """The class."""


class TaxonomySpec(Strict):
    """Classes of the project, and how the classes of the sources become them."""

    extends: Annotated[str, Ref("taxonomies")] | None = None
    """Another taxonomy: its map is applied first, and its classes hold where this one names none."""
    classes: list[ClassName] | None = None
    """The classes in their order; left out, the sorted names of what is found."""
    map: dict[ClassName, ClassName] = {}
    """Class of the source → class of the project. Classes map to themselves."""
    drop: list[ClassName] = []
    """Classes of the source whose labels are left out."""
    unmapped: Literal["error", "keep", "drop"] | ToClass | None = None
    """What happens to any other label: error (unless it is inherited), keep, drop, or {to: Other}."""
    colors: dict[ClassName, str] = {}
    """Class of the project → #rrggbb."""


class Taxonomy(Declaration):
    """Resolved JSON: model.taxonomy.ResolvedTaxonomy."""

    Spec = TaxonomySpec

    def check(self, spec: TaxonomySpec, lookup: Lookup) -> Sequence[Problem]:
        if _extends_itself(spec, lookup):
            return ()
        whole = resolve(spec, lookup)
        return [*_class_problems(spec), *_map_problems(spec, whole), *_drop_problems(spec), *_rest(spec, whole)]

    def resolve(self, spec: TaxonomySpec, lookup: Lookup) -> dict[str, Json]:
        return resolve(spec, lookup).to_json()


def resolve(spec: TaxonomySpec, lookup: Lookup) -> ResolvedTaxonomy:
    """With everything that it extends: what the parent maps to a class goes on through this one's map."""
    parent = _parent(spec, lookup)
    base = resolve(parent, lookup) if parent else ResolvedTaxonomy()
    inherited = {source: spec.map.get(target, target) for source, target in base.mapping.items()}
    dropped = {source for source, target in base.mapping.items() if target in spec.drop}
    mapping = {source: target for source, target in inherited.items() if source not in dropped} | spec.map
    classes = base.classes if spec.classes is None else tuple(spec.classes)
    return ResolvedTaxonomy(
        classes=classes,
        mapping={source: target for source, target in mapping.items() if source not in spec.drop},
        dropped=frozenset({*(base.dropped - set(spec.map)), *dropped, *spec.drop} - set(classes or ())),
        unmapped=_unmapped(spec) or base.unmapped,
        colors={**base.colors, **spec.colors},
    )


def _parent(spec: TaxonomySpec, lookup: Lookup) -> TaxonomySpec | None:
    if spec.extends is None:
        return None
    parent: Any = lookup.spec(Ref("taxonomies").address(spec.extends))
    return parent if isinstance(parent, TaxonomySpec) else None


def _extends_itself(spec: TaxonomySpec, lookup: Lookup) -> bool:
    """Over any number of steps; the references' own check shows the cycle."""
    seen = [spec]
    while (parent := _parent(seen[-1], lookup)) is not None:
        if any(parent is one for one in seen):
            return True
        seen.append(parent)
    return False


def _unmapped(spec: TaxonomySpec) -> str | tuple[str] | None:
    return (spec.unmapped.to,) if isinstance(spec.unmapped, ToClass) else spec.unmapped


def _class_problems(spec: TaxonomySpec) -> Iterator[Problem]:
    seen: set[str] = set()
    for index, name in enumerate(spec.classes or ()):
        if name in seen:
            yield Problem(f"classes.{index}", f'the class "{name}" stands twice', "Remove one.")
        seen.add(name)


def _map_problems(spec: TaxonomySpec, whole: ResolvedTaxonomy) -> Iterator[Problem]:
    for source, target in spec.map.items():
        path = f"map.{source}"
        if source in spec.drop:
            yield Problem(path, f'"{source}" is both mapped and dropped', "Keep one of the two.")
        elif spec.classes and source in spec.classes and source != target:
            yield Problem(path, f'"{source}" is one of the classes and is mapped to "{target}"', "Keep one of the two.")
        if whole.classes is not None and target not in whole.classes:
            hint = did_you_mean(target, whole.classes, otherwise="Classes are")
            yield Problem(path, f'the map leads to "{target}", which is none of the classes', hint)
        elif whole.classes is None and spec.map.get(target, target) != target:
            yield Problem(path, f'the map leads to "{target}", which is mapped itself', "Map to the final class.")
    inherited = {target for source, target in whole.mapping.items() if source not in spec.map}
    for target in sorted(inherited - set(whole.classes) if whole.classes is not None else ()):
        message = f'what it extends maps to "{target}", which is none of the classes'
        yield Problem("classes", message, f'Add "{target}", or map it on.')


def _drop_problems(spec: TaxonomySpec) -> Iterator[Problem]:
    for index, name in enumerate(spec.drop):
        if name in (spec.classes or ()):
            yield Problem(f"drop.{index}", f'"{name}" is one of the classes and is dropped', "Keep one of the two.")


def _rest(spec: TaxonomySpec, whole: ResolvedTaxonomy) -> Iterator[Problem]:
    if isinstance(spec.unmapped, ToClass) and whole.classes is not None and spec.unmapped.to not in whole.classes:
        hint = did_you_mean(spec.unmapped.to, whole.classes, otherwise="Classes are")
        yield Problem("unmapped.to", f'"{spec.unmapped.to}" is none of the classes', hint)
    if whole.classes is None and not whole.mapping and whole.unmapped == ERROR:
        message = "no classes and no map, so every label would be an error"
        yield Problem("", message, "List the classes, or say unmapped: keep.")
    for name, color in spec.colors.items():
        if not _COLOR.fullmatch(color):
            yield Problem(
                f"colors.{name}", f'"{color}" is no colour', 'Write "#rrggbb" in quotes, for # starts a comment.'
            )
        elif whole.classes is not None and name not in whole.classes:
            hint = did_you_mean(name, whole.classes, otherwise="Classes are")
            yield Problem(f"colors.{name}", f'a colour for "{name}", which is none of the classes', hint)
