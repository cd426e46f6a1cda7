"""Folders of earlier runs: kept for a while, and as long as something of theirs counts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from specrun.model.state import RunRecord
from specrun.run.job import Job
from specrun.store.paths import ProjectPaths
from specrun.store.state import State

KEEP = 50
KEEP_FOR = timedelta(days=30)


def forget_old_runs(state: State, paths: ProjectPaths, job: Job) -> tuple[Path, ...]:
    """Folders that may be deleted, as `settings.runs.keep` has it. Under the project's lock, when a run begins.

    Their rows stay in the state, so that what ran when is still known. A run that goes on holds the lock, so there is
    none but the one that begins.
    """
    keep = int(job.settings.get("runs", {}).get("keep", KEEP))
    needed = {record.run for record in state.records().values()} | {earlier.record.run for earlier in state.earlier()}
    old = runs_to_forget(state.runs(), {*needed, job.run}, keep=keep, now=datetime.now(UTC))
    return tuple(folder for run in old if (folder := paths.run(run)).is_dir())


def runs_to_forget(runs: Sequence[RunRecord], needed: Iterable[str], *, keep: int, now: datetime) -> list[str]:
    """Ids of runs whose folders nobody needs. runs: newest first. needed: that made what is current or kept."""
    spared = {*needed, *(run.id for run in runs[:keep])}
    found = []
    for run in runs:
        if run.id in spared or run.ended_at is None:
            continue
        with suppress(ValueError):
            if now - datetime.fromisoformat(run.started_at) >= KEEP_FOR:
                found.append(run.id)
    return found
