"""The fields that a predictions node wrote before its `label_field` was changed: taken away if nobody touched them.

A field is the node's own while it holds just what the node wrote: its digest is the one that was remembered then, no
label in it bears a tag, and nobody evaluated it in FiftyOne by hand. Anything else is people's work, and stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from specrun.kinds.prediction_field import forget_field, written_before
from specrun.model.work import Context

_DIGESTS = "label_field_digests"
"""Key of the node's memory: `dataset/field` → digest of the field as the node left it."""
_OUR_RUNS = "eval_"
"""How the runs of evaluations begin in FiftyOne."""


def remember_digest(field: str, name: str, digest: str, ctx: Context) -> None:
    ctx.remember(_DIGESTS, {**_digests(ctx), f"{name}/{field}": digest})


def take_away_old_fields(field: str, name: str, db: Any, ctx: Context) -> tuple[str, ...]:
    """Notes. field: that is written now. name: of the dataset; in others nothing is touched, since only this one is
    held by the node."""
    digests = _digests(ctx)
    notes = []
    for place in sorted(written_before(ctx) - {f"{name}/{field}"}):
        dataset, _, old = place.rpartition("/")
        if dataset != name:
            continue
        layout = db.layout(name)
        if old not in layout.label_fields:
            forget_field(place, ctx)
            continue
        changed = list(_traces_of_people(old, digests.get(place), name, layout, db))
        if changed:
            notes.append(
                f"the label field {old}, which it wrote before, stays in FiftyOne: {' and '.join(changed)}; "
                "delete it there if it is not wanted"
            )
            continue
        db.delete_label_field(name, old)
        forget_field(place, ctx)
        notes.append(f"the label field {old}, which it wrote before and nobody changed, was removed from FiftyOne")
    return tuple(notes)


def _traces_of_people(old: str, digest: str | None, name: str, layout: Any, db: Any) -> Iterator[str]:
    """Why a field is not the node's own any more."""
    if old == layout.main_field:
        yield "people annotate in it now"
    if digest is None:
        yield "what was written last is not known"
    elif db.parts(name).get(f"field:{old}", "") != digest:
        yield "its labels were changed there"
    if db.has_label_tags(name, old):
        yield "labels in it bear tags"
    fields = set(layout.label_fields[old].values())
    if any(not key.startswith(_OUR_RUNS) and fields & set(used) for key, used in db.evaluated_fields(name).items()):
        yield "it was evaluated there"


def _digests(ctx: Context) -> dict[str, Any]:
    """What earlier versions wrote is known from the last output alone."""
    from specrun.store.manifest import read_manifest  # only where there is an output of last time

    recalled = ctx.recall(_DIGESTS)
    found: Mapping[str, Any] = recalled if isinstance(recalled, dict) else {}
    manifest = read_manifest(ctx.previous) if ctx.previous else None
    facts = manifest.facts if manifest is not None else {}
    if facts.get("dataset") and facts.get("field_digest"):
        return {f"{facts['dataset']}/{facts.get('label_field')}": str(facts["field_digest"]), **found}
    return dict(found)
