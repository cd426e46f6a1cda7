"""Specs as inline text: written to a folder, loaded with the toy kinds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent
from typing import Any

from specrun.errors import SpecError
from specrun.model.diagnostic import Diagnostic
from specrun.spec.project import Project, load_project
from tests.support.toy_kinds import TOY_REGISTRY

HEAD = "specrun: 1\nproject: {name: corals}\n"


def write_spec(folder: Path, text: str, name: str = "project.yaml") -> Path:
    """A spec with its first two lines; text that starts with `specrun` is taken as it is."""
    body = dedent(text).lstrip("\n")
    path = folder / name
    path.write_text(body if body.startswith("specrun") else HEAD + body, "utf-8")
    return path


def load(folder: Path, text: str, *, environ: Mapping[str, str] | None = None, **options: Any) -> Project:
    return load_project(write_spec(folder, text), TOY_REGISTRY, environ=environ or {}, **options)


def mistakes(folder: Path, text: str, *, environ: Mapping[str, str] | None = None, **options: Any) -> list[Diagnostic]:
    """Every diagnostic of a spec; none when it is right."""
    try:
        load(folder, text, environ=environ, **options)
    except SpecError as error:
        return [d for d in error.diagnostics if isinstance(d, Diagnostic)]
    return []


def lines(found: list[Diagnostic]) -> list[str]:
    """`3:5 message hint`, without the file."""
    return [
        f"{d.where.line}:{d.where.column} {d.message} {d.hint or ''}".rstrip() if d.where else str(d) for d in found
    ]
