"""State and publishing of 1,000 nodes.

    python tests/bench/bench_store.py [NODES]

Peer of the commits: one fsync of a small file, which is the least that durable can cost.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from specrun.model.address import Address
from specrun.model.event import LogLine
from specrun.store.journal import JournalWriter, read_journal
from specrun.store.publish import Publication, publish, publish_many
from specrun.store.state import State
from tests.support.outputs import make_record, project_paths, stage

NOW = "2025-01-01T00:00:00+00:00"


def seconds(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def median_ms(action: Callable[[], object], rounds: int) -> float:
    return statistics.median(seconds(action) for _ in range(rounds)) * 1000


def fsync_once(path: Path) -> None:
    with open(path, "ab") as file:
        file.write(b"x" * 1000)
        file.flush()
        os.fsync(file.fileno())


def main(count: int) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        paths = project_paths(Path(temporary))
        records = [make_record(Address("steps", f"n{number}")) for number in range(count)]
        with State.open(paths.state_db) as state:
            print(f"put_records({count})          {seconds(lambda: state.put_records(records)) * 1000:8.1f} ms")
            print(f"records() of {count}          {median_ms(state.records, 9):8.1f} ms   (budget 20 for 1,000)")
            print(f"digest() of {count}           {median_ms(state.digest, 9):8.1f} ms")
            print(f"put_record, own commit      {median_ms(lambda: state.put_record(records[0]), 50):8.2f} ms")
            print(f"remember, own commit        {median_ms(lambda: state.remember('a.b', 'k', 1), 50):8.2f} ms")
            print(f"peer: fsync of one file     {median_ms(lambda: fsync_once(Path(temporary) / 'peer'), 50):8.2f} ms")
        read_only = median_ms(lambda: State.open(paths.state_db, read_only=True).records(), 9)
        print(f"open read-only + records()  {read_only:8.1f} ms")

        with State.open(paths.state_db) as state:
            batch = [Publication(*stage(paths, "new", address=record.address)) for record in records]
            os.sync()
            taken = seconds(lambda: publish_many(state, paths, batch, now=NOW))
            print(f"publish_many({count})         {taken * 1000:8.1f} ms")
            single = [stage(paths, "again", address=record.address) for record in records[:50]]
            each = [seconds(lambda one=one: publish(state, paths, *one, now=NOW)) for one in single]  # type: ignore[misc]
            print(f"publish, one at a time      {statistics.median(each) * 1000:8.2f} ms")

        journal = JournalWriter(paths.run("r") / "events.jsonl")
        event = LogLine(address="models.unet", text="epoch 3/40  loss 0.1234  box 0.23  cls 0.45")
        taken = seconds(lambda: [journal.append(event) for _ in range(100_000)])
        journal.close()
        print(f"journal, events written     {100_000 / taken:8.0f} a second")
        taken = seconds(lambda: sum(1 for _ in read_journal(paths.run("r") / "events.jsonl")))
        print(f"journal, events read        {100_000 / taken:8.0f} a second")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
