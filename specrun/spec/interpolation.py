"""`${...}` inside scalars, after parsing: vars, project, matrix and the environment.

`${vars.x}` alone keeps the type of what it names; inside other text it becomes text. `$${` is a
literal `${`. Nothing is evaluated, and what is inserted is never looked at again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from specrun.model.diagnostic import Position
from specrun.spec.environment import Environment
from specrun.spec.loader import MAX_VALUES
from specrun.spec.report import Report
from specrun.spec.suggest import did_you_mean, nearest
from specrun.spec.tree import Entry, Items, Scalar, Table, Tree, child

MAX_TEXT = 1 << 20
"""Characters of one interpolated value: variables that double each other would fill the memory."""
_TOKEN = re.compile(r"\$\$\{|\$\{([^{}]*)\}|\$\{")
_ENV = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?:(:-|:\?)(.*))?", re.DOTALL)
_HEADS = ("vars", "project", "matrix", "env")


class _Failed(Exception):
    """Raised after the mistake was reported."""


class Scope:
    """What `${...}` can name. Variables may name each other; they are resolved when first used."""

    def __init__(self, *, variables: Table, project: Table, environment: Environment, report: Report) -> None:
        self._roots = {"vars": variables, "project": project}
        self._environment = environment
        self._report = report
        self._matrix: Mapping[str, Scalar] | None = None
        self.matrix_keys_used: set[str] = set()
        self._late: frozenset[str] = frozenset()
        self._resolving: list[str] = []
        self._known: dict[str, Tree | None] = {}
        self._sizes: dict[int, tuple[Tree, int]] = {}
        self._inserted = 0

    def resolved(
        self, tree: Tree, *, matrix: Mapping[str, Scalar] | None = None, late: frozenset[str] = frozenset()
    ) -> Tree:
        """The tree with every `${...}` replaced; what fails is reported and left as a broken scalar.

        matrix: the values of this instance. late: first words that are left for the run.
        """
        self._matrix, self._late = matrix, late
        return self._tree(tree)

    def _tree(self, tree: Tree) -> Tree:
        """Unchanged parts are the same objects as before."""
        if isinstance(tree, Scalar):
            return self._scalar(tree) if isinstance(tree.value, str) and "${" in tree.value else tree
        if isinstance(tree, Items):
            items = tuple(self._tree(item) for item in tree.items)
            return tree if all(a is b for a, b in zip(items, tree.items, strict=True)) else replace(tree, items=items)
        entries = {key: self._entry(entry) for key, entry in tree.entries.items()}
        if all(entries[key] is entry for key, entry in tree.entries.items()):
            return tree
        return replace(tree, entries=entries)

    def _entry(self, entry: Entry) -> Entry:
        value = self._tree(entry.value)
        return entry if value is entry.value else replace(entry, value=value)

    def _scalar(self, scalar: Scalar) -> Tree:
        text = str(scalar.value)
        try:
            whole = _TOKEN.fullmatch(text)
            if whole and whole[1] is not None and not self._is_late(whole[1]):
                return self._placed(self._value(whole[1], scalar), scalar)
            return self._text(scalar)
        except _Failed:
            return replace(scalar, broken=True)

    def _placed(self, value: Tree, scalar: Scalar) -> Tree:
        """What a variable holds, at the place where it is used."""
        self._inserted += self._size(value)
        if self._inserted > MAX_VALUES:
            raise self._failure(scalar, str(scalar.value), f"variables insert more than {MAX_VALUES:,} values")
        if isinstance(value, Scalar):
            return replace(value, where=scalar.where, written=str(scalar.value))
        return replace(value, where=scalar.where)

    def _text(self, scalar: Scalar) -> Scalar:
        pieces: list[str] = []
        outside, failed = False, False
        end = 0
        for token in _TOKEN.finditer(str(scalar.value)):
            pieces.append(str(scalar.value)[end : token.start()])
            end = token.end()
            if token[0] == "$${":
                pieces.append("${")
            elif token[1] is None:
                raise self._failure(scalar, token[0], '"${" has no closing "}"', "Write $${ for a literal ${.")
            elif self._is_late(token[1]):
                pieces.append(token[0])
            else:
                try:
                    value = self._value(token[1], scalar)
                    pieces.append(self._as_text(value, scalar, token[0]))
                except _Failed:
                    failed = True
                    continue
                outside |= isinstance(value, Scalar) and value.outside
            if sum(map(len, pieces)) > MAX_TEXT:
                raise self._failure(scalar, token[0], f"more than {MAX_TEXT:,} characters after interpolation")
        if failed:
            raise _Failed
        text = "".join(pieces) + str(scalar.value)[end:]
        if text == scalar.value:
            return scalar
        return replace(scalar, value=text, written=str(scalar.value), outside=outside or scalar.outside)

    def _as_text(self, value: Tree, scalar: Scalar, token: str) -> str:
        match value:
            case Scalar(value=str() as text):
                return text
            case Scalar(value=bool() as flag):
                return str(flag).lower()
            case Scalar(value=int() | float() as number):
                return str(number)
            case Scalar():
                raise self._failure(scalar, token, f"{token} is null, which cannot stand inside text")
            case _:
                what = "list" if isinstance(value, Items) else "mapping"
                raise self._failure(scalar, token, f"{token} is a {what}, which cannot stand inside text")

    def _is_late(self, expression: str) -> bool:
        """`${project}` may be late while `${project.name}` is known."""
        head, _, rest = expression.strip().partition(".")
        return head in self._late and not (rest and head in _HEADS)

    def _value(self, expression: str, scalar: Scalar) -> Tree:
        token = f"${{{expression}}}"
        head, _, rest = expression.strip().partition(".")
        if head == "env" and rest:
            return self._from_environment(rest, token, scalar)
        if head == "matrix" and rest:
            return self._from_matrix(rest, token, scalar)
        if head in self._roots and rest:
            return self._from_table(head, rest, token, scalar)
        raise self._failure(scalar, token, f"{token} names nothing", self._unknown_hint(expression.strip(), head))

    def _from_environment(self, rest: str, token: str, scalar: Scalar) -> Scalar:
        found = _ENV.fullmatch(rest)
        if found is None:
            raise self._failure(scalar, token, f"{token} names no variable", "Write ${env.NAME:-default}.")
        name, operator, argument = found.groups()
        value = self._environment.get(name)
        if value or (value is not None and operator is None):
            return Scalar(value, scalar.where, outside=True)
        if operator == ":-":
            return Scalar(argument, scalar.where, outside=True)
        if operator == ":?":
            raise self._failure(scalar, token, f"the environment variable {name} is not set: {argument.strip()}")
        hint = f"Set it, put it into .env beside the spec, or write ${{env.{name}:-default}}."
        raise self._failure(scalar, token, f"the environment variable {name} is not set", hint)

    def _from_matrix(self, key: str, token: str, scalar: Scalar) -> Scalar:
        if self._matrix is None:
            raise self._failure(scalar, token, f"{token} stands outside a matrix", "Add `matrix:` to this entry.")
        if key not in self._matrix:
            hint = did_you_mean(key, self._matrix, otherwise="The matrix has")
            raise self._failure(scalar, token, f'the matrix has no "{key}"', hint)
        self.matrix_keys_used.add(key)
        return self._matrix[key]

    def _from_table(self, head: str, path: str, token: str, scalar: Scalar) -> Tree:
        keys = path.split(".")
        name = f"{head}.{keys[0]}"
        current = self._variable(name, scalar, token)
        for index, key in enumerate(keys[1:], start=1):
            below = child(current, key)
            if below is None:
                inside = ".".join(keys[:index])
                known = current.entries if isinstance(current, Table) else ()
                hint = did_you_mean(key, known, otherwise="It has")
                raise self._failure(scalar, token, f'{head}.{inside} has no "{key}"', hint)
            current = below
        if isinstance(current, Scalar) and current.broken:
            raise _Failed
        return current

    def _variable(self, name: str, scalar: Scalar, token: str) -> Tree:
        """One entry of vars or project, itself resolved, once."""
        if name in self._known:
            known = self._known[name]
            if known is None:
                raise _Failed
            return known
        head, _, key = name.partition(".")
        entry = self._roots[head].entries.get(key)
        if entry is None:
            hint = did_you_mean(key, self._roots[head].entries, otherwise=f"{head} has")
            raise self._failure(scalar, token, f'{head} has no "{key}"', hint or f"Add it under `{head}:`.")
        if name in self._resolving:
            circle = " → ".join([*self._resolving[self._resolving.index(name) :], name])
            raise self._failure(scalar, token, f"variables that need each other: {circle}")
        self._resolving.append(name)
        matrix, self._matrix = self._matrix, None
        late, self._late = self._late, frozenset()
        try:
            value = self._tree(entry.value)
        finally:
            self._resolving.pop()
            self._matrix, self._late = matrix, late
        self._known[name] = None if isinstance(value, Scalar) and value.broken else value
        if self._known[name] is None:
            raise _Failed
        return value

    def _unknown_hint(self, expression: str, head: str) -> str:
        if expression in self._roots["vars"].entries:
            return f'Did you mean "${{vars.{expression}}}"?'
        if re.fullmatch(r"[A-Z][A-Z0-9_]*", expression):
            return f'Did you mean "${{env.{expression}}}"?'
        near = nearest(head, _HEADS)
        if near and near != head and "." in expression:
            return f'Did you mean "${{{near}.{expression.partition(".")[2]}}}"?'
        return "Known are ${vars.…}, ${project.…}, ${matrix.…} and ${env.…}; $${ is a literal ${."

    def _failure(self, scalar: Scalar, token: str, message: str, hint: str | None = None) -> _Failed:
        self._report.error(self._position(scalar.where, token), message, hint)
        return _Failed()

    def _position(self, where: Position, token: str) -> Position:
        """The place of the token itself, when it stands on the scalar's first line."""
        lines = self._report.sources.get(where.file, ())
        line = lines[max(where.line, 1) - 1] if len(lines) >= max(where.line, 1) else ""
        column = line.find(token, where.column - 1) + 1
        return replace(where, column=column, length=len(token)) if column else where

    def _size(self, tree: Tree) -> int:
        """Values in a tree; shared parts are counted each time but walked once."""
        known = self._sizes.get(id(tree))
        if known:
            return known[1]
        match tree:
            case Scalar():
                return 1
            case Items():
                size = 1 + sum(self._size(item) for item in tree.items)
            case Table():
                size = 1 + sum(self._size(entry.value) for entry in tree.entries.values())
        self._sizes[id(tree)] = (tree, size)
        return size
