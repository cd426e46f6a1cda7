"""Wall time of commands, each beside a peer in the same run.

Rounds alternate between the commands, so that a busy minute of the machine hits all of them alike.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

SPECRUN = str(Path(sys.executable).with_name("specrun"))
PASS = [sys.executable, "-c", "pass"]


def medians_s(cases: Mapping[str, Callable[[], object]], *, rounds: int) -> dict[str, float]:
    """Name → median wall time. Each case runs once unmeasured, to fill caches."""
    times: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(rounds + 1):
        for name, case in cases.items():
            started = time.perf_counter()
            case()
            if number:
                times[name].append(time.perf_counter() - started)
    return {name: statistics.median(taken) for name, taken in times.items()}


def command(argv: Sequence[str], *, codes: Sequence[int] = (0,)) -> Callable[[], None]:
    """Raises RuntimeError: an exit code that was not expected, with what the command said."""

    def run() -> None:
        done = subprocess.run(argv, capture_output=True, text=True)
        if done.returncode not in codes:
            raise RuntimeError(f"{' '.join(argv)} ended with {done.returncode}: {done.stdout}{done.stderr}")

    return run


def show(title: str, medians: Mapping[str, float], budget: str) -> None:
    load = os.getloadavg()[0]
    print(f"\n{title}   (budget: {budget}; load {load:.1f} on {os.cpu_count()} cores)")
    for name, seconds in medians.items():
        print(f"  {seconds * 1000:9.1f} ms  {name}")
