"""The export arguments of the installed Ultralytics: which ones a format takes, read from the text of its
`engine/exporter.py` (a table with a row for each format), and of which type they are, from its `default.yaml`."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from specrun.spec.suggest import did_you_mean, listed
from specrun.training.ultralytics.arguments import Argument, ArgumentProblem, installed_arguments, installed_folder

_NAME, _ARGUMENTS = 1, 5
"""Columns of the table."""
_EVERY_FORMAT = ("imgsz", "quantize", "device")
_WITH_NMS = ("conf", "iou", "max_det", "agnostic_nms")
"""What is built into the exported model together with `nms`."""
_OLDER = {"half": Argument("half", ("bool",), False, "", ""), "int8": Argument("int8", ("bool",), False, "", "")}
"""Names that the library still takes for `quantize`."""
_LEAST = {"batch": 1, "opset": 1, "imgsz": 1, "max_det": 1}


def read_formats(text: str) -> dict[str, tuple[str, ...]]:
    """The format's name → the arguments that its row names; {}: a release that writes its table otherwise."""
    functions = [part for part in ast.parse(text).body if isinstance(part, ast.FunctionDef)]
    table = next((part for part in functions if part.name == "export_formats"), None)
    for row in ast.walk(table) if table else ():
        if isinstance(row, ast.List) and row.elts and all(isinstance(part, ast.List) for part in row.elts):
            try:
                rows = ast.literal_eval(row)
            except ValueError:
                continue
            return {each[_NAME]: tuple(each[_ARGUMENTS]) for each in rows if len(each) > _ARGUMENTS}
    return {}


def read_precisions(text: str) -> frozenset[str]:
    """What `quantize` may be, as the library lists it in a message."""
    match = re.search(r'^QUANTIZE_VALID_VALUES = "([^"]*)"', text, re.MULTILINE)
    return frozenset(re.findall(r"\w+", match[1])) - {"or"} if match else frozenset()


def export_problems(
    name: str,
    given: Mapping[str, object],
    *,
    takes: tuple[str, ...],
    types: Mapping[str, Argument],
    precisions: frozenset[str] = frozenset(),
) -> Iterator[ArgumentProblem]:
    """What is wrong with the arguments of one format. takes: those of its row. types: what default.yaml says."""
    allowed = list(dict.fromkeys((*takes, *_EVERY_FORMAT, *(_WITH_NMS if "nms" in takes else ()))))
    known = {**types, **_OLDER}
    for argument, value in given.items():
        declared = known.get(argument)
        if argument == "format":
            message = '"format" cannot be set here: the key above it names the format.'
            yield ArgumentProblem(argument, message, "Remove format.")
        elif argument not in (*allowed, *_OLDER):
            hint = did_you_mean(argument, allowed) or f"Write one of {listed(sorted(allowed))}."
            yield ArgumentProblem(argument, f'{name} has no export argument "{argument}".', hint)
        elif declared is not None and (found := _value_problem(declared, value, precisions)):
            yield ArgumentProblem(argument, *found)


def _value_problem(declared: Argument, value: object, precisions: frozenset[str]) -> tuple[str, str | None] | None:
    name = declared.name
    whole = name == "batch"  # of an export it is a number of images, whatever a training takes
    if not declared.accepts(value) or (whole and not isinstance(value, int)):
        written = type(value).__name__ if value is not None else "null"
        return f"{name} must be {'int' if whole else declared.written_types}, not {written} ({value!r}).", None
    sizes = value if isinstance(value, list) else [value]
    least = _LEAST.get(name)
    if least is not None and value is not None:
        if not all(isinstance(size, int) and not isinstance(size, bool) and size >= least for size in sizes):
            return f"{name} must be whole numbers of at least {least}, not {value!r}.", None
        if name == "imgsz" and len(sizes) not in (1, 2):
            return "imgsz must be one number, or [height, width].", None
    if name == "quantize" and value is not None and precisions and str(value).lower() not in precisions:
        return f"quantize cannot be {value!r}.", f"Write one of {listed(sorted(precisions))}."
    return None


def installed_export_problems(name: str, given: Mapping[str, object]) -> list[ArgumentProblem]:
    """By the installed release; []: it is not installed, or writes its table otherwise."""
    types, takes = installed_arguments(), _installed_formats().get(name)
    if types is None or takes is None:
        return []
    precisions = read_precisions(_installed_text("cfg/__init__.py"))
    return list(export_problems(name, given, takes=takes, types=types, precisions=precisions))


@cache
def _installed_formats() -> Mapping[str, tuple[str, ...]]:
    try:
        return read_formats(_installed_text("engine/exporter.py"))
    except SyntaxError:
        return {}


def _installed_text(place: str) -> str:
    folder = installed_folder()
    try:
        return (folder / Path(place)).read_text(encoding="utf-8") if folder else ""
    except OSError:
        return ""
