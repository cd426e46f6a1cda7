"""Predicting with an Ultralytics model, in batches of images of one size.

Batches are made by us instead of the library: images of one size are letterboxed to their own shape, images
of several to a square, so with the library's batches a result would depend on its neighbours. The next batch
is decoded while the model works on this one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from specrun.errors import FormatError
from specrun.model.labels import AnyLabel, Sample
from specrun.model.work import Context
from specrun.training.predictor import PredictionSettings, ReadImage
from specrun.training.ultralytics.results import result_to_labels

_DECODERS = 4
_Batch = list[tuple[Sample, Any]]


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
        library = load_ultralytics(folder, ctx.cache_dir, max(1, ctx.cpus))
        self.classes: tuple[str, ...] = tuple(described["classes"])
        self._settings = settings
        self._read = read
        self._threads = min(_DECODERS, max(1, ctx.cpus))
        self._model = library.YOLO(str(checkpoint), task=described["task"])
        self._options = {
            "conf": settings.threshold,
            "imgsz": described["imgsz"],
            "device": settings.device,
            "retina_masks": True,
            "save": False,
            "verbose": False,
            "save_dir": str(folder / "predict"),
        }

    def predict(self, samples: Iterable[Sample]) -> Iterator[tuple[Sample, tuple[AnyLabel, ...]]]:
        batches = batches_of_one_size(samples, self._settings.batch)
        with ThreadPoolExecutor(self._threads) as pool:
            waiting = self._decode(next(batches, None), pool)
            while waiting is not None:
                current, waiting = waiting, self._decode(next(batches, None), pool)
                yield from self._predict_batch([(sample, image.result()) for sample, image in current])

    def _decode(
        self, samples: Sequence[Sample] | None, pool: ThreadPoolExecutor
    ) -> list[tuple[Sample, Future[Any]]] | None:
        return None if samples is None else [(sample, pool.submit(self._read, sample.media)) for sample in samples]

    def _predict_batch(self, batch: _Batch) -> Iterator[tuple[Sample, tuple[AnyLabel, ...]]]:
        images = [image for _, image in batch]
        results = self._model.predict(images, batch=len(images), **self._options)
        for (sample, image), result in zip(batch, results, strict=True):
            height, width = image.shape[:2]
            if (width, height) != sample.size_wh:
                raise FormatError(
                    f"{sample.media}: is {width}x{height} pixels, but the dataset says {sample.size_wh}.",
                    hint="The file changed since it was imported: apply the source again.",
                )
            yield sample, result_to_labels(result, self.classes, min_area=self._settings.min_area)


def batches_of_one_size(samples: Iterable[Sample], batch: int) -> Iterator[Sequence[Sample]]:
    """Full batches first; what is left of each size comes at the end."""
    open_batches: dict[tuple[int, int], list[Sample]] = {}
    for sample in samples:
        members = open_batches.setdefault(sample.size_wh, [])
        members.append(sample)
        if len(members) == batch:
            yield open_batches.pop(sample.size_wh)
    yield from open_batches.values()
