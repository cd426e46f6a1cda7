"""The fields that a predictions node wrote before its `label_field` was changed: taken away if nobody touched them.

A field is the node's own while the dataset says that it wrote it last, every sample holds just what it wrote there, no
label in it bears a tag, and nobody evaluated it in FiftyOne by hand. Anything else is people's work, and stays.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from specrun.kinds.predictions.field import forget_field, written_before
from specrun.model.work import Context

_OUR_RUNS = "eval_"
"""How the runs of evaluations begin in FiftyOne."""


def is_as_last_made(field: str, name: str, db: Any, ctx: Context) -> bool:
    """Whether labels that bear no note of who wrote them are the node's: an earlier version noted nothing in samples,
    only the digest of the whole field in its output."""
    from specrun.clients.fiftyone.label_writer import is_marked  # loads numpy

    return not is_marked(db, name, field) and _is_last_output(field, name, db, ctx)


def _is_last_output(field: str, name: str, db: Any, ctx: Context) -> bool:
    from specrun.store.manifest import read_manifest  # only where there is an output of last time

    manifest = read_manifest(ctx.previous) if ctx.previous else None
    facts = manifest.facts if manifest is not None else {}
    if (facts.get("dataset"), facts.get("label_field")) != (name, field):
        return False
    return bool(db.parts(name).get(f"field:{field}", "") == facts.get("field_digest"))


def take_away_old_fields(field: str, name: str, db: Any, ctx: Context) -> tuple[str, ...]:
    """Notes. field: that is written now. name: of the dataset; in others nothing is touched, since only this one is
    held by the node."""
    notes = []
    for place in sorted(written_before(ctx) - {f"{name}/{field}"}):
        dataset, _, old = place.rpartition("/")
        if dataset != name:
            continue
        layout = db.layout(name)
        if old not in layout.label_fields or layout.writer(old) not in (None, str(ctx.address)):
            forget_field(place, ctx)
            continue
        changed = list(_traces_of_people(old, name, layout, db, ctx))
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


def _traces_of_people(old: str, name: str, layout: Any, db: Any, ctx: Context) -> Iterator[str]:
    """Why a field is not the node's own any more."""
    from specrun.clients.fiftyone.label_writer import mended_samples  # loads numpy

    if old == layout.main_field:
        yield "people annotate in it now"
    if layout.writer(old) is None and not _is_last_output(old, name, db, ctx):
        yield "it does not say which node wrote it last"
    mended = mended_samples(db, name, old, ours=is_as_last_made(old, name, db, ctx))
    if mended:
        yield f"labels of {len(mended)} {'image' if len(mended) == 1 else 'images'} were changed or tagged there"
    fields = set(layout.label_fields[old].values())
    if any(not key.startswith(_OUR_RUNS) and fields & set(used) for key, used in db.evaluated_fields(name).items()):
        yield "it was evaluated there"
