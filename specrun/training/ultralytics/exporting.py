"""The best checkpoint in other formats, each compared with PyTorch on a photograph before it is published."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from specrun.errors import MissingDependency, NodeError
from specrun.training.quiet_onnxruntime import load_onnxruntime
from specrun.training.ultralytics.checkpoints import WORK

_SUFFIXES = {"onnx": ".onnx", "torchscript": ".torchscript"}
EXPORT_FORMATS: Sequence[str] = tuple(_SUFFIXES)
_PACKAGES = {"onnx": ("onnx", "onnxruntime", "onnxslim")}
INSTALL_HINT = "Install the extra: pip install 'specrun[onnx]'."
NORMALIZATION = {"channels": "RGB", "scale": 1 / 255, "mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]}
"""What the library's own loaders do to an image before the model sees it."""
_TOLERANCE = 1e-3
_HALF_TOLERANCE = 5e-2


def missing_packages(name: str) -> list[str]:
    """What a format needs and this environment lacks; looks without importing."""
    return [package for package in _PACKAGES.get(name, ()) if importlib.util.find_spec(package) is None]


def require_packages(wanted: Mapping[str, object]) -> None:
    """Raises MissingDependency: asked before anything is trained."""
    for name in wanted:
        if missing := missing_packages(name):
            raise MissingDependency(f"export.{name}: {', '.join(missing)} cannot be imported.", hint=INSTALL_HINT)


def export_formats(
    folder: Path,
    wanted: Mapping[str, Mapping[str, Any]],
    imgsz: int,
    classes: Sequence[str],
    log: Callable[[str], None],
) -> list[str]:
    """Write the best checkpoint in other formats beside it; returns what was made, relative to the folder.

    Raises NodeError: the library refuses an argument, or what was made says something else than PyTorch.
    """
    require_packages(wanted)
    made = []
    for name, arguments in wanted.items():
        target = folder / "weights" / f"best{_SUFFIXES[name]}"
        if not target.exists():
            _export(folder / "weights" / "best.pt", name, {"imgsz": imgsz, **arguments}, target, classes, log)
        made.append(target.relative_to(folder).as_posix())
    return made


def _export(
    checkpoint: Path,
    name: str,
    arguments: Mapping[str, Any],
    target: Path,
    classes: Sequence[str],
    log: Callable[[str], None],
) -> None:
    from ultralytics import YOLO  # heavy, in the prepared environment

    place = checkpoint.parent.parent / WORK / "export"
    place.mkdir(parents=True, exist_ok=True)
    copy = Path(shutil.copyfile(checkpoint, place / "best.pt"))
    if name == "onnx":
        load_onnxruntime()
    try:
        model = YOLO(str(copy))
        # The names as the data set writes them; of folders that stand for classes they may differ.
        model.model.names = dict(enumerate(classes))
        made = Path(model.export(**{"device": "cpu", **arguments, "format": name}))
    except (ImportError, ModuleNotFoundError) as error:
        raise MissingDependency(f"export.{name}: {error}", hint=INSTALL_HINT) from error
    except (ValueError, TypeError, SyntaxError, AssertionError) as error:
        raise NodeError(f"export.{name}: Ultralytics refuses it: {error}") from error
    _write_normalization(made, name)
    _check(copy, made, name, arguments, classes, log)
    os.replace(made, target)


def _write_normalization(path: Path, name: str) -> None:
    """Beside the names, the task and the size, which the library writes."""
    if name == "onnx":
        import onnx  # heavy

        model = onnx.load(str(path))
        onnx.helper.set_model_props(
            model, {**{p.key: p.value for p in model.metadata_props}, "normalization": json.dumps(NORMALIZATION)}
        )
        onnx.save(model, str(path))
        return
    import torch  # heavy

    inside = {"config.txt": ""}
    module = torch.jit.load(str(path), map_location="cpu", _extra_files=inside)
    described = {**json.loads(inside["config.txt"]), "normalization": NORMALIZATION}
    module.save(str(path), _extra_files={"config.txt": json.dumps(described)})


def _check(
    checkpoint: Path,
    made: Path,
    name: str,
    arguments: Mapping[str, Any],
    classes: Sequence[str],
    log: Callable[[str], None],
) -> None:
    """The outputs of both on one photograph. Raises NodeError: they differ, or the class names are not inside."""
    import torch  # heavy
    from ultralytics.nn.autobackend import AutoBackend

    exported = AutoBackend(model=str(made), device=torch.device("cpu"))
    if [exported.names[index] for index in sorted(exported.names)] != list(classes):
        raise NodeError(f"export.{name}: holds the class names {exported.names}, not those of the model.")
    if arguments.get("nms") or str(arguments.get("quantize")) in ("8", "int8"):
        log(f"export.{name}: not compared with PyTorch, since nms or int8 change what comes out")
        return
    images = _photograph(exported, int(arguments.get("batch", 1)))
    with torch.inference_mode():
        theirs = exported(images)
        ours = AutoBackend(model=str(checkpoint), device=torch.device("cpu"), fuse=True)(images)
    worst = max(_difference(a, b) for a, b in zip(_tensors(ours), _tensors(theirs), strict=False))
    half = arguments.get("half") or str(arguments.get("quantize")) in ("16", "fp16")
    limit = _HALF_TOLERANCE if half else _TOLERANCE
    if not worst <= limit:
        hint = "Try another opset, or leave out simplify."
        raise NodeError(f"export.{name}: differs from PyTorch by {worst:.2g} of the largest output.", hint=hint)
    log(f"export.{name}: differs from PyTorch by at most {worst:.1e} of the largest output")


def _photograph(exported: Any, batch: int) -> Any:
    """One that comes with the library, as the model takes it: (batch, 3, height, width), RGB from 0 to 1."""
    import torch  # heavy
    from PIL import Image
    from ultralytics.utils import ASSETS

    size = exported.imgsz if isinstance(exported.imgsz, (list, tuple)) else (exported.imgsz, exported.imgsz)
    with Image.open(ASSETS / "bus.jpg") as image:
        pixels = image.convert("RGB").resize((int(size[1]), int(size[0])))
    flat = torch.frombuffer(bytearray(pixels.tobytes()), dtype=torch.uint8)
    tensor = flat.view(int(size[0]), int(size[1]), 3).permute(2, 0, 1).float() / 255
    return tensor.repeat(batch, 1, 1, 1)


def _tensors(outputs: Any) -> list[Any]:
    """Nested tuples of outputs, flat: detections first, then prototypes of masks."""
    if hasattr(outputs, "shape"):
        return [outputs]
    if isinstance(outputs, Mapping):
        return []
    return [tensor for part in outputs for tensor in _tensors(part)]


def _difference(ours: Any, theirs: Any) -> float:
    import torch  # heavy

    theirs = torch.as_tensor(theirs)
    if ours.shape != theirs.shape:
        return float("inf")
    return float((ours - theirs).abs().max() / ours.abs().max().clamp(min=1e-6))
