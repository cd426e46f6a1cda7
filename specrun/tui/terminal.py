"""Whether a dashboard can be shown here, and what becomes of it when its terminal goes away."""

from __future__ import annotations

import asyncio
import os
import signal
import termios
import threading
from collections.abc import Callable, Mapping

HARD_EXIT_S = 2.0


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


def take_signals(terminated: Callable[[], None], hung_up: Callable[[], None]) -> None:
    """Textual leaves SIGTERM and SIGHUP alone: they would kill us with the terminal in raw mode."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, terminated)
    loop.add_signal_handler(signal.SIGHUP, hung_up)


def leave_by_force(status: int, exit_process: Callable[[int], None] = os._exit) -> threading.Timer:
    """Without a terminal Textual's shutdown may wait for ever on writes that nobody takes, and its input
    thread spins on the end of file. The dashboard owns nothing that could be lost: it goes."""
    timer = threading.Timer(HARD_EXIT_S, exit_process, (status,))
    timer.daemon = True
    timer.start()
    return timer
