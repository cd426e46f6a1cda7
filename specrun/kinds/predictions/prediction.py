"""predictions. A model's answers on a dataset or a source: a label field with scores, and files.

    predictions.jsonl     one sample a line with its labels, as sources keep them
    manifest.jsonl        one line an image: key, name, digest, labels by class, files
    settings.json         what the labels depend on besides the image; equal means that they are used again
    masks/ overlays/ cutouts/ images/ coco.json labels/      as `outputs` asks

Segment models give masks, in the resolution of the image: they evaluate best, and polygons can be made of them.
Models of pixels give one mask a class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import ClassVar

import anyio.to_thread

from specrun.kinds.predictions.spec import OutputsSpec, PredictionSpec, missing_splits, problems
from specrun.model.artifact import Artifact, Outputs
from specrun.model.digest import Json
from specrun.model.node import Resources
from specrun.model.state import Observation
from specrun.model.work import Context, Look, Made
from specrun.spec.kind import Best, Kind, Lookup, Need, Problem, Ref

__all__ = ["OutputsSpec", "Prediction", "PredictionSpec"]

_PRESENT: dict[str, Json] = {"labels": "present"}


class Prediction(Kind):
    Spec = PredictionSpec
    version = 3
    worker = "process"
    resources: ClassVar[Resources] = Resources(gpus=1, cpus=2.0)
    packages = ("ultralytics", "segmentation-models-pytorch", "torch")

    def check(self, spec: PredictionSpec, lookup: Lookup) -> Sequence[Problem]:
        return list(problems(spec, lookup))

    def inputs(self, spec: PredictionSpec) -> Sequence[Need]:
        parts: tuple[str, ...] = ()
        if spec.on.startswith("datasets."):
            asks_more = spec.where or spec.tags or spec.view
            parts = ("media", "split", "tags", "fields") if asks_more else ("media", "split")
        needs = [Need("on", spec.on, parts)]
        if spec.skeleton is not None:
            needs.append(Need("skeleton", Ref("skeletons").address(spec.skeleton)))
        if spec.endpoint is not None:
            needs.append(Need("connection", Ref("connections").address(spec.endpoint.connection)))
        match spec.model:
            case str():
                return [Need("model", Ref("models").address(spec.model)), *needs]
            case Best():
                return [Need("model", spec.model.model_dump()), *needs]
            case _:
                return needs

    def needs(self, spec: PredictionSpec, lookup: Lookup) -> Sequence[Need]:
        """The order of keypoints is the dataset's, where no skeleton is named."""
        found = list(self.inputs(spec))
        own = getattr(lookup.spec(spec.on), "skeleton", None)
        if spec.skeleton is None and spec.endpoint is None and isinstance(own, str):
            found.append(Need("skeleton", Ref("skeletons").address(own)))
        return found

    async def observe(self, spec: PredictionSpec, look: Look) -> Observation:
        """Whether its labels are still in the dataset: people may delete the field in FiftyOne; and whether there are
        images of its split, in what was made last."""
        seen = await self._labels_left(look)
        facts = (look.facts(spec.on) if spec.split else None) or {}
        missing = missing_splits(spec, facts["splits"]) if isinstance(facts.get("splits"), dict) else None
        return replace(seen, notes=(f"{spec.on}, as it is now: {missing}",)) if missing else seen

    async def _labels_left(self, look: Look) -> Observation:
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
        # numpy, the client of the database and the model's library are loaded by it.
        from specrun.kinds.predictions.run import PredictionRun

        on = ctx.input("on")
        done = PredictionRun(spec, ctx).make()
        in_dataset = on.kind.startswith("datasets.")
        return Outputs(
            artifacts=_artifacts(spec, on),
            facts=done.facts,
            notes=done.notes,
            observation=dict(_PRESENT) if in_dataset else None,
        )


def _artifacts(spec: PredictionSpec, on: Made) -> tuple[Artifact, ...]:
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
