"""Whether a dashboard can be shown here, and what becomes of it when its terminal goes away."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import termios
import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any


def dashboard_refusal(environ: Mapping[str, str], isatty: Callable[[int], bool] = os.isatty) -> str | None:
    """Why the dashboard cannot run here, or None.

    Textual reads stdin and draws on stderr; stdout is included because a person who redirects it
    wants text there.
    """
    if environ.get("CI"):
        return "CI is set"
    if environ.get("TERM", "") in ("", "dumb"):
        return "TERM is not set or is dumb"
    for descriptor, name in ((0, "standard input"), (1, "standard output"), (2, "standard error")):
        if not isatty(descriptor):
            return f"{name} is not a terminal"
    return None


def terminal_gone(descriptor: int = 0) -> bool:
    """Whether what was a terminal has been closed: its window, its connection or its pty is gone."""
    try:
        termios.tcgetattr(descriptor)
    except (termios.error, OSError):
        return True
    return False


class TerminalGuard:
    """Lets the dashboard go when it must, also while it is stuck.

    Textual leaves SIGTERM and SIGHUP alone, which would kill us with the terminal in raw mode. And
    with a terminal that takes nothing any more its event loop waits for ever on a write: then nothing
    that runs on the loop helps. So signals are taken outside of it, a thread of our own looks whether
    the terminal is still there, and who has not left after a grace is made to: the dashboard owns
    nothing that could be lost.
    """

    def __init__(
        self,
        leave: Callable[[str, int], None],
        *,
        step_aside: Callable[[], None] = lambda: None,
        gone: Callable[[], bool] = terminal_gone,
        exit_process: Callable[[int], None] = os._exit,
        look_every_s: float = 1.0,
        grace_s: float = 3.0,
    ) -> None:
        """leave: ends the app with (result, exit status); called on its event loop.
        step_aside: gives the terminal back, as Textual does before it is stopped by ctrl+z."""
        self._leave = leave
        self._step_aside = step_aside
        self._gone = gone
        self._exit_process = exit_process
        self._look_every_s = look_every_s
        self._grace_s = grace_s
        self._ended = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._attributes: list[Any] | None = None
        self._before: dict[signal.Signals, Any] = {}
        self._stop: Any = None
        self._continue: Any = None
        self._aside = False

    def save(self) -> None:
        """Remembers how the terminal is set, before the app changes it."""
        with contextlib.suppress(termios.error, OSError):
            self._attributes = termios.tcgetattr(0)

    def start(self) -> None:
        """On the event loop of the app, in the main thread."""
        self._loop = asyncio.get_running_loop()
        # Not the loop's add_signal_handler: that needs a loop that turns.
        for number, result in ((signal.SIGTERM, "terminated"), (signal.SIGHUP, "gone")):
            answer = partial(self._answer, result, 128 + number)
            self._before[number] = signal.signal(number, answer)
        self._stop = signal.signal(signal.SIGTSTP, self._stopped)
        self._continue = signal.signal(signal.SIGCONT, self._continued)
        threading.Thread(target=self._watch, name="terminal-guard", daemon=True).start()

    def leaving(self, status: int) -> None:
        """The app was asked to leave; it is made to when it does not. Nothing is done before `start`."""
        if self._loop is not None:
            threading.Thread(target=self._force, args=(status,), daemon=True).start()

    def end(self) -> None:
        """The app has left: nothing is forced any more, and signals are the caller's again."""
        self._ended.set()
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()
        if self._loop is not None:
            # Not the app's: continued in the middle of its summary it would take the terminal again.
            signal.signal(signal.SIGTSTP, signal.SIG_DFL)
            signal.signal(signal.SIGCONT, signal.SIG_DFL)

    def _answer(self, result: str, status: int, *_: object) -> None:
        self._go(result, status)

    def _stopped(self, number: int, frame: Any) -> None:
        """By ctrl+z: the app gives the terminal back by itself."""
        self._aside = True
        if callable(self._stop):
            self._stop(number, frame)

    def _continued(self, number: int, frame: Any) -> None:
        """Textual takes the terminal again, also after a SIGSTOP, before which it could not give it back: then two
        threads would read the keys, and leaving would wait for both."""
        if not self._aside:
            self._step_aside()
        self._aside = False
        if callable(self._continue):
            self._continue(number, frame)

    def _watch(self) -> None:
        while not self._ended.wait(self._look_every_s):
            if self._gone():
                self._go("gone", 129)
                return

    def _go(self, result: str, status: int) -> None:
        threading.Thread(target=self._force, args=(status,), daemon=True).start()
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._leave, result, status)

    def _force(self, status: int) -> None:
        if self._ended.wait(self._grace_s):
            return
        if self._attributes is not None:
            with contextlib.suppress(termios.error, OSError):
                termios.tcsetattr(0, termios.TCSANOW, self._attributes)
        self._exit_process(status)
