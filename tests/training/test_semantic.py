"""Probabilities of pixels as masks, whole and in tiles, and in how much memory."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from specrun.errors import FormatError
from specrun.model.labels import AnyLabel, Mask, Sample
from specrun.training.predictor import PredictionSettings
from specrun.training.semantic import Channels, Painting, predict_semantic
from specrun.training.tiles import Tiling

_SETTINGS = PredictionSettings(threshold=0.5, min_area=0, batch=4, device="cpu")
_EXCLUSIVE = Channels(("road", "car"), background=0, exclusive=True)
_SEVERAL = Channels(("wet", "dark"), background=None, exclusive=False)


def _sample(name: str, size_wh: tuple[int, int]) -> Sample:
    return Sample(key=name, media=Path(name), name=name, digest=name, size_wh=size_wh)


def _channels(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Each colour is one probability in percent."""
    return np.moveaxis(images.astype(np.float32) / 100, -1, 1)


def _found(
    pixels: NDArray[np.uint8], channels: Channels, settings: PredictionSettings = _SETTINGS
) -> dict[str, tuple[list[list[bool]], float]]:
    size_wh = pixels.shape[1], pixels.shape[0]
    count = len(channels.classes) + (channels.background is not None)
    model = lambda images: _channels(images)[:, :count]  # noqa: E731
    ((_, labels),) = predict_semantic([_sample("a", size_wh)], model, channels, settings, lambda path: pixels)
    return {label.label: (_whole(label, size_wh).tolist(), label.score or 0.0) for label in labels}


def _whole(label: AnyLabel, size_wh: tuple[int, int]) -> NDArray[np.bool_]:
    assert isinstance(label, Mask)
    whole = np.zeros((size_wh[1], size_wh[0]), dtype=bool)
    whole[label.top : label.top + label.bitmap.shape[0], label.left : label.left + label.bitmap.shape[1]] = label.bitmap
    return whole


def test_each_pixel_has_its_most_probable_class_and_the_background_none() -> None:
    row = [[80, 10, 10], [10, 70, 20], [0, 90, 10], [20, 20, 60]]
    found = _found(np.array([row], dtype=np.uint8), _EXCLUSIVE)
    assert found["road"] == ([[False, True, True, False]], pytest.approx(0.8))
    assert found["car"] == ([[False, False, False, True]], pytest.approx(0.6))


def test_a_pixel_below_the_threshold_has_no_class() -> None:
    assert _found(np.array([[[30, 45, 25]]], dtype=np.uint8), _EXCLUSIVE) == {}


def test_a_low_threshold_gives_a_pixel_a_class_though_the_background_is_likelier() -> None:
    pixels = np.array([[[60, 30, 10], [70, 10, 20], [75, 5, 20]]], dtype=np.uint8)
    low = _found(pixels, _EXCLUSIVE, replace(_SETTINGS, threshold=0.2))
    assert low["road"] == ([[True, False, False]], pytest.approx(0.3))
    assert low["car"] == ([[False, True, True]], pytest.approx(0.2))
    assert _found(pixels, _EXCLUSIVE, replace(_SETTINGS, threshold=0.25)).keys() == {"road"}


def test_the_threshold_of_a_yes_or_no_is_the_probability_of_yes() -> None:
    channels = Channels(("a",), background=0, exclusive=True)
    pixels = np.array([[[30, 70, 0], [60, 40, 0], [90, 10, 0]]], dtype=np.uint8)
    masks = {
        threshold: _found(pixels, channels, replace(_SETTINGS, threshold=threshold))["a"][0][0]
        for threshold in (0.7, 0.5, 0.3, 0.1, None)
    }
    assert masks == {
        0.7: [True, False, False],
        0.5: [True, False, False],
        0.3: [True, True, False],
        0.1: [True, True, True],
        None: [True, False, False],
    }


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_without_a_threshold_pixels_have_what_the_validation_counts(activation: Any) -> None:
    torch = pytest.importorskip("torch")
    from specrun.training.smp.scores import count_pixels  # needs torch

    logits = torch.from_numpy(np.random.default_rng(3).normal(0, 1, (1, 6, 24, 20)).astype(np.float32))
    exclusive = activation == "softmax"
    shares = (logits.softmax(1) if exclusive else logits.sigmoid()).numpy()
    names = tuple("abcdef"[exclusive:])
    painting = Painting(Channels(names, 0 if exclusive else None, exclusive), (20, 24), None)
    painting.paint(0, shares[0])
    found = {label.label: int(_whole(label, (20, 24)).sum()) for label in painting.labels()}
    counted = count_pixels(logits, torch.zeros((1, 24, 20), dtype=torch.int64), activation, 255)[1].tolist()
    assert found == dict(zip(names, counted[exclusive:], strict=True))


def test_several_classes_may_be_on_one_pixel() -> None:
    found = _found(np.array([[[90, 60, 0], [40, 70, 0]]], dtype=np.uint8), _SEVERAL)
    assert found["wet"] == ([[True, False]], pytest.approx(0.9))
    assert found["dark"] == ([[True, True]], pytest.approx(0.65))


def test_a_background_in_the_middle_shifts_no_class() -> None:
    channels = Channels(("road", "car"), background=1, exclusive=True)
    found = _found(np.array([[[80, 10, 10], [10, 80, 10], [10, 10, 80]]], dtype=np.uint8), channels)
    assert {name: mask for name, (mask, _) in found.items()} == {
        "road": [[True, False, False]],
        "car": [[False, False, True]],
    }


def test_small_islands_are_left_out() -> None:
    pixels = np.zeros((6, 8, 3), dtype=np.uint8)
    pixels[..., 0] = 100
    pixels[1, 1] = pixels[3:5, 4:7] = (0, 100, 0)
    ((mask, _),) = _found(pixels, _EXCLUSIVE, replace(_SETTINGS, min_area=4)).values()
    assert int(np.sum(mask)) == 6


@pytest.mark.parametrize("exclusive", [True, False])
def test_the_score_is_of_what_stays(exclusive: bool) -> None:
    planes = np.zeros((1 if not exclusive else 2, 6, 8), dtype=np.float32)
    planes[-1, 1, 1], planes[-1, 3:5, 4:7] = 0.6, 0.9
    channels = Channels(("a",), 0 if exclusive else None, exclusive)
    painting = Painting(channels, (8, 6), 0.5, min_area=4)
    painting.paint(0, planes)
    (label,) = painting.labels()
    assert label.score == pytest.approx(0.9, abs=1e-4)


@pytest.mark.parametrize("channels", [_EXCLUSIVE, _SEVERAL])
@pytest.mark.parametrize("tta", [(), ("flip", "rotate")])
def test_tiles_find_what_the_whole_image_shows(channels: Channels, tta: tuple[str, ...]) -> None:
    random = np.random.default_rng(5)
    pixels = np.repeat(np.repeat(random.integers(0, 101, (9, 12, 3), dtype=np.uint8), 9, axis=0), 7, axis=1)
    whole = _found(pixels, channels)
    tiled = _found(pixels, channels, replace(_SETTINGS, tile=Tiling((32, 40), 0.5), tta=tta, batch=3))
    differing = sum(int(np.sum(np.array(whole[name][0]) ^ np.array(tiled[name][0]))) for name in whole)
    # Rounding decides where two classes are equally probable, or one just reaches the threshold.
    assert differing < 0.01 * pixels.shape[0] * pixels.shape[1]
    assert {name: score for name, (_, score) in tiled.items()} == pytest.approx(
        {name: score for name, (_, score) in whole.items()}, abs=0.01
    )


def test_an_image_of_another_size_than_the_dataset_says_is_refused() -> None:
    pixels = np.zeros((4, 5, 3), dtype=np.uint8)
    for settings in (_SETTINGS, replace(_SETTINGS, tile=Tiling((32, 32), 0.5))):
        with pytest.raises(FormatError, match="is 5x4 pixels, but the dataset says"):
            list(predict_semantic([_sample("a", (9, 9))], _channels, _SEVERAL, settings, lambda path: pixels))


_LARGE = """
import resource, sys
from pathlib import Path
import numpy as np
from specrun.kinds.predictions.images import read_for_model
from specrun.kinds.predictions.pixels import open_for_model
from specrun.model.labels import Sample
from specrun.training.predictor import PredictionSettings
from specrun.training.semantic import Channels, Painting, predict_semantic
from specrun.training.tiles import Tiling

size = 12_000, 9_000
sample = Sample(key="a", media=Path(sys.argv[1]), name="a", digest="a", size_wh=size)
settings = PredictionSettings(
    threshold=0.5, min_area=0, batch=2, device="cpu", tile=Tiling((1024, 1024), 0.5), open_image=open_for_model
)
def model(images):
    shares = images[..., 0].astype(np.float32) / 255
    return np.stack([shares, 1 - shares, shares * 0, shares * 0], axis=1)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
channels = Channels(("a", "b", "c"), background=0, exclusive=True)
((_, labels),) = predict_semantic([sample], model, channels, settings, read_for_model)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print((after - before) // 1024, [label.label for label in labels], int(labels[0].bitmap.sum()))
"""


@pytest.mark.slow
def test_an_image_of_a_hundred_million_pixels_takes_a_fraction_of_its_probabilities(tmp_path: Path) -> None:
    """Its probabilities are 1,650 MiB; a row of tiles of them 188, the classes 103, a mask 103 and its window 103."""
    path = tmp_path / "large.tif"
    write = (
        "import sys, numpy as np; from PIL import Image;"
        "pixels = np.full((9000, 12000, 3), 255, dtype=np.uint8); pixels[100:8000, 50:11000] = 20;"
        "Image.fromarray(pixels).save(sys.argv[1], compression='tiff_adobe_deflate')"
    )
    subprocess.run([sys.executable, "-c", write, str(path)], check=True)
    done = subprocess.run([sys.executable, "-c", _LARGE, str(path)], capture_output=True, text=True, check=True)
    used_mib, rest = done.stdout.split(" ", 1)
    assert rest.strip() == f"['a'] {7900 * 10950}"
    assert int(used_mib) < 800
