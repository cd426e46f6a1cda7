"""The compiled spec, kept by the digest of everything that went in.

Parsing 4,000 lines takes longer than `plan` may as a whole, so a compiled spec is kept in the
project's cache: one JSON file for each way to call it (path, `--var`, `--set`). It lists what went
in: digests of the spec, its includes and the .env files (or that there are none), digests of the
environment variables that it names, and size and time of every module of specrun and of the kinds
that took part. While all of that holds, neither pydantic nor a YAML parser nor a kind is imported.

Rejected: pickle (runs code), marshal (20 ms faster for 1,000 nodes, and a broken file may crash the
interpreter), one file for all calls (two commands would undo each other's work).
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specrun import __version__
from specrun.model.diagnostic import Diagnostic, Position, Severity
from specrun.model.digest import bytes_digest, file_digest, json_digest
from specrun.model.node import Node
from specrun.spec.environment import ENV_FILES, with_env_files
from specrun.spec.project import Project

if TYPE_CHECKING:
    from specrun.spec.build import Built
    from specrun.spec.section import Registry

CACHE_FORMAT = 2
MAX_KEPT = 16
"""Compiled specs in one cache; the oldest make room."""


def load_compiled(
    path: Path,
    registry: Registry,
    *,
    cache_dir: Path,
    variables: Mapping[str, str] | None = None,
    sets: Mapping[str, str] | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Project:
    """load_project, or what it returned the last time while nothing that went in has changed.

    Raises SpecError with every mistake; specs with mistakes are not kept.
    """
    call = [CACHE_FORMAT, __version__, str(path), str(path.resolve()), dict(variables or {}), dict(sets or {})]
    kept = cache_dir / "compiled" / f"{json_digest([*call, sorted(registry)])}.json"
    found = _read(kept, path.parent, environ)
    if found is not None:
        return found
    from specrun.spec.build import build  # pydantic and ruamel, which a kept spec does without

    built = build(path, registry, variables=variables or {}, sets=sets or {}, environ=environ)
    with suppress(OSError):  # a cache that cannot be written is no reason to stop
        _write(kept, built, registry, path.parent)
    return built.project


def _read(kept: Path, folder: Path, environ: Mapping[str, str]) -> Project | None:
    """None: there is none, it is broken, or something that went in has changed."""
    try:
        data = json.loads(kept.read_bytes())
        if not _holds(data["inputs"], folder, environ):
            return None
        return _project(data["project"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
        return None


def _holds(inputs: Mapping[str, Any], folder: Path, environ: Mapping[str, str]) -> bool:
    if any(_stamp(file) != stamp for file, stamp in inputs["code"]):
        return False
    if any(_digest(file) != digest for file, digest in inputs["files"]):
        return False
    values = with_env_files(folder, environ)
    return all(_value_digest(values.get(name)) == digest for name, digest in inputs["environment"].items())


def _write(kept: Path, built: Built, registry: Registry, folder: Path) -> None:
    files = [*map(str, built.project.files), *(str((folder / name).absolute()) for name in ENV_FILES)]
    data = {
        "inputs": {
            "files": [[file, _digest(file)] for file in files],
            "environment": {name: _value_digest(value) for name, value in built.environment.items()},
            "code": [[file, _stamp(file)] for file in _code_files(registry)],
        },
        "project": _project_json(built.project),
    }
    kept.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False)
    handle, staged = tempfile.mkstemp(dir=kept.parent, suffix=".tmp")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(staged, kept)
    _forget_oldest(kept.parent)


def _forget_oldest(folder: Path) -> None:
    files = sorted(folder.iterdir(), key=lambda file: file.stat().st_mtime_ns, reverse=True)
    for file in files[MAX_KEPT:]:
        file.unlink(missing_ok=True)


def _code_files(registry: Registry) -> Iterator[str]:
    """Loaded modules of specrun, and of the packages that kinds come from."""
    places = (place for section in registry.values() for place in section.kinds.values())
    packages = {"specrun", *(place.partition(":")[0].partition(".")[0] for place in places)}
    for name, module in sorted(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file and name.partition(".")[0] in packages:
            yield file


def _digest(file: str) -> str | None:
    try:
        return file_digest(file)
    except OSError:
        return None


def _stamp(file: str) -> list[int] | None:
    try:
        found = os.stat(file)
    except OSError:
        return None
    return [found.st_size, found.st_mtime_ns]


def _value_digest(value: str | None) -> str | None:
    return None if value is None else bytes_digest(value.encode("utf-8", "surrogateescape"))


def _project_json(project: Project) -> dict[str, Any]:
    return {
        "name": project.name,
        "description": project.description,
        "seed": project.seed,
        "project_dir": str(project.project_dir),
        "output_root": str(project.output_root),
        "spec_file": str(project.spec_file),
        "files": [str(file) for file in project.files],
        "settings": project.settings,
        "nodes": [node.to_json() for node in project.nodes],
        "warnings": [_warning_json(warning) for warning in project.warnings],
        "resolved_yaml": project.resolved_yaml,
    }


def _project(data: Mapping[str, Any]) -> Project:
    return Project(
        name=data["name"],
        description=data["description"],
        seed=data["seed"],
        project_dir=Path(data["project_dir"]),
        output_root=Path(data["output_root"]),
        spec_file=Path(data["spec_file"]),
        files=tuple(map(Path, data["files"])),
        settings=data["settings"],
        nodes=tuple(map(Node.from_json, data["nodes"])),
        warnings=tuple(map(_warning, data["warnings"])),
        resolved_yaml=data["resolved_yaml"],
    )


def _warning_json(diagnostic: Diagnostic) -> list[Any]:
    return [
        _place(diagnostic.where) if diagnostic.where else None,
        diagnostic.message,
        diagnostic.hint,
        diagnostic.source_line,
        [_place(place) for place in diagnostic.related],
    ]


def _warning(row: list[Any]) -> Diagnostic:
    where, message, hint, source_line, related = row
    return Diagnostic(
        Position(*where) if where else None,
        message,
        hint,
        Severity.WARNING,
        source_line,
        tuple(Position(*place) for place in related),
    )


def _place(where: Position) -> list[Any]:
    return [where.file, where.line, where.column, where.length]
