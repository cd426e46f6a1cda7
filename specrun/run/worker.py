"""The worker process: `python -m specrun.run.worker [fiftyone]`, a process group of its own.

It reads lines of JSON from standard input, `{"request": PATH, "secrets": {…}}`, carries each out and
answers `done` on standard output. While a node runs, its standard output and error are the node's log.
The end of standard input means that the supervisor is gone: the whole group dies, at once when a node runs.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, TextIO

from specrun import __version__
from specrun.errors import ExitCode, MissingDependency, NodeError, SpecrunError, WaitingForPeople
from specrun.kinds.registry import REGISTRY
from specrun.model.address import parse_address
from specrun.model.artifact import Manifest, Outputs
from specrun.model.digest import Json
from specrun.model.event import Event, LogLine
from specrun.planner.fingerprint import fingerprint_of
from specrun.run.context import Memory, WorkerContext
from specrun.run.guard import guard_group
from specrun.run.request import EVENTS_NAME, LOG_NAME, Request, Result, made_from_json
from specrun.run.veil import Veil, VeiledPipe
from specrun.spec.kind import Kind, Registry, kind_of
from specrun.store.manifest import collect_files, write_manifest
from specrun.store.state import State

EXIT_GRACE_S = 5.0
"""For an idle worker to leave by itself."""


def run_request(
    request: Request,
    secrets: Mapping[str, str],
    *,
    memory: Memory,
    emit: Callable[[Event], None],
    stop: Callable[[], bool],
    registry: Registry = REGISTRY,
) -> Result:
    """Do the work and write the manifest into staging; whatever goes wrong becomes the result."""
    try:
        kind = kind_of(request.kind, registry)
        context = _context(request, secrets, memory=memory, emit=emit, stop=stop)
        spec = kind.Spec.model_validate(dict(request.config))
        outputs = kind.run(spec, context)
        for artifact in outputs.artifacts:
            context.artifact(artifact)
        _seal(request, kind, outputs)
    except SpecrunError as error:
        missing = tuple(error.message.splitlines()) if isinstance(error, WaitingForPeople) else ()
        return Result(
            ok=False,
            error=type(error).__name__,
            cause=error.message,
            hint=error.hint or "",
            exit_code=error.exit_code,
            missing=missing,
        )
    except ModuleNotFoundError as error:
        traceback.print_exc()
        problem = MissingDependency(
            f"the Python package {error.name} is not installed", hint=f"Install what {request.kind} needs."
        )
        return Result(ok=False, error="MissingDependency", cause=problem.message, hint=problem.hint or "", exit_code=1)
    except Exception as error:
        # The boundary of a node: a bug in a kind or a library must not take the run down.
        traceback.print_exc()
        return Result(
            ok=False, error="Exception", cause=f"{type(error).__name__}: {error}", exit_code=ExitCode.NODE_FAILED
        )
    return Result(ok=True)


def _context(
    request: Request,
    secrets: Mapping[str, str],
    *,
    memory: Memory,
    emit: Callable[[Event], None],
    stop: Callable[[], bool],
) -> WorkerContext:
    output = Path(request.output)
    return WorkerContext(
        address=parse_address(request.address),
        staging=Path(request.staging),
        output=output,
        previous=output if output.exists() else None,
        project_dir=Path(request.project_dir),
        output_root=Path(request.output_root),
        run_folder=Path(request.run_folder),
        cache_dir=Path(request.state_dir) / "cache",
        memory=memory,
        emit=emit,
        stop=stop,
        seed=request.seed,
        gpus=request.gpus,
        cpus=request.cpus,
        settings=request.settings,
        declarations=request.declarations,
        resumed=request.resumed,
        replaced=request.replaced,
        project_name=request.project_name,
        made={role: [made_from_json(m) for m in made] for role, made in request.inputs.items()},
        secrets=secrets,
    )


def _seal(request: Request, kind: Kind, outputs: Outputs) -> None:
    """The manifest, written last and synced: from here on the staging folder is whole."""
    staging = Path(request.staging)
    observed = outputs.observation if outputs.observation is not None else request.observation
    manifest = Manifest(
        address=request.address,
        kind=request.kind,
        kind_version=request.kind_version,
        fingerprint=request_fingerprint(request, observed),
        inputs=request.read,
        versions=versions(kind.packages),
        seed=request.seed,
        files=collect_files(staging, outputs.known_digests),
        parts=outputs.parts,
        facts=outputs.facts,
        notes=outputs.notes,
        artifacts=outputs.artifacts,
        run=request.run,
        made_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        observation=observed,
    )
    # Not synced here: publishing syncs the whole batch, and a torn folder is told by its sizes.
    write_manifest(staging, manifest, sync=False)


def request_fingerprint(request: Request, observed: Json) -> str:
    """The wanted one, unless the work saw a newer world than the plan did."""
    if observed == request.observation:
        return request.fingerprint
    return fingerprint_of(request.kind, request.kind_version, request.result_config, request.read, observed)


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Of specrun, Python and the named distributions that are installed."""
    found = {"specrun": __version__, "python": ".".join(map(str, sys.version_info[:3]))}
    for package in packages:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


class EventFile:
    """Events of one node, a JSON line each; log lines go to the log instead. The file comes with the first event."""

    def __init__(self, folder: Path, veil: Veil) -> None:
        self._path = folder / EVENTS_NAME
        self._veil = veil
        self._file: TextIO | None = None
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        if isinstance(event, LogLine):
            print(event.text, flush=True)
            return
        data = self._veil.json(event.to_json()) if self._veil else event.to_json()
        with self._lock:
            if self._file is None:
                self._file = open(self._path, "a", encoding="utf-8")  # noqa: SIM115 - closed by close()
            self._file.write(json.dumps(data, ensure_ascii=False) + "\n")
            self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


class Worker:
    """Serves requests one at a time."""

    def __init__(self, control: TextIO) -> None:
        self._control = control
        self._stop = threading.Event()
        self._busy = threading.Event()
        self._requests: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._state: State | None = None

    def serve(self) -> None:
        signal.signal(signal.SIGTERM, lambda *_: self._stop.set())
        # Not SIG_IGN: programs would inherit it.
        signal.signal(signal.SIGINT, lambda *_: None)
        guard_group()
        threading.Thread(target=self._listen, daemon=True).start()
        while (message := self._requests.get()) is not None:
            self._serve_one(message)

    def _listen(self) -> None:
        for line in sys.stdin.buffer:
            # Set here, not when the work begins: the pipe may end between the two.
            self._busy.set()
            self._requests.put(json.loads(line))
        if self._busy.is_set():
            os.killpg(0, signal.SIGKILL)
        self._requests.put(None)
        time.sleep(EXIT_GRACE_S)
        os.killpg(0, signal.SIGKILL)

    def _serve_one(self, message: dict[str, Any]) -> None:
        self._stop.clear()
        request = Request.load(Path(message["request"]))
        folder = Path(request.run_folder)
        secrets = message.get("secrets", {})
        veil = Veil(secrets.values())
        emit = EventFile(folder, veil)
        with _logging_to(folder / LOG_NAME, veil):
            result = run_request(request, secrets, memory=self._memory(request), emit=emit, stop=self._stop.is_set)
        emit.close()
        self._busy.clear()
        veil.result(result).save(folder)
        self._control.write("done\n")
        self._control.flush()

    def _memory(self, request: Request) -> Memory:
        if self._state is None:
            self._state = State.open(Path(request.state_dir) / "state.db")
        return self._state


@contextlib.contextmanager
def _logging_to(path: Path, veil: Veil) -> Iterator[None]:
    """Descriptors 1 and 2 become the log, so that libraries and child processes write there too."""
    saved = [os.dup(1), os.dup(2)]
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    pipe = VeiledPipe(log, veil) if veil else None
    target = pipe.descriptor if pipe else log
    try:
        os.dup2(target, 1)
        os.dup2(target, 2)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for standard, descriptor in enumerate(saved, start=1):
            os.dup2(descriptor, standard)
            os.close(descriptor)
        if pipe:
            pipe.close()
        os.close(log)


def main() -> None:
    control = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    worker = Worker(control)
    if "fiftyone" in sys.argv[1:]:
        _warm_fiftyone()
    worker.serve()


def _warm_fiftyone() -> None:
    """The import takes seconds: done while the first nodes run. A failure shows when a node needs it."""
    settings = json.loads(os.environ.get("SPECRUN_SETTINGS", "{}"))
    state_dir = os.environ.get("SPECRUN_STATE_DIR")
    if state_dir is None:
        return
    # Only this sort of worker pays for it.
    from specrun.clients.fiftyone import warm

    with contextlib.suppress(NodeError):
        warm(settings, Path(state_dir))


if __name__ == "__main__":
    main()
