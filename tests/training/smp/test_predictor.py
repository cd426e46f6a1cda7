"""A checkpoint of other people's as a model of its own, and what it predicts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from specrun.errors import NodeError
from specrun.formats.images import read_upright_rgb
from specrun.model.address import parse_address
from specrun.model.labels import Mask, Sample
from specrun.model.work import Made
from specrun.training.predictor import PredictionSettings
from specrun.training.predictors import open_predictor
from tests.support.context import make_context

torch = pytest.importorskip("torch")
smp = pytest.importorskip("segmentation_models_pytorch")

from specrun.kinds.models.smp import Smp  # noqa: E402 (needs torch)
from specrun.kinds.models.smp_spec import SmpSpec  # noqa: E402 (needs torch)

_SETTINGS = PredictionSettings(threshold=0.5, min_area=0, batch=2, device="cpu")
_ENCODER: dict[str, Any] = {
    "encoder_name": "timm-mobilenetv3_small_minimal_100",
    "encoder_weights": None,
    "decoder_channels": (16, 16, 16, 8, 8),
}
_SPEC: dict[str, Any] = {
    "encoder": _ENCODER["encoder_name"],
    "arch_options": {"decoder_channels": [16, 16, 16, 8, 8]},
    "train": {"image_size": [64, 64], "normalize": "imagenet"},
}


def _network(channels: int, likeliest: int | None = None) -> Any:
    """likeliest: a channel that wins everywhere."""
    torch.manual_seed(0)
    net = smp.Unet(classes=channels, **_ENCODER).eval()
    if likeliest is not None:
        with torch.no_grad():
            net.segmentation_head[0].bias[likeliest] += 20
    return net


def _given(folder: Path, **spec: Any) -> tuple[Any, Made]:
    context = make_context(folder, "models.given", cpus=1)
    outputs = Smp().run(SmpSpec(**{**_SPEC, **spec}), context)
    address = parse_address("models.given")
    return context, Made(address, "models.smp", context.staging, "d", facts=outputs.facts, artifacts=outputs.artifacts)


def _bgr(path: Path) -> Any:
    return read_upright_rgb(path)[:, :, ::-1]


def test_probabilities_are_those_of_the_library_on_the_same_pixels(tmp_path: Path) -> None:
    net = _network(3)
    torch.save(
        {"state_dict": {f"model.{name}": value for name, value in net.state_dict().items()}}, tmp_path / "a.ckpt"
    )
    context, made = _given(tmp_path, checkpoint="a.ckpt", classes=["box", "disc"])
    predictor: Any = open_predictor(made, _SETTINGS, _bgr, context)
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype(np.uint8)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    pixels = torch.from_numpy(images[..., ::-1].copy()).permute(0, 3, 1, 2).float() / 255
    with torch.inference_mode():
        expected = net((pixels - mean) / std).softmax(1).numpy()
    np.testing.assert_allclose(predictor.probabilities(images), expected, atol=1e-5)


def test_a_checkpoint_predicts_in_the_size_of_the_image(tmp_path: Path) -> None:
    net = _network(3, likeliest=2)
    net.save_pretrained(str(tmp_path / "saved"))
    context, made = _given(tmp_path, checkpoint="saved", classes=["box", "disc"])
    described = json.loads((made.folder / "model.json").read_text(encoding="utf-8"))
    assert (described["arch"], described["classes"], described["background"]) == ("Unet", ["box", "disc"], 0)
    Image.fromarray(np.zeros((50, 90, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    sample = Sample(key="a", media=tmp_path / "a.png", name="a.png", digest="d", size_wh=(90, 50))
    ((found, labels),) = open_predictor(made, _SETTINGS, _bgr, context).predict([sample])
    (label,) = labels
    assert isinstance(label, Mask)
    assert (found.name, label.label, label.bitmap.shape, bool(label.bitmap.all())) == ("a.png", "disc", (50, 90), True)
    assert label.score is not None
    assert label.score > 0.9


def test_one_channel_is_a_yes_or_no_before_the_background(tmp_path: Path) -> None:
    torch.save(_network(1, likeliest=0).state_dict(), tmp_path / "a.pt")
    context, made = _given(tmp_path, checkpoint="a.pt", classes=["coin"])
    predictor: Any = open_predictor(made, replace(_SETTINGS, batch=1), _bgr, context)
    shares = predictor.probabilities(np.zeros((1, 40, 40, 3), dtype=np.uint8))
    assert shares.shape == (1, 2, 40, 40)
    np.testing.assert_allclose(shares.sum(1), 1, atol=1e-6)
    assert shares[0, 1].min() > 0.9


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({}, "has 3 channels and no names for them"),
        ({"classes": ["box"]}, "has 3 channels; 1 classes and the background are 2"),
        ({"classes": ["box", "disc"], "background": None}, "has 3 channels; 2 classes are 2"),
    ],
)
def test_channels_without_names_for_all_are_refused(tmp_path: Path, spec: dict[str, Any], message: str) -> None:
    torch.save(_network(3).state_dict(), tmp_path / "a.pt")
    with pytest.raises(NodeError, match=message):
        _given(tmp_path, checkpoint="a.pt", **spec)
