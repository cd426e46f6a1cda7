"""Exported networks answer as PyTorch does, and carry what is needed to use them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from specrun.errors import NodeError

torch = pytest.importorskip("torch")
pytest.importorskip("segmentation_models_pytorch")

from specrun.training.smp import exporting  # noqa: E402 (needs torch)
from specrun.training.smp.description import ModelDescription  # noqa: E402
from specrun.training.smp.model import build_model, save_weights  # noqa: E402


def _described(activation: Any, classes: tuple[str, ...]) -> ModelDescription:
    return ModelDescription(
        arch="Unet",
        encoder="timm-mobilenetv3_small_minimal_100",
        classes=classes,
        background=0,
        ignore_index=255,
        activation=activation,
        mean=(0.4, 0.5, 0.6),
        std=(0.2, 0.2, 0.3),
        image_size=(64, 96),
        stride=32,
        arch_options={"decoder_channels": [16, 16, 16, 8, 8]},
    )


def _expected(folder: Path, described: ModelDescription, images: Any) -> Any:
    torch.manual_seed(0)
    net = build_model(described).eval()
    save_weights(net.state_dict(), folder / "weights" / "best.safetensors")
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (described.mean, described.std))
    with torch.inference_mode():
        logits = net((images / 255 - mean) / std)
    return (logits.softmax(1) if described.activation == "softmax" else logits.sigmoid()).numpy()


_MODELS = [("softmax", ("box", "disc")), ("sigmoid", ("box",))]


@pytest.mark.parametrize(("activation", "classes"), _MODELS)
def test_onnx_answers_as_pytorch_in_batches_and_other_sizes(
    tmp_path: Path, activation: str, classes: tuple[str, ...]
) -> None:
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    described = _described(activation, classes)
    images = torch.rand((2, 3, 32, 64)) * 255
    expected = _expected(tmp_path, described, images)
    made = exporting.export_formats(
        tmp_path, tmp_path / "weights" / "best.safetensors", described, {"onnx": {"dynamic": True}}
    )
    assert made == ["weights/best.onnx"]
    session = runtime.InferenceSession(str(tmp_path / made[0]), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"images": images.numpy()})[0], expected, atol=1e-4)
    said = json.loads(session.get_modelmeta().custom_metadata_map["specrun"])
    assert said["classes"] == list(classes)
    assert said["image_size"] == [64, 96]
    assert said["mean"] == [0.4, 0.5, 0.6]


@pytest.mark.parametrize(("activation", "classes"), _MODELS)
def test_torchscript_answers_as_pytorch(tmp_path: Path, activation: str, classes: tuple[str, ...]) -> None:
    described = _described(activation, classes)
    images = torch.rand((1, 3, 64, 96)) * 255
    expected = _expected(tmp_path, described, images)
    (made,) = exporting.export_formats(
        tmp_path, tmp_path / "weights" / "best.safetensors", described, {"torchscript": {}}
    )
    extra = {"specrun.json": ""}
    script = torch.jit.load(str(tmp_path / made), _extra_files=extra)
    np.testing.assert_allclose(script(images).detach().numpy(), expected, atol=1e-4)
    assert json.loads(extra["specrun.json"])["classes"] == list(classes)


def test_an_export_that_answers_otherwise_is_refused_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    described = _described("softmax", ("box", "disc"))
    _expected(tmp_path, described, torch.zeros((1, 3, 64, 96)))

    def wrong(whole: Any, sample: Any, path: Path, *rest: Any) -> Any:
        path.write_bytes(b"")
        return whole(sample) + 0.5

    monkeypatch.setitem(exporting._WRITERS, "torchscript", wrong)
    with pytest.raises(NodeError, match=r"export\.torchscript: its answers differ from PyTorch's by 0\.5"):
        exporting.export_formats(tmp_path, tmp_path / "weights" / "best.safetensors", described, {"torchscript": {}})
    assert [path.name for path in (tmp_path / "weights").iterdir()] == ["best.safetensors"]
