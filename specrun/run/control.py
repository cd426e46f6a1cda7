"""What people ask of a run from any terminal: lines appended to `control.jsonl` in the run's folder.

A file, not a socket: it needs no cleaning up, works on every file system, and two dashboards may write at once.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from specrun.model.address import Address, parse_address
from specrun.run.tail import Tail

CONTROL_NAME = "control.jsonl"


class Ask(StrEnum):
    STOP = "stop"
    KILL = "kill"
    CANCEL = "cancel"
    RETRY = "retry"
    PAUSE = "pause"
    GO_ON = "go_on"
    PRIORITISE = "prioritise"
    AMEND = "amend"


@dataclass(frozen=True, slots=True)
class Wanted:
    """job: for `amend`, the name of a file in the run's folder that holds the new job."""

    ask: Ask
    address: Address | None = None
    job: str = ""


def send(run_folder: Path, wanted: Wanted) -> None:
    """One write of one line: appends of this size do not mix."""
    data = {"ask": wanted.ask, "address": str(wanted.address) if wanted.address else None, "job": wanted.job}
    line = json.dumps(data) + "\n"
    descriptor = os.open(run_folder / CONTROL_NAME, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


class ControlReader:
    """What was asked since the last poll; lines that make no sense are passed over."""

    def __init__(self, run_folder: Path) -> None:
        self._tail = Tail(run_folder / CONTROL_NAME)

    def poll(self) -> list[Wanted]:
        found = []
        for line in self._tail.poll():
            try:
                data = json.loads(line)
                address = parse_address(data["address"]) if data["address"] else None
                found.append(Wanted(Ask(data["ask"]), address, str(data.get("job", ""))))
            except (ValueError, KeyError, TypeError):
                continue
        return found
