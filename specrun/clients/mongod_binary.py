"""The MongoDB server binary: where it is, and the proof that it starts on this machine."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from specrun.errors import MissingDependency

_MISSING_LIBRARY = re.compile(r"error while loading shared libraries: (\S+?):")
_TOO_OLD = re.compile(r"version [`']((?:GLIBC|GLIBCXX|OPENSSL)_[\w.]+)' not found")
_VERSION = re.compile(r"db version v(\d+(?:\.\d+)+)")

APT_PACKAGES = {
    "libcurl.so.4": "libcurl4",
    "liblzma.so.5": "liblzma5",
    "libssl.so.3": "libssl3",
    "libcrypto.so.3": "libssl3",
    "libssl.so.1.1": "libssl1.1",
    "libcrypto.so.1.1": "libssl1.1",
    "libgssapi_krb5.so.2": "libgssapi-krb5-2",
    "libldap-2.5.so.0": "libldap-2.5-0",
    "liblber-2.5.so.0": "libldap-2.5-0",
    "libsasl2.so.2": "libsasl2-2",
    "libgcc_s.so.1": "libgcc-s1",
    "libstdc++.so.6": "libstdc++6",
}
"""Shared library → the Debian and Ubuntu package that carries it."""

Runner = Callable[[list[str]], tuple[int, str]]
"""argv → exit status and output (stdout and stderr together)."""


@dataclass(frozen=True, slots=True)
class Mongod:
    path: Path
    version: str


def find_mongod(cache_file: Path, *, run: Runner | None = None, candidates: Iterable[Path] | None = None) -> Mongod:
    """The first `mongod` that starts: beside FiftyOne, else on PATH; proved once for each file.

    cache_file: remembers what was proved, by path, size and time. Raises MissingDependency.
    """
    found = [path for path in (binary_places() if candidates is None else candidates) if path.is_file()]
    proved = _load_proofs(cache_file)
    failures = []
    for path in found:
        status = path.stat()
        mark = f"{path}|{status.st_size}|{status.st_mtime_ns}"
        if mark in proved:
            return Mongod(path, proved[mark])
        try:
            mongod = prove(path, run or _run_version)
        except MissingDependency as failure:
            failures.append(failure)
            continue
        _save_proof(cache_file, mark, mongod.version)
        return mongod
    if failures:
        raise failures[0]
    raise MissingDependency(
        "FiftyOne's database: no MongoDB server (mongod) was found beside FiftyOne or on PATH.",
        hint="Install one with `pip install 'specrun[mongod]'`, or set settings.fiftyone.database to "
        "{uri: {env: FIFTYONE_DATABASE_URI}}.",
    )


def binary_places() -> list[Path]:
    """Where a binary may lie, best first. Does not import FiftyOne: that takes seconds."""
    places = []
    spec = importlib.util.find_spec("fiftyone")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        places.append(Path(folder) / "db" / "bin" / "mongod")
    on_path = shutil.which("mongod")
    return [*places, Path(on_path)] if on_path else places


def prove(path: Path, run: Runner) -> Mongod:
    """Run it once with `--version`; raises MissingDependency naming what to install."""
    if not os.access(path, os.X_OK):
        raise MissingDependency(f"{path}: not executable.", hint=f"Run `chmod +x {path}`.")
    try:
        status, output = run([str(path), "--version"])
    except (OSError, subprocess.SubprocessError) as error:
        raise MissingDependency(
            f"{path}: does not start ({error}).", hint="Install a MongoDB 6 or 7 server for this machine."
        ) from None
    version = _VERSION.search(output)
    if status == 0 and version:
        return Mongod(path, version[1])
    raise _why_it_fails(path, status, output)


def _why_it_fails(path: Path, status: int, output: str) -> MissingDependency:
    if missing := _MISSING_LIBRARY.search(output):
        library = missing[1]
        package = APT_PACKAGES.get(library)
        hint = (
            f"Install it: `apt-get install {package}` on Debian and Ubuntu "
            f"(newer releases call it {package}t64), or the package of your system that carries {library}."
            if package
            else f"Install the package of your system that carries {library}."
        )
        return MissingDependency(f"{path}: the system library {library} is missing.", hint=hint)
    if old := _TOO_OLD.search(output):
        return MissingDependency(
            f"{path}: this system is too old for it ({old[1]} is missing).",
            hint="Put a mongod made for your system on PATH, or set settings.fiftyone.database to a {uri: …}.",
        )
    last = output.strip().splitlines()[-1:] or [f"exit status {status}"]
    signalled = f" (signal {-status}; MongoDB 5 and later need a processor with AVX)" if status < 0 else ""
    return MissingDependency(
        f"{path}: does not start: {last[0]}{signalled}.",
        hint="Put a working mongod on PATH, or set settings.fiftyone.database to a {uri: …}.",
    )


def _run_version(argv: list[str]) -> tuple[int, str]:
    done = subprocess.run(
        argv, capture_output=True, text=True, timeout=30, check=False, env={**os.environ, "LC_ALL": "C"}
    )
    return done.returncode, done.stdout + done.stderr


def _load_proofs(cache_file: Path) -> dict[str, str]:
    try:
        data = json.loads(cache_file.read_text())
    except (OSError, ValueError):
        return {}
    return {str(k): str(v) for k, v in data.items()} if isinstance(data, dict) else {}


def _save_proof(cache_file: Path, mark: str, version: str) -> None:
    cache_file.parent.mkdir(parents=True, exist_ok=True)
    staged = cache_file.with_name(f"{cache_file.name}.{os.getpid()}")
    staged.write_text(json.dumps({mark: version}))
    staged.replace(cache_file)
