"""Lists as the server gives them: filters, JSON Logic, search, order, pages.

What a field is filtered by need not be what the JSON shows: owners and assignees are compared by username,
`tracker_link` is the bug tracker.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar
from urllib.parse import urlencode

from tests.doubles.cvat.wire import Answer, Call, Refused

T = TypeVar("T")
Values = Mapping[str, Callable[[T], Any]]
_PAGE, _LARGEST_PAGE = 10, 500
_COMPARE = {"==": operator.eq, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


@dataclass(frozen=True)
class Fields(Generic[T]):
    """What a list can be filtered, searched and sorted by."""

    values: Values[T]
    """Every field that `filter=` knows, by name."""
    simple: Sequence[str] = ()
    """Those that are query parameters of their own."""
    search: Sequence[str] = ()
    choices: Mapping[str, Sequence[str]] = field(default_factory=dict)
    order: str = "-id"


def page(call: Call, things: Iterable[T], fields: Fields[T], render: Callable[[T], Any]) -> Answer:
    found = _chosen(call, list(things), fields)
    sort = [term for term in call.query.get("sort", "").split(",") if term.lstrip("-") in fields.values]
    for term in reversed(sort or [fields.order]):
        key = fields.values.get(term.lstrip("-"), lambda thing: thing.id)  # type: ignore[attr-defined]
        found.sort(key=lambda thing: _ordered(key(thing)), reverse=term.startswith("-"))
    size = _page_size(call)
    number = _page_number(call, len(found), size)
    start = (number - 1) * size
    return Answer(
        200,
        {
            "count": len(found),
            "next": _link(call, number + 1) if start + size < len(found) else None,
            "previous": _link(call, number - 1) if number > 1 else None,
            "results": [render(thing) for thing in found[start : start + size]],
        },
    )


def _page_size(call: Call) -> int:
    try:
        size = int(call.query.get("page_size", _PAGE))
    except ValueError:
        return _PAGE
    return min(size, _LARGEST_PAGE) if size > 0 else _PAGE


def _page_number(call: Call, count: int, size: int) -> int:
    asked = call.query.get("page", "1")
    last = max(1, -(-count // size))
    number = last if asked == "last" else int(asked) if asked.isdigit() else 0
    if not 1 <= number <= last:
        raise Refused(404, {"detail": "Invalid page."})
    return number


def _link(call: Call, number: int) -> str:
    query = {name: value for name, value in call.query.items() if name != "page"}
    if number > 1:
        query["page"] = str(number)
    return f"{call.base_url}{call.path}?{urlencode(sorted(query.items()))}"


def _chosen(call: Call, things: list[T], fields: Fields[T]) -> list[T]:
    for name in fields.simple:
        if wanted := call.query.get(name, ""):
            choices = fields.choices.get(name)
            if choices is not None and wanted not in choices:
                detail = f"Select a valid choice. {wanted} is not one of the available choices."
                raise Refused(400, {name: [detail]})
            if name.endswith("_id") and not wanted.isdigit():
                raise Refused(400, {name: ["Enter a number."]})
            things = [thing for thing in things if _same(fields.values[name](thing), wanted)]
    if rules := call.query.get("filter"):
        matches = _rules(_parsed(rules), fields.values)
        things = [thing for thing in things if matches(thing)]
    for word in call.query.get("search", "").split():
        things = [thing for thing in things if _mentions(thing, word.lower(), fields)]
    return things


def _same(value: Any, wanted: str) -> bool:
    if isinstance(value, bool):
        return wanted.lower() in (("true", "1") if value else ("false", "0"))
    return value is not None and str(value) == wanted


def _mentions(thing: T, word: str, fields: Fields[T]) -> bool:
    return any(word in str(fields.values[name](thing) or "").lower() for name in fields.search)


def _ordered(value: Any) -> tuple[bool, Any]:
    return (value is not None, 0 if value is None else value)


def _parsed(rules: str) -> Any:
    try:
        parsed = json.loads(rules)
    except ValueError as error:
        raise Refused(400, [f"filter: can't parse filter expression: {error}"]) from None
    if not isinstance(parsed, dict) or not parsed:
        raise Refused(400, ["filter: filter shouldn't be empty"])
    return parsed


def _rules(rules: Any, values: Values[T]) -> Callable[[T], bool]:
    """The JSON Logic that the server knows, as a test of one thing."""
    operation, arguments = next(iter(rules.items()))
    match operation, arguments:
        case (("and" | "or"), list()):
            tests = [_rules(argument, values) for argument in arguments]
            whole = all if operation == "and" else any
            return lambda thing: whole(test(thing) for test in tests)
        case (("!" | "!!"), _):
            test = _rules(arguments[0] if isinstance(arguments, list) else arguments, values)
            return lambda thing: test(thing) == (operation == "!!")
        case "var", str():
            value = _value(arguments, values)
            return lambda thing: value(thing) is not None
        case "<=", [low, {"var": name}, high]:
            value = _value(name, values)
            return lambda thing: _compare("<=", low, value(thing)) and _compare("<=", value(thing), high)
        case "in", [{"var": name}, list() as options]:
            value = _value(name, values)
            return lambda thing: any(_compare("==", value(thing), option) for option in options)
        case "in", [str() as part, {"var": name}]:
            value = _value(name, values)
            return lambda thing: part in str(value(thing) or "")
        case _, [{"var": name}, wanted] if operation in _COMPARE:
            value = _value(name, values)
            return lambda thing: _compare(operation, value(thing), wanted)
    raise Refused(400, [f"filter: {operation} operation with {arguments} arguments is not implemented"])


def _value(name: str, values: Values[T]) -> Callable[[T], Any]:
    if name not in values:
        raise Refused(400, [f"filter: term '{name}' is not supported"])
    return values[name]


def _compare(operation: str, left: Any, right: Any) -> bool:
    """Dates are compared as dates, everything else as the type that the server stores."""
    if left is None or right is None:
        return operation == "==" and left is right
    if isinstance(left, datetime) != isinstance(right, datetime):
        left, right = (_as_date(side) for side in (left, right))
    elif type(left) is not type(right) and not isinstance(left, bool):
        left, right = str(left), str(right)
    return bool(_COMPARE[operation](left, right))


def _as_date(side: Any) -> datetime:
    if isinstance(side, datetime):
        return side
    parsed = datetime.fromisoformat(str(side).replace("Z", "+00:00"))
    return parsed if parsed.tzinfo is not None else parsed.astimezone()
