"""evaluations. Predictions held against what people drew, on just the images that the predictions cover.

    evaluation.json     all numbers, by predictions node
    report.html         the same to look at: table, precision-recall curves, confusion matrix, worst images

In the dataset, every label gets `eval_<name>` = tp, fp or fn, to filter by in the App.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from specrun.model.artifact import Artifact, Outputs
from specrun.model.digest import Json
from specrun.model.node import Resources
from specrun.model.work import Context, Made
from specrun.spec.kind import Kind, Lookup, Need, NodeSpec, Problem, Ref

if TYPE_CHECKING:
    from specrun.kinds.evaluation_scores import Evaluated

MetricName = Literal["box_map", "mask_map", "miou", "confusion"]


class EvaluationSpec(NodeSpec):
    """How good predictions are."""

    predictions: Annotated[list[str], Ref("predictions")] = Field(min_length=1)
    """What is evaluated; several must be of the same dataset."""
    ground_truth: str | None = None
    """The label field that is right; null: the dataset's own."""
    metrics: list[MetricName] = Field(default=["mask_map", "confusion"], min_length=1)
    """box_map and mask_map: average precision of boxes or masks (mAP50, mAP50-95). miou: overlap per pixel and
    class. confusion: which class was taken for which."""
    per_class: bool = True
    """Numbers for each class too."""


class Evaluation(Kind):
    Spec = EvaluationSpec
    worker = "fiftyone"
    resources: ClassVar[Resources] = Resources(cpus=1.0)
    packages = ("fiftyone",)

    def check(self, spec: EvaluationSpec, lookup: Lookup) -> Sequence[Problem]:
        places = {name: _on(name, lookup) for name in spec.predictions}
        if len({place for place in places.values() if place}) > 1:
            listed = ", ".join(f"{name} on {place}" for name, place in places.items())
            message = f"Predictions that are evaluated together must be of one dataset ({listed})."
            return [Problem("predictions", message, "Make an evaluation for each.")]
        return ()

    def inputs(self, spec: EvaluationSpec) -> Sequence[Need]:
        return [Need("predictions", Ref("predictions").address(name)) for name in spec.predictions]

    def needs(self, spec: EvaluationSpec, lookup: Lookup) -> Sequence[Need]:
        """The truth lies where the predictions were made."""
        place = next((found for name in spec.predictions if (found := _on(name, lookup))), None)
        if place is None:
            return self.inputs(spec)
        if not place.startswith("datasets."):
            return [*self.inputs(spec), Need("truth", place)]
        field = spec.ground_truth or getattr(lookup.spec(place), "label_field", None) or "ground_truth"
        return [*self.inputs(spec), Need("truth", place, ("media", "split", "classes", f"field:{field}"))]

    def run(self, spec: EvaluationSpec, ctx: Context) -> Outputs:
        # numpy and the client of the database come with these.
        from specrun.kinds.evaluation_report import save_json, save_report
        from specrun.kinds.evaluation_scores import evaluate
        from specrun.kinds.evaluation_truth import load_truth

        made = ctx.inputs("predictions")
        truth = load_truth(ctx.input("truth"), spec.ground_truth, ctx)
        found = [evaluate(predictions, truth, spec.metrics, ctx) for predictions in made]
        save_json(ctx.staging / "evaluation.json", found)
        save_report(ctx.staging / "report.html", str(ctx.address), found)
        if ctx.input("truth").kind.startswith("datasets."):
            _mark(spec, made, found, ctx)
        facts = _facts(found, per_class=spec.per_class)
        notes = tuple(dict.fromkeys(note for evaluated in found for note in evaluated.notes))
        artifacts = (Artifact("evaluation", "file", "evaluation.json"), Artifact("report", "report", "report.html"))
        return Outputs(artifacts=artifacts, facts=facts, notes=notes)


def _on(name: str, lookup: Lookup) -> str | None:
    predictions: Any = lookup.spec(Ref("predictions").address(name))
    written = getattr(predictions, "on", None)
    return Ref("datasets", "sources").address(written) if isinstance(written, str) else None


def _mark(spec: EvaluationSpec, made: Sequence[Made], found: Sequence[Evaluated], ctx: Context) -> None:
    from specrun.kinds.evaluation_marks import Marks, mark_labels  # FiftyOne comes with it

    truth = ctx.input("truth")
    field = spec.ground_truth or str(truth.facts.get("label_field") or "ground_truth")
    for predictions, evaluated in zip(made, found, strict=True):
        words = [ctx.address.name, *(value for _, value in ctx.address.instance)]
        words += [evaluated.name] if len(made) > 1 else []
        key = "eval_" + "_".join("".join(c if c.isalnum() else "_" for c in word) for word in words)
        marks = Marks(key, field, str(predictions.facts["label_field"]))
        mark_labels(str(truth.facts["name"]), marks, evaluated, ctx)


def _facts(found: Sequence[Evaluated], *, per_class: bool) -> dict[str, Json]:
    """The numbers themselves for one predictions node, else by its name."""
    facts = {evaluated.name: evaluated.facts(per_class=per_class) for evaluated in found}
    return dict(next(iter(facts.values()))) if len(facts) == 1 else dict(facts)
