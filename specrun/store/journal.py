"""A run's journal: one JSON object a line, see model.event.

Lines are written whole by write(2), so that kill -9 loses at most what was not flushed yet, never half of what was
written before. There is no fsync: a journal tells what happened, state.db is what must survive a power cut.
Readers take a half line for one that is still being written, and skip what they cannot read.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from specrun.errors import StateError
from specrun.model.event import JOURNAL_FORMAT, Event, event_from_json

JOURNAL_NAME = "events.jsonl"
FLUSH_BYTES = 1 << 16
FLUSH_INTERVAL_S = 0.1
_READ_BYTES = 1 << 20
POLL_BYTES = 8 << 20


class JournalWriter:
    """Appends events; one writer a journal.

    run: the run's id; the folder's name by default. `append` flushes by itself when 64 KiB are waiting or the last
    flush is 0.1 s ago, so only the end of a quiet moment needs a `flush`.
    """

    def __init__(self, path: Path, run: str | None = None, *, clock: Callable[[], float] = time.time) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._run = path.parent.name if run is None else run
        self._clock = clock
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._flushed_at = -math.inf
        self._seq = _last_seq(path)
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        size = os.fstat(self._descriptor).st_size
        if size == 0:
            self._add(_encode({"type": "Journal", "format": JOURNAL_FORMAT}))
        elif not _ends_with_newline(path, size):
            self._add(b"\n")
        self.flush()

    @property
    def seq(self) -> int:
        """Of the last event appended."""
        return self._seq

    def append(self, event: Event) -> dict[str, Any]:
        """Gives the event its run, number and time; returns the line as JSON data."""
        self._seq += 1
        now = self._clock()
        data = event.to_json()
        data["run"], data["seq"], data["time"] = self._run, self._seq, now
        self._add(_encode(data))
        if self._waiting_bytes >= FLUSH_BYTES or not 0 <= now - self._flushed_at < FLUSH_INTERVAL_S:
            self.flush(now)
        return data

    def flush(self, now: float | None = None) -> None:
        """Hands whole lines to the kernel. Raises StateError: the disk is full; nothing is lost, flush again."""
        self._flushed_at = self._clock() if now is None else now
        if not self._waiting:
            return
        content = b"".join(self._waiting)
        try:
            while content:
                content = content[os.write(self._descriptor, content) :]
        except OSError as error:
            raise StateError(
                f"{self._path}: cannot be written ({error.strerror}).", hint="Make room on the disk."
            ) from error
        finally:
            self._waiting = [content] if content else []
            self._waiting_bytes = len(content)

    def close(self) -> None:
        if self._descriptor < 0:
            return
        try:
            self.flush()
        finally:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> JournalWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _add(self, line: bytes) -> None:
        self._waiting.append(line)
        self._waiting_bytes += len(line)


class JournalReader:
    """Follows a journal that may not exist yet; every poll costs as much as there is new.

    leave_out: types of events that are passed over without being parsed (a million log lines take seconds).
    """

    def __init__(self, path: Path, *, leave_out: Collection[str] = ()) -> None:
        self._path = path
        # How _encode begins every line; a line that begins otherwise is parsed, and is right all the same.
        self._passed_over = tuple(f'{{"type":"{name}",'.encode() for name in leave_out)
        self._descriptor = -1
        self._rest = b""

    def poll(self, max_bytes: int = POLL_BYTES) -> list[Event]:
        """Events that came since the last poll; none: that was all.

        About max_bytes are read at once, so that a long journal never lies in memory: poll until nothing comes.
        Raises StateError: written by a newer specrun.
        """
        if self._descriptor < 0:
            try:
                self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return []
        events: list[Event] = []
        left = max_bytes
        while (left > 0 or not events) and (chunk := os.read(self._descriptor, _READ_BYTES)):
            left -= len(chunk)
            complete, newline, rest = chunk.rpartition(b"\n")
            if not newline:
                self._rest += chunk
                continue
            lines = (self._rest + complete).split(b"\n")
            self._rest = rest
            if self._passed_over:
                lines = [line for line in lines if not line.startswith(self._passed_over)]
            events.extend(event for line in lines if (event := _decode(line, self._path)) is not None)
        return events

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> JournalReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_journal(path: Path, *, leave_out: Collection[str] = ()) -> Iterator[Event]:
    """All events that are there now; nothing when there is no journal. leave_out: see JournalReader."""
    with JournalReader(path, leave_out=leave_out) as reader:
        while events := reader.poll(_READ_BYTES):
            yield from events


def last_event_time(path: Path) -> float | None:
    """Of the newest event, read from the end of the file; None: there is none."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _READ_BYTES))
            lines = file.read().split(b"\n")
    except FileNotFoundError:
        return None
    for line in reversed(lines):
        event = _decode(line, path)
        if event is not None:
            return event.time
    return None


def _encode(data: Mapping[str, Any]) -> bytes:
    try:
        text = _ENCODER.encode(data)
    except ValueError:
        text = _ENCODER.encode(_finite(data))
    # A lone surrogate, from a file name that is no UTF-8, becomes \udcXX: that is what JSON calls it.
    return text.encode("utf-8", "backslashreplace") + b"\n"


def _plain(value: object) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    return str(value)


_ENCODER = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain, check_circular=False
)


def _finite(value: Any) -> Any:
    """NaN and infinity are no JSON; they become null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def _decode(line: bytes, path: Path) -> Event | None:
    try:
        data = json.loads(line)
        if data["type"] == "Journal" and data["format"] > JOURNAL_FORMAT:
            raise StateError(
                f"{path}: written by a newer specrun (format {data['format']}).", hint="Install the newer one."
            )
        return event_from_json(data)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return None


def _last_seq(path: Path) -> int:
    seq = 0
    for event in read_journal(path):
        seq = max(seq, event.seq)
    return seq


def _ends_with_newline(path: Path, size: int) -> bool:
    with open(path, "rb") as file:
        file.seek(size - 1)
        return file.read(1) == b"\n"
