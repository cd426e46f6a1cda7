"""Publishes what nodes made, all that have come together at once: a durable commit costs the same for one or fifty."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import anyio
import anyio.to_thread

from specrun.model.address import Address
from specrun.model.state import NodeRecord
from specrun.store.paths import ProjectPaths
from specrun.store.publish import Publication, publish_many
from specrun.store.state import State


@dataclass(eq=False)
class _Entry:
    publication: Publication
    done: anyio.Event = field(default_factory=anyio.Event)
    error: Exception | None = None


class Publisher:
    """`publish` returns when the output is in place and the state says so, durably."""

    def __init__(self, paths: ProjectPaths) -> None:
        # A connection of its own, since it is used in a thread.
        self._state = State.open(paths.state_db)
        self._paths = paths
        self._waiting: list[_Entry] = []
        self._wake = anyio.Event()

    async def publish(self, record: NodeRecord, staging: Path, *, keep: int) -> None:
        """Raises StateError or OSError: nothing was published, staging is as it was."""
        entry = _Entry(Publication(staging, record, keep=keep))
        self._waiting.append(entry)
        self._wake.set()
        await entry.done.wait()
        if entry.error is not None:
            raise entry.error

    async def run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake = anyio.Event()
            batch, self._waiting = self._waiting, []
            try:
                failures = await anyio.to_thread.run_sync(self._publish, [entry.publication for entry in batch])
            except Exception as error:  # handed to every node of the batch, which fails with it
                failures = {entry.publication.record.address: error for entry in batch}
            for entry in batch:
                entry.error = failures.get(entry.publication.record.address)
                entry.done.set()

    def close(self) -> None:
        self._state.close()

    def _publish(self, publications: list[Publication]) -> dict[Address, Exception]:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        return dict(publish_many(self._state, self._paths, publications, now=now))
