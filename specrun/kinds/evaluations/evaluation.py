"""evaluations. Predictions held against what people drew, on just the images that the predictions cover.

    evaluation.json     all numbers, by predictions node
    report.html         the same to look at: tables, precision-recall curves, confusion matrix, worst images

In the dataset, every label gets `eval_<name>` = tp, fp or fn, to filter by in the App.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import anyio.to_thread
from pydantic import Field

from specrun.kinds.evaluations.field import field_writers, missing_field, truth_problems
from specrun.kinds.evaluations.metrics import FITTING_METRICS, other_metrics
from specrun.model.artifact import Artifact, Outputs
from specrun.model.digest import Json
from specrun.model.node import Resources
from specrun.model.state import Observation
from specrun.model.taxonomy import ResolvedTaxonomy
from specrun.model.work import Context, Look, Made
from specrun.spec.kind import Kind, Lookup, Need, NodeSpec, Problem, Ref
from specrun.training.ultralytics.weights import task_by_name

if TYPE_CHECKING:
    from specrun.kinds.evaluations.scores import Evaluated, Wishes

MetricName = Literal["box_map", "mask_map", "oks", "pck", "miou", "accuracy", "confusion"]


class EvaluationSpec(NodeSpec):
    """How good predictions are."""

    predictions: Annotated[list[str], Ref("predictions")] = []
    """What is evaluated; several must be of the same dataset."""
    compare: Annotated[list[str], Ref("predictions", "evaluations", bare=True)] = []
    """Instead of `predictions`: two or more, side by side on the same images, with the difference to the first and
    how sure it is. A bare name is one of `predictions`; `evaluations.x` stands for what x evaluates."""
    images: Literal["same", "common"] = "same"
    """With `compare`: the predictions must be of the same images, or only the common ones count."""
    bootstrap: int = Field(default=1000, ge=10, le=100_000)
    """With `compare`: how often the images are drawn anew for the interval, by the project's seed."""
    ground_truth: str | None = None
    """The label field that is right: the dataset's, of other predictions, or one that people added in FiftyOne; null:
    the dataset's own."""
    taxonomy: Annotated[str | None, Ref("taxonomies")] = None
    """The classes of truth and predictions are led through it first, so that a model that knows others can be
    evaluated."""
    skeleton: Annotated[str | None, Ref("skeletons")] = None
    """Points, their order and sigmas, for keypoints; null: as the labels name them."""
    sigmas: dict[str, Annotated[float, Field(gt=0)]] = {}
    """Point → how exactly it can be placed, for OKS. The others have the skeleton's, else 0.05; COCO's 17 points have
    COCO's own where none are given."""
    metrics: list[MetricName] | None = Field(default=None, min_length=1)
    """box_map and mask_map: average precision of boxes or masks (mAP50, mAP50-95). oks: the same of keypoints. pck:
    correct points. miou: overlap, Dice and accuracy of pixels. accuracy: of whole images, with top-5 and F1. confusion:
    which class was taken for which. null: what fits the model's task."""
    multi_label: bool | None = None
    """For miou: a pixel may have several classes, each counted by itself; null: if masks of several classes
    overlap in the truth, or a model may say several; decided once for all that is evaluated together."""
    per_class: bool = True
    """Numbers for each class too."""


class Evaluation(Kind):
    Spec = EvaluationSpec
    version = 3
    worker = "fiftyone"
    uses_seed = True
    resources: ClassVar[Resources] = Resources(cpus=1.0)
    packages = ("fiftyone",)

    def check(self, spec: EvaluationSpec, lookup: Lookup) -> Sequence[Problem]:
        if bool(spec.predictions) == bool(spec.compare):
            message = "predictions and compare exclude each other" if spec.compare else "it needs predictions"
            return [Problem("", message, "Keep one of the two." if spec.compare else "Or `compare`.")]
        field = "compare" if spec.compare else "predictions"
        named = list(_predictions(spec, lookup))
        resolved = all(lookup.spec(Ref("predictions").address(name)) is not None for name in spec.compare)
        if spec.compare and resolved and len(set(named)) < 2 and not any(name.endswith("[*]") for name in named):
            return [Problem("compare", "one thing alone cannot be compared", "Name two or more predictions.")]
        places = {name: _on(name, lookup) for name in named}
        if len({place for place in places.values() if place}) > 1:
            listed = ", ".join(f"{name} on {place}" for name, place in places.items())
            message = f"Predictions that are evaluated together must be of one dataset ({listed})."
            return [Problem(field, message, "Make an evaluation for each.")]
        place = next((found for found in places.values() if found), None)
        return [*truth_problems(spec.ground_truth, place, lookup), *_metric_problems(spec, named, lookup)]

    def inputs(self, spec: EvaluationSpec) -> Sequence[Need]:
        return [Need("predictions", Ref("predictions").address(name)) for name in spec.predictions]

    def needs(self, spec: EvaluationSpec, lookup: Lookup) -> Sequence[Need]:
        """The truth lies where the predictions were made."""
        named = list(dict.fromkeys(_predictions(spec, lookup)))
        inputs = [Need("predictions", name) for name in named]
        place = next((found for name in named if (found := _on(name, lookup))), None)
        if place is None:
            return inputs
        if not place.startswith("datasets."):
            return [*inputs, Need("truth", place)]
        field = spec.ground_truth or getattr(lookup.spec(place), "label_field", None) or "ground_truth"
        writer = field_writers(place, lookup).get(field, "")
        if writer.startswith("predictions.") and writer not in named:
            inputs.append(Need("truth_by", writer))
        return [*inputs, Need("truth", place, ("media", "split", "classes", f"field:{field}"))]

    async def observe(self, spec: EvaluationSpec, look: Look) -> Observation:
        """Whether a field that was named is there; who adds it may be a person."""
        names = (Ref("predictions").address(name) for name in (*spec.predictions, *spec.compare))
        facts = next((found for name in names if "[*]" not in name and (found := look.facts(name))), None)
        if spec.ground_truth is None or facts is None:
            return Observation()
        return Observation(
            notes=await anyio.to_thread.run_sync(
                missing_field, spec.ground_truth, str(facts.get("dataset") or ""), look
            )
        )

    def run(self, spec: EvaluationSpec, ctx: Context) -> Outputs:
        # numpy and the client of the database come with these.
        from specrun.kinds.evaluations.compare import compare, same_images
        from specrun.kinds.evaluations.report import save_json, save_report
        from specrun.kinds.evaluations.rules import pixel_rule
        from specrun.kinds.evaluations.scores import evaluate, pair_up
        from specrun.kinds.evaluations.truth import load_predicted, load_truth

        made = ctx.inputs("predictions")
        truth = load_truth(ctx.input("truth"), spec.ground_truth, ctx)
        predicted = [load_predicted(predictions, ctx) for predictions in made]
        pairs = [pair_up(one, samples, truth) for one, samples in zip(made, predicted, strict=True)]
        gone = [len(samples) - len(side) for samples, side in zip(predicted, pairs, strict=True)]
        notes: tuple[str, ...] = ()
        if spec.compare:
            pairs, notes = same_images(made, pairs, spec.images)
        wishes = _wishes(spec, ctx)
        if wishes.multi_label is None:
            several, rule = pixel_rule(made, pairs, wishes.taxonomy)
            wishes = replace(wishes, multi_label=several)
            notes += (rule,) if rule else ()
        found = [
            evaluate(one, side, wishes, ctx, gone=missing) for one, side, missing in zip(made, pairs, gone, strict=True)
        ]
        comparison = compare(found, rounds=spec.bootstrap, ctx=ctx) if spec.compare else None
        ctx.progress(0, None, "images", "writing the report")
        save_json(ctx.staging / "evaluation.json", found, comparison)
        save_report(ctx.staging / "report.html", str(ctx.address), found, comparison)
        if ctx.input("truth").kind.startswith("datasets."):
            _mark(spec, made, found, wishes.taxonomy, ctx)
        facts = _facts(found, per_class=spec.per_class)
        if comparison is not None:
            facts["compare"] = comparison.to_json()
        notes += tuple(dict.fromkeys(note for evaluated in found for note in evaluated.notes))
        artifacts = (Artifact("evaluation", "file", "evaluation.json"), Artifact("report", "report", "report.html"))
        return Outputs(artifacts=artifacts, facts=facts, notes=notes)


def _metric_problems(spec: EvaluationSpec, named: Sequence[str], lookup: Lookup) -> list[Problem]:
    """What says nothing of a model whose task the spec tells."""
    found = []
    for name in dict.fromkeys(named):
        task = _task(name, lookup)
        other = other_metrics(task, spec.metrics or ()) if task is not None and task in FITTING_METRICS else []
        if task is not None and other:
            message = f"{', '.join(other)} says nothing of {name}, a model for {task}"
            found.append(Problem("metrics", message, f"For {task} there are: {', '.join(FITTING_METRICS[task])}."))
    return found


def _task(name: str, lookup: Lookup) -> str | None:
    """As far as the spec tells it."""
    written = getattr(lookup.spec(name), "model", None)
    if not isinstance(written, str):
        return None
    address = Ref("models").address(written)
    if lookup.kind_of(address) == "models.smp":
        return "semantic"
    model: Any = lookup.spec(address)
    data, weights = getattr(model, "data", None), getattr(model, "weights", None)
    export: Any = lookup.spec(Ref("exports").address(data)) if isinstance(data, str) else None
    task = getattr(export, "task", None)
    return task or (task_by_name(weights) if isinstance(weights, str) else None)


def _predictions(spec: EvaluationSpec, lookup: Lookup, seen: tuple[str, ...] = ()) -> Iterator[str]:
    """Addresses of the predictions that are meant, those of other evaluations among them."""
    for name in (*spec.predictions, *spec.compare):
        address = Ref("predictions").address(name)
        other: Any = lookup.spec(address) if address.startswith("evaluations.") else None
        if isinstance(other, EvaluationSpec):
            if address not in seen:
                yield from _predictions(other, lookup, (*seen, address))
        elif address.startswith("predictions."):
            yield address


def _wishes(spec: EvaluationSpec, ctx: Context) -> Wishes:
    from specrun.kinds.evaluations.scores import Wishes  # numpy comes with it

    taxonomy = None
    if spec.taxonomy is not None:
        taxonomy = ResolvedTaxonomy.from_json(ctx.declarations[Ref("taxonomies").address(spec.taxonomy)])
    skeleton = ctx.declarations[Ref("skeletons").address(spec.skeleton)] if spec.skeleton is not None else {}
    return Wishes(
        metrics=tuple(spec.metrics) if spec.metrics is not None else None,
        taxonomy=taxonomy,
        points=tuple(skeleton.get("points", ())),
        sigmas={**skeleton.get("sigmas", {}), **spec.sigmas},
        multi_label=spec.multi_label,
    )


def _on(name: str, lookup: Lookup) -> str | None:
    predictions: Any = lookup.spec(name)
    written = getattr(predictions, "on", None)
    return Ref("datasets", "sources").address(written) if isinstance(written, str) else None


def _mark(
    spec: EvaluationSpec,
    made: Sequence[Made],
    found: Sequence[Evaluated],
    taxonomy: ResolvedTaxonomy | None,
    ctx: Context,
) -> None:
    from specrun.kinds.evaluations.marks import Marks, mark_labels  # FiftyOne comes with it

    truth = ctx.input("truth")
    field = spec.ground_truth or str(truth.facts.get("label_field") or "ground_truth")
    for predictions, evaluated in zip(made, found, strict=True):
        words = [ctx.address.name, *(value for _, value in ctx.address.instance)]
        words += [evaluated.name] if len(made) > 1 else []
        key = "eval_" + "_".join("".join(c if c.isalnum() else "_" for c in word) for word in words)
        marks = Marks(key, field, str(predictions.facts["label_field"]))
        mark_labels(str(truth.facts["name"]), marks, evaluated, taxonomy, ctx)


def _facts(found: Sequence[Evaluated], *, per_class: bool) -> dict[str, Json]:
    """The numbers themselves for one predictions node, else by its name."""
    facts = {evaluated.name: evaluated.facts(per_class=per_class) for evaluated in found}
    return dict(next(iter(facts.values()))) if len(facts) == 1 else dict(facts)
