"""steps: any other program as a node.

The program runs inside its output folder, so whatever it writes there by relative path is its
output. Words of `argv` that name files of the project, or with a slash its folders, are made absolute
and watched: an edited script makes the step stale.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Annotated

from pydantic import Field

from specrun.kinds.steps.files import (
    differences,
    digests,
    is_bare_folder,
    named_path,
    seen_while_running,
    watched,
)
from specrun.kinds.steps.output import made, mend_links
from specrun.kinds.steps.program import run_program
from specrun.model.artifact import Outputs
from specrun.model.digest import Json
from specrun.model.state import Observation
from specrun.model.work import Context, Look
from specrun.spec.kind import NOT_RESULT, Kind, Lookup, Need, NodeSpec, Problem, Ref
from specrun.spec.secrets import SecretRef
from specrun.store.manifest import OWN_NAMES

_PLACE = re.compile(r"\$\{(inputs|outputs)\.([A-Za-z][A-Za-z0-9_-]*)\}|\$\{(output|seed|project)\}")
ALL_SECTIONS = ("sources", "datasets", "exports", "models", "predictions", "evaluations", "steps")


class StepSpec(NodeSpec):
    """A program, what it reads and what it makes."""

    argv: list[str | int | float] = Field(min_length=1)
    """Program and arguments, no shell. `${inputs.x}` is the folder of an input, `${outputs.x}` and
    `${output}` the place of an output and of them all, `${seed}` the project's seed, `${project}` its folder.
    A word that names a file of the project stands for that file, and with a slash (`data/`) for that folder."""
    inputs: dict[str, Annotated[str, Ref(*ALL_SECTIONS)]] = {}
    """What it reads: a word for it → address."""
    outputs: dict[str, str] = {}
    """What it must make: a word for it → path inside the output folder."""
    files: list[str] = []
    """Further files, folders or globs whose contents are part of the result; outputs, `.git` and `__pycache__` are
    left out."""
    env: dict[str, str | SecretRef] = {}
    """Environment variables; values may be secret references."""
    resume: bool = Field(default=False, json_schema_extra=NOT_RESULT)
    """true: after an interruption the program finds what it had written, and SPECRUN_RESUME=1."""


class Step(Kind):
    """Runs `argv` with the output folder as working directory."""

    Spec = StepSpec

    def check(self, spec: StepSpec, lookup: Lookup) -> Sequence[Problem]:
        project_dir = Path(lookup.project_dir)
        return [*_place_problems(spec), *_program_problems(spec, project_dir), *_folder_problems(spec, project_dir)]

    def inputs(self, spec: StepSpec) -> Sequence[Need]:
        return [Need(role, address) for role, address in spec.inputs.items()]

    async def observe(self, spec: StepSpec, look: Look) -> Observation:
        """Digests of the project's files that it names."""
        files, folders = _watched(spec, look.project_dir, look.output_root)
        found = digests(files, folders, look, look.project_dir)
        before = look.record.observation if look.record is not None else None
        return Observation(found or None, differences(before, found))

    def resume_key(self, spec: StepSpec) -> Json:
        return {"argv": list(spec.argv)} if spec.resume else None

    def goes_on(self, spec: StepSpec, staging: Path) -> str:
        return "goes on with the files that it left"

    def adopt(self, spec: StepSpec, place: Path, staging: Path) -> Outputs:
        """A folder that holds every declared output, or the one file that is the only output."""
        if place.is_file() and len(spec.outputs) == 1:
            target = staging / next(iter(spec.outputs.values()))
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(place, target)
        else:
            super().adopt(spec, place, staging)
        return Outputs(artifacts=tuple(made(name, where, staging) for name, where in spec.outputs.items()))

    def run(self, spec: StepSpec, ctx: Context) -> Outputs:
        argv = [_resolve(str(word), spec, ctx) for word in spec.argv]
        environment = _environment(spec, ctx)
        for place in spec.outputs.values():
            (ctx.staging / place).parent.mkdir(parents=True, exist_ok=True)
        before = _digests_now(spec, ctx)
        run_program(argv, environment, ctx)
        mend_links(ctx.staging)
        watches = bool(before or spec.files)
        seen, changed = seen_while_running(before, _digests_now(spec, ctx) if watches else before)
        return Outputs(
            artifacts=tuple(made(name, place, ctx.staging) for name, place in spec.outputs.items()),
            notes=tuple(f"{name} changed while it ran: the next apply makes it again" for name in changed),
            observation=seen or None,
        )


def _digests_now(spec: StepSpec, ctx: Context) -> dict[str, Json]:
    """In the worker; most steps watch nothing, and open no cache."""
    files, folders = _watched(spec, ctx.project_dir, ctx.output_root)
    if not files and not folders:
        return {}
    # Only a worker opens the cache by itself; planning is handed one.
    from specrun.store.listing import ListingCache

    with closing(ListingCache(ctx.cache_dir.parent / "cache.db")) as cache:
        return digests(files, folders, cache, ctx.project_dir)


def _watched(spec: StepSpec, project_dir: Path, output_root: Path) -> tuple[list[Path], list[Path]]:
    words = [word for word in map(str, spec.argv) if "${" not in word]
    return watched(words, spec.files, project_dir, output_root)


def _place_problems(spec: StepSpec) -> Iterator[Problem]:
    for index, word in enumerate(spec.argv):
        for group, name, _ in _PLACE.findall(str(word)):
            known = {"inputs": spec.inputs, "outputs": spec.outputs, "": {name: ""}}[group]
            if name not in known:
                names = ", ".join(known) or f"none; declare it under {group}:"
                yield Problem(
                    f"argv.{index}", f"${{{group}.{name}}} is not among the step's {group}", f"Known: {names}."
                )
    for name, place in spec.outputs.items():
        if Path(place).is_absolute() or ".." in Path(place).parts:
            yield Problem(f"outputs.{name}", f'"{place}" is not inside the output folder', "Write a relative path.")
        elif Path(place).parts[:1] and Path(place).parts[0] in OWN_NAMES:
            yield Problem(
                f"outputs.{name}", f'"{place}" is a name that specrun uses itself', "Write it under another name."
            )


def _folder_problems(spec: StepSpec, project_dir: Path) -> Iterator[Problem]:
    """A bare word may be a command, so it is left as it is; but a person should know."""
    outputs = {Path(place).parts[0] for place in spec.outputs.values() if Path(place).parts}
    words = list(map(str, spec.argv))
    for index, (before, word) in enumerate(pairwise(words), start=1):
        if before != "-m" and word not in outputs and is_bare_folder(word, project_dir):
            yield Problem(
                f"argv.{index}",
                f'"{word}" is a folder of the project, but it is handed on as a mere word',
                f"Write {word}/ if the folder is meant.",
                warning=True,
            )


def _program_problems(spec: StepSpec, project_dir: Path) -> Iterator[Problem]:
    program = str(spec.argv[0])
    if "${" in program or (project_dir / program).is_file() or shutil.which(program, path=_search_path()):
        return
    yield Problem(
        "argv.0", f'there is no program "{program}" on PATH or in {project_dir}', "Install it, or mend its name."
    )


def _search_path() -> str:
    """PATH with the folder of this Python first, so that `python` is the one that has specrun."""
    return os.path.dirname(sys.executable) + os.pathsep + os.environ.get("PATH", os.defpath)


def _resolve(word: str, spec: StepSpec, ctx: Context) -> str:
    def place(match: re.Match[str]) -> str:
        match match.groups():
            case ("inputs", name, _):
                return str(ctx.input(name).folder)
            case ("outputs", name, _):
                return str(ctx.staging / spec.outputs[name])
            case (_, _, "output"):
                return str(ctx.staging)
            case (_, _, "seed"):
                return str(ctx.seed)
            case _:
                return str(ctx.project_dir)

    named = named_path(word, ctx.project_dir, ctx.output_root) if "${" not in word else None
    if named is not None:
        return str(named)
    return _PLACE.sub(place, word)


def _environment(spec: StepSpec, ctx: Context) -> dict[str, str]:
    values = {
        name: value if isinstance(value, str) else ctx.secret(value.reference()) for name, value in spec.env.items()
    }
    return {
        **os.environ,
        "PATH": _search_path(),
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": str(ctx.cpus),
        "SPECRUN_OUTPUT": str(ctx.staging),
        "SPECRUN_SEED": str(ctx.seed),
        "SPECRUN_RESUME": "1" if spec.resume and ctx.resumed else "0",
        **{f"SPECRUN_INPUT_{role.upper().replace('-', '_')}": str(ctx.input(role).folder) for role in spec.inputs},
        **values,
    }
