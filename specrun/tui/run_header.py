"""The top line: which run, how it stands, how far it is and when it will be done."""

from __future__ import annotations

from rich.style import Style

from specrun.tui.gauges import bar
from specrun.tui.line_pane import LinePane, line_width
from specrun.tui.palette import Line, Span
from specrun.views.eta import run_eta
from specrun.views.node_view import NodeState
from specrun.views.quantities import short_time_left, stopwatch, time_left
from specrun.views.run_view import RunView
from specrun.views.text import clip

_STATUS = {
    "": ("○", "starting"),
    "running": ("●", "running"),
    "done": ("✔", "done"),
    "failed": ("✖", "failed"),
    "crashed": ("✖", "crashed"),
    "waiting": ("⏸", "waits for people"),
    "interrupted": ("■", "interrupted"),
}


class RunHeader(LinePane, can_focus=False):
    """Parts that do not fit are left out, the least needed first."""

    _stopping = False

    def show_run(self, view: RunView, now: float, notice: str = "", *, stopping: bool = False) -> None:
        """notice: stands in for the time left, for example that the dashboard closes soon.
        stopping: asked to stop, though the run has not said so yet."""
        self._stopping = (stopping or view.status == "stopping") and not view.finished
        self.show_items([self._line(view, now, notice)])

    def _line(self, view: RunView, now: float, notice: str) -> Line:
        width = self.inner_width - 2
        done, total = view.done_and_total()
        left: Line = (
            (" ", Style()),
            (clip(view.project or "specrun", 28), self.palette.bold),
            ("  ", Style()),
            *self._status(view),
        )
        amounts = self._amounts(view)
        far: Line = ((f"{done}/{total}", self.palette.text),)
        clock: Line = ((stopwatch(view.elapsed(now)), self.palette.text),)
        ends = self._ends(view, now, notice, short=width < 100)
        right = [part for part in (amounts, far, clock, ends) if part]
        while right and line_width(left) + sum(line_width(part) + 3 for part in right) > width:
            right.pop(0)
        room = width - line_width(left) - sum(line_width(part) + 3 for part in right) - 3
        gauge = self._gauge(view, min(room, 60))
        line = [*left, ("   ", Style()), *gauge]
        tail: list[Span] = []
        for part in right:
            tail += [("   ", Style()), *part]
        gap = width - line_width(tuple(line)) - line_width(tuple(tail))
        return (*line, (" " * max(0, gap), Style()), *tail)

    def _status(self, view: RunView) -> Line:
        if self._stopping:
            return (("■ stopping", self.palette.warn),)
        if view.paused and not view.finished:
            runs = any(view.counts()[state] for state in (NodeState.RUNNING, NodeState.RETRYING))
            said = "⏸ paused: what runs goes on" if runs else "⏸ paused: nothing runs, p goes on"
            return ((said, self.palette.warn),)
        sign, word = _STATUS.get(view.status, ("·", view.status))
        styles = {
            "done": self.palette.good,
            "failed": self.palette.bad,
            "crashed": self.palette.bad,
            "waiting": self.palette.wait,
        }
        style = styles.get(view.status, self.palette.warn if view.finished else self.palette.busy)
        return ((f"{sign} {word}", style),)

    def _gauge(self, view: RunView, width: int) -> Line:
        if width < 6:
            return ()
        to_do = view.to_do
        given_up = (NodeState.SKIPPED, NodeState.STOPPED)
        share = sum(float(n.state not in given_up) if n.state.settled else (n.progress.fraction or 0.0) for n in to_do)
        done, rest = bar(share / len(to_do) if to_do else float(view.finished), width)
        bad = view.status in ("failed", "crashed")
        style = self.palette.bad if bad else self.palette.good if view.finished else self.palette.busy
        return ((done, style), (rest, self.palette.track))

    def _amounts(self, view: RunView) -> Line:
        counts = view.counts()
        parts: list[Span] = []
        for state in (NodeState.RUNNING, NodeState.RETRYING, NodeState.FAILED, NodeState.STOPPED, NodeState.WAITING):
            if counts[state]:
                parts.append((f"{' ' if parts else ''}{counts[state]} {state}", self.palette.of_state(state)))
        return tuple(parts)

    def _ends(self, view: RunView, now: float, notice: str, *, short: bool) -> Line:
        if self._stopping:
            return ()
        if notice:
            return ((notice, self.palette.accent),)
        eta = run_eta(view, now)
        if eta is None:
            return ()
        if short:
            return ((f"{short_time_left(eta.seconds, complete=eta.complete)} left", self.palette.accent),)
        return ((time_left(eta.seconds, complete=eta.complete), self.palette.accent),)
