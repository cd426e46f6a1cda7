"""The ground truth of an evaluation, and what was predicted."""

from __future__ import annotations

from specrun.model.labels import Sample
from specrun.model.work import Context, Made


def load_truth(truth: Made, field: str | None, ctx: Context) -> dict[str, Sample]:
    """By sample key; images that nobody has annotated are left out."""
    if truth.kind.startswith("datasets."):
        from specrun.clients.fiftyone import database  # loads pymongo

        label_field = field or str(truth.facts.get("label_field") or "ground_truth")
        with database(ctx) as db:
            samples = list(db.samples(str(truth.facts["name"]), label_field))
    else:
        from specrun.formats.samples import SAMPLES_NAME, load_samples

        samples = list(load_samples(truth.folder / SAMPLES_NAME, ctx.project_dir))
    return {sample.key: sample for sample in samples if sample.annotated}


def load_predicted(predictions: Made, ctx: Context) -> list[Sample]:
    from specrun.formats.samples import load_samples
    from specrun.kinds.predictions.memory import PREDICTIONS_NAME

    return list(load_samples(predictions.folder / PREDICTIONS_NAME, ctx.project_dir))
