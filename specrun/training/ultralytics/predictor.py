"""Predicting with an Ultralytics model, in batches of images of one size.

Batches are made by us instead of the library: images of one size are letterboxed to their own shape, images
of several to a square, so with the library's batches a result would depend on its neighbours. Its predictor is set
up once and then only prepares, computes and suppresses; its own loop sets everything up anew for each batch, and
makes every mask in the size of the image before it cuts it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from specrun.errors import FormatError, NodeError
from specrun.model.labels import AnyLabel, Sample
from specrun.model.work import Context
from specrun.training.instances import Images, predict_instances
from specrun.training.point_order import ordered, point_order
from specrun.training.predictor import DEFAULT_NMS_IOU, PredictionSettings, ReadImage, names_of
from specrun.training.ultralytics.prototypes import mask_labels
from specrun.training.ultralytics.results import result_to_labels

_DECODERS = 4
_MOST_LABELS = 300
"""The library's own limit."""


class UltralyticsPredictor:
    """Implements training.predictor.Predictor."""

    def __init__(
        self,
        checkpoint: Path,
        described: Mapping[str, Any],
        settings: PredictionSettings,
        read: ReadImage,
        ctx: Context,
    ) -> None:
        from specrun.training.ultralytics.environment import load_ultralytics

        folder = ctx.run_folder / "ultralytics"
        load_ultralytics(folder, ctx.cache_dir, max(1, ctx.cpus))
        self.classes: tuple[str, ...] = names_of(described)
        self._task = str(described["task"])
        self._settings = settings
        self._read = read
        self._threads = min(_DECODERS, max(1, ctx.cpus))
        _check_task(self._task, settings)
        self._engine = _engine(checkpoint, described, settings, folder)
        self._order = point_order(_point_names(self._engine.model.model, self._task), settings.points, ctx.log)

    def predict(self, samples: Iterable[Sample]) -> Iterator[tuple[Sample, tuple[AnyLabel, ...]]]:
        return predict_instances(
            samples, self.detect, self._settings, self._read, threads=self._threads, scaled=self.detect_scaled
        )

    def detect_scaled(self, images: Images, scale: float) -> Sequence[Sequence[AnyLabel]]:
        """The library brings every image to the model's size, so this size is scaled instead of the images."""
        engine = self._engine
        usual = engine.imgsz
        engine.imgsz = scaled_size(usual, scale, int(engine.model.stride))
        try:
            return self.detect(images)
        finally:
            engine.imgsz = usual

    def detect(self, images: Images) -> Sequence[Sequence[AnyLabel]]:
        """Labels of images of one size, however small."""
        import torch  # in the prepared environment

        engine = self._engine
        engine.batch = [""] * len(images), list(images), [""] * len(images)
        with torch.inference_mode():
            tensor = engine.preprocess(list(images))
            with self._precision(tensor.device.type):
                found = engine.model(tensor)
            results = engine.postprocess(found, tensor, list(images))
        return [self._labels(result) for result in results]

    def _precision(self, device: str) -> AbstractContextManager[Any]:
        import torch  # in the prepared environment

        return torch.autocast(device, torch.bfloat16) if self._settings.half == "bf16" else nullcontext()

    def _labels(self, result: Any) -> Sequence[AnyLabel]:
        if isinstance(result, SegmentFound):
            return mask_labels(result.prototypes, result.found, result.size_hw, self.classes)
        labels = result_to_labels(result, self.classes)
        return ordered(labels, self._order) if self._order is not None else labels


def scaled_size(size: Sequence[int], scale: float, stride: int) -> list[int]:
    """In whole strides, and at least one stride away from the size itself."""
    found = []
    for length in size:
        near = round(length * scale / stride) * stride
        if near == length:
            near += stride if scale > 1 else -stride
        found.append(max(near, stride))
    return found


class SegmentFound:
    """What a segment model said of one image. found: (n, 6 + k), boxes in pixels of the image."""

    def __init__(self, found: Any, prototypes: Any, size_hw: tuple[int, int]) -> None:
        self.found: np.ndarray[Any, Any] = found
        self.prototypes: np.ndarray[Any, Any] = prototypes
        self.size_hw = size_hw


def _engine(checkpoint: Path, described: Mapping[str, Any], settings: PredictionSettings, folder: Path) -> Any:
    """The library's predictor, ready for batches. It loads the checkpoint itself: a model that it is given it
    copies first."""
    # In the prepared environment; the package itself does not have its models before they are imported by name.
    from ultralytics.models import yolo as tasks
    from ultralytics.utils.checks import check_imgsz

    # An end-to-end model has the boxes of its own head, up to 300, and no suppression.
    options = {
        "task": described["task"],
        "conf": settings.threshold,
        "iou": settings.nms_iou or DEFAULT_NMS_IOU,
        "agnostic_nms": not settings.class_wise,
        "max_det": max(settings.max_count or _MOST_LABELS, 1) if settings.tile is None else _MOST_LABELS,
        "imgsz": described["imgsz"],
        "device": settings.device,
        "quantize": 16 if settings.half == "fp16" and settings.device != "cpu" else None,
        "mode": "predict",
        "rect": True,
        "save": False,
        "verbose": False,
        "save_dir": str(folder / "predict"),
    }
    engine = {
        "detect": tasks.detect.DetectionPredictor,
        "segment": tasks.segment.SegmentationPredictor,
        "pose": tasks.pose.PosePredictor,
        "obb": tasks.obb.OBBPredictor,
        "classify": tasks.classify.ClassificationPredictor,
    }[described["task"]](overrides=options)
    engine.setup_model(model=str(checkpoint), verbose=False)
    engine.imgsz = check_imgsz(described["imgsz"], stride=engine.model.stride, min_dim=2)
    if described["task"] == "segment":
        engine.construct_result = _segment_found
    elif described["task"] == "classify":
        engine.setup_source(np.zeros((8, 8, 3), dtype=np.uint8))  # makes the transforms
    return engine


def _segment_found(found: Any, tensor: Any, image: Any, path: str, prototypes: Any) -> SegmentFound:
    from ultralytics.utils.ops import scale_boxes  # in the prepared environment

    found[:, :4] = scale_boxes(tensor.shape[2:], found[:, :4], image.shape)
    planes = prototypes.float().cpu().numpy()
    return SegmentFound(found.float().cpu().numpy(), planes, (image.shape[0], image.shape[1]))


def _point_names(model: Any, task: str) -> tuple[str, ...] | int | None:
    """Of the first class, since a skeleton is one; or how many points there are; None: no pose."""
    if task != "pose":
        return None
    names = getattr(model, "kpt_names", None)
    count = int(getattr(model, "kpt_shape", (0,))[0])
    first = next(iter(names.values()), ()) if isinstance(names, dict) else ()
    plain = tuple(str(name) for name in first)
    return plain if plain and plain != tuple(str(number) for number in range(count)) else count


def _check_task(task: str, settings: PredictionSettings) -> None:
    if settings.half == "fp16" and settings.device == "cpu":
        raise NodeError("precision: fp16 needs a GPU, and this node runs on the CPU.", hint="Write auto or bf16.")
    if task == "classify" and settings.tile is not None:
        raise FormatError("tile: a classification model looks at whole images.", hint="Remove `tile`.")
    if task == "classify" and "scale" in settings.tta:
        raise FormatError(
            "tta: scale: a classification model looks at images of one size.", hint="Remove scale from `tta`."
        )
    mirrors = {"flip", "flip_vertical"} & set(settings.tta)
    if task == "pose" and mirrors and settings.points is None:
        raise FormatError(
            f"tta: {sorted(mirrors)[0]} changes left and right points, and no skeleton says which belong together.",
            hint="Name the dataset's skeleton with `skeleton`, or remove it from `tta`.",
        )
