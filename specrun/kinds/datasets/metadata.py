"""Sample fields out of file names: `(?P<area>.+)_(?P<year>\\d{4})` with types and aliases."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Literal

Plain = str | int | float | bool
FieldType = Literal["str", "int", "float", "bool"]

_TRUE, _FALSE = frozenset({"1", "true", "yes", "y"}), frozenset({"0", "false", "no", "n"})


class Mismatch(ValueError):
    """A name that the pattern does not fit, or a value that is not of its type."""


def fields_of_name(
    name: str,
    pattern: re.Pattern[str],
    types: Mapping[str, FieldType],
    aliases: Mapping[str, Mapping[str, str]],
) -> dict[str, Plain]:
    """The named groups of a file name without its suffix; groups that took no part are left out.

    name: posix path relative to the source. The pattern must fit the whole file name, or, when it contains
    a slash, the whole path. Raises Mismatch.
    """
    path = PurePosixPath(name)
    text = str(path.with_suffix("")) if "/" in pattern.pattern else path.stem
    match = pattern.fullmatch(text)
    if match is None:
        raise Mismatch(f"{name}: the metadata pattern does not fit")
    fields: dict[str, Plain] = {}
    for group, raw in match.groupdict().items():
        if raw is not None:
            value = aliases.get(group, {}).get(raw, raw)
            fields[group] = _typed(value, types.get(group, "str"), f"{name}: {group}")
    return fields


def _typed(text: str, kind: FieldType, where: str) -> Plain:
    try:
        match kind:
            case "int":
                return int(text)
            case "float":
                return float(text)
            case "bool":
                if text.lower() in _TRUE | _FALSE:
                    return text.lower() in _TRUE
                raise ValueError
            case _:
                return text
    except ValueError:
        raise Mismatch(f'{where} is "{text}", which is no {kind}') from None
