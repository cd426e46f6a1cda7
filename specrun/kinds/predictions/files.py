"""The files of a predictions node."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specrun.formats.images import read_upright_rgb
from specrun.formats.media import linked_suffix
from specrun.formats.samples import sample_to_line
from specrun.formats.tally import Tally
from specrun.formats.yolo_write import Task, YoloWriter, pose_layout
from specrun.kinds.predictions.coco import CocoRows, coco_annotations
from specrun.kinds.predictions.images import class_mask, cutout, save_class_mask, shown
from specrun.kinds.predictions.memory import PREDICTIONS_NAME, PredictionMemory
from specrun.kinds.predictions.overlay import overlay
from specrun.model.labels import AnyLabel, Mask, Polygon, Sample
from specrun.model.work import Context

if TYPE_CHECKING:
    from specrun.kinds.predictions.spec import OutputsSpec

_CHECK_EVERY = 64


@dataclass(frozen=True, slots=True)
class Written:
    """Of one image. shapes: its COCO annotations, as JSON."""

    files: Mapping[str, Any]
    shapes: tuple[tuple[str, str], ...]


_NOTHING = Written({}, ())


class PredictionFiles:
    """Files of an image are written when its labels are known, what holds all images at the end.

    classes: of the model, in its order. task: of the model.
    """

    def __init__(self, ctx: Context, wanted: OutputsSpec, classes: tuple[str, ...], task: str) -> None:
        self._ctx = ctx
        self._folder = ctx.staging
        self._wanted = wanted
        self._classes = classes
        self._tally = Tally()
        self._written: dict[str, Written] = {}
        self._task = task
        places = {name: getattr(wanted, name) for name in ("masks", "images", "cutouts", "overlays")}
        for name, asked in {**places, "labels": wanted.yolo}.items():
            shutil.rmtree(self._folder / name, ignore_errors=True)  # of images that an interrupted run still chose
            if asked:
                (self._folder / name).mkdir()

    def notes(self) -> tuple[str, ...]:
        if self._wanted.yolo and self._task == "classify":
            return (*self._tally.notes(), "yolo: classes of whole images have no label files")
        return self._tally.notes()

    @property
    def wanted(self) -> bool:
        """Whether there is anything to write for each image."""
        return any(self._wanted.model_dump().values())

    def add(self, sample: Sample, stem: str, labels: Sequence[AnyLabel]) -> None:
        """The files of one image; the images may come in any order."""
        files = self._write_image(sample, labels, stem)
        shapes = tuple(coco_annotations(sample, labels)) if self._wanted.coco else ()
        self._written[sample.key] = Written(files, shapes)

    def finish(self, samples: Sequence[Sample], memory: PredictionMemory) -> Counter[str]:
        """What holds all images, in their order; returns the number of labels by class."""
        counts: Counter[str] = Counter()
        coco = CocoRows(self._classes)
        with ExitStack() as stack:
            lines = stack.enter_context(open(self._folder / PREDICTIONS_NAME, "w", encoding="ascii"))
            manifest = stack.enter_context(open(self._folder / "manifest.jsonl", "w", encoding="utf-8"))
            for done, sample in enumerate(samples, start=1):
                text, names = memory.labels_text(sample), memory.names(sample)
                by_class = Counter(names)
                counts.update(by_class)
                lines.write(_with_labels(sample_to_line(sample, self._ctx.project_dir), text))
                written = self._written.pop(sample.key, _NOTHING)
                if self._wanted.coco:
                    coco.add(sample, written.shapes)
                entry = {"key": sample.key, "name": sample.name, "digest": sample.digest, "labels": dict(by_class)}
                manifest.write(json.dumps(entry | {"files": written.files}, ensure_ascii=False) + "\n")
                if done % _CHECK_EVERY == 0:
                    self._ctx.check_stop()
                    self._ctx.progress(done, len(samples), "images", "writing files", part=True)
        if self._wanted.coco:
            coco.save(self._folder / "coco.json")
        return counts

    def _write_image(self, sample: Sample, labels: Sequence[AnyLabel], stem: str) -> dict[str, Any]:
        files: dict[str, Any] = {}
        # The score of a class of pixels is a mean; which of them have it is settled already.
        certain = list(shown(labels, 0.0) if self._task == "semantic" else shown(labels))
        if self._wanted.masks:
            files["mask"] = f"masks/{stem}.png"
            save_class_mask(class_mask(certain, self._classes, sample.size_wh), self._folder / files["mask"])
        if self._wanted.images:
            files["image"] = f"images/{stem}{linked_suffix(sample.media)}"
            _link(sample.media, self._folder / files["image"], self._ctx)
        if self._wanted.yolo and self._task != "classify":
            files["yolo"] = f"labels/{stem}.txt"
            text = self._yolo_text(replace(sample, labels=tuple(labels)))
            (self._folder / files["yolo"]).write_text(text, "utf-8")
        if self._wanted.overlays or (self._wanted.cutouts and certain):
            rgb = read_upright_rgb(sample.media)
            if self._wanted.overlays:
                files["overlay"] = f"overlays/{stem}.jpg"
                overlay(rgb, certain, self._classes).save(self._folder / files["overlay"], quality=90)
            if self._wanted.cutouts:
                files["cutouts"] = list(self._cutouts(rgb, certain, stem))
        return files

    def _yolo_text(self, sample: Sample) -> str:
        """Masks of pixels as outlines; the answers of an endpoint as what they are."""
        outlined = any(isinstance(label, Mask | Polygon) for label in sample.labels)
        task = Task(self._task) if self._task in tuple(Task) else Task.SEGMENT if outlined else Task.DETECT
        numbers = {name: number for number, name in enumerate(self._classes)}
        return YoloWriter(task, numbers, pose_layout([sample], None)).text(sample, self._tally)

    def _cutouts(self, rgb: Any, labels: Sequence[AnyLabel], stem: str) -> Iterator[str]:
        for number, label in enumerate(reversed(labels)):
            picture = cutout(rgb, label)
            if picture is not None:
                place = f"cutouts/{stem}_{number:03d}.png"
                picture.save(self._folder / place)
                yield place


def _with_labels(line: str, labels: str) -> str:
    """The line of a sample without labels, with them. labels: JSON of a list."""
    return f'{line[:-1]},"labels":{labels}}}\n' if labels != "[]" else line + "\n"


def _link(media: Path, place: Path, ctx: Context) -> None:
    """Absolute: a relative link that leads out of the output would be wrong once that was moved."""
    place.unlink(missing_ok=True)
    os.symlink(os.path.join(ctx.project_dir, media), place)
