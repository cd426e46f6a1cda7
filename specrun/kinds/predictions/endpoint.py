"""Predicting with an inference endpoint: images out, boxes or masks in."""

from __future__ import annotations

import base64
import binascii
import io
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from PIL import Image

from specrun.clients.endpoint import Endpoint
from specrun.clients.http import Retry
from specrun.errors import CredentialsError, NodeError, StopRequested
from specrun.formats.media import reason_to_convert, upright_png
from specrun.kinds.predictions.images import read_for_model
from specrun.kinds.predictions.spec import EndpointSpec
from specrun.model.labels import AnyLabel, Box, Mask, Sample
from specrun.model.work import Context
from specrun.spec.kind import Ref
from specrun.spec.quantities import duration_s
from specrun.training.instances import Images, chosen_labels, predict_instances
from specrun.training.predictor import PredictionSettings

_TYPES = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".bmp": "image/bmp"}
_Answer = Sequence[AnyLabel]


class EndpointPredictor:
    """Implements training.predictor.Predictor."""

    def __init__(self, spec: EndpointSpec, settings: PredictionSettings, ctx: Context) -> None:
        declared = ctx.declarations[Ref("connections").address(spec.connection)]
        token = ctx.secret(declared["token"]) if declared.get("token") else None
        self.classes = tuple(spec.classes or ())
        self._spec = spec
        self._settings = settings
        self._server = Endpoint(
            spec.url,
            token,
            timeout_s=duration_s(spec.timeout),
            retry=Retry.from_settings(ctx.settings),
            check_stop=ctx.check_stop,
        )

    def predict(self, samples: Iterable[Sample]) -> Iterator[tuple[Sample, tuple[AnyLabel, ...]]]:
        """Raises CredentialsError, TransientError, NodeError, FormatError."""
        whole = self._settings.tile is None and not set(self._settings.tta) - {"none"}
        try:
            with ThreadPoolExecutor(self._spec.concurrency) as pool:
                if whole:
                    yield from self._predict_files(samples, pool)
                else:

                    def detect(images: Images) -> Sequence[_Answer]:
                        return list(pool.map(self._ask_pixels, images))

                    yield from predict_instances(samples, detect, self._settings, read_for_model)
        finally:
            self._server.close()

    def _predict_files(
        self, samples: Iterable[Sample], pool: ThreadPoolExecutor
    ) -> Iterator[tuple[Sample, tuple[AnyLabel, ...]]]:
        """Images as they are, as far as everybody reads them alike."""
        pending: deque[tuple[Sample, Future[_Answer]]] = deque()
        try:
            for sample in samples:
                pending.append((sample, pool.submit(self._ask_file, sample)))
                if len(pending) > 2 * self._spec.concurrency:
                    yield self._finished(*pending.popleft())
            while pending:
                yield self._finished(*pending.popleft())
        finally:
            for _, future in pending:
                future.cancel()

    def _finished(self, sample: Sample, future: Future[_Answer]) -> tuple[Sample, tuple[AnyLabel, ...]]:
        return sample, chosen_labels(future.result(), self._settings)

    def _ask_file(self, sample: Sample) -> _Answer:
        if reason_to_convert(sample.media) is None:
            content = sample.media.read_bytes()
            kind = _TYPES.get(sample.media.suffix.lower(), "application/octet-stream")
        else:
            content, kind = upright_png(sample.media), "image/png"
        try:
            return self._labels(self._server.ask(content, kind, self._spec.parameters), sample.size_wh)
        except (CredentialsError, StopRequested):
            raise
        except NodeError as error:
            error.message = f"{sample.name}: {error.message}"
            raise

    def _ask_pixels(self, image: Any) -> _Answer:
        file = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(image[:, :, ::-1])).save(file, "PNG", compress_level=1)
        answer = self._server.ask(file.getvalue(), "image/png", self._spec.parameters)
        return self._labels(answer, (image.shape[1], image.shape[0]))

    def _labels(self, answer: Any, size_wh: tuple[int, int]) -> _Answer:
        labels = answer_to_labels(answer, size_wh)
        unknown = sorted({label.label for label in labels} - set(self.classes)) if self.classes else []
        if unknown:
            raise NodeError(
                f"the endpoint answers with classes that endpoint.classes lacks: {', '.join(unknown)}.",
                hint="Add them, or remove endpoint.classes.",
            )
        return labels


def answer_to_labels(answer: Any, size_wh: tuple[int, int]) -> list[AnyLabel]:
    """JSON of object detection or image segmentation as labels; who gives no score is certain.

    Raises NodeError: it is neither, or a mask is of another size than the image.
    """
    if not isinstance(answer, list):
        raise _foreign(answer)
    labels: list[AnyLabel] = []
    for row in answer:
        if not isinstance(row, Mapping) or not isinstance(row.get("label"), str):
            raise _foreign(row)
        try:
            score = 1.0 if row.get("score") is None else float(row["score"])
            label = _box(row, score, size_wh) if "box" in row else _mask(row, score, size_wh)
        except (KeyError, TypeError, ValueError):
            raise _foreign(row) from None
        if label is not None:
            labels.append(label)
    return labels


def _foreign(row: Any) -> NodeError:
    text = repr(row)
    return NodeError(
        f"the endpoint answers with neither boxes nor masks: {text[:120]}{'…' if len(text) > 120 else ''}",
        hint="Its task must be object-detection or image-segmentation.",
    )


def _box(row: Mapping[str, Any], score: float, size_wh: tuple[int, int]) -> AnyLabel | None:
    place = row["box"]
    left, top = max(float(place["xmin"]), 0.0), max(float(place["ymin"]), 0.0)
    width = min(float(place["xmax"]), float(size_wh[0])) - left
    height = min(float(place["ymax"]), float(size_wh[1])) - top
    if width <= 0 or height <= 0:
        return None
    return Box(label=row["label"], score=score, x=left, y=top, width=width, height=height)


def _mask(row: Mapping[str, Any], score: float, size_wh: tuple[int, int]) -> AnyLabel | None:
    """A picture as large as the image, bright inside."""
    try:
        picture = Image.open(io.BytesIO(base64.b64decode(row["mask"], validate=True)))
        bitmap = np.asarray(picture.convert("L")) >= 128
    except (OSError, binascii.Error) as error:
        raise ValueError("no picture") from error
    if bitmap.shape != (size_wh[1], size_wh[0]):
        seen = f"{bitmap.shape[1]}x{bitmap.shape[0]}"
        raise NodeError(f"the endpoint answers with a mask of {seen} for an image of {size_wh[0]}x{size_wh[1]}.")
    rows, columns = np.flatnonzero(bitmap.any(axis=1)), np.flatnonzero(bitmap.any(axis=0))
    if not rows.size:
        return None
    window = bitmap[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].copy()
    return Mask(label=row["label"], score=score, bitmap=window, left=int(columns[0]), top=int(rows[0]))
