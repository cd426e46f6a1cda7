"""Takes a run's events in, a bounded piece at a time, and keeps the view and the story of the run."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from specrun.model.event import Event, NodeFailed, Notice, RunFinished
from specrun.views.plain import PlainPrinter
from specrun.views.run_view import RunView

Feed = Callable[[], Sequence[Event]]

PIECE = 2000
"""Events between two looks at the keyboard: about 10 ms of work."""
STORY_LINES = 5000
_WORTH_A_WORD = (NodeFailed, Notice, RunFinished)


class Follower:
    """story: a line for each thing that happened. told: lines ever. last_time: of the newest event."""

    def __init__(self, feed: Feed, clock: Callable[[], float]) -> None:
        self._feed = feed
        self._clock = clock
        self._printer = PlainPrinter(self._tell, clock=clock, address_width=20)
        self.story: deque[str] = deque(maxlen=STORY_LINES)
        self.told = 0
        self.last_time = 0.0
        self._busy = False

    @property
    def view(self) -> RunView:
        return self._printer.view

    async def poll(self, *, whole: bool = False) -> list[Event]:
        """Takes in what is new; gives the events that deserve a word of their own.

        What was there when it began is taken in, of a run that is over (whole) all. The feed reads and parses in a
        thread, so that a journal of a million lines does not freeze the keys.
        """
        if self._busy:
            return []
        self._busy = True
        began = self._clock()
        told: list[Event] = []
        try:
            while events := await asyncio.to_thread(self._feed):
                for begin in range(0, len(events), PIECE):
                    for event in events[begin : begin + PIECE]:
                        self._printer.handle(event)
                        if isinstance(event, _WORTH_A_WORD):
                            told.append(event)
                    await asyncio.sleep(0)
                self.last_time = max(self.last_time, events[-1].time)
                if not whole and events[-1].time >= began:
                    break
            return told
        finally:
            self._busy = False

    def _tell(self, text: str) -> None:
        self.story.append(text.rstrip("\n"))
        self.told += 1
