"""Predictions by an inference endpoint, from the images to the files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from specrun.errors import NodeError
from specrun.formats.samples import load_samples, save_samples
from specrun.kinds.predictions.endpoint import answer_to_labels
from specrun.kinds.predictions.prediction import Prediction, PredictionSpec
from specrun.model.address import parse_address
from specrun.model.digest import file_digest
from specrun.model.labels import Box, Mask, Sample
from specrun.model.work import Made
from tests.support.context import make_context
from tests.support.inference_endpoint import inference_endpoint, png_mask


def _bright(pixels: Any) -> Any:
    return pixels[:, :, 0] > 128


def _segment(pixels: Any) -> list[dict[str, Any]]:
    return [{"label": "leaf", "score": None, "mask": png_mask(_bright(pixels))}] if _bright(pixels).any() else []


def _detect(pixels: Any) -> list[dict[str, Any]]:
    rows, columns = np.nonzero(_bright(pixels))
    if not len(rows):
        return []
    box = {"xmin": columns.min(), "ymin": rows.min(), "xmax": columns.max() + 1, "ymax": rows.max() + 1}
    return [{"label": "leaf", "score": 0.8, "box": {key: int(value) for key, value in box.items()}}]


def _source(tmp_path: Path, count: int = 3) -> Made:
    folder = tmp_path / "outputs" / "sources" / "leaves"
    folder.mkdir(parents=True)
    samples = []
    for number in range(count):
        pixels = np.zeros((40, 60, 3), dtype=np.uint8)
        pixels[10:20, 20 + number : 50] = 200
        path = tmp_path / f"{number}.png"
        Image.fromarray(pixels).save(path)
        samples.append(Sample(key=path.name, media=path, name=path.name, digest=file_digest(path), size_wh=(60, 40)))
    save_samples(folder / "samples.jsonl", samples, tmp_path)
    return Made(parse_address("sources.leaves"), "sources.images", folder, "d")


def _run(tmp_path: Path, url: str, source: Made, endpoint: dict[str, Any] | None = None, **values: Any) -> Any:
    spec = PredictionSpec.model_validate(
        {"endpoint": {"connection": "hub", "url": url, **(endpoint or {})}, "on": "sources.leaves", **values}
    )
    declared = {"connections.hub": {"token": None, "endpoint": "https://huggingface.co"}}
    retry = {"retry": {"max_attempts": 2, "initial_delay": "10ms", "max_delay": "20ms"}}
    overrides: dict[str, Any] = {"declarations": declared, "settings": retry, "made": {"on": [source]}}
    context = make_context(tmp_path, "predictions.p", **overrides)
    return Prediction().run(spec, context), context


def test_masks_of_an_endpoint_become_labels_and_files(tmp_path: Path) -> None:
    with inference_endpoint(_segment) as server:
        outputs, context = _run(tmp_path, server.url, _source(tmp_path), {"concurrency": 2})
    assert (outputs.facts["classes"], outputs.facts["labels"]) == (["leaf"], {"leaf": 3})
    places = [
        (label.left, label.top, label.bitmap.shape, label.score)
        for sample in load_samples(context.staging / "predictions.jsonl", tmp_path)
        for label in sample.labels
        if isinstance(label, Mask)
    ]
    assert places == [(20 + n, 10, (10, 30 - n), 1.0) for n in range(3)]
    mask = np.asarray(Image.open(context.staging / "masks" / "1.png"))
    assert (mask[15, 30], mask[0, 0]) == (1, 0)
    content = json.loads((context.staging / "coco.json").read_text())
    assert [row["area"] for row in content["annotations"]] == [300, 290, 280]
    assert server.most_at_once <= 2
    assert {asked.content_type for asked in server.asked} == {"image/png"}


def test_boxes_found_in_tiles_are_joined(tmp_path: Path) -> None:
    with inference_endpoint(_detect) as server:
        tile = {"size": [32, 32], "overlap": 0.25}
        _, context = _run(tmp_path, server.url, _source(tmp_path, 1), tile=tile)
        assert {asked.size_wh for asked in server.asked} == {(32, 32)}
    ((sample),) = load_samples(context.staging / "predictions.jsonl", tmp_path)
    (box,) = sample.labels
    assert isinstance(box, Box)
    assert (box.x, box.y, box.width, box.height) == (20, 10, 30, 10)


def test_labels_below_the_threshold_are_left_out(tmp_path: Path) -> None:
    with inference_endpoint(_detect) as server:
        outputs, _ = _run(tmp_path, server.url, _source(tmp_path), threshold=0.9)
    assert outputs.facts["labels"] == {}


def test_a_class_that_nobody_wrote_down_is_an_error_with_the_image(tmp_path: Path) -> None:
    with (
        inference_endpoint(_detect) as server,
        pytest.raises(NodeError, match=r"0\.png: .*classes that endpoint\.classes lacks: leaf"),
    ):
        _run(tmp_path, server.url, _source(tmp_path, 1), {"classes": ["stem"]})


@pytest.mark.parametrize(
    "answer",
    [{"error": "x"}, [1], [{"score": 1}], [{"label": "a", "box": {"xmin": 0}}], [{"label": "a", "mask": "%%"}]],
)
def test_what_is_neither_boxes_nor_masks_is_refused(answer: Any) -> None:
    with pytest.raises(NodeError, match="neither boxes nor masks"):
        answer_to_labels(answer, (4, 3))


def test_a_mask_of_another_size_is_refused() -> None:
    answer = [{"label": "a", "score": 0.5, "mask": png_mask(np.ones((2, 2), dtype=bool))}]
    with pytest.raises(NodeError, match="mask of 2x2 for an image of 4x3"):
        answer_to_labels(answer, (4, 3))


def test_boxes_are_cut_at_the_edge_of_the_image() -> None:
    answer = [{"label": "a", "score": 0.5, "box": {"xmin": -3, "ymin": 1, "xmax": 9, "ymax": 2}}]
    (box,) = answer_to_labels(answer, (4, 3))
    assert isinstance(box, Box)
    assert (box.x, box.y, box.width, box.height) == (0, 1, 4, 1)
