"""A trained model in formats that other programs run: TorchScript and ONNX, held against PyTorch before they count.

The exported network takes RGB values in [0, 255] as (n, 3, h, w) float32 and gives probabilities: normalisation
and activation are inside, and class names, size and normalisation stand in its metadata.
"""

from __future__ import annotations

import importlib.util
import json
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from specrun.errors import MissingDependency, NodeError
from specrun.training.quiet_onnxruntime import load_onnxruntime
from specrun.training.smp.description import ModelDescription
from specrun.training.smp.model import build_model, load_state, load_weights

SUFFIXES = {"torchscript": ".torchscript", "onnx": ".onnx"}
OPTIONS: Mapping[str, tuple[str, ...]] = {"torchscript": (), "onnx": ("opset", "dynamic")}
_TOLERANCE = 1e-4
_METADATA = "specrun.json"


class Standalone(nn.Module):
    """The network with what comes before and after it."""

    def __init__(self, net: nn.Module, described: ModelDescription) -> None:
        super().__init__()
        self.net = net
        self.softmax = described.activation == "softmax"
        self.register_buffer("mean", torch.tensor(described.mean).view(1, -1, 1, 1) * 255)
        self.register_buffer("std", torch.tensor(described.std).view(1, -1, 1, 1) * 255)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.net((images - self.mean) / self.std)
        return logits.softmax(1) if self.softmax else logits.sigmoid()


def export_formats(folder: Path, weights: Path, described: ModelDescription, wanted: Mapping[str, Any]) -> list[str]:
    """Paths relative to the folder. Raises MissingDependency, NodeError: an export differs from PyTorch."""
    made = []
    for name, options in wanted.items():
        target = folder / "weights" / f"best{SUFFIXES[name]}"
        net = build_model(described)
        load_weights(net, load_state(weights), weights)
        whole = Standalone(net, described).eval()
        sample = torch.rand((1, described.in_channels, *described.image_size)) * 255
        partial = target.with_suffix(".part")
        with torch.inference_mode():
            expected = whole(sample)
        found = _WRITERS[name](whole, sample, partial, described, options)
        difference = float((found - expected).abs().max())
        if not difference < _TOLERANCE:
            partial.unlink()
            raise NodeError(f"export.{name}: its answers differ from PyTorch's by {difference:.2g}.")
        os.replace(partial, target)
        made.append(target.relative_to(folder).as_posix())
    return made


def _metadata(described: ModelDescription) -> str:
    return json.dumps({**described.to_json(), "input": "RGB in [0, 255], (n, 3, h, w)", "output": "probabilities"})


def _torchscript(
    whole: Standalone, sample: Tensor, path: Path, described: ModelDescription, options: Mapping[str, Any]
) -> Tensor:
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # tracing warns of every Python branch on a size
        traced = torch.jit.trace(whole, sample, check_trace=False)
    torch.jit.save(traced, str(path), _extra_files={_METADATA: _metadata(described)})
    with torch.inference_mode():
        found: Tensor = torch.jit.load(str(path))(sample)
    return found


def _onnx(
    whole: Standalone, sample: Tensor, path: Path, described: ModelDescription, options: Mapping[str, Any]
) -> Tensor:
    for package in ("onnx", "onnxruntime"):
        if importlib.util.find_spec(package) is None:
            raise MissingDependency(
                f"export.onnx: the package {package} is not installed.", hint=f"Install it: pip install {package}."
            )
    import onnx

    onnxruntime = load_onnxruntime()
    sizes = {0: "batch", 2: "height", 3: "width"} if options.get("dynamic") else {0: "batch"}
    torch.onnx.export(
        whole,
        (sample,),
        str(path),
        dynamo=False,
        opset_version=options.get("opset", 17),
        input_names=["images"],
        output_names=["probabilities"],
        dynamic_axes={"images": sizes, "probabilities": sizes},
    )
    model = onnx.load(str(path))
    entry = model.metadata_props.add()
    entry.key, entry.value = "specrun", _metadata(described)
    onnx.save(model, str(path))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"images": sample.numpy()})[0])


_WRITERS = {"torchscript": _torchscript, "onnx": _onnx}
