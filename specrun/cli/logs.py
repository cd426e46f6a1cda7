"""`specrun logs`: the log of a node, or all that happened in a run; with --follow as it grows."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from specrun.cli.github import as_text
from specrun.cli.project import one_address
from specrun.cli.state import add_place, is_going_on, node_log, place_of, reading, run_named
from specrun.errors import UsageError
from specrun.model.address import Address, parse_address
from specrun.model.event import (
    Event,
    NodeEvent,
    NodeFailed,
    NodeFinished,
    NodeQueued,
    NodeSkipped,
    NodeStarted,
    NodeWaiting,
    RunFinished,
)
from specrun.model.overwritten import last_state
from specrun.model.plan import Action
from specrun.model.state import RunRecord
from specrun.run.growing import GrowingFile
from specrun.run.job import PLAN_NAME
from specrun.store.journal import JOURNAL_NAME, JournalReader
from specrun.store.paths import ProjectPaths
from specrun.views.plain import PlainPrinter
from specrun.views.text import clean, clip

FOLLOW_S = 0.2
LONGEST_REST = 1 << 14
"""Bytes kept of a line that does not end."""
_ESCAPE = re.compile(rb"\x1b\[[0-?]*[ -/]*[@-~]")
_BEGUN_ESCAPE = re.compile(rb"(?:\x1b(?:\[[0-?]{0,30}[ -/]{0,4})?)?\Z")
_CHATTER = ("LogLine", "Progress", "Metric", "GpuSample", "MachineSample", "ArtifactMade")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "address", nargs="?", metavar="ADDRESS", help="the node, for example models.unet (default: the whole run)"
    )
    parser.add_argument("-f", "--follow", action="store_true", help="go on until the node, or the run, is done")
    parser.add_argument("-n", dest="lines", type=_amount, metavar="LINES", help="only the last so many lines")
    parser.add_argument("--run", dest="run_id", metavar="RUN", help="of this run (default: the last that has one)")
    add_place(parser)


def _amount(word: str) -> int:
    amount = int(word)
    if amount < 0:
        raise ValueError(word)
    return amount


def run(arguments: argparse.Namespace) -> int:
    paths = place_of(arguments)
    with reading(paths) as state:
        newest = run_named(state, arguments.run_id)
        earlier = () if arguments.run_id else state.runs()
    if arguments.address is None:
        _show_run(paths, newest, follow=arguments.follow, lines=arguments.lines)
        return 0
    address = _address(arguments.address, paths, (newest, *earlier))
    to_do = _planned(paths.run(newest.id)).get(address, Action.CREATE).runs
    if arguments.follow and to_do and is_going_on(paths, newest):
        _follow_node(paths, newest, address, arguments.lines)
        return 0
    for found in (newest, *earlier):
        log = node_log(paths, found, address)
        if log.exists():
            made = f".staging/{address.folder}" if not is_going_on(paths, found) else ""
            _print_file(GrowingFile(log, last_lines=arguments.lines), LogOutput(staged=made))
            return 0
    raise UsageError(f"{address} has no log", hint="It did not run yet, or its run was removed.")


def _address(word: str, paths: ProjectPaths, runs: tuple[RunRecord, ...]) -> Address:
    """By the plans of the runs, so that it works while the spec is broken. Raises UsageError."""
    known: dict[Address, Action] = {}
    for found in runs:
        known = _planned(paths.run(found.id)) or known
        if any(word in (str(address), str(address.base)) for address in known):
            break
    return one_address(word, known)


def _planned(folder: Path) -> dict[Address, Action]:
    try:
        nodes: list[dict[str, Any]] = json.loads((folder / PLAN_NAME).read_text())["nodes"]
        return {parse_address(node["address"]): Action(node["action"]) for node in nodes}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


# One node.


def _follow_node(paths: ProjectPaths, record: RunRecord, address: Address, lines: int | None) -> None:
    """Until the node is settled in this run, or the run is over."""
    log = GrowingFile(node_log(paths, record, address), last_lines=lines)
    output, story = LogOutput(), NodeStory(address)
    with JournalReader(paths.run(record.id) / JOURNAL_NAME, leave_out=_CHATTER) as journal:
        while True:
            going_on = is_going_on(paths, record)
            while events := journal.poll():
                story.tell(events)
            # The log is complete before the journal says that the node is done.
            _print_file(log, output, close=False)
            if story.over or not going_on:
                break
            time.sleep(FOLLOW_S)
    log.close()
    output.close()


class NodeStory:
    """Whether more can come of one node in a run."""

    def __init__(self, address: Address) -> None:
        self._address = str(address)
        self.over = False

    def tell(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, RunFinished):
                self.over = True
            elif isinstance(event, NodeEvent) and event.address == self._address:
                if isinstance(event, NodeFinished | NodeFailed | NodeSkipped | NodeWaiting):
                    self.over = True
                elif isinstance(event, NodeQueued | NodeStarted):
                    self.over = False


def _print_file(file: GrowingFile, output: LogOutput, *, close: bool = True) -> None:
    """All that is there."""
    wrote = False
    while chunk := file.read():
        wrote = True
        output.write(chunk)
    if wrote:
        sys.stdout.flush()
    if close:
        file.close()
        output.close()


class LogOutput:
    """Standard output for a log: on a terminal without what could steer it, and of a line that overwrites itself its
    last state; into a pipe byte by byte, but without colours.

    staged: where the work was done, without the fingerprint; of what is over, paths are those of the output."""

    def __init__(self, *, staged: str = "") -> None:
        self._terminal = sys.stdout.isatty()
        self._staged = re.compile(re.escape(staged.encode()) + rb"/[0-9a-f]{16,}(?![0-9a-f])") if staged else None
        self._final = staged.removeprefix(".staging/").encode()
        self._rest = b""

    def write(self, chunk: bytes) -> None:
        if not self._terminal:
            self._write_plain(self._rest + chunk)
            return
        if self._rest:
            sys.stdout.write("\r\x1b[K")
        *whole, rest = (self._rest + chunk).split(b"\n")
        sys.stdout.writelines(f"{_shown(self._mended(line))}\n" for line in whole)
        # A bar without a line end is drawn over itself, so it must not wrap.
        self._rest = rest[-LONGEST_REST:]
        sys.stdout.write(clip(_shown(self._rest), shutil.get_terminal_size().columns - 1))

    def _write_plain(self, data: bytes, *, last: bool = False) -> None:
        """What may be the beginning of a colour or of a path waits for the rest of it."""
        cut = len(data)
        if not last and len(data) < LONGEST_REST:
            cut = data.rfind(b"\n") + 1 if self._staged else cut - len(_BEGUN_ESCAPE.search(data)[0])  # type: ignore[index]
        done, self._rest = data[:cut], data[cut:]
        sys.stdout.flush()
        sys.stdout.buffer.write(self._mended(_ESCAPE.sub(b"", done)))

    def _mended(self, data: bytes) -> bytes:
        return self._staged.sub(lambda _: self._final, data) if self._staged else data

    def close(self) -> None:
        if not self._terminal:
            self._write_plain(self._rest, last=True)
            sys.stdout.flush()
        elif self._rest:
            sys.stdout.write(f"\r\x1b[K{_shown(self._rest)}\n")
            sys.stdout.flush()


def _shown(line: bytes) -> str:
    return clean(last_state(line.decode("utf-8", errors="replace")))


# A whole run.


def _show_run(paths: ProjectPaths, record: RunRecord, *, follow: bool, lines: int | None) -> None:
    """Its events as lines, the nodes' own output among them."""
    color = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    output = _LastLines(lines)
    printer = PlainPrinter(
        lambda text: output.write(as_text(text)),
        clock=time.time,
        color=color,
        verbose=True,
        run_folder=os.path.relpath(paths.run(record.id)),
    )
    for events in _batches(paths, record, follow=follow):
        for event in events:
            printer.handle(event)
        if not events:
            output.release()
            printer.tick()
        sys.stdout.flush()


class _LastLines:
    """Standard output; until it is released only the last so many lines are kept. None: all go through."""

    def __init__(self, lines: int | None) -> None:
        self._kept: deque[str] | None = None if lines is None else deque(maxlen=lines)

    def write(self, text: str) -> None:
        if self._kept is None:
            sys.stdout.write(text)
        else:
            self._kept.append(text)

    def release(self) -> None:
        if self._kept is not None:
            sys.stdout.writelines(self._kept)
            self._kept = None


def _batches(paths: ProjectPaths, record: RunRecord, *, follow: bool) -> Iterator[list[Event]]:
    """What the journal holds, then an empty batch, then what comes; each time nothing came, an empty one."""
    with JournalReader(paths.run(record.id) / JOURNAL_NAME) as journal:
        while True:
            going_on = follow and is_going_on(paths, record)
            over = False
            while events := journal.poll():
                over = over or any(isinstance(event, RunFinished) for event in events)
                yield events
            yield []
            if over or not going_on:
                return
            time.sleep(FOLLOW_S)
