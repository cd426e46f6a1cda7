"""Filters: `where: [{field: year, gte: 2021}]`, as the spec writes them and as rows are held against them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from specrun.spec.kind import Problem, Strict

Plain = str | int | float | bool


class Condition(Strict):
    """One condition on a field; several tests in one condition must all hold."""

    field: str
    """A sample's field, for example one that `metadata` made."""
    eq: Plain | None = None
    """Equal."""
    ne: Plain | None = None
    """Not equal; a missing value is not equal."""
    gt: Plain | None = None
    """Greater."""
    gte: Plain | None = None
    """Greater or equal."""
    lt: Plain | None = None
    """Less."""
    lte: Plain | None = None
    """Less or equal."""
    between: tuple[Plain, Plain] | None = None
    """From the first to the second, both included."""
    in_: list[Plain] | None = Field(default=None, alias="in")
    """One of these."""
    not_in: list[Plain] | None = None
    """None of these."""
    exists: bool | None = None
    """true: there is a value; false: there is none."""

    @property
    def tests(self) -> dict[str, Any]:
        """Test → operand, only those written: what the clients are handed, beside the field."""
        return {k: v for k, v in self.model_dump(by_alias=True, exclude_none=True).items() if k != "field"}

    def as_mapping(self) -> dict[str, Any]:
        return {"field": self.field, **self.tests}


def holds(conditions: Sequence[Condition], values: Mapping[str, Any]) -> bool:
    """Whether all conditions hold for the fields of one sample. Unlike types never compare: the answer is no."""
    return all(
        _test(name, values.get(condition.field), operand)
        for condition in conditions
        for name, operand in condition.tests.items()
    )


def problems(conditions: Sequence[Condition], path: str = "where") -> list[Problem]:
    return [
        Problem(f"{path}.{i}", f'the condition on "{condition.field}" tests nothing', "Add eq, gte, in, …")
        for i, condition in enumerate(conditions)
        if not condition.tests
    ]


def _test(name: str, value: Any, operand: Any) -> bool:
    match name:
        case "eq":
            return bool(value == operand)
        case "ne":
            return bool(value != operand)
        case "in":
            return value in operand
        case "not_in":
            return value not in operand
        case "exists":
            return (value is not None) is operand
        case "between":
            return _compare("gte", value, operand[0]) and _compare("lte", value, operand[1])
        case _:
            return _compare(name, value, operand)


def _compare(name: str, value: Any, operand: Any) -> bool:
    if value is None or isinstance(value, str) != isinstance(operand, str):
        return False
    match name:
        case "gt":
            return bool(value > operand)
        case "gte":
            return bool(value >= operand)
        case "lt":
            return bool(value < operand)
        case _:
            return bool(value <= operand)
