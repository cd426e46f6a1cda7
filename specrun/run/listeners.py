"""Those who hear of events, in a thread of their own: a terminal that nobody reads must not stop the run."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence

from specrun.model.event import Event, LogLine, Progress

UNHURRIED = (LogLine, Progress)
"""Events of which some may be missed; all of them are in the journal."""
MOST_WAITING = 5_000
TICK_S = 0.25
CLOSE_S = 5.0

Listener = Callable[[Event], None]


class Listeners:
    """tick: called a few times a second. A listener that fails by OSError (a closed terminal, a broken pipe)
    is not called again."""

    def __init__(self, listeners: Sequence[Listener], tick: Callable[[], None]) -> None:
        self._listeners = list(listeners)
        self._tick = tick
        self._waiting: deque[Event] = deque()
        self._news = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="listeners", daemon=True)
        if self._listeners:
            self._thread.start()

    def hear(self, event: Event) -> None:
        """Returns at once. Log lines and progress are left out while too much is waiting."""
        if not self._listeners or (len(self._waiting) > MOST_WAITING and isinstance(event, UNHURRIED)):
            return
        self._waiting.append(event)
        self._news.set()

    def close(self) -> None:
        """Waits a little for what is still to be told."""
        self._closed = True
        self._news.set()
        if self._thread.is_alive():
            self._thread.join(CLOSE_S)

    def _run(self) -> None:
        while True:
            self._news.wait(TICK_S)
            self._news.clear()
            while self._waiting:
                event = self._waiting.popleft()
                for listener in tuple(self._listeners):
                    self._tell(listener, event)
            if self._closed:
                return
            if self._listeners:
                self._carefully(self._tick)

    def _tell(self, listener: Listener, event: Event) -> None:
        if not self._carefully(lambda: listener(event)):
            self._listeners.remove(listener)

    def _carefully(self, call: Callable[[], None]) -> bool:
        try:
            call()
        except OSError:
            return False
        return True
