"""A dashboard without a terminal, fed by hand, that writes down what it asks for."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from textual.pilot import Pilot

from specrun.model.event import Event
from specrun.tui.app import Dashboard
from specrun.tui.opening import Opening
from tests.support.processes import DEADLINE_S
from tests.support.synthetic_run import START, coral_run

NOON = START + 600
"""In the middle of the coral run's training."""


class HandFeed:
    """Gives what was put in, once."""

    def __init__(self, events: Sequence[Event]) -> None:
        self.waiting = list(events)

    def __call__(self) -> Sequence[Event]:
        given, self.waiting = self.waiting, []
        return given


class NotedControl:
    """Writes down what was asked; `answer` is what it says to everything."""

    def __init__(self, answer: str | None = None) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.answer = answer

    def stop_run(self, at_once: bool) -> str | None:
        return self._note("stop_run", at_once)

    def cancel(self, address: str) -> str | None:
        return self._note("cancel", address)

    def retry(self, address: str) -> str | None:
        return self._note("retry", address)

    def pause(self, paused: bool) -> str | None:
        return self._note("pause", paused)

    def prioritise(self, address: str) -> str | None:
        return self._note("prioritise", address)

    def _note(self, what: str, about: Any) -> str | None:
        self.asked.append((what, about))
        return self.answer


async def settle(pilot: Pilot[Any]) -> None:
    """Until what was told to a widget is done, and what came of that. Textual's own pause takes a process that gets
    no processor for one that has nothing to do."""
    for _ in range(4):
        await pilot.pause(0)
    await pilot.wait_for_scheduled_animations()
    await pilot.pause()


class Shown:
    """The app with its pilot, and questions that tests ask of it."""

    def __init__(self, app: Dashboard, pilot: Pilot[str], feed: HandFeed, control: NotedControl) -> None:
        self.app, self.pilot, self.feed, self.control = app, pilot, feed, control
        self.programs: list[Opening] = []

    async def press(self, *keys: str) -> None:
        for key in keys:
            await self.pilot.press(key)
            await self.settle()
        await self.app.workers.wait_for_complete()
        await self.settle()

    async def give(self, *events: Event) -> None:
        """More events, drawn at once instead of at the next tick."""
        self.feed.waiting += events
        await self.app.tick()
        await self.settle()

    async def settle(self) -> None:
        await settle(self.pilot)

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """For what comes later by design, such as the answers to what is being typed."""
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < deadline, f"{what} did not happen:\n{self.text}"
            await self.pilot.pause(0.02)

    @property
    def text(self) -> str:
        """What stands on the screen."""
        width, height = self.app.size
        lines = self.app.screen._compositor.render_strips()
        return "\n".join(line.text for line in lines[:height]) if width else ""

    @property
    def said(self) -> list[str]:
        return [notification.message for notification in self.app._notifications]

    @property
    def asking(self) -> str:
        """The class of the screen on top, when it is not the dashboard itself."""
        return type(self.app.screen).__name__ if len(self.app.screen_stack) > 1 else ""


@asynccontextmanager
async def shown_dashboard(
    events: Sequence[Event] | None = None, *, size: tuple[int, int] = (120, 36), now: float = NOON, **options: Any
) -> AsyncIterator[Shown]:
    feed = HandFeed(coral_run(until=now - START) if events is None else events)
    control = options.pop("control", NotedControl())
    programs: list[Opening] = []
    values: dict[str, Any] = {
        "clock": lambda: now,
        "environ": {"TERM": "xterm-256color", "TEXTUAL_THEME": "specrun-dark", "PATH": "/usr/bin:/bin"},
        "run_program": programs.append,
        **options,
    }
    app = Dashboard(feed=feed, control=control, **values)
    async with app.run_test(size=size) as pilot:
        shown = Shown(app, pilot, feed, control)
        shown.programs = programs
        await shown.settle()
        await app.tick()
        await shown.settle()
        yield shown
