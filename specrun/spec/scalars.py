"""Plain YAML scalars as values, by the core schema of YAML 1.2: `no` is text, `012` is 12.

Source: YAML 1.2.2, section 10.3.2.
"""

from __future__ import annotations

import math
import re

from specrun.spec.tree import ScalarValue

MAX_DIGITS = 4000
_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]+")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


def plain_scalar(text: str) -> ScalarValue:
    """Raises ValueError: a number that JSON cannot hold."""
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if text[0] not in "+-.0123456789":
        return text
    if len(text) > MAX_DIGITS and (_INT.fullmatch(text) or _BASED.fullmatch(text)):
        raise ValueError(f"a number of more than {MAX_DIGITS} digits")
    if _INT.fullmatch(text):
        return int(text)
    if _BASED.fullmatch(text):
        return int(text, 0)
    if _NOT_FINITE.fullmatch(text):
        raise ValueError(f"{text} is not a finite number")
    if _FLOAT.fullmatch(text):
        value = float(text)
        if not math.isfinite(value):
            raise ValueError(f"{text} is too large for a number")
        return value
    return text


def tagged_scalar(text: str, tag: str) -> ScalarValue:
    """A scalar with a standard tag, `!!str 12`; raises ValueError: another tag, or a value that does not fit."""
    match tag.removeprefix("tag:yaml.org,2002:"):
        case "str":
            return text
        case "int" | "float" | "bool" | "null" as wanted:
            value = plain_scalar(text)
            types = {"int": int, "float": (int, float), "bool": bool, "null": type(None)}[wanted]
            if not isinstance(value, types) or (wanted != "bool" and isinstance(value, bool)):  # type: ignore[arg-type]
                raise ValueError(f'"{text}" is not a YAML {wanted}')
            return float(value) if wanted == "float" and value is not None else value
        case _:
            raise ValueError(f"the tag {tag} is not known here; leave it out")
