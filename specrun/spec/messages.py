"""What pydantic found, said for people who know their spec and not pydantic."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from specrun.spec.suggest import listed, nearest
from specrun.spec.tree import Items, Scalar, Tree, kind_of_value

MAX_SHOWN = 40
_EXPECTED = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing_size": "a smaller number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "frozen_set_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "mapping_type": "a mapping",
    "none_required": "null",
    "path_type": "a path",
}
_BOOLEAN_WORDS = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}
_OPTION = re.compile(r"'((?:[^'\\]|\\.)*)'|([^\s,']+)")
_NUMBER = re.compile(r"[-+]?\d+(\.\d+)?([eE][-+]?\d+)?")


def expected(error: Mapping[str, Any]) -> str | None:
    """`a whole number`, or None when the error is about more than the type of the value."""
    return listed(phrases(error)) or None


def phrases(error: Mapping[str, Any]) -> list[str]:
    """Everything that would be right, each by itself: `"fast"`, `"slow"`."""
    if error["type"] in ("literal_error", "enum"):
        return [f'"{option}"' for option in options(error)]
    return [_EXPECTED[error["type"]]] if error["type"] in _EXPECTED else []


def options(error: Mapping[str, Any], key: str = "expected") -> list[str]:
    """The allowed words of a literal, an enum or a discriminator."""
    text = str(error["ctx"][key]).replace(" or ", ", ")
    return [quoted.replace("\\'", "'") if quoted else bare for quoted, bare in _OPTION.findall(text)]


def shown(tree: Tree) -> str:
    """The value as it may be quoted: what came from the environment is shown as it is written."""
    if not isinstance(tree, Scalar):
        return kind_of_value(tree)
    if tree.outside:
        return tree.written or "a value from the environment"
    if tree.value is None:
        return "null"
    text = json.dumps(tree.value, ensure_ascii=False)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"


def type_hint(wanted: list[str], tree: Tree, length: int = 1) -> str | None:
    """What to do about a value of the wrong type. wanted: phrases of `expected`. length: of the list that is wanted."""
    if isinstance(tree, Items):
        return "Write one value, without brackets." if len(tree.items) == 1 and "a list" not in wanted else None
    if not isinstance(tree, Scalar) or tree.outside:
        return None
    if isinstance(tree.value, str):
        word = _BOOLEAN_WORDS.get(tree.value.lower())
        if "true or false" in wanted and word:
            return f"YAML 1.2 reads {tree.value} as text; write {word}."
        if _NUMBER.fullmatch(tree.value) and any("number" in phrase for phrase in wanted):
            return "Remove the quotes."
    elif tree.value is not None and "text" in wanted:
        return f'Put quotes around it: "{shown(tree)}".'
    if tree.value is not None and wanted == ["a list"] and not isinstance(tree.value, bool):
        items = ", ".join([shown(tree)] * length)
        return "Put brackets around it." if " " in str(tree.value) else f"Write [{items}]."
    return None


def option_hint(error: Mapping[str, Any], tree: Tree) -> str | None:
    if isinstance(tree, Scalar) and isinstance(tree.value, str) and not tree.outside:
        found = nearest(tree.value, options(error))
        return f'Did you mean "{found}"?' if found else None
    return None


def constraint(error: Mapping[str, Any]) -> str:
    """`must be at least 0`, for errors that are not about the type."""
    context = error.get("ctx") or {}
    match error["type"]:
        case "greater_than":
            return f"must be more than {_number(context['gt'])}"
        case "greater_than_equal":
            return f"must be at least {_number(context['ge'])}"
        case "less_than":
            return f"must be less than {_number(context['lt'])}"
        case "less_than_equal":
            return f"must be at most {_number(context['le'])}"
        case "multiple_of":
            return f"must be a multiple of {_number(context['multiple_of'])}"
        case "string_pattern_mismatch" if "A-Za-z0-9_-" in context["pattern"]:
            return "must be a name (letters, digits, _ and -, starting with a letter)"
        case "string_pattern_mismatch":
            return f"must match the pattern {context['pattern']}"
        case "string_too_short":
            return "must not be empty" if context["min_length"] == 1 else f"needs {context['min_length']} characters"
        case "string_too_long":
            return f"must have at most {context['max_length']} characters"
        case "too_short":
            return f"needs at least {_items(context['min_length'])} and has {context['actual_length']}"
        case "too_long":
            return f"takes at most {_items(context['max_length'])}"
        case _:
            text = str(error["msg"])
            return f"is not right: {text[:1].lower()}{text[1:]}"


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else str(value)


def _items(count: int) -> str:
    return f"{count} item{'' if count == 1 else 's'}"
