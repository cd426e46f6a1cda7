"""The values of attributes as CVAT's API takes them: its server accepts what its editor could not show."""

from __future__ import annotations

import math
from dataclasses import dataclass

from specrun.formats.tally import Tally
from specrun.model.labels import AttributeValue

_LONGEST_TEXT = 4096
_TRUE, _FALSE = ("true", "1", "yes"), ("false", "0", "no")


@dataclass(frozen=True)
class AttributeTarget:
    """An attribute of a label in CVAT. values: the choices, or least, greatest and step of a number.
    default: its value where nobody gave one."""

    id: int
    input_type: str = "text"
    values: tuple[str, ...] = ()
    default: str = ""


def attribute_text(value: AttributeValue) -> str:
    """true and false for checkboxes; numbers in the shortest form."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    return str(value)


def allowed_value(attribute: AttributeTarget, value: AttributeValue, lost: Tally) -> str | None:
    """As the attribute takes it; None: it does not. What is changed or left out is counted."""
    text = attribute_text(value)
    match attribute.input_type:
        case "select" | "radio" if text not in attribute.values:
            lost.add("attribute", "{have} a value that its list in CVAT lacks and {were} left out")
            return None
        case "checkbox":
            if text.lower() in (*_TRUE, *_FALSE):
                return "true" if text.lower() in _TRUE else "false"
            lost.add("attribute", "{are} neither true nor false, as CVAT wants, and {were} left out")
            return None
        case "number":
            return _allowed_number(attribute, text, lost)
        case "text" if len(text) > _LONGEST_TEXT:
            lost.add("attribute", f"{{have}} more than {_LONGEST_TEXT:,} characters and {{were}} cut off")
            return text[:_LONGEST_TEXT]
        case _:
            return text


def _allowed_number(attribute: AttributeTarget, text: str, lost: Tally) -> str | None:
    try:
        value = float(text)
        least, greatest, step = (float(one) for one in attribute.values[:3])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        lost.add("attribute", "{are} no number that CVAT takes and {were} left out")
        return None
    kept = min(max(value, least), greatest)
    if kept != value:
        lost.add("attribute", "{were} outside the range that CVAT takes and {were} moved to its end")
    elif step > 0:
        kept = min(round(least + round((kept - least) / step) * step, 6), greatest)
        if abs(kept - value) > 1e-6:
            lost.add("attribute", "{were} moved to the nearest step that CVAT takes")
    return attribute_text(kept)
