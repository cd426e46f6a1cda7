"""How the nodes of a run ended, and the exit code that follows."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from specrun.errors import CredentialsError, ExitCode
from specrun.model.address import Address
from specrun.run.scheduler import Status


@dataclass(frozen=True, kw_only=True)
class Tally:
    """codes: exit codes of the nodes that failed. left: nodes that have not ended."""

    finished: int
    unchanged: int
    failed: int
    stopped: int
    skipped: int
    waiting: int
    left: int
    codes: tuple[int, ...]


def tally_of(
    status: Mapping[Address, Status], unchanged: Collection[Address], codes: Mapping[Address, int], waiting_before: int
) -> Tally:
    """codes: of every node that failed at some time. waiting_before: nodes that the plan held back for people."""
    ended = list(status.values())
    failed = [address for address, how in status.items() if how is Status.FAILED]
    same = sum(status[address] is Status.DONE for address in unchanged)
    return Tally(
        finished=ended.count(Status.DONE) - same,
        unchanged=same,
        failed=len(failed),
        stopped=ended.count(Status.STOPPED),
        skipped=ended.count(Status.SKIPPED),
        waiting=ended.count(Status.WAITING) + waiting_before,
        left=sum(not how.settled for how in ended),
        codes=tuple(codes.get(address, ExitCode.NODE_FAILED) for address in failed),
    )


def exit_code(tally: Tally, *, stopped_by: ExitCode | None) -> ExitCode:
    """The highest of what holds: interrupted, then 3, 1, 5 (only if nothing else failed), 130 for a node that somebody
    stopped, 6."""
    assert not tally.left, "a run ended with nodes that have not"
    if stopped_by is not None:
        return stopped_by
    if ExitCode.OUR_FAULT in tally.codes:
        return ExitCode.OUR_FAULT
    if tally.codes:
        all_refused = all(code == CredentialsError.exit_code for code in tally.codes)
        return ExitCode.CREDENTIALS if all_refused else ExitCode.NODE_FAILED
    if tally.stopped:
        return ExitCode.INTERRUPTED
    return ExitCode.WAITING if tally.waiting else ExitCode.DONE
