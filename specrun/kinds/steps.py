"""steps: any other program as a node.

The program runs inside its output folder, so whatever it writes there by relative path is its
output. Words of `argv` that name files of the project are made absolute and watched: an edited
script makes the step stale.
"""

from __future__ import annotations

import codecs
import glob
import json
import os
import re
import selectors
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Annotated, Any

from pydantic import Field

from specrun.errors import NodeError, StopRequested
from specrun.model.artifact import Artifact, Outputs
from specrun.model.digest import Json
from specrun.model.state import Observation
from specrun.model.work import Context, Look
from specrun.spec.kind import NOT_RESULT, Kind, Lookup, Need, NodeSpec, Problem, Ref
from specrun.spec.secrets import SecretRef

STOP_GRACE_S = 10.0
_PERCENT = re.compile(r"(?<![\d.])(\d{1,3}(?:\.\d+)?)\s?%")
_PLACE = re.compile(r"\$\{(inputs|outputs)\.([A-Za-z][A-Za-z0-9_-]*)\}|\$\{(output|seed|project)\}")
ALL_SECTIONS = ("sources", "datasets", "exports", "models", "predictions", "evaluations", "steps")


class StepSpec(NodeSpec):
    """A program, what it reads and what it makes."""

    argv: list[str | int | float] = Field(min_length=1)
    """Program and arguments, no shell. `${inputs.x}` is the folder of an input, `${outputs.x}` and
    `${output}` the place of an output and of them all, `${seed}` the project's seed, `${project}` its folder."""
    inputs: dict[str, Annotated[str, Ref(*ALL_SECTIONS)]] = {}
    """What it reads: a word for it → address."""
    outputs: dict[str, str] = {}
    """What it must make: a word for it → path inside the output folder."""
    files: list[str] = []
    """Further files or globs whose contents are part of the result."""
    env: dict[str, str | SecretRef] = {}
    """Environment variables; values may be secret references."""
    resume: bool = Field(default=False, json_schema_extra=NOT_RESULT)
    """true: after an interruption the program finds what it had written, and SPECRUN_RESUME=1."""


class Step(Kind):
    """Runs `argv` with the output folder as working directory."""

    Spec = StepSpec

    def check(self, spec: StepSpec, lookup: Lookup) -> Sequence[Problem]:
        return [*_place_problems(spec), *_program_problems(spec, Path(lookup.project_dir))]

    def inputs(self, spec: StepSpec) -> Sequence[Need]:
        return [Need(role, address) for role, address in spec.inputs.items()]

    async def observe(self, spec: StepSpec, look: Look) -> Observation:
        """Digests of the project's files that it names."""
        found = _watched_digests(spec, look)
        before = look.record.observation if look.record is not None else None
        return Observation(found or None, _file_differences(before, found))

    def resume_key(self, spec: StepSpec) -> Json:
        return {"argv": list(spec.argv)} if spec.resume else None

    def adopt(self, spec: StepSpec, place: Path, staging: Path) -> Outputs:
        """A folder that holds every declared output, or the one file that is the only output."""
        if place.is_file() and len(spec.outputs) == 1:
            target = staging / next(iter(spec.outputs.values()))
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(place, target)
        else:
            super().adopt(spec, place, staging)
        return Outputs(artifacts=tuple(_made(name, where, staging) for name, where in spec.outputs.items()))

    def run(self, spec: StepSpec, ctx: Context) -> Outputs:
        argv = [_resolve(str(word), spec, ctx) for word in spec.argv]
        environment = _environment(spec, ctx)
        for place in spec.outputs.values():
            (ctx.staging / place).parent.mkdir(parents=True, exist_ok=True)
        _run_program(argv, environment, ctx)
        artifacts = tuple(_made(name, place, ctx.staging) for name, place in spec.outputs.items())
        return Outputs(artifacts=artifacts)


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


def _program_problems(spec: StepSpec, project_dir: Path) -> Iterator[Problem]:
    program = str(spec.argv[0])
    if "${" in program or (project_dir / program).is_file() or shutil.which(program, path=_search_path()):
        return
    yield Problem(
        "argv.0", f'there is no program "{program}" on PATH or in {project_dir}', "Install it, or mend its name."
    )


def watched_files(spec: StepSpec, project_dir: Path) -> list[Path]:
    """Files of the project named by `argv` or matched by `files` (folders too, which have no digest), sorted."""
    words = [word for word in map(str, spec.argv) if "${" not in word]
    named = {project_dir / word for word in words if _is_project_file(word, project_dir)}
    for pattern in spec.files:
        named.update(project_dir / path for path in glob.glob(pattern, root_dir=project_dir, recursive=True))
    return sorted(named)


def _watched_digests(spec: StepSpec, look: Look) -> dict[str, Json]:
    """By path relative to the project, so that a project may be moved."""
    prefix = os.path.join(look.project_dir, "")
    digests = look.file_digests(watched_files(spec, look.project_dir))
    return {str(path).removeprefix(prefix): digest for path, digest in digests.items() if digest is not None}


def _is_project_file(word: str, project_dir: Path) -> bool:
    return not word.startswith("-") and not os.path.isabs(word) and len(word) < 4096 and (project_dir / word).is_file()


def _file_differences(before: Json, now: Mapping[str, Json]) -> tuple[str, ...]:
    old = before if isinstance(before, dict) else {}
    changed = [f"{name} changed" for name in now if name in old and old[name] != now[name]]
    added = [f"{name} is new" for name in now if name not in old]
    removed = [f"{name} is gone" for name in old if name not in now]
    return (*changed, *added, *removed)


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

    if "${" not in word and _is_project_file(word, ctx.project_dir):
        return str(ctx.project_dir / word)
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


def _run_program(argv: list[str], environment: Mapping[str, str], ctx: Context) -> None:
    program = shutil.which(argv[0], path=environment["PATH"]) or argv[0]
    try:
        process = subprocess.Popen(
            [program, *argv[1:]],
            cwd=ctx.staging,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
    except OSError as error:
        raise NodeError(f"{argv[0]} could not be started: {error.strerror}") from error
    assert process.stdout is not None
    with process.stdout as output:
        _follow(output, process, ctx)
    status = process.wait()
    if ctx.stop_requested():
        raise StopRequested(f"{Path(argv[0]).name} was stopped")
    if status:
        how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with exit status {status}"
        raise NodeError(f"{Path(argv[0]).name} {how}", hint="Its output is in the log.")


def _follow(output: IO[bytes], process: subprocess.Popen[bytes], ctx: Context) -> None:
    """Log what it prints, turn progress lines into events, pass on a wish to stop."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    rest, asked_at = "", None
    with selectors.DefaultSelector() as selector:
        selector.register(output, selectors.EVENT_READ)
        while True:
            if selector.select(timeout=0.2):
                chunk = os.read(output.fileno(), 1 << 16)
                *lines, rest = re.split(r"\r\n|\n|\r", rest + decoder.decode(chunk, final=not chunk))
                for line in lines:
                    _report(line, ctx)
                if not chunk:
                    break
            if ctx.stop_requested():
                asked_at = asked_at or time.monotonic()
                process.send_signal(signal.SIGTERM if time.monotonic() - asked_at < STOP_GRACE_S else signal.SIGKILL)
    if rest:
        _report(rest, ctx)


def _report(line: str, ctx: Context) -> None:
    """`{"progress": 0.4}`, `{"done": 3, "total": 10, "unit": "images"}`, `{"metric": "loss", "step": 1, "value": 2}`
    or a percentage; anything else is a line of the log."""
    data = _json_object(line)
    match data:
        case {"progress": float() | int() as done}:
            ctx.progress(done, 1.0, phase=str(data.get("phase", "")))
        case {"done": float() | int() as done}:
            total = data.get("total") if isinstance(data.get("total"), (int, float)) else None
            ctx.progress(done, total, str(data.get("unit", "")), str(data.get("phase", "")))
        case {"metric": str(name), "step": float() | int() as step, "value": float() | int() as value}:
            ctx.metric(name, step, value)
        case _:
            ctx.log(line)
            percent = _PERCENT.search(line)
            if percent and float(percent[1]) <= 100:
                ctx.progress(float(percent[1]), 100.0, "%")


def _json_object(line: str) -> dict[str, Any]:
    if not line.startswith("{"):
        return {}
    try:
        data = json.loads(line)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}


def _made(name: str, place: str, folder: Path) -> Artifact:
    path = folder / place
    if not path.exists():
        raise NodeError(
            f"there is no {place} (outputs.{name}) in what was made",
            hint="It runs inside its output folder: write there by relative path, or to ${outputs." + name + "}.",
        )
    return Artifact(name, "folder" if path.is_dir() else "file", place)
