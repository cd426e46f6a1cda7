"""What the dashboard costs: 200 nodes and 5,000 log lines a second, then an idle run, in percent of a core.

    python tests/bench/bench_dashboard.py [--seconds 20] [--lines 5000] [--nodes 200]

A child process draws into a pseudo-terminal of 160×45 that this one empties, as a terminal would; the
peer is an empty Textual app, so that the cost of Textual itself is seen. Budgets: busy under 15 %,
idle under 1 %, a key answered in 50 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import json
import os
import pty
import resource
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Sequence
from pathlib import Path

from textual.app import App

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from specrun.model.event import Event, event_from_json
from specrun.tui.app import Dashboard
from tests.support.synthetic_run import START, busy_run, busy_second

SIZE = (160, 45)


class Feeder:
    """Gives at each poll what the time that went by is worth, read from JSON as from a journal.

    The lines go to a log file too, which the Log tab follows."""

    def __init__(self, lines: int, nodes: int, log: Path) -> None:
        self._first: list[Event] = busy_run(nodes)
        self._lines, self._nodes, self._log = lines, nodes, log
        self._given = 0
        self._begun = time.monotonic()
        self._seconds = [
            [json.dumps(event.to_json()) for event in busy_second(second, lines=lines, nodes=nodes)]
            for second in range(4)
        ]
        self.quiet = False
        self.events = 0

    def __call__(self) -> Sequence[Event]:
        first, self._first = self._first, []
        if self.quiet or first:
            return first
        due = int((time.monotonic() - self._begun) * 4)
        events: list[Event] = []
        while self._given < due:
            whole = self._seconds[(self._given // 4) % 4]
            quarter = len(whole) // 4
            part = whole[(self._given % 4) * quarter : (self._given % 4 + 1) * quarter]
            events += [event for line in part if (event := event_from_json(json.loads(line)))]
            self._given += 1
        with self._log.open("a") as file:
            file.writelines(f"{getattr(event, 'text', '')}\n" for event in events)
        self.events += len(events)
        return events


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def measure(seconds: float) -> float:
    """Percent of a core that this process used."""
    begun, used = time.monotonic(), cpu_seconds()
    await asyncio.sleep(seconds)
    return 100 * (cpu_seconds() - used) / (time.monotonic() - begun)


class Measured(Dashboard):
    """A dashboard that measures itself while it runs, and leaves."""

    def __init__(self, feeder: Feeder, log: Path, seconds: float) -> None:
        super().__init__(
            feed=feeder, control=None, log_path=lambda _: log, clock=lambda: START + time.monotonic() % 1000
        )
        self._feeder, self._seconds = feeder, seconds
        self.found: dict[str, float] = {}

    def on_ready(self) -> None:
        self.run_worker(self._measure())

    async def _measure(self) -> None:
        seconds = self._seconds
        await asyncio.sleep(1.5)
        before = self._feeder.events, time.monotonic()
        self.found["busy, log"] = await measure(seconds)
        self.found["events a second"] = (self._feeder.events - before[0]) / (time.monotonic() - before[1])
        self.action_tab(1)
        self.found["busy, metrics"] = await measure(seconds / 2)
        self.action_tab(0)
        self.found["key while busy, ms"] = await self._key_time()
        self._feeder.quiet = True
        await asyncio.sleep(1.5)
        self.found["idle, clock ticking"] = await measure(seconds)
        self.found["key while idle, ms"] = await self._key_time()
        self.exit()

    async def _key_time(self) -> float:
        """Median of the time from a key until the screen has been drawn again."""
        times = []
        for key in ("j", "k") * 8:
            begun = time.monotonic()
            drawn = asyncio.Event()
            self.simulate_key(key)
            self.screen.call_later(lambda done=drawn: self.call_after_refresh(done.set))
            await drawn.wait()
            times.append(time.monotonic() - begun)
            await asyncio.sleep(0.13)
        return 1000 * sorted(times)[len(times) // 2]


class Peer(App[None]):
    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds
        self.found: dict[str, float] = {}

    def on_ready(self) -> None:
        self.run_worker(self._measure())

    async def _measure(self) -> None:
        await asyncio.sleep(1)
        self.found["idle, empty Textual app"] = await measure(self._seconds)
        self.exit()


def inside(arguments: argparse.Namespace) -> None:
    """The child: its terminal is the pseudo-terminal; what it found goes to a file."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log.txt"
        log.touch()
        app = Measured(Feeder(arguments.lines, arguments.nodes, log), log, arguments.seconds)
        app.run()
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    other = Peer(arguments.seconds / 2)
    other.run()
    Path(arguments.inside).write_text(json.dumps({**app.found, **other.found, "memory, MiB": memory}))


def in_terminal(argv: Sequence[str]) -> int:
    """Runs a program in a pseudo-terminal and throws away what it draws. Gives the bytes that were drawn."""
    environ = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    for name in ("CI", "NO_COLOR", "COLUMNS", "LINES"):
        environ.pop(name, None)
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", SIZE[1], SIZE[0], 0, 0))
    child = subprocess.Popen(
        argv, stdin=follower, stdout=follower, stderr=follower, env=environ, start_new_session=True
    )
    os.close(follower)
    drawn = 0
    while True:
        try:
            piece = os.read(leader, 1 << 16)
        except OSError:
            break
        if not piece:
            break
        drawn += len(piece)
    child.wait()
    return drawn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--lines", type=int, default=5000)
    parser.add_argument("--nodes", type=int, default=200)
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        inside(arguments)
        return
    with tempfile.NamedTemporaryFile() as answer:
        options = [f"--{name}={getattr(arguments, name)}" for name in ("seconds", "lines", "nodes")]
        drawn = in_terminal([sys.executable, __file__, *options, f"--inside={answer.name}"])
        found = json.loads(Path(answer.name).read_text())
    for name, value in {**found, "drawn, KiB": drawn / 1024}.items():
        print(f"{name:28} {value:8.1f}")


if __name__ == "__main__":
    main()
