"""The label field that predictions write: its name, what of it is a mistake, and whose labels lie in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from specrun.errors import NodeError
from specrun.model.address import Address, parse_address
from specrun.model.work import Context, Made
from specrun.spec.kind import Lookup, Problem

if TYPE_CHECKING:
    from specrun.kinds.predictions.spec import PredictionSpec

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,127}")
_TAKEN = frozenset(
    {"id", "filepath", "tags", "metadata", "created_at", "last_modified_at", "annotated", "specrun", "sample_id"}
    | {"frames", "group", "support", "media_type", "dataset_id", "caption", "caption_by", "split"}
)
_WRITTEN = "label_fields"
"""Key of the node's memory: `dataset/field` of every field that it wrote."""
_OTHER = "Choose another label_field, for example predictions_…."


def field_name(written: str | None, address: Address) -> str:
    """Letters, digits and underscores: FiftyOne takes it as a Python name."""
    if written is not None:
        return written
    words = [address.name, *(f"{key}_{value}" for key, value in address.instance)]
    return "predictions_" + "_".join("".join(c if c.isalnum() else "_" for c in word) for word in words)


def field_problems(spec: PredictionSpec, lookup: Lookup) -> Iterator[Problem]:
    written = spec.label_field
    if written is not None and not _NAME.fullmatch(written):
        yield Problem("label_field", f'"{written}" is no name of a field', "Letters, digits and _, a letter first.")
    elif written in _TAKEN:
        yield Problem("label_field", f"{written} is a field that every sample has", _OTHER)
    elif spec.on.startswith("datasets."):
        yield from _collisions(spec, lookup)


def _collisions(spec: PredictionSpec, lookup: Lookup) -> Iterator[Problem]:
    own = next((text for text in lookup.addresses("predictions") if lookup.spec(text) is spec), None)
    field = spec.label_field if own is None else field_name(spec.label_field, parse_address(own))
    if field is None:
        return
    place = dataset_of(spec.on, lookup)
    for text in dict.fromkeys((spec.on, *lookup.addresses("datasets"))):
        if dataset_of(text, lookup) == place and getattr(lookup.spec(text), "label_field", None) == field:
            yield Problem("label_field", f"{field} holds the labels of {text}, which people annotate", _OTHER)
            return
    for text in lookup.addresses("predictions"):
        other: Any = lookup.spec(text)
        if text == own or other is None or own is None or dataset_of(other.on, lookup) != place:
            continue
        if field_name(other.label_field, parse_address(text)) == field:
            yield Problem("label_field", f"{text} writes {field} of this dataset too", "Give each a field of its own.")
            return


def dataset_of(address: str, lookup: Lookup) -> str:
    """What tells FiftyOne's datasets apart: the name that is written, else the entry's address."""
    name = getattr(lookup.spec(address), "name", None)
    return f"name:{name}" if name else address


def refuse_foreign_field(field: str, on: Made, db: Any, ctx: Context) -> None:
    """Raises NodeError: the field is the dataset's own, or holds what this node never wrote."""
    name = str(on.facts["name"])
    layout = db.layout(name)
    if field in (on.facts.get("label_field"), layout.main_field):
        raise NodeError(f"label_field: {field} holds the labels of {name}, which people annotate.", hint=_OTHER)
    writer = layout.writer(field)
    if f"{name}/{field}" in written_before(ctx) and writer in (None, str(ctx.address)):
        return
    known = field in layout.label_fields
    foreign = bool(db.label_counts(name, field)) if known else field in layout.schema
    if foreign:
        whose = f"{writer} wrote" if writer else f"{ctx.address} did not write"
        raise NodeError(
            f"label_field: {name} has a field {field} that {whose}.",
            hint="Choose another label_field, or delete or rename that field in FiftyOne.",
        )


def remember_field(field: str, name: str, db: Any, ctx: Context) -> None:
    """Before the first label is written, so that what a kill left is known as ours.

    The dataset says it too: a node's memory knows nothing of another that takes the name over later.
    """
    db.sign_label_field(name, field, str(ctx.address))
    ctx.remember(_WRITTEN, [*sorted(written_before(ctx) | {f"{name}/{field}"})])


def forget_field(place: str, ctx: Context) -> None:
    """place: `dataset/field`; from then on it is as good as anybody's."""
    ctx.remember(_WRITTEN, [*sorted(written_before(ctx) - {place})])


def written_before(ctx: Context) -> set[str]:
    """`dataset/field` of every field that the node wrote."""
    from specrun.store.manifest import read_manifest  # what earlier versions remember is only there

    recalled = ctx.recall(_WRITTEN)
    found = {str(one) for one in recalled} if isinstance(recalled, list) else set()
    manifest = read_manifest(ctx.previous) if ctx.previous else None
    if manifest is not None and manifest.facts.get("dataset"):
        found.add(f"{manifest.facts['dataset']}/{manifest.facts.get('label_field')}")
    return found
