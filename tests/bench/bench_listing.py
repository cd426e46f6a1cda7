"""Noticing changes in 100,000 unchanged images, beside a bare os.scandir + stat walk of the same files.

    python tests/bench/bench_listing.py [FILES]

Rounds alternate, so that a busy machine slows both. Budget: 0.8 s where the bare walk takes 0.45 s.
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

from specrun.store.listing import ListingCache

ROUNDS = 7
BUDGET = 0.8 / 0.45


def bare_walk(folder: Path) -> int:
    total, waiting = 0, [str(folder)]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir():
                    waiting.append(entry.path)
                else:
                    total += entry.stat().st_size
    return total


def make_files(folder: Path, count: int) -> None:
    """A thousand to a folder, last changed an hour ago as far as mtime goes."""
    for start in range(0, count, 1000):
        part = folder / f"part_{start // 1000:04d}"
        part.mkdir(parents=True)
        for number in range(start, min(start + 1000, count)):
            with open(part / f"image_{number:06d}.jpg", "w") as file:
                file.write(f"image {number}")


def seconds(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def main(count: int) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        images = Path(temporary) / "images"
        make_files(images, count)
        time.sleep(2.1)  # files just written are read twice, which is not what is measured here
        cache = ListingCache(Path(temporary) / ".specrun" / "cache.db")
        print(f"{count} files; first listing {seconds(lambda: cache.listing(images)):.2f} s")
        actions: dict[str, Callable[[], object]] = {
            "bare scandir + stat": lambda: bare_walk(images),
            "digest": lambda: cache.listing(images, with_files=False),
            "digest and files": lambda: cache.listing(images),
            "digest of **/*.{jpg,png}": lambda: cache.listing(images, ["**/*.{jpg,png}"], with_files=False),
        }
        for action in actions.values():
            action()
        taken: dict[str, list[float]] = {name: [] for name in actions}
        for _ in range(ROUNDS):
            for name, action in actions.items():
                taken[name].append(seconds(action))
        bare = statistics.median(taken["bare scandir + stat"])
        for name, times in taken.items():
            median = statistics.median(times)
            print(f"{name:28} {median:7.3f} s   {median / bare:5.2f} times the bare walk (budget {BUDGET:.2f})")
        changed = images / "part_0000" / "image_000000.jpg"
        changed.write_text("another image")
        print(f"{'one file changed':28} {seconds(lambda: cache.listing(images, with_files=False)):7.3f} s")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
