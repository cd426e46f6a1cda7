"""Which images a predictions node covers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from specrun.errors import NodeError
from specrun.kinds.predictions.spec import PredictionSpec, missing_splits
from specrun.kinds.where import holds
from specrun.model.labels import Sample
from specrun.model.work import Context, Made


@dataclass(frozen=True, slots=True)
class Choice:
    """chosen: without labels. others: keys of the rest of the dataset."""

    chosen: Sequence[Sample]
    others: Sequence[str]


def choose(spec: PredictionSpec, on: Made, ctx: Context) -> Choice:
    """Raises NodeError: none is chosen, or there is no such view."""
    splits = {spec.split} if isinstance(spec.split, str) else set(spec.split or ())
    chosen, others = [], []
    samples, in_view = _all_samples(spec, on, ctx)
    for sample in samples:
        wanted = not splits or sample.split in splits
        wanted = wanted and set(spec.tags) <= set(sample.tags) and holds(spec.where, sample.fields)
        if wanted and (in_view is None or str(sample.media) in in_view):
            chosen.append(replace(sample, labels=()))
        else:
            others.append(sample.key)
    if not chosen:
        raise _nothing_chosen(spec, on, Counter(sample.split for sample in samples))
    return Choice(chosen, others)


def _nothing_chosen(spec: PredictionSpec, on: Made, images: Mapping[str | None, int]) -> NodeError:
    asked = [name for name in ("split", "view", "where", "tags") if getattr(spec, name)]
    hint = f"Change {', '.join(f'`{name}`' for name in asked)}, or the dataset." if asked else None
    if missing := missing_splits(spec, {split: count for split, count in images.items() if split}):
        return NodeError(f"{on.address}: {missing}.", hint=hint)
    return NodeError(f"{on.address}: no image is chosen by {', '.join(asked) or 'it'}.", hint=hint)


def _all_samples(spec: PredictionSpec, on: Made, ctx: Context) -> tuple[list[Sample], set[str] | None]:
    if on.kind.startswith("datasets."):
        from specrun.clients.fiftyone import database  # loads pymongo

        name = str(on.facts["name"])
        with database(ctx) as db:
            in_view = None if spec.view is None else _paths_in(db.dataset(name), spec.view)
            return list(db.samples(name, None)), in_view
    from specrun.formats.samples import SAMPLES_NAME, load_samples  # loads numpy

    return list(load_samples(on.folder / SAMPLES_NAME, ctx.project_dir, with_labels=False)), None


def _paths_in(dataset: Any, view: str) -> set[str]:
    """Files of a saved view. dataset: fiftyone.Dataset."""
    if not dataset.has_saved_view(view):
        known = ", ".join(dataset.list_saved_views()) or "none"
        raise NodeError(f"view: {dataset.name} has no saved view named {view}.", hint=f"It has: {known}.")
    return set(dataset.load_saved_view(view).values("filepath"))
