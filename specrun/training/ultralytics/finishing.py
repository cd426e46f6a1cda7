"""What becomes of a finished training before it is published: portable checkpoints and model.json."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from specrun.errors import NodeError
from specrun.model.digest import Json
from specrun.training.ultralytics.checkpoints import WORK

MODEL_NAME = "model.json"
_PATH_ARGUMENTS = ("data", "project", "save_dir", "model", "resume", "pretrained")


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """`model.json`: what consumers must know without loading the weights.

    trained_on: digest of the export, None for a given checkpoint. exports: as the spec asked for them.
    """

    task: str
    classes: tuple[str, ...]
    imgsz: int
    architecture: str
    trained_on: str | None
    exports: Mapping[str, Json]

    def save(self, folder: Path) -> None:
        content = {
            "kind": "ultralytics",
            "task": self.task,
            "classes": list(self.classes),
            "imgsz": self.imgsz,
            "architecture": self.architecture,
            "trained_on": self.trained_on,
            "exports": dict(self.exports),
        }
        (folder / MODEL_NAME).write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def exports_of(folder: Path) -> dict[str, Json] | None:
    """What a published model was exported as; None: the folder holds no model."""
    try:
        exports: dict[str, Json] = json.loads((folder / MODEL_NAME).read_text(encoding="utf-8"))["exports"]
    except (OSError, ValueError, KeyError):
        return None
    return exports


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Raises NodeError: it cannot be read, or holds more than the classes of the library."""
    from ultralytics.nn.tasks import torch_safe_load  # heavy, in the prepared environment

    try:
        loaded, _ = torch_safe_load(str(path))
    except Exception as error:  # whatever a foreign file makes the unpickler raise
        raise NodeError(f"{path}: is not a checkpoint that can be loaded safely: {_reason(error, path)}") from error
    if not isinstance(loaded, dict) or not (loaded.get("ema") or loaded.get("model")):
        raise NodeError(f"{path}: holds no Ultralytics model.")
    checkpoint: dict[str, Any] = loaded
    return checkpoint


def _reason(error: Exception, path: Path) -> str:
    """The first sentence, without the library's advice and without the path again."""
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return re.sub(r"^ERROR\W+", "", first.replace(str(path), "it")).partition(". ")[0]


def checkpoint_facts(checkpoint: Mapping[str, Any]) -> tuple[str, tuple[str, ...], int]:
    """Task, classes and image size that a checkpoint says of itself."""
    from ultralytics.nn.tasks import guess_model_task  # heavy, in the prepared environment

    model = checkpoint.get("ema") or checkpoint["model"]
    names = model.names
    classes = tuple(str(names[number]) for number in sorted(names)) if isinstance(names, dict) else tuple(names)
    size = checkpoint.get("train_args", {}).get("imgsz", 640)
    return guess_model_task(model), classes, int(size if isinstance(size, int) else max(size))


def weights_task(weights: str) -> str:
    """Without building the model, which takes the better part of a second."""
    from ultralytics.nn.tasks import guess_model_task, yaml_model_load  # heavy, in the prepared environment

    if weights.endswith(".pt"):
        return checkpoint_facts(load_checkpoint(Path(weights)))[0]
    task: str = guess_model_task(yaml_model_load(weights))
    return task


def make_portable(folder: Path) -> tuple[str, tuple[str, ...], int]:
    """Take the paths of this machine out of the checkpoints and of args.yaml; the facts of best.pt, since loading a
    checkpoint safely takes longer than an epoch of a small training."""
    cleaned = {path.name: _clean_checkpoint(path) for path in sorted((folder / "weights").glob("*.pt"))}
    arguments = folder / "args.yaml"
    if arguments.is_file():
        lines = arguments.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if line.split(":", 1)[0] not in _PATH_ARGUMENTS]
        arguments.write_text("\n".join(kept) + "\n", encoding="utf-8")
    return checkpoint_facts(cleaned["best.pt"])


def _clean_checkpoint(path: Path) -> dict[str, Any]:
    import torch  # heavy

    checkpoint = load_checkpoint(path)
    models = [model for name in ("model", "ema") if (model := checkpoint.get(name)) is not None]
    for told in (checkpoint.get("train_args"), *(getattr(model, "args", None) for model in models)):
        # A namespace until the library strips the checkpoint.
        arguments = told if isinstance(told, dict) else getattr(told, "__dict__", {})
        for name in _PATH_ARGUMENTS:
            if isinstance(arguments.get(name), str) and os.sep in arguments[name]:
                arguments[name] = None
    for model in models:
        if isinstance(getattr(model, "pt_path", None), str):
            model.pt_path = path.name
    checkpoint["git"] = None
    partial = path.with_suffix(".part")
    torch.save(checkpoint, partial)
    os.replace(partial, path)
    return checkpoint


def remove_work(folder: Path) -> None:
    shutil.rmtree(folder / WORK, ignore_errors=True)
