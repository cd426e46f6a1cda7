"""`--ui plain`: one line for each thing that happens, for logs, pipes and CI."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from datetime import datetime

from specrun.model import event as ev
from specrun.views.eta import run_eta
from specrun.views.facts import done_text
from specrun.views.node_view import NodeState, NodeView, waiting_text
from specrun.views.paint import Paint
from specrun.views.quantities import count, duration, stopwatch, time_left, took
from specrun.views.run_view import RunView
from specrun.views.text import cells, clean

HEARTBEAT_S = 10.0
_MAX_MISSING = 8
_BEATING_NODES = 4
_STOPPING = "stopping: what runs is asked to save its work; once more ends it at once"
_RUN_STATUS_STYLES = {
    "done": "green bold",
    "failed": "red bold",
    "crashed": "red bold",
    "waiting": "blue bold",
    "interrupted": "yellow bold",
}


class PlainPrinter:
    """Feed it every event by `handle`, and call `tick` now and then: it prints the heartbeat.

    write: gets whole lines with their line end. clock: seconds since the epoch, as in the events.
    github: GitHub's annotations for failures. verbose: the nodes' own log lines, queue and artifacts too.
    address_width: longer addresses push what follows to the right. run_folder: stands before the paths of logs.
    time_of_day: lines begin with the clock's time instead of how long the run has gone on.
    """

    def __init__(
        self,
        write: Callable[[str], None],
        *,
        clock: Callable[[], float],
        color: bool = False,
        github: bool = False,
        verbose: bool = False,
        address_width: int = 40,
        run_folder: str = "",
        time_of_day: bool = False,
    ) -> None:
        self.view = RunView()
        self._write = write
        self._clock = clock
        self._paint = Paint(color)
        self._github = github
        self._verbose = verbose
        self._run_folder = run_folder
        self._time_of_day = time_of_day
        self._max_address = address_width
        self._address_width = 8
        self._next_beat: float | None = None

    def handle(self, event: ev.Event) -> None:
        self.view.apply(event)
        if isinstance(event, ev.NodeEvent):
            for text in self._node_lines(event):
                self._line(event.time, event.address, text)
            if isinstance(event, ev.NodeFailed):
                self._annotate(event)
        else:
            self._handle_run_event(event)

    def tick(self) -> None:
        """Prints the heartbeat when ten seconds have gone by and something is running."""
        now = self._clock()
        if self._next_beat is None or now < self._next_beat or self.view.finished:
            return
        self._next_beat = now + HEARTBEAT_S
        running = [n for n in self.view.nodes.values() if n.state is NodeState.RUNNING]
        if running:
            self._print(f"{self._time(now)} {self._paint(self._heartbeat(running, now), 'dim')}")

    def _handle_run_event(self, event: ev.Event) -> None:
        match event:
            case ev.RunStarted():
                self._next_beat = self._clock() + HEARTBEAT_S
                to_do = self.view.to_do
                widths = [cells(node.address.text) for node in to_do]
                self._address_width = max(8, min(max(widths, default=0), self._max_address))
                name = self._paint(self.view.project, "bold")
                self._print(f"{name} · {count(len(to_do), 'node')} to run · run {clean(event.run)}")
            case ev.Notice():
                style = {"warning": "yellow", "error": "red"}.get(event.level, "")
                self._print(f"{self._time(event.time)} {self._paint(clean(event.text), style)}")
                if self._github and event.level in ("warning", "error"):
                    self._print(f"::{event.level}::{_github_data(clean(event.text))}")
            case ev.RunPaused():
                said = "paused: nothing new starts" if event.paused else "goes on"
                self._print(f"{self._time(event.time)} {self._paint(said, 'yellow')}")
            case ev.RunStopping():
                said = "ends everything at once" if event.at_once else _STOPPING
                self._print(f"{self._time(event.time)} {self._paint(said, 'yellow')}")
            case ev.RunAmended():
                left = sum(not node.state.settled for node in self.view.to_do)
                said = f"the plan has changed: {count(left, 'node')} left to make"
                self._print(f"{self._time(event.time)} {self._paint(said, 'cyan')}")
            case ev.RunFinished():
                self._print(f"{self._time(event.time)} {self._finish(event)}")
            case _:
                pass

    def _node_lines(self, event: ev.NodeEvent) -> Iterable[str]:
        match event:
            case ev.NodeStarted():
                yield self._paint(_started(event), "cyan")
            case ev.NodeFinished():
                facts = done_text(event.facts)
                yield self._paint(f"done in {took(event.duration_s, event.earlier_s)}", "green") + (
                    f"  {facts}" if facts else ""
                )
                yield from (f"note: {clean(note)}" for note in event.notes)
            case ev.NodeFailed():
                yield from self._failure(event)
            case ev.NodeSkipped():
                said = clean(event.reason) or "unchanged"
                yield self._paint(said if event.unchanged else f"skipped: {said}", "dim")
            case ev.NodeRetrying():
                said = f"tries again in {duration(event.delay_s)} (attempt {event.attempt}): {clean(event.cause)}"
                yield self._paint(said, "yellow")
            case ev.NodeWaiting():
                yield from (self._paint(line, "blue") for line in _waiting(event))
            case ev.LogLine():
                if self._verbose:
                    yield f"│ {clean(event.text)}"
            case ev.NodeQueued():
                if self._verbose:
                    yield self._paint(
                        f"queued, waits for {clean(event.waits_for)}" if event.waits_for else "queued", "dim"
                    )
            case ev.ArtifactMade():
                if self._verbose:
                    yield f"{clean(event.name)} at {clean(event.place)}"
            case _:
                pass

    def _failure(self, event: ev.NodeFailed) -> Iterable[str]:
        word, style = ("stopped", "yellow") if event.interrupted else ("FAILED", "red bold")
        yield self._paint(f"{word}: ", style) + clean(event.cause)
        if event.hint:
            yield f"  {clean(event.hint)}"
        if event.log:
            yield f"  log: {clean(os.path.join(self._run_folder, event.log))}"
        if not event.interrupted:
            yield from (self._paint(f"  │ {clean(line)}", "dim") for line in event.last_lines)

    def _annotate(self, event: ev.NodeFailed) -> None:
        if not self._github or event.interrupted:
            return
        text = clean(event.cause) + (f" {clean(event.hint)}" if event.hint else "")
        title = _github_data(clean(event.address)).replace(":", "%3A").replace(",", "%2C")
        self._print(f"::error title={title}::{_github_data(text)}")

    def _finish(self, event: ev.RunFinished) -> str:
        parts = [
            (event.finished, "made"),
            (event.unchanged, "unchanged"),
            (event.failed, "failed"),
            (event.stopped, "stopped"),
            (event.skipped, "skipped"),
            (event.waiting, "waiting"),
        ]
        said = ", ".join(f"{amount} {word}" for amount, word in parts if amount) or "nothing to do"
        status = self._paint(clean(event.status), _RUN_STATUS_STYLES.get(event.status, "bold"))
        return f"{status} in {duration(event.duration_s)}: {said}"

    def _heartbeat(self, running: list[NodeView], now: float) -> str:
        done, total = self.view.done_and_total()
        said = [f"{clean(n.address.text)} {_progress(n, now)}".rstrip() for n in running[:_BEATING_NODES]]
        if len(running) > _BEATING_NODES:
            said.append(f"and {len(running) - _BEATING_NODES} more")
        if self.view.status == "stopping":
            return f"… stopping, waits for {', '.join(said)}"
        eta = run_eta(self.view, now)
        left = f", {time_left(eta.seconds, complete=eta.complete)}" if eta else ""
        return f"… {done} of {total} done{left} · {', '.join(said)}"

    def _line(self, time: float, address: str, text: str) -> None:
        name = clean(address)
        name += " " * (self._address_width - cells(name))
        self._print(f"{self._time(time)} {name}  {text}")

    def _time(self, time: float) -> str:
        if self._time_of_day:
            return self._paint(f"{datetime.fromtimestamp(time):%H:%M:%S}", "dim")
        return self._paint(f"{stopwatch(time - (self.view.started_at or time)):>7}", "dim")

    def _print(self, line: str) -> None:
        # GitHub takes `##[command]` anywhere in a line for a command, also out of a label or a log.
        self._write((line.replace("##[", "## [") if self._github else line) + "\n")


def _started(event: ev.NodeStarted) -> str:
    said = "goes on where it was interrupted" if event.resumed else "started"
    if event.attempt > 1:
        said += f", attempt {event.attempt}"
    if event.gpus:
        said += f" on GPU {', '.join(map(str, event.gpus))}"
    return said


def _waiting(event: ev.NodeWaiting) -> list[str]:
    """What is waited for; several things stand one a line below it."""
    missing = [clean(line) for line in event.missing[:_MAX_MISSING]]
    said = waiting_text(missing, approval=event.approval)
    if len(event.missing) > _MAX_MISSING:
        missing.append(f"and {len(event.missing) - _MAX_MISSING} more")
    if not missing or said != "waits for people":
        return [said]
    return [f"{said}: {missing[0]}"] if len(missing) == 1 else [f"{said}:", *(f"  {line}" for line in missing)]


def _progress(node: NodeView, now: float) -> str:
    """`24% epoch 3/12`; how long it has gone on where nothing is known."""
    parts = [part for part in (node.progress.percent, node.progress.said) if part]
    elapsed = node.elapsed(now)
    if not parts and elapsed is not None:
        parts.append(f"for {duration(elapsed)}")
    return " ".join(parts)


def _github_data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
