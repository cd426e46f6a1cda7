"""predictions. A model's answers on a dataset or a source: a label field with scores, and files.

    predictions.jsonl     one sample a line with its labels, as sources keep them
    manifest.jsonl        one line an image: key, name, digest, labels by class, files
    settings.json         what the labels depend on besides the image; equal means that they are used again
    masks/ overlays/ cutouts/ images/ coco.json labels/      as `outputs` asks

Segment models give masks, in the resolution of the image: they evaluate best, and polygons can be made of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import anyio.to_thread
from pydantic import Field

from specrun.errors import NodeError
from specrun.model.artifact import Artifact, Outputs
from specrun.model.digest import Json, file_digest, json_digest
from specrun.model.node import Resources
from specrun.model.state import Observation
from specrun.model.work import Context, Look, Made
from specrun.spec.kind import NOT_RESULT, Best, Kind, Need, NodeSpec, Ref, Strict

if TYPE_CHECKING:
    from specrun.model.labels import Sample

Split = Literal["train", "val", "test"]
_LABELS_VERSION = 1
_PRESENT: dict[str, Json] = {"labels": "present"}


class OutputsSpec(Strict):
    """Files to write beside predictions.jsonl. Masks, overlays and cutouts show what has a confidence of at
    least 0.25; coco and yolo hold everything above the threshold."""

    masks: bool = True
    """PNG, one an image: 0 background, else the number of the class counted from 1."""
    images: bool = False
    """Links to the images."""
    cutouts: bool = False
    """RGBA PNG, one an object."""
    overlays: bool = False
    """The image with what was found drawn over it."""
    coco: bool = True
    """One COCO file with scores."""
    yolo: bool = False
    """One label file an image."""


class PredictionSpec(NodeSpec):
    """A model run on images."""

    model: Annotated[str | Best, Ref("models")]
    """The model."""
    on: Annotated[str, Ref("datasets", "sources")]
    """The dataset or source whose images it sees."""
    split: Split | list[Split] | None = None
    """Only these images; null: all."""
    label_field: str | None = None
    """Where the labels go in the dataset; null: predictions_ and the name of this entry."""
    threshold: float = Field(default=0.25, ge=0, le=1)
    """Least confidence of a label. Average precision needs a low one, such as 0.01."""
    min_area: float = Field(default=0, ge=0)
    """Least area of a label in square pixels."""
    batch: int = Field(default=8, ge=1, json_schema_extra=NOT_RESULT)
    """Images at a time."""
    outputs: OutputsSpec = OutputsSpec()
    """Files to write."""


class Prediction(Kind):
    Spec = PredictionSpec
    worker = "process"
    resources: ClassVar[Resources] = Resources(gpus=1, cpus=2.0)
    packages = ("ultralytics", "torch")

    def inputs(self, spec: PredictionSpec) -> Sequence[Need]:
        model = Ref("models").address(spec.model) if isinstance(spec.model, str) else spec.model.model_dump()
        parts = ("media", "split") if spec.on.startswith("datasets.") else ()
        return [Need("model", model), Need("on", spec.on, parts)]

    async def observe(self, spec: PredictionSpec, look: Look) -> Observation:
        """Whether its labels are still in the dataset: people may delete the field in FiftyOne."""
        record = look.record
        if record is None or not record.facts.get("dataset") or not record.facts.get("labels"):
            return Observation(value=record.observation if record else None)
        # With pymongo, where the database must be asked.
        from specrun.clients.fiftyone.observe import observe_dataset
        from specrun.clients.fiftyone.snapshots import Snapshots

        name, field = str(record.facts["dataset"]), str(record.facts["label_field"])
        ask = partial(observe_dataset, look.settings, look.state_dir, look.project_dir, name, {})
        seen = await anyio.to_thread.run_sync(ask)
        digest = seen.parts.get(f"field:{field}", "")
        if digest == record.facts.get("field_digest"):
            return Observation(value=_PRESENT)
        left = Snapshots(look.state_dir / "fiftyone", name).values(digest) or {}
        if any(left.values()):  # edited by people: theirs to do, and nothing to predict again
            return Observation(value=_PRESENT)
        return Observation(value={"labels": "gone"}, differences=(f"the label field {field} is gone from FiftyOne",))

    def resume_key(self, spec: PredictionSpec) -> Json:
        """What was predicted before a kill is used again as far as settings.json agrees."""
        return {"on": spec.on}

    def exclusive(self, spec: PredictionSpec) -> Sequence[str]:
        return [f"fiftyone:{spec.on}"] if spec.on.startswith("datasets.") else []

    def run(self, spec: PredictionSpec, ctx: Context) -> Outputs:
        # numpy, the client of the database and the model's library are loaded by these.
        from specrun.kinds.prediction_files import PredictionFiles
        from specrun.kinds.prediction_memory import PredictionMemory

        on, model = ctx.input("on"), ctx.input("model")
        chosen, others = _samples(spec, on, ctx)
        if not chosen:
            raise NodeError(f"{on.address}: no image is in {spec.split}.", hint="Change `split`, or the dataset's own.")
        memory = PredictionMemory(ctx.staging, ctx.previous, ctx.project_dir, _settings_key(spec, model))
        waiting = [sample for sample in chosen if not memory.knows(sample)]
        ctx.log(f"{len(waiting)} images to predict, {len(chosen) - len(waiting)} known from before")
        _predict(spec, model, waiting, memory, ctx)
        classes = tuple(str(name) for name in model.facts["classes"])
        files = PredictionFiles(ctx, spec.outputs, classes, str(model.facts["task"]))
        counts = files.write(chosen, memory)
        field = spec.label_field or _default_field(ctx)
        digest = ""
        if on.kind.startswith("datasets."):
            digest = _write_labels(on, field, chosen, others, memory, ctx)
        memory.forget()
        facts: dict[str, Json] = {
            "images": len(chosen),
            "predicted": len(waiting),
            "labels": dict(sorted(counts.items())),
            "classes": list(classes),
            "label_field": field,
            "threshold": spec.threshold,
            "task": model.facts["task"],
        }
        if not on.kind.startswith("datasets."):
            return Outputs(artifacts=_artifacts(spec, on, field), facts=facts, notes=files.notes())
        facts |= {"dataset": on.facts["name"], "field_digest": digest}
        return Outputs(
            artifacts=_artifacts(spec, on, field), facts=facts, notes=files.notes(), observation=dict(_PRESENT)
        )


def _samples(spec: PredictionSpec, on: Made, ctx: Context) -> tuple[list[Sample], list[str]]:
    """Those to predict, without labels, and the keys of the others in the dataset."""
    from dataclasses import replace

    wanted = {spec.split} if isinstance(spec.split, str) else set(spec.split or ())
    chosen, others = [], []
    for sample in _all_samples(on, ctx):
        if wanted and sample.split not in wanted:
            others.append(sample.key)
        else:
            chosen.append(replace(sample, labels=()))
    return chosen, others


def _all_samples(on: Made, ctx: Context) -> list[Sample]:
    if on.kind.startswith("datasets."):
        from specrun.clients.fiftyone import database  # loads pymongo

        with database(ctx) as db:
            return list(db.samples(str(on.facts["name"]), None))
    from specrun.formats.samples import SAMPLES_NAME, load_samples  # loads numpy

    return list(load_samples(on.folder / SAMPLES_NAME, ctx.project_dir))


def _settings_key(spec: PredictionSpec, model: Made) -> str:
    """Digest of what labels depend on besides the image."""
    weights = file_digest(model.artifact("best"))
    described = [model.facts.get("imgsz"), list(model.facts["classes"])]
    return json_digest([_LABELS_VERSION, weights, described, spec.threshold, spec.min_area])


def _predict(spec: PredictionSpec, model: Made, samples: Sequence[Sample], memory: Any, ctx: Context) -> None:
    if not samples:
        return
    from specrun.kinds.prediction_images import read_for_model
    from specrun.training.predictor import PredictionSettings, open_predictor

    settings = PredictionSettings(
        threshold=spec.threshold, min_area=spec.min_area, batch=spec.batch, device="0" if ctx.gpus else "cpu"
    )
    ctx.progress(0, len(samples), "images", "loading the model")
    predictor = open_predictor(model, settings, read_for_model, ctx)
    with memory.recording() as record:
        for done, (sample, labels) in enumerate(predictor.predict(samples), start=1):
            record(sample, labels)
            ctx.progress(done, len(samples), "images", "predicting")
            ctx.check_stop()


def _write_labels(
    on: Made, field: str, chosen: Sequence[Sample], others: Sequence[str], memory: Any, ctx: Context
) -> str:
    """Into the dataset; images that this node covered last time and no longer does lose their labels.

    Returns the digest of the field. Reading the parts now spares the next plan from reading them.
    """
    from specrun.clients.fiftyone import database  # loads pymongo

    ctx.progress(0, None, "images", "writing labels into FiftyOne")
    given_up = sorted(memory.covered_before() & set(others))
    with database(ctx) as db:
        name = str(on.facts["name"])
        db.write_labels(name, field, ((sample.key, memory.labels(sample)) for sample in chosen))
        if given_up:
            db.write_labels(name, field, ((key, ()) for key in given_up))
        return db.parts(name).get(f"field:{field}", "")


def _default_field(ctx: Context) -> str:
    """Letters, digits and underscores: FiftyOne takes it as a Python name."""
    words = [ctx.address.name, *(f"{key}_{value}" for key, value in ctx.address.instance)]
    return "predictions_" + "_".join("".join(c if c.isalnum() else "_" for c in word) for word in words)


def _artifacts(spec: PredictionSpec, on: Made, field: str) -> tuple[Artifact, ...]:
    found = [Artifact("predictions", "file", "predictions.jsonl"), Artifact("manifest", "file", "manifest.jsonl")]
    found += [
        Artifact(name, "folder", name)
        for name in ("masks", "images", "cutouts", "overlays")
        if getattr(spec.outputs, name)
    ]
    if spec.outputs.coco:
        found.append(Artifact("coco", "file", "coco.json"))
    if spec.outputs.yolo:
        found.append(Artifact("yolo", "folder", "labels"))
    if on.kind.startswith("datasets."):
        found.append(Artifact("dataset", "dataset", f"fiftyone:{on.facts['name']}"))
    return tuple(found)
