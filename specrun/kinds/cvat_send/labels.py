"""Labels of a CVAT project: those that the spec wants, those that are there, and what is to be asked of the server.

Labels are added, recoloured, given attributes and renamed where the spec says so. None is ever removed, since CVAT
removes its shapes with it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from specrun.clients.cvat.things import AttributeDef, LabelDef
from specrun.errors import NodeError
from specrun.spec.suggest import did_you_mean

_SVG_MARGIN, _SVG_SPAN = 10.0, 80.0
ANY = "any"


@dataclass(frozen=True)
class WantedAttribute:
    """As CVAT's API takes it."""

    name: str
    input_type: str = "text"
    values: tuple[str, ...] = ()
    default_value: str = ""
    mutable: bool = False

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "mutable": self.mutable,
            "input_type": self.input_type,
            "default_value": self.default_value,
            "values": list(self.values),
        }


@dataclass(frozen=True)
class WantedLabel:
    """points, edges, template: of a skeleton; template is point → (x, y) in [0, 1]."""

    name: str
    type: str = ANY
    color: str | None = None
    attributes: tuple[WantedAttribute, ...] = ()
    points: tuple[str, ...] = ()
    edges: tuple[tuple[str, str], ...] = ()
    template: Mapping[str, tuple[float, float]] | None = None

    def to_json(self) -> dict[str, Any]:
        data: dict[str, Any] = {
            "name": self.name,
            "type": self.type,
            "attributes": [attribute.to_json() for attribute in self.attributes],
        }
        if self.color:
            data["color"] = self.color
        if self.type == "skeleton":
            data["sublabels"] = [{"name": point, "type": "points", "attributes": []} for point in self.points]
            data["svg"] = skeleton_svg(self.points, self.edges, self.template or {})
        return data


@dataclass(frozen=True)
class LabelPlan:
    """patches: the entries of `labels` in one PATCH. The rest are names, for people."""

    patches: tuple[dict[str, Any], ...] = ()
    added: tuple[str, ...] = ()
    renamed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()

    def sentences(self) -> list[str]:
        words = (("added", self.added), ("renamed", self.renamed), ("changed", self.changed))
        return [f"labels {word}: {', '.join(names)}" for word, names in words if names]


def skeleton_svg(
    points: Sequence[str], edges: Sequence[tuple[str, str]], template: Mapping[str, tuple[float, float]]
) -> str:
    """The drawing from which CVAT takes a skeleton's points and edges, on a field of 100 by 100."""
    places = {name: _place(template.get(name, (0.5, 0.5))) for name in points}
    numbers = {name: number for number, name in enumerate(points, start=1)}
    lines = [
        f'<line x1="{places[a][0]}" y1="{places[a][1]}" x2="{places[b][0]}" y2="{places[b][1]}" stroke="black" '
        f'data-type="edge" data-node-from="{numbers[a]}" data-node-to="{numbers[b]}" stroke-width="0.5"></line>'
        for a, b in edges
    ]
    circles = [
        f'<circle r="1.5" stroke="black" fill="#b3b3b3" cx="{places[name][0]}" cy="{places[name][1]}" '
        f'stroke-width="0.1" data-type="element node" data-element-id="{number}" data-node-id="{number}" '
        f'data-label-name="{name}"></circle>'
        for name, number in numbers.items()
    ]
    return "".join([*lines, *circles])


def _place(at: tuple[float, float]) -> tuple[str, str]:
    x, y = (f"{_SVG_MARGIN + _SVG_SPAN * value:.4f}".rstrip("0").rstrip(".") for value in at)
    return x, y


def plan_labels(
    there: Sequence[LabelDef], wanted: Sequence[WantedLabel], rename: Mapping[str, str], where: str
) -> LabelPlan:
    """What has to be asked so that `there` holds `wanted`. rename: name there → new name.

    Raises NodeError with every label that cannot be brought in line: another type, another skeleton.
    """
    by_name = {label.name: label for label in there}
    moves = _moves(by_name, rename)
    current = {moves.get(name, name): label for name, label in by_name.items()}
    found = {label.name: current[label.name] for label in wanted if label.name in current}
    problems = [line for label in wanted if label.name in found for line in _mismatches(found[label.name], label)]
    problems += _clashes(by_name, rename)
    if problems:
        hint = "Labels are never changed in type; use another name, another project, or the type that is there."
        raise NodeError(f"{where}: " + "; ".join(problems) + ".", hint=hint)
    changes = {label.name: _change(found[label.name], label) for label in wanted if label.name in found}
    patches = [{"id": label.id, "name": name, **changes.get(name, {})} for name, label in current.items()]
    needed = [p for p in patches if len(p) > 2 or p["name"] not in by_name or by_name[p["name"]].id != p["id"]]
    added = [label for label in wanted if label.name not in current]
    return LabelPlan(
        patches=(*needed, *(label.to_json() for label in added)),
        added=tuple(label.name for label in added),
        renamed=tuple(f"{old} to {new}" for old, new in moves.items()),
        changed=tuple(name for name, change in changes.items() if change),
    )


@dataclass(frozen=True)
class LabelFate:
    """What people did with labels that were made before. renamed: id → (the spec's name, people's)."""

    renamed: Mapping[int, tuple[str, str]]
    deleted: tuple[str, ...]

    def ours(self, label: LabelDef) -> LabelDef:
        """Under the spec's name."""
        return replace(label, name=self.renamed[label.id][0]) if label.id in self.renamed else label

    def theirs(self, plan: LabelPlan) -> LabelPlan:
        """Under people's names: what they renamed stays renamed."""
        patches = [
            {**patch, "name": self.renamed[patch["id"]][1]} if patch.get("id") in self.renamed else patch
            for patch in plan.patches
        ]
        return replace(plan, patches=tuple(patches))

    def sentences(self) -> list[str]:
        lines = [f'people renamed the label "{name}" to "{now}": it stays so' for name, now in self.renamed.values()]
        return lines + [f'people deleted the label "{name}": it is not made again' for name in self.deleted]


def fate_of(
    there: Sequence[LabelDef], wanted: Sequence[WantedLabel], ids: Mapping[str, int], rename: Mapping[str, str]
) -> LabelFate:
    """ids: of labels as they were last time. rename: name there → new name, which is no people's doing."""
    by_id = {label.id: label for label in there}
    names = {label.name for label in there}
    ours = {label.name for label in wanted}
    renamed: dict[int, tuple[str, str]] = {}
    deleted: list[str] = []
    for label in wanted:
        if label.name in names or label.name not in ids or label.name in rename.values():
            continue
        now = by_id.get(ids[label.name])
        if now is None:
            deleted.append(label.name)
        elif now.name not in ours:
            renamed[now.id] = (label.name, now.name)
    return LabelFate(renamed, tuple(deleted))


def missing_labels(there: Sequence[LabelDef], wanted: Sequence[str], known: Collection[str] = ()) -> list[str]:
    """known: labels that were there once: people renamed or deleted them."""
    names = {label.name for label in there}
    return [name for name in wanted if name not in names and name not in known]


def _moves(by_name: Mapping[str, LabelDef], rename: Mapping[str, str]) -> dict[str, str]:
    """Those still to do: the old name is there and the new one is not."""
    return {old: new for old, new in rename.items() if old in by_name and new not in by_name}


def _clashes(by_name: Mapping[str, LabelDef], rename: Mapping[str, str]) -> Iterator[str]:
    for old, new in rename.items():
        if old in by_name and new in by_name:
            yield f'"{old}" cannot be renamed, since there is a label "{new}" already'


def _mismatches(there: LabelDef, wanted: WantedLabel) -> Iterator[str]:
    if there.type != wanted.type and there.type != ANY:
        yield f'the label "{there.name}" is there with type {there.type} and is wanted as {wanted.type}'
    elif wanted.type == "skeleton" and there.type != "skeleton":
        yield f'the label "{there.name}" is there with type {there.type} and is wanted as a skeleton'
    elif wanted.type == "skeleton":
        points = {point.name for point in there.sublabels}
        lacking = [name for name in wanted.points if name not in points]
        beyond = sorted(points - set(wanted.points))
        if lacking or beyond:
            what = [f"lacks {', '.join(lacking)}"] if lacking else []
            what += [f"has {', '.join(beyond)} besides"] if beyond else []
            yield f'the skeleton "{there.name}" {" and ".join(what)}'
    own = {attribute.name: attribute for attribute in there.attributes}
    for attribute in wanted.attributes:
        known = own.get(attribute.name)
        if known is not None and known.input_type != attribute.input_type:
            yield (
                f'the attribute "{attribute.name}" of "{there.name}" is there as {known.input_type} '
                f"and is wanted as {attribute.input_type}"
            )


def _change(there: LabelDef, wanted: WantedLabel) -> dict[str, Any]:
    change: dict[str, Any] = {}
    if wanted.color and wanted.color.lower() != there.color.lower():
        change["color"] = wanted.color
    own = {attribute.name: attribute for attribute in there.attributes}
    attributes = [
        patch for attribute in wanted.attributes if (patch := _attribute_change(own.get(attribute.name), attribute))
    ]
    if attributes:
        change["attributes"] = attributes
    return change


def _attribute_change(there: AttributeDef | None, wanted: WantedAttribute) -> dict[str, Any] | None:
    """A new attribute, or more choices for one that is there."""
    if there is None:
        return wanted.to_json()
    more = [value for value in wanted.values if value not in there.values]
    if wanted.input_type not in ("select", "radio") or not more:
        return None
    values = [*there.values, *more]
    return {
        "id": there.id,
        "name": there.name,
        "input_type": there.input_type,
        "mutable": there.mutable,
        "default_value": there.default_value,
        "values": values,
    }


def unknown_label(name: str, there: Sequence[LabelDef], where: str) -> str:
    hint = did_you_mean(name, [label.name for label in there], otherwise="Labels are")
    return f'{where}: "{name}" is no label of the CVAT project. {hint}'
