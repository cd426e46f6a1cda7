"""The folder of an embedded database: its places, its locks, its stamp, and where its socket may lie."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from specrun.errors import NodeError
from specrun.model.digest import Json, bytes_digest, json_digest
from specrun.store.filesystem import on_network

SOCKET_PATH_BYTES = 107


@dataclass(frozen=True, slots=True)
class ServerFolder:
    """The places of one embedded database, under `.specrun/fiftyone`."""

    root: Path

    @property
    def data(self) -> Path:
        return self.root / "db"

    @property
    def log(self) -> Path:
        return self.root / "mongod.log"

    @property
    def record(self) -> Path:
        return self.root / "server.json"

    @property
    def stopped(self) -> Path:
        return self.root / "stopped.json"

    @property
    def gate(self) -> Path:
        return self.root / "gate"

    @property
    def users(self) -> Path:
        return self.root / "users"

    @property
    def guard(self) -> Path:
        return self.root / "guard"

    def prepare(self) -> None:
        """Make it. Raises NodeError: it lies on a network file system."""
        if on_network(self.root):
            raise NodeError(
                f"{self.root}: lies on a network file system, where a database breaks.",
                hint="Run a MongoDB server and set settings.fiftyone.database to {uri: {env: FIFTYONE_DATABASE_URI}}.",
            )
        self.data.mkdir(parents=True, exist_ok=True)


def clean_stop(root: Path) -> Json:
    """What was seen at the last clean stop if the data has not moved since, else None. Starts nothing."""
    folder = ServerFolder(root)
    if not folder.data.is_dir():
        return None
    data = read_json(folder.stopped)
    if not data or data.get("stamp") != data_stamp(folder.data):
        return None
    seen: Json = data.get("seen")
    return seen


def data_stamp(data: Path) -> str:
    """Names, sizes and times of the data folder: any start of a server changes it."""
    rows = []
    for path in sorted(data.rglob("*")):
        status = path.stat()
        if stat.S_ISREG(status.st_mode):
            rows.append([path.relative_to(data).as_posix(), status.st_size, status.st_mtime_ns])
    return json_digest(rows)


def socket_folder(data: Path, environ: Mapping[str, str] = os.environ) -> Path:
    """A folder for the socket that nobody else may enter, made if missing.

    Raises NodeError: somebody else made it, or no place is short enough for a socket (107 bytes).
    """
    name = f"specrun-{os.getuid()}-{bytes_digest(os.fsencode(data.resolve()))[:12]}"
    for base in (environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir(), "/tmp"):
        if not base or not os.access(base, os.W_OK) or len(os.fsencode(f"{base}/{name}/m.sock")) >= SOCKET_PATH_BYTES:
            continue
        folder = Path(base) / name
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
            raise NodeError(f"{folder}: belongs to somebody else.", hint="Remove it, or set XDG_RUNTIME_DIR.")
        folder.chmod(0o700)
        return folder
    raise NodeError(
        "FiftyOne's database: no temporary folder has a path short enough for a Unix socket.",
        hint="Set XDG_RUNTIME_DIR or TMPDIR to a short path, for example /tmp.",
    )


def open_lock(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def try_lock(descriptor: int, *, shared: bool = False) -> bool:
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_locked(path: Path) -> bool:
    descriptor = open_lock(path)
    try:
        return not try_lock(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    descriptor = open_lock(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def read_json(path: Path) -> dict[str, Any] | None:
    try:
        data = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) else None


def write_json(path: Path, value: object) -> None:
    staged = path.with_name(f"{path.name}.{os.getpid()}")
    staged.write_text(json.dumps(value))
    staged.replace(path)
