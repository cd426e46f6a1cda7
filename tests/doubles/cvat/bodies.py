"""Checks of what clients send, with the server's words."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from tests.doubles.cvat.state import State
from tests.doubles.cvat.wire import Refused


def unknown_fields(body: Mapping[str, Any], known: Collection[str]) -> None:
    """A PATCH with a field that cannot be written."""
    if not set(body) <= set(known):
        raise Refused(403, {"detail": "Attempted to update an unknown field"})


def text(body: Mapping[str, Any], name: str, *, longest: int, required: bool = False, blank: bool = False) -> None:
    """A field that holds text, when it is there; `required`: that it is there."""
    if name not in body:
        if required:
            raise Refused(400, {name: ["This field is required."]})
        return
    value = body[name]
    if value is None:
        raise Refused(400, {name: ["This field may not be null."]})
    if not isinstance(value, (str, int, float)) or isinstance(value, bool):
        raise Refused(400, {name: ["Not a valid string."]})
    if not blank and not str(value).strip():
        raise Refused(400, {name: ["This field may not be blank."]})
    if len(str(value)) > longest:
        raise Refused(400, {name: [f"Ensure this field has no more than {longest} characters."]})


def choice(body: Mapping[str, Any], name: str, choices: Collection[str]) -> None:
    if name in body and body[name] not in choices:
        raise Refused(400, {name: [f'"{body[name]}" is not a valid choice.']})


def whole_number(body: Mapping[str, Any], name: str) -> None:
    value = body.get(name)
    if value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool):
        raise Refused(400, {name: ["A valid integer is required."]})
    if value < 0:
        raise Refused(400, {name: ["Ensure this value is greater than or equal to 0."]})


def user(state: State, body: Mapping[str, Any], name: str) -> None:
    value = body.get(name)
    if value is not None and value not in state.users:
        raise Refused(400, {name: [f'Invalid pk "{value}" - object does not exist.']})
