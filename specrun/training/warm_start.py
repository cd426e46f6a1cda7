"""`start_from`: whose weights a training on new data begins with. For every trainer.

previous      the last published output of the same node; the first time there is none, and nothing happens
models.x      another model of the spec, which becomes an input
a path        a checkpoint beside the spec; its content is part of the result
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from specrun.errors import NodeError
from specrun.model.digest import Json
from specrun.model.work import Context
from specrun.spec.kind import Lookup, Need, Problem

PREVIOUS = "previous"
ROLE = "start"
"""Of the input that `models.x` becomes."""
_MODEL_NAME = "model.json"


@dataclass(frozen=True, slots=True)
class Start:
    """checkpoint: the best weights. classes: in the order of the model's outputs, None where no model.json lies
    beside the checkpoint. where: for messages."""

    checkpoint: Path
    classes: tuple[str, ...] | None
    where: str


def start_needs(start_from: str | None) -> list[Need]:
    return [Need(ROLE, start_from)] if start_from and names_a_model(start_from) else []


def names_a_model(start_from: str) -> bool:
    return start_from.split("[")[0].startswith("models.")


def start_file(start_from: str | None) -> str | None:
    """The path as written, for `observe`; None: it is no path."""
    return None if start_from in (None, PREVIOUS) or names_a_model(str(start_from)) else start_from


def start_problems(start_from: str | None, project_dir: Path) -> list[Problem]:
    written = start_file(start_from)
    if written is None or (project_dir / Path(written).expanduser()).is_file():
        return []
    hint = "Write previous, a model such as models.unet, or the path of a checkpoint, relative to the spec."
    return [Problem("start_from", f"There is no file {written}.", hint)]


def wrong_kind_problems(start_from: str | None, lookup: Lookup, kind: str) -> list[Problem]:
    """kind: of models that can be begun with."""
    if start_from is None or not names_a_model(start_from):
        return []
    found = lookup.kind_of(start_from.split("[")[0])
    if found in (None, f"models.{kind}"):
        return []
    message = f"{start_from} is {found}, not a model of kind {kind}."
    return [Problem("start_from", message, "Their networks have nothing in common: name another, or a checkpoint.")]


def find_start(start_from: str | None, ctx: Context, *, kind: str) -> Start | None:
    """None: nothing to start from. kind: `smp` or `ultralytics`, which a model's own description must agree with.

    Raises NodeError: the checkpoint is missing, or was made by the other trainer.
    """
    if start_from is None:
        return None
    if start_from == PREVIOUS:
        return _from_output(ctx.previous, "the previous output", kind) if ctx.previous else None
    if names_a_model(start_from):
        made = ctx.input(ROLE)
        return _from_output(made.folder, str(made.address), kind)
    path = ctx.project_dir / Path(start_from).expanduser()
    if not path.is_file():
        raise NodeError(f"start_from: {start_from}: there is no such file.", hint="Paths are relative to the spec.")
    described = _described(path.parent.parent) if path.parent.name == "weights" else None
    return _start(path, described, start_from, kind)


def _from_output(folder: Path, where: str, kind: str) -> Start:
    found = sorted((folder / "weights").glob("best.*"))
    checkpoints = [path for path in found if path.suffix in (".pt", ".safetensors", ".ckpt")]
    if not checkpoints:
        raise NodeError(
            f"start_from: {where} holds no checkpoint weights/best.*", hint="Train it again with --replace."
        )
    return _start(checkpoints[0], _described(folder), where, kind)


def _start(checkpoint: Path, described: dict[str, Json] | None, where: str, kind: str) -> Start:
    made_by = described.get("kind") if described else None
    if made_by not in (None, kind):
        raise NodeError(f"start_from: {where} is a model of kind {made_by}.", hint=f"Give a model of kind {kind}.")
    classes = described.get("classes") if described else None
    return Start(checkpoint, tuple(map(str, classes)) if isinstance(classes, list) else None, where)


def _described(folder: Path) -> dict[str, Json] | None:
    try:
        content: dict[str, Json] = json.loads((folder / _MODEL_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content
