"""What a class of an installed package may be given, read from its text: importing it costs seconds and torch.

A value of the spec is held against the annotation of its argument as far as that says something of values that YAML can
hold; what it says otherwise is left to the class itself.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from specrun.spec.suggest import listed

_UNWRITABLE = frozenset({"Callable", "LRScheduler", "Module", "Optimizer", "Tensor", "ndarray"})
"""Types of which no value can be written in YAML."""
_LISTS = frozenset({"Iterable", "List", "Sequence", "Tuple", "list", "tuple"})
_MAPPINGS = frozenset({"Dict", "Mapping", "dict"})
_WORDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text", "None": "null"}
_MANY = {"a whole number": "whole numbers", "a number": "numbers", "text": "texts"}


@dataclass(frozen=True, slots=True)
class Argument:
    """annotation: None where there is none. default: whether it may be left out."""

    annotation: ast.expr | None
    default: bool

    def takes(self, value: Any) -> bool:
        return self.annotation is None or _fits(value, self.annotation)

    @property
    def writable(self) -> bool:
        return self.annotation is None or _words(self.annotation) != []

    @property
    def words(self) -> str:
        return listed(_words(self.annotation) if self.annotation is not None else [])


@dataclass(frozen=True, slots=True)
class Signature:
    """arguments: those of `__init__` that are named. others: names that it takes out of its further ones.
    is_open: whether it hands further ones on."""

    arguments: Mapping[str, Argument]
    others: frozenset[str]
    is_open: bool


def read_signature(paths: Iterable[Path], name: str) -> Signature | None:
    """None: no file defines such a class with an `__init__` of its own."""
    for path in paths:
        text = path.read_text(encoding="utf-8")
        if f"class {name}(" not in text:
            continue
        for node in ast.parse(text).body:
            if isinstance(node, ast.ClassDef) and node.name == name:
                for part in node.body:
                    if isinstance(part, ast.FunctionDef) and part.name == "__init__":
                        return _signature(part)
    return None


def _signature(function: ast.FunctionDef) -> Signature:
    given = function.args
    placed = [*given.posonlyargs, *given.args]
    defaults = len(given.defaults)
    found = {arg.arg: Argument(arg.annotation, place >= len(placed) - defaults) for place, arg in enumerate(placed)}
    for arg, default in zip(given.kwonlyargs, given.kw_defaults, strict=True):
        found[arg.arg] = Argument(arg.annotation, default is not None)
    found.pop("self", None)
    further = given.kwarg.arg if given.kwarg else None
    popped = {
        str(call.args[0].value)
        for call in ast.walk(function)
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr == "pop"
        and isinstance(call.func.value, ast.Name)
        and call.func.value.id == further
        and isinstance(call.args[0], ast.Constant)
    }
    return Signature(found, frozenset(popped), further is not None)


def as_written(value: Any) -> str:
    """As YAML has it."""
    return json.dumps(value, ensure_ascii=False)


def _fits(value: Any, node: ast.expr) -> bool:
    match node:
        case ast.BinOp(left=left, right=right):
            return _fits(value, left) or _fits(value, right)
        case ast.Constant(value=None):
            return value is None
        case ast.Subscript(value=outer, slice=inner):
            return _fits_subscript(value, _name(outer), _elements(inner))
        case _:
            return _fits_name(value, _name(node))


def _fits_name(value: Any, name: str) -> bool:
    match name:
        case "int":
            return type(value) is int
        case "float":
            return type(value) in (int, float)
        case "bool" | "str":
            return type(value).__name__ == name
    if name in _LISTS:
        return isinstance(value, list)
    return isinstance(value, dict) if name in _MAPPINGS else name not in _UNWRITABLE


def _fits_subscript(value: Any, name: str, inner: Sequence[ast.expr]) -> bool:
    if name == "Optional":
        return value is None or _fits(value, inner[0])
    if name == "Union":
        return any(_fits(value, member) for member in inner)
    if name == "Literal":
        options = [option.value for option in inner if isinstance(option, ast.Constant)]
        return any(value == option and type(value) is type(option) for option in options)
    if name in _LISTS and isinstance(value, list):
        if _is_fixed(name, inner):
            return len(value) == len(inner) and all(map(_fits, value, inner))
        return all(_fits(item, inner[0]) for item in value)
    return _fits_name(value, name)


def _words(node: ast.expr) -> list[str]:
    """Everything that would be right, each by itself; [] where nothing can be written."""
    match node:
        case ast.BinOp(left=left, right=right):
            return list(dict.fromkeys([*_words(left), *_words(right)]))
        case ast.Constant(value=None):
            return ["null"]
        case ast.Subscript(value=outer, slice=inner):
            return _subscript_words(_name(outer), _elements(inner))
    name = _name(node)
    if name in _UNWRITABLE:
        return []
    return ["a list" if name in _LISTS else "a mapping" if name in _MAPPINGS else _WORDS.get(name, name)]


def _subscript_words(name: str, inner: Sequence[ast.expr]) -> list[str]:
    if name in ("Optional", "Union"):
        found = [word for member in inner for word in _words(member)]
        return list(dict.fromkeys([*found, *(["null"] if name == "Optional" else [])]))
    if name == "Literal":
        return [as_written(option.value) for option in inner if isinstance(option, ast.Constant)]
    if name in _LISTS:
        of = _words(inner[0])
        if not of:
            return []
        count = f"{len(inner)} " if _is_fixed(name, inner) else ""
        return [f"a list of {count}{_MANY[of[0]]}" if len(of) == 1 and of[0] in _MANY else "a list"]
    return ["a mapping"] if name in _MAPPINGS else [] if name in _UNWRITABLE else [name]


def _is_fixed(name: str, inner: Sequence[ast.expr]) -> bool:
    return name in ("Tuple", "tuple") and not any(isinstance(x, ast.Constant) and x.value is ... for x in inner)


def _elements(inner: ast.expr) -> Sequence[ast.expr]:
    return inner.elts if isinstance(inner, ast.Tuple) else [inner]


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
