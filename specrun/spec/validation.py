"""A tree against a pydantic model: the model, or every mistake at its place.

Strict, as JSON: `"5"` is no number and `true` no 1, because input is never corrected silently. Text
from the environment is the exception, since there is nothing else there: it may stand for a number.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from specrun.model.diagnostic import Position
from specrun.spec.annotations import alternatives, fields_by_key, fixed_length, model_at
from specrun.spec.field_docs import field_docs
from specrun.spec.messages import constraint, expected, option_hint, options, phrases, shown, type_hint
from specrun.spec.report import Report
from specrun.spec.scalars import plain_scalar
from specrun.spec.secrets import SECRET_ERROR, SECRET_HINT, SecretRef
from specrun.spec.suggest import did_you_mean, listed, nearest
from specrun.spec.tree import PathKey, Scalar, Table, Tree, child, child_position, plain, replaced

Model = TypeVar("Model", bound=BaseModel)
_FROM_TEXT = frozenset({"int_type", "float_type", "bool_type", "int_parsing", "float_parsing", "bool_parsing"})
_CREDENTIAL = re.compile(r"pass|token|secret|credential|api_?key", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Found:
    """One pydantic error with its place. tags: (path, name) of the union members it was tried as."""

    error: Mapping[str, Any]
    path: tuple[PathKey, ...]
    tags: tuple[tuple[tuple[PathKey, ...], PathKey], ...]
    about_key: bool


def validated(model: type[Model], tree: Table, name: str, where: Position, report: Report) -> Model | None:
    """None after reported mistakes. name: the dotted path to the mapping. where: the place of its name."""
    for _ in range(2):
        try:
            found = model.model_validate_json(json.dumps(plain(tree)), strict=True)
            return found if not _has_broken(tree) else None
        except ValidationError as error:
            errors = [_located(e, tree) for e in error.errors(include_url=False)]
        with_values = _with_values_of_text(tree, errors)
        if with_values is tree:
            break
        tree = with_values
    _Explanation(model, tree, name, where, report).explain(errors)
    return None


def _has_broken(tree: Tree) -> bool:
    if isinstance(tree, Scalar):
        return tree.broken
    below: Sequence[Tree] = [e.value for e in tree.entries.values()] if isinstance(tree, Table) else tree.items
    return any(_has_broken(value) for value in below)


def _located(error: Mapping[str, Any], tree: Tree) -> _Found:
    """Follows pydantic's path as far as the tree goes; the rest are names of union members."""
    path: list[PathKey] = []
    tags: list[tuple[tuple[PathKey, ...], PathKey]] = []
    parts = list(error["loc"])
    about_key = bool(parts) and parts[-1] == "[key]"
    missing = parts.pop() if error["type"] == "missing" else None
    for part in parts[: len(parts) - about_key]:
        below = child(tree, part)
        if below is None:
            tags.append((tuple(path), part))
        else:
            path.append(part)
            tree = below
    return _Found({**error, "missing": missing}, tuple(path), tuple(tags), about_key)


def _at(tree: Tree, path: Sequence[PathKey]) -> Tree:
    for key in path:
        below = child(tree, key)
        assert below is not None, path
        tree = below
    return tree


def _with_values_of_text(tree: Table, errors: Sequence[_Found]) -> Table:
    """Text from the environment, read as a YAML scalar where a number or a truth value is wanted."""
    for found in errors:
        scalar = _at(tree, found.path)
        if found.error["type"] in _FROM_TEXT and isinstance(scalar, Scalar) and scalar.outside:
            if not isinstance(scalar.value, str):
                continue
            try:
                value = plain_scalar(scalar.value.strip())
            except ValueError:
                continue
            if value is not None and not isinstance(value, str):
                changed = replaced(tree, found.path, replace(scalar, value=value))
                assert isinstance(changed, Table)
                tree = changed
    return tree


class _Explanation:
    def __init__(self, model: type[BaseModel], tree: Table, name: str, where: Position, report: Report) -> None:
        self.model = model
        self.tree = tree
        self.name = name
        self.where = where
        self.report = report

    def explain(self, errors: Sequence[_Found]) -> None:
        errors = [found for found in errors if not self._is_broken(found.path)]
        single = [found for found in errors if not found.tags]
        unions: dict[tuple[PathKey, ...], list[_Found]] = {}
        for found in errors:
            if found.tags:
                unions.setdefault(found.tags[0][0], []).append(found)
        meant = self._meant_keys(single)
        for found in single:
            if (found.path, found.error["missing"]) not in meant:
                self._one(found)
        for path, group in unions.items():
            self._union(path, group)

    def _is_broken(self, path: Sequence[PathKey]) -> bool:
        value = _at(self.tree, path)
        return isinstance(value, Scalar) and value.broken

    def _meant_keys(self, errors: Sequence[_Found]) -> set[tuple[tuple[PathKey, ...], PathKey]]:
        """Missing keys that are there with a spelling mistake: said once."""
        missing: dict[tuple[PathKey, ...], list[str]] = {}
        for found in errors:
            if isinstance(found.error["missing"], str):
                missing.setdefault(found.path, []).append(found.error["missing"])
        meant: set[tuple[tuple[PathKey, ...], PathKey]] = set()
        for found in errors:
            if found.error["type"] == "extra_forbidden":
                near = nearest(str(found.path[-1]), missing.get(found.path[:-1], ()))
                if near:
                    meant.add((found.path[:-1], near))
        return meant

    def _union(self, path: tuple[PathKey, ...], group: Sequence[_Found]) -> None:
        """The member that the value has the shape of is explained; otherwise all that would be right are named."""
        members: dict[PathKey, list[_Found]] = {}
        for found in group:
            members.setdefault(found.tags[0][1], []).append(replace(found, tags=found.tags[1:]))
        fitting = [
            errors for errors in members.values() if all(f.path != path or expected(f.error) is None for f in errors)
        ]
        if fitting:
            self.explain(min(fitting, key=lambda errors: (len(errors), -len(errors[0].path))))
            return
        flat = [found for errors in members.values() for found in errors if expected(found.error)]
        wanted = list(dict.fromkeys(phrase for found in flat for phrase in phrases(found.error)))
        value = _at(self.tree, path)
        hints = [option_hint(f.error, value) for f in flat if f.error["type"] in ("literal_error", "enum")]
        hint = next((hint for hint in hints if hint), None) or type_hint(wanted, value)
        message = f"{self._dotted(path)} must be {listed(wanted)}, not {shown(value)}"
        self.report.error(self._value_place(path), message, hint)

    def _one(self, found: _Found) -> None:
        error, path = found.error, found.path
        match error["type"]:
            case "extra_forbidden":
                self._unknown_key(path)
            case "missing":
                self._missing(path, error["missing"])
            case "union_tag_invalid" | "union_tag_not_found":
                self._member(path, error)
            case "value_error" | "assertion_error":
                self._report_value(path, str(error["ctx"]["error"]), None)
            case kind if kind == SECRET_ERROR:
                self._secret(path, error["msg"])
            case _ if found.about_key:
                wanted = expected(error) or "another key"
                message = f'the key "{path[-1]}" in {self._dotted(path[:-1])} must be {wanted}'
                self.report.error(self._key_place(path), message, option_hint(error, Scalar(path[-1], self.where)))
            case _:
                self._wrong_value(path, error)

    def _wrong_value(self, path: tuple[PathKey, ...], error: Mapping[str, Any]) -> None:
        value = _at(self.tree, path)
        phrase = expected(error)
        if phrase:
            text = f"must be {phrase}, not {shown(value)}"
            is_choice = error["type"] in ("literal_error", "enum")
            hint = option_hint(error, value) if is_choice else type_hint([phrase], value, self._tuple_length(path))
        else:
            text, hint = constraint(error), None
            if isinstance(value, Scalar) and text.startswith("must") and value.value != "":
                text = f"{text}, not {shown(value)}"
        self.report.error(self._value_place(path), f"{self._dotted(path)} {text}", hint)

    def _tuple_length(self, path: tuple[PathKey, ...]) -> int:
        """How many items the value of a field has where that is fixed, else 1."""
        parent = model_at(self.model, self.tree, path[:-1]) if path else None
        info = fields_by_key(parent).get(str(path[-1])) if parent else None
        lengths = [fixed_length(annotation) for annotation, _ in alternatives(info.annotation)] if info else []
        return next((length for length in lengths if length), 1)

    def _report_value(self, path: tuple[PathKey, ...], text: str, hint: str | None) -> None:
        self.report.error(self._value_place(path), f"{self._dotted(path)}: {text}", hint)

    def _unknown_key(self, path: tuple[PathKey, ...]) -> None:
        parent = model_at(self.model, self.tree, path[:-1])
        fields = fields_by_key(parent) if parent else {}
        key = str(path[-1])
        near = nearest(key, fields)
        could_be = [fields[near]] if near else fields.values()
        if _CREDENTIAL.search(key) or any(_is_secret(info.annotation) for info in could_be):
            self.report.hide(_at(self.tree, path).where)
        hint = did_you_mean(key, fields, otherwise="Known keys are")
        self.report.error(self._key_place(path), f'unknown key "{key}" in {self._dotted(path[:-1])}', hint)

    def _missing(self, path: tuple[PathKey, ...], key: PathKey) -> None:
        if isinstance(key, int):
            message = f"{self._dotted(path)} needs at least {key + 1} items"
            self.report.error(self._value_place(path), message)
            return
        parent = model_at(self.model, self.tree, path)
        names = {info.alias or name: name for name, info in parent.model_fields.items()} if parent else {}
        doc = field_docs(parent).get(names.get(key, key), "") if parent else ""
        hint = f"{key}: {' '.join(doc.split())}" if doc else None
        self.report.error(self._key_place(path), f'{self._dotted(path)} needs the key "{key}"', hint)

    def _member(self, path: tuple[PathKey, ...], error: Mapping[str, Any]) -> None:
        key = str(error["ctx"]["discriminator"]).strip("'")
        if error["type"] == "union_tag_not_found":
            self._missing(path, key)
            return
        tags = options(error, "expected_tags")
        hint = did_you_mean(str(error["ctx"]["tag"]), tags, otherwise="Known are")
        message = f'unknown {key} "{error["ctx"]["tag"]}" in {self._dotted(path)}'
        self.report.error(self._value_place((*path, key)), message, hint)

    def _secret(self, path: tuple[PathKey, ...], text: str) -> None:
        """Nothing of what stands there is shown."""
        value = _at(self.tree, path)
        hint = SECRET_HINT
        written = value.written if isinstance(value, Scalar) else None
        if written and (found := re.fullmatch(r"\$\{env\.(\w+).*\}", written)):
            hint = f"Write {{env: {found[1]}}}, without ${{…}}."
        self.report.hide(value.where)
        self.report.error(replace(self._value_place(path), length=3), f"{self._dotted(path)} {text}", hint)

    def _dotted(self, path: Sequence[PathKey]) -> str:
        return ".".join([self.name, *map(str, path)])

    def _value_place(self, path: tuple[PathKey, ...]) -> Position:
        """Of a single value itself, of a list or mapping the key."""
        value = _at(self.tree, path)
        return value.where if isinstance(value, Scalar) and path else self._key_place(path)

    def _key_place(self, path: tuple[PathKey, ...]) -> Position:
        if not path:
            return self.where
        return child_position(_at(self.tree, path[:-1]), path[-1]) or self.where


def _is_secret(annotation: Any) -> bool:
    return any(member is SecretRef for member, _ in alternatives(annotation))
