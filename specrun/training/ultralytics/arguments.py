"""The training arguments of the installed Ultralytics, read from its `cfg/default.yaml` as text.

Importing ultralytics costs seconds and torch, so validation reads what the file says of itself: a line
`epochs: 100 # (int) number of epochs` gives the name, the types and the meaning of one argument.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

from specrun.spec.suggest import did_you_mean
from specrun.training.oom import AUTO
from specrun.training.ultralytics.values import Limits, read_limits, value_problem

_LINE = re.compile(r"^(?P<name>\w+):\s*(?P<default>[^#]*?)\s*#\s*\((?P<types>[^)]*)\)\s*(?P<meaning>.*)$")
_TITLE = re.compile(r"^# (?P<title>[A-Z][^-]*?)\s*-*$")
_TYPES: Mapping[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "str": (str,),
    "list": (list,),
    "tuple": (list,),
}
_OWNED: Mapping[str, str] = {
    "data": "the key `data` of the model names the export",
    "model": "the key `weights` of the model names it",
    "mode": "a model is trained; predictions and evaluations are sections of their own",
    "task": "the weights decide it",
    "project": "specrun decides where the output lies",
    "name": "specrun decides where the output lies",
    "exist_ok": "specrun decides where the output lies",
    "save_dir": "specrun decides where the output lies",
    "save": "the checkpoints are the output",
    "resume": "the key `resume` of the model says it",
    "cfg": "write the arguments themselves, so that a change of one is noticed",
    "split": "checkpoints are chosen on the split val; evaluations look at others",
}
_WITHOUT_EFFECT = ("Predict settings", "Visualize settings", "Export settings", "Tracker settings")
_ALSO_ACCEPTED = (("batch", AUTO), ("auto_augment", None))
"""Ours, and one that the library takes although its file does not say so."""
_USED_IN_TRAINING = frozenset({"classes", "agnostic_nms"})
FILE_ARGUMENTS = ("pretrained", "distill_model")
"""May be the path of a checkpoint, whose content then decides the result."""
_NOT_DECIDING = frozenset({"plots", "verbose", "workers", "save_period", "profile", "save_json"})
"""What is drawn, printed and written besides the weights, and how many processes load the data."""


_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Argument:
    """types: the names in its parentheses (`int`, `bool`, `list[int]`). section: the heading above it."""

    name: str
    types: tuple[str, ...]
    optional: bool
    section: str
    meaning: str

    @property
    def written_types(self) -> str:
        return " or ".join(self.types)

    def accepts(self, value: object) -> bool:
        """A type that the file names but we do not know accepts anything: the library checks it again."""
        if value is None:
            return self.optional
        allowed: list[type] = []
        for name in self.types:
            known = _TYPES.get(name.split("[")[0])
            if known is None:
                return True
            allowed.extend(known)
        if isinstance(value, bool):
            return bool in allowed
        return isinstance(value, tuple(allowed))


@dataclass(frozen=True, slots=True)
class ArgumentProblem:
    """path: dotted, below `train`."""

    path: str
    message: str
    hint: str | None = None
    warning: bool = False


def parse_arguments(text: str) -> dict[str, Argument]:
    """The arguments that the text of a `default.yaml` declares, by name."""
    arguments: dict[str, Argument] = {}
    section = ""
    for line in text.splitlines():
        if match := _LINE.match(line):
            types = [part.strip() for part in re.split(r"[|,]", match["types"])]
            named = tuple(part for part in types if part and part != "optional")
            optional = "optional" in types or not match["default"]
            arguments[match["name"]] = Argument(match["name"], named, optional, section, match["meaning"])
        elif match := _TITLE.match(line):
            section = match["title"].strip()
    return arguments


def deciding_arguments(train: Mapping[str, _Value]) -> dict[str, _Value]:
    """Without those that have no say in the weights."""
    return {name: value for name, value in train.items() if name not in _NOT_DECIDING}


def argument_problems(
    train: Mapping[str, object], arguments: Mapping[str, Argument], limits: Limits | None = None
) -> Iterator[ArgumentProblem]:
    """What is wrong with the `train` block: names, types, values, and arguments that specrun decides itself."""
    limits = limits or Limits()
    for name, value in train.items():
        argument = arguments.get(name)
        if name in _OWNED:
            yield ArgumentProblem(name, f'"{name}" cannot be set here: {_OWNED[name]}.', f"Remove {name}.")
        elif name == "device":
            yield from _device_problems(value)
        elif argument is None:
            useful = [known for known, found in arguments.items() if known not in _OWNED and _has_effect(found)]
            hint = did_you_mean(name, useful)
            yield ArgumentProblem(name, f'Ultralytics has no training argument "{name}".', hint)
        elif (name, value) in _ALSO_ACCEPTED:
            continue
        elif not argument.accepts(value):
            written = type(value).__name__ if value is not None else "null"
            yield ArgumentProblem(name, f"{name} must be {argument.written_types}, not {written} ({value!r}).")
        elif not _has_effect(argument):
            message = f'"{name}" has no effect on training (it belongs to the {argument.section.lower()}).'
            yield ArgumentProblem(name, message, f"Remove {name}.", warning=True)
        elif found := value_problem(name, value, argument.meaning, limits):
            yield ArgumentProblem(name, *found)


def _has_effect(argument: Argument) -> bool:
    return argument.section not in _WITHOUT_EFFECT or argument.name in _USED_IN_TRAINING


def _device_problems(value: object) -> Iterator[ArgumentProblem]:
    """GPUs are leased, so that two nodes never share one by accident; Apple's mps is not leased."""
    if value != "mps":
        hint = "Write resources: {gpus: 1} on the model, or {gpus: 0} for the CPU."
        yield ArgumentProblem("device", '"device" cannot be set here: specrun leases GPUs.', hint)


@cache
def installed_folder() -> Path | None:
    """The folder of the installed ultralytics package, found without importing it."""
    try:
        found = importlib.util.find_spec("ultralytics")
    except (ImportError, ValueError):
        return None
    places = list(found.submodule_search_locations or ()) if found else []
    return Path(places[0]) if places else None


@cache
def installed_arguments() -> Mapping[str, Argument] | None:
    """None: Ultralytics is not installed."""
    folder = installed_folder()
    if folder is None:
        return None
    try:
        return parse_arguments((folder / "cfg" / "default.yaml").read_text(encoding="utf-8"))
    except OSError:
        return None


@cache
def installed_limits() -> Limits:
    folder = installed_folder()
    return read_limits(folder / "cfg" / "__init__.py") if folder else Limits()
