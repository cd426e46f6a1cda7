"""The labels that a spec wants, out of taxonomies, skeletons or a list."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from specrun.errors import NodeError
from specrun.kinds.cvat_send.labels import WantedAttribute, WantedLabel
from specrun.kinds.cvat_send.spec import AttributeSpec, LabelSpec, LabelsSpec
from specrun.model.taxonomy import ResolvedTaxonomy

NOT_IN_DRAWINGS = set('"<>&')
"""Of point names: CVAT finds a point in the drawing of its skeleton by the text of its name."""


def wanted_labels(
    labels: str | LabelsSpec | list[LabelSpec], declarations: Mapping[str, Any], found: Iterable[str] = ()
) -> list[WantedLabel] | None:
    """None: those that the project has. declarations: address → resolved JSON. found: classes of the images' labels,
    for taxonomies that list none.

    Raises NodeError: a taxonomy without any class.
    """
    if isinstance(labels, str):
        return None
    if isinstance(labels, list):
        return [_listed(label, declarations) for label in labels]
    names = [labels.from_] if isinstance(labels.from_, str) else labels.from_
    wanted = [label for name in names for label in _declared(name, labels, declarations, list(found))]
    return list({label.name: label for label in wanted}.values())


def _listed(label: LabelSpec, declarations: Mapping[str, Any]) -> WantedLabel:
    attributes = tuple(map(wanted_attribute, label.attributes))
    if label.skeleton is None:
        return WantedLabel(label.name, label.type, label.color, attributes)
    address = label.skeleton if "." in label.skeleton else f"skeletons.{label.skeleton}"
    return _skeleton(declarations[address], label.name, label.color, attributes)


def _declared(
    name: str, labels: LabelsSpec, declarations: Mapping[str, Any], found: list[str]
) -> Iterator[WantedLabel]:
    attributes = tuple(map(wanted_attribute, labels.attributes))
    declared = declarations[name]
    if name.startswith("skeletons."):
        yield _skeleton(declared, declared["label"], None, attributes)
        return
    taxonomy = ResolvedTaxonomy.from_json(declared)
    mapped = {mapped for label in found if (mapped := _mapped(taxonomy, label)) is not None}
    classes = taxonomy.order(mapped if taxonomy.classes is None else set()) or sorted(taxonomy.known)
    if not classes:
        raise NodeError(f"{name} names no classes, so CVAT would have no labels.", hint="List its classes.")
    for one in classes:
        yield WantedLabel(one, labels.type, taxonomy.colors.get(one), attributes)


def _mapped(taxonomy: ResolvedTaxonomy, label: str) -> str | None:
    """A class that a dataset reports went through the taxonomy already, so that one it does not know is dropped."""
    try:
        return taxonomy.apply(label)
    except NodeError:
        return None


def _skeleton(
    declared: Mapping[str, Any], name: str, color: str | None, attributes: tuple[WantedAttribute, ...]
) -> WantedLabel:
    return WantedLabel(
        name=name,
        type="skeleton",
        color=color,
        attributes=attributes,
        points=tuple(declared["points"]),
        edges=tuple((a, b) for a, b in declared["edges"]),
        template={point: (x, y) for point, (x, y) in declared["template"].items()},
    )


def wanted_attribute(spec: AttributeSpec) -> WantedAttribute:
    """CVAT wants a default: the first choice, false, or the least number."""
    values = tuple(spec.values)
    if spec.input_type == "checkbox":
        values = values or ("false",)
    default = spec.default_value
    if not default and spec.input_type != "text":
        default = values[0] if values else ""
    return WantedAttribute(spec.name, spec.input_type, values, default, spec.mutable)
