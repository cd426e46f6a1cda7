"""The work of a predictions node: choose images, predict those that are new, write labels and files."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

from specrun.errors import NodeError
from specrun.formats.export_names import export_stems
from specrun.kinds.predictions.endpoint import EndpointPredictor
from specrun.kinds.predictions.field import field_name, refuse_foreign_field, remember_field
from specrun.kinds.predictions.files import PredictionFiles
from specrun.kinds.predictions.images import read_for_model
from specrun.kinds.predictions.memory import PredictionMemory
from specrun.kinds.predictions.old_fields import is_as_last_made, take_away_old_fields
from specrun.kinds.predictions.pixels import open_for_model
from specrun.kinds.predictions.samples import choose
from specrun.kinds.predictions.spec import PredictionSpec
from specrun.model.digest import Json, file_digest, json_digest
from specrun.model.labels import AnyLabel, Sample
from specrun.model.work import Context, Made
from specrun.training.predictor import PointLayout, PredictionSettings, Predictor, read_model
from specrun.training.tiles import Tiling

_LABELS_VERSION = 2
_TAGS_VERSION = 3
"""Of models that classify images."""
_PIXELS_VERSION = 3
"""Of models of pixels."""
_THRESHOLD = 0.25
_NAMED = 3
_UNWRITTEN = 32
"""Images whose labels wait for their files; more would fill the memory where files are slower than the model."""


@dataclass(frozen=True, slots=True)
class Finished:
    facts: dict[str, Json]
    notes: tuple[str, ...]


class PredictionRun:
    def __init__(self, spec: PredictionSpec, ctx: Context) -> None:
        self._spec = spec
        self._ctx = ctx
        self._on = ctx.input("on")
        self._model = ctx.input("model") if spec.endpoint is None else None
        self._field = field_name(spec.label_field, ctx.address)
        self._points = _points(ctx.declarations)

    def make(self) -> Finished:
        spec, ctx, on = self._spec, self._ctx, self._on
        if on.kind.startswith("datasets."):
            self._claim_field()
        choice = choose(spec, on, ctx)
        memory = PredictionMemory(ctx.staging, ctx.previous, ctx.project_dir, self._settings_key())
        waiting = [sample for sample in choice.chosen if not memory.knows(sample)]
        ctx.log(f"{len(waiting)} images to predict, {len(choice.chosen) - len(waiting)} known from before")
        classes = self._known_classes()
        if classes is None:
            self._predict(waiting, {}, memory, None)
            classes = tuple(sorted(memory.classes_of(choice.chosen)))
            waiting_for_files: Sequence[Sample] = choice.chosen
        else:
            waiting_for_files = [sample for sample in choice.chosen if memory.knows(sample)]
        files = PredictionFiles(ctx, spec.outputs, classes, self._task())
        stems = dict(zip((sample.key for sample in choice.chosen), export_stems(choice.chosen), strict=True))
        self._write_known(waiting_for_files, stems, memory, files)
        if self._known_classes() is not None:
            self._predict(waiting, stems, memory, files)
        counts = files.finish(choice.chosen, memory)
        facts = self._facts(classes, len(choice.chosen), len(waiting), counts)
        notes = files.notes()
        if on.kind.startswith("datasets."):
            digest, of_fields = self._write_labels(choice.chosen, choice.others, memory)
            facts |= {"dataset": on.facts["name"], "field_digest": digest}
            notes += of_fields
        memory.forget()
        return Finished(facts, notes)

    def _known_classes(self) -> tuple[str, ...] | None:
        """None: an endpoint whose classes nobody wrote down."""
        if self._spec.endpoint is not None:
            return tuple(self._spec.endpoint.classes) if self._spec.endpoint.classes else None
        return tuple(str(name) for name in self._made_by.facts["classes"])

    @property
    def _made_by(self) -> Made:
        assert self._model is not None
        return self._model

    def _task(self) -> str:
        return "endpoint" if self._model is None else str(self._model.facts["task"])

    def _threshold(self) -> float | None:
        """None: of a model of pixels, as its validation counts."""
        if self._spec.threshold is not None:
            return self._spec.threshold
        return {"classify": 0.0, "semantic": None}.get(self._task(), _THRESHOLD)

    def _facts(self, classes: Sequence[str], images: int, predicted: int, counts: Counter[str]) -> dict[str, Json]:
        return {
            "images": images,
            "predicted": predicted,
            "labels": dict(sorted(counts.items())),
            "classes": list(classes),
            "label_field": self._field,
            **({"threshold": threshold} if (threshold := self._threshold()) is not None else {}),
            "task": self._task(),
            **({"model": str(self._model.address)} if self._model is not None else {}),
            **({"multi_label": True} if self._says_several() else {}),
        }

    def _says_several(self) -> bool:
        """Whether a model of pixels may say several classes of one."""
        if self._task() != "semantic":
            return False
        described = read_model(self._made_by.folder)
        return described.get("activation") == "sigmoid" and len(described["classes"]) > 1

    def _settings_key(self) -> str:
        """Digest of what labels depend on besides the image."""
        spec = self._spec
        if spec.endpoint is not None:
            model: list[Any] = [spec.endpoint.model_dump(mode="json", include={"url", "classes", "parameters"})]
        else:
            facts = self._made_by.facts
            model = [file_digest(self._made_by.artifact("best")), facts.get("imgsz"), list(facts["classes"])]
        fields = {"min_area", "max_count", "nms", "tile", "tta", "precision"}
        settings = {**spec.model_dump(mode="json", include=fields), "threshold": self._threshold()}
        points = None if self._points is None else [list(self._points.points), [*map(list, self._points.flip_pairs)]]
        version = {"classify": _TAGS_VERSION, "semantic": _PIXELS_VERSION}.get(self._task(), _LABELS_VERSION)
        return json_digest([version, model, settings, points])

    def _settings(self) -> PredictionSettings:
        spec = self._spec
        return PredictionSettings(
            threshold=self._threshold(),
            min_area=spec.min_area,
            batch=spec.batch,
            device="0" if self._ctx.gpus else "cpu",
            precision=spec.precision,
            tile=Tiling(spec.tile.size, spec.tile.overlap) if spec.tile else None,
            tta=tuple(spec.tta),
            max_count=spec.max_count,
            nms_iou=spec.nms.iou if spec.nms else None,
            class_wise=spec.nms.class_wise if spec.nms else True,
            points=self._points,
            open_image=open_for_model,
        )

    def _open(self) -> Predictor:
        if self._spec.endpoint is not None:
            return EndpointPredictor(self._spec.endpoint, self._settings(), self._ctx)
        from specrun.training import predictors  # its libraries are loaded when there is something to predict

        return predictors.open_predictor(self._made_by, self._settings(), read_for_model, self._ctx)

    def _predict(
        self,
        samples: Sequence[Sample],
        stems: Mapping[str, str],
        memory: PredictionMemory,
        files: PredictionFiles | None,
    ) -> None:
        """files: None: only remember."""
        if not samples:
            return
        ctx = self._ctx
        ctx.progress(0, None, "images", "loading the model")
        found = self._open().predict(samples)
        with memory.recording() as record, _writing(in_thread=bool(ctx.gpus)) as write:

            def keep(sample: Sample, labels: Sequence[AnyLabel]) -> None:
                record(sample, labels)
                if files is not None:
                    files.add(sample, stems[sample.key], labels)

            for done, (sample, labels) in enumerate(found, start=1):
                write(partial(keep, sample, labels))
                ctx.progress(done, len(samples), "images", "predicting")
                ctx.check_stop()

    def _write_known(
        self,
        samples: Sequence[Sample],
        stems: Mapping[str, str],
        memory: PredictionMemory,
        files: PredictionFiles,
    ) -> None:
        if not files.wanted:
            return
        for done, sample in enumerate(samples, start=1):
            files.add(sample, stems[sample.key], memory.labels(sample))
            self._ctx.check_stop()
            self._ctx.progress(done, len(samples), "images", "writing files", part=True)

    def _claim_field(self) -> None:
        """Before anything is predicted: labels that are not ours are never overwritten."""
        from specrun.clients.fiftyone import database  # loads pymongo

        with database(self._ctx) as db:
            refuse_foreign_field(self._field, self._on, db, self._ctx)

    def _write_labels(
        self, chosen: Sequence[Sample], others: Sequence[str], memory: PredictionMemory
    ) -> tuple[str, tuple[str, ...]]:
        """Into the dataset, but not over what people made of them; images that this node covered last time and no
        longer does lose their labels.

        Returns the digest of the field, and notes. Reading the parts now spares the next plan from reading them.
        """
        from specrun.clients.fiftyone import database  # loads pymongo
        from specrun.clients.fiftyone.label_writer import write_labels  # as above

        self._ctx.progress(0, None, "images", "writing labels into FiftyOne")
        given_up = sorted(memory.covered_before() & set(others))
        rows = chain(((sample.key, memory.labels(sample)) for sample in chosen), ((key, ()) for key in given_up))
        with database(self._ctx) as db:
            name = str(self._on.facts["name"])
            refuse_foreign_field(self._field, self._on, db, self._ctx)
            ours = is_as_last_made(self._field, name, db, self._ctx)
            remember_field(self._field, name, db, self._ctx)
            written = write_labels(db, name, self._field, rows, ours=ours)
            digest = db.parts(name).get(f"field:{self._field}", "")
            notes = take_away_old_fields(self._field, name, db, self._ctx)
            if notes:
                db.parts(name)  # read now, as above
            return digest, (*_kept(written.kept, self._field), *notes)


def _kept(names: Sequence[str], field: str) -> Iterator[str]:
    if names:
        whose = "images keep" if len(names) > 1 else "image keeps"
        shown = f"{', '.join(names[:_NAMED])}{' …' if len(names) > _NAMED else ''}"
        yield (
            f"{len(names)} {whose} the labels that people changed or tagged in {field} in FiftyOne: {shown}; "
            "another label_field takes the model's for all, and the files hold them anyway"
        )


@contextmanager
def _writing(*, in_thread: bool) -> Iterator[Callable[[Callable[[], None]], None]]:
    """What is written beside a model on a GPU; a model on the CPU uses all cores and would only be held up."""
    if not in_thread:
        yield lambda work: work()
        return
    pending: deque[Future[None]] = deque()
    with ThreadPoolExecutor(1) as pool:

        def write(work: Callable[[], None]) -> None:
            pending.append(pool.submit(work))
            while len(pending) > _UNWRITTEN or (pending and pending[0].done()):
                pending.popleft().result()

        yield write
        for future in pending:
            future.result()


def _points(declarations: Mapping[str, Any]) -> PointLayout | None:
    found = [value for address, value in declarations.items() if address.startswith("skeletons.")]
    if len(found) > 1:
        raise NodeError("skeleton: more than one is named.", hint="Name the one of the keypoints.")
    if not found:
        return None
    pairs = tuple((str(left), str(right)) for left, right in found[0].get("flip_pairs", ()))
    return PointLayout(tuple(str(name) for name in found[0]["points"]), pairs)
