"""Captions out of fields: `frame {frame} of {clip}: {description}`. Nothing but names and number formats is allowed."""

from __future__ import annotations

from collections.abc import Mapping
from string import Formatter

OWN_FIELDS = ("name", "split", "tags", "label", "labels", "count")
"""What every sample has besides its own fields; a field of the sample of the same name counts."""


class TemplateMistake(ValueError):
    """What is wrong with a template, as a sentence without its end."""


def template_fields(text: str) -> list[str]:
    """The names in braces. Raises TemplateMistake."""
    names = []
    try:
        for _, name, form, conversion in Formatter().parse(text):
            if name is None:
                continue
            if not name.isidentifier() or conversion or "{" in (form or ""):
                raise TemplateMistake(f'"{{{name}}}" is no name of a field')
            names.append(name)
    except ValueError as error:
        if isinstance(error, TemplateMistake):
            raise
        raise TemplateMistake(f"The braces do not fit: {error}") from None
    return names


def fill_template(text: str, values: Mapping[str, object]) -> str | None:
    """None: a field has no value here. Raises TemplateMistake: a format that does not fit a value."""
    if any(values.get(name) in (None, "") for name in template_fields(text)):
        return None
    try:
        return Formatter().vformat(text, (), values)
    except (ValueError, TypeError) as error:
        raise TemplateMistake(f'"{text}" does not fit the values: {error}') from None
