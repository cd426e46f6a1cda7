import asyncio
import os
import signal
import threading

import pytest

from specrun.tui.terminal import TerminalGuard, dashboard_refusal, terminal_gone
from specrun.tui.themes import fitting_theme, other_theme
from tests.support.processes import DEADLINE_S

FINE = {"TERM": "xterm-256color"}


@pytest.mark.parametrize(
    ("environ", "missing", "reason"),
    [
        (FINE, None, None),
        ({**FINE, "CI": "true"}, None, "CI is set"),
        ({"TERM": "dumb"}, None, "TERM"),
        ({}, None, "TERM"),
        (FINE, 0, "standard input is not a terminal"),
        (FINE, 1, "standard output is not a terminal"),
        (FINE, 2, "standard error is not a terminal"),
    ],
)
def test_the_dashboard_needs_three_terminals_and_somebody_before_them(
    environ: dict[str, str], missing: int | None, reason: str | None
) -> None:
    found = dashboard_refusal(environ, lambda descriptor: descriptor != missing)
    assert (reason is None and found is None) or (found is not None and reason is not None and reason in found)


def test_a_closed_terminal_is_noticed() -> None:
    leader, follower = os.openpty()
    assert not terminal_gone(follower)
    os.close(leader)
    assert terminal_gone(follower)
    os.close(follower)
    assert terminal_gone(follower)


def test_without_a_terminal_the_app_is_asked_to_leave_and_then_made_to() -> None:
    left: list[tuple[str, int]] = []
    forced: list[int] = []
    done = threading.Event()

    def exit_process(status: int) -> None:
        forced.append(status)
        done.set()

    async def run() -> None:
        guard = TerminalGuard(
            lambda result, status: left.append((result, status)),
            gone=lambda: True,
            exit_process=exit_process,
            look_every_s=0.001,
            grace_s=0.05,
        )
        guard.start()
        await asyncio.to_thread(done.wait, DEADLINE_S)
        guard.end()

    asyncio.run(run())
    assert left == [("gone", 129)]
    assert forced == [129]


def test_a_signal_leaves_and_who_left_in_time_is_not_forced() -> None:
    forced: list[int] = []
    before = signal.getsignal(signal.SIGTERM)

    async def run() -> tuple[str, int]:
        left: asyncio.Future[tuple[str, int]] = asyncio.get_running_loop().create_future()
        guard = TerminalGuard(
            lambda result, status: left.set_result((result, status)),
            gone=lambda: False,
            exit_process=forced.append,
            grace_s=DEADLINE_S,
        )
        guard.start()
        signal.raise_signal(signal.SIGTERM)
        answer = await asyncio.wait_for(left, DEADLINE_S)
        guard.end()
        return answer

    assert asyncio.run(run()) == ("terminated", 143)
    assert forced == []
    assert signal.getsignal(signal.SIGTERM) == before


def test_whoever_does_not_leave_when_asked_is_made_to() -> None:
    forced: list[int] = []
    done = threading.Event()

    async def run() -> None:
        guard = TerminalGuard(
            lambda *_: None,
            gone=lambda: False,
            exit_process=lambda status: (forced.append(status), done.set()),
            grace_s=0.05,
        )
        guard.leaving(0)
        guard.start()
        guard.leaving(7)
        await asyncio.to_thread(done.wait, DEADLINE_S)
        guard.end()

    asyncio.run(run())
    assert forced == [7]


def test_after_a_stop_that_could_not_be_heard_the_terminal_is_given_back_before_it_is_taken_again() -> None:
    did: list[str] = []
    before = signal.signal(signal.SIGCONT, lambda *_: did.append("take"))
    stop_before = signal.signal(signal.SIGTSTP, lambda *_: did.append("give back by ctrl+z"))

    async def run() -> None:
        guard = TerminalGuard(lambda *_: None, gone=lambda: False, step_aside=lambda: did.append("give back"))
        guard.start()
        signal.raise_signal(signal.SIGCONT)
        signal.raise_signal(signal.SIGTSTP)
        signal.raise_signal(signal.SIGCONT)
        guard.end()

    asyncio.run(run())
    assert did == ["give back", "take", "give back by ctrl+z", "take"]
    assert signal.getsignal(signal.SIGCONT) == signal.SIG_DFL
    signal.signal(signal.SIGCONT, before)
    signal.signal(signal.SIGTSTP, stop_before)


@pytest.mark.parametrize(
    ("environ", "colors", "theme"),
    [
        ({}, "truecolor", "specrun-dark"),
        ({}, "256", "specrun-dark"),
        ({"COLORFGBG": "0;15"}, "truecolor", "specrun-light"),
        ({"COLORFGBG": "15;0"}, "truecolor", "specrun-dark"),
        ({}, "standard", "ansi-dark"),
        ({"COLORFGBG": "0;default;15"}, "standard", "ansi-light"),
        ({"NO_COLOR": "1"}, "truecolor", "ansi-dark"),
        ({"TEXTUAL_THEME": "nord"}, "standard", "nord"),
    ],
)
def test_the_theme_suits_the_terminal(environ: dict[str, str], colors: str, theme: str) -> None:
    assert fitting_theme(environ, colors) == theme


def test_dark_and_light_change_places() -> None:
    for theme in ("specrun-dark", "ansi-dark"):
        assert other_theme(other_theme(theme)) == theme
