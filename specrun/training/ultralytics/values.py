"""The values that the installed Ultralytics takes, read from the text of its `cfg` without importing it.

Its `cfg/__init__.py` holds sets of names (`CFG_FRACTION_KEYS`, `CFG_INT_MIN`), its `default.yaml` says the choices of
text arguments behind a colon: `optimizer: SGD, MuSGD, Adam or auto`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from specrun.spec.suggest import did_you_mean
from specrun.training.oom import AUTO

_NOT_NEGATIVE = frozenset({"workers", "close_mosaic", "warmup_epochs", "degrees", "shear", "freeze"})
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "cache": ("ram", "disk"),
    "amp": ("fp16", "bf16", "fp32"),
    "compile": ("default", "reduce-overhead", "max-autotune-no-cudagraphs", "max-autotune"),
}
_OWN_RULES = frozenset({"fraction", "batch", "imgsz", "scale", "time"})


@dataclass(frozen=True, slots=True)
class Limits:
    """fractions: arguments from 0 to 1. least: smallest value of whole numbers. texts: arguments with choices."""

    fractions: frozenset[str] = frozenset()
    least: Mapping[str, int] = field(default_factory=dict)
    texts: frozenset[str] = frozenset()


def read_limits(path: Path) -> Limits:
    """From the library's `cfg/__init__.py`; what a release writes otherwise is not limited here."""
    found: dict[str, object] = {}
    try:
        body = ast.parse(path.read_text(encoding="utf-8")).body
    except (OSError, SyntaxError):
        return Limits()
    for statement in body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            value = statement.value
            if isinstance(value, ast.Call) and value.args:
                value = value.args[0]
            if statement.targets[0].id.startswith("CFG_"):
                try:
                    found[statement.targets[0].id] = ast.literal_eval(value)
                except ValueError:
                    continue
    least = found.get("CFG_INT_MIN")
    return Limits(
        fractions=_names(found.get("CFG_FRACTION_KEYS")) - _OWN_RULES,
        least=least if isinstance(least, dict) else {},
        texts=_names(found.get("CFG_STR_KEYS")),
    )


def _names(value: object) -> frozenset[str]:
    return frozenset(map(str, value)) if isinstance(value, set) else frozenset()


def choices_in(meaning: str) -> tuple[str, ...]:
    """`strategy for segment/obb: flip or mixup` → flip, mixup; (): the text names none."""
    _, colon, listed = meaning.partition(": ")
    words = re.split(r",\s*(?:or\s+)?|\s+or\s+", listed.strip()) if colon else []
    return tuple(words) if len(words) > 1 and all(re.fullmatch(r"\w+", word) for word in words) else ()


def value_problem(name: str, value: object, meaning: str, limits: Limits) -> tuple[str, str | None] | None:
    """Message and hint about a value of the right type that the library would refuse, or None."""
    if isinstance(value, str):
        choices = _CHOICES.get(name) or (choices_in(meaning) if name in limits.texts else ())
        if not choices or value.lower() in {choice.lower() for choice in choices}:
            return None
        hint = did_you_mean(value, choices) or f"Write one of {', '.join(choices)}."
        return f'{name} cannot be "{value}".', hint
    if name == "freeze" and isinstance(value, list):
        wrong = next((part for part in value if not _is_layer(part)), None)
        hint = "Write indices of layers such as 0, or modules of them such as 23.cv2."
        return None if wrong is None else (f"freeze cannot hold {wrong!r}: it is no layer.", hint)
    if name == "scale" and isinstance(value, list):
        right = len(value) == 2 and all(isinstance(part, (int, float)) for part in value)
        return None if right else ("scale must be one number, or a list of the least and the greatest.", None)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    allowed = _allowed(name, value, limits)
    return None if allowed is None else (f"{name} must be {allowed}, not {value}.", None)


def _is_layer(value: object) -> bool:
    """A text is compared with names such as `model.23.cv2.0.weight`, from the index on; a word matches none of them."""
    if isinstance(value, str):
        return re.fullmatch(r"\d+(\.\w+)*", value) is not None
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _allowed(name: str, value: float, limits: Limits) -> str | None:
    """What the number should have been; None: it is right."""
    right, allowed = True, ""
    if name == "batch":
        right = value == -1 or 0 < value < 1 or (isinstance(value, int) and value >= 1)
        allowed = f"a whole number from 1, {AUTO}, or the share of the GPU's memory to use (0 to 1)"
    elif name == "fraction":
        right, allowed = 0 < value <= 1 or (isinstance(value, int) and value > 1), "above 0 and at most 1, or a count"
    elif name in ("imgsz", "time"):
        right, allowed = value > 0, "above 0"
    elif name in limits.fractions or name == "scale":
        right, allowed = 0 <= value <= 1, "from 0 to 1"
    elif name in limits.least:
        right, allowed = value >= limits.least[name], f"at least {limits.least[name]}"
    elif name in _NOT_NEGATIVE:
        right, allowed = value >= 0, "at least 0"
    return None if right else allowed
