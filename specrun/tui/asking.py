"""Asks the run for things: with a question where it matters, and with a reason where it cannot be."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from textual.app import App

from specrun.tui.acting import Act, why_not
from specrun.tui.ask_screen import Answer, AskScreen
from specrun.tui.control import Control
from specrun.views.node_view import NodeView
from specrun.views.run_view import RunView

_RUN = ("", 0)
_STOP_SAID = "the run is asked to stop"
_AT_ONCE_SAID = "the run is ended at once"


class Asking:
    """chosen: the selected node, None for the run itself. say: tells the user (text, severity)."""

    def __init__(
        self,
        app: App[Any],
        control: Control | None,
        view: RunView,
        *,
        chosen: Callable[[], NodeView | None],
        say: Callable[[str, str], None],
    ) -> None:
        self._app, self._control, self._view = app, control, view
        self._chosen, self._say = chosen, say
        self.asked: frozenset[tuple[str, int]] = frozenset()
        """Nodes that were asked to stop, with the attempt that was; "" stands for the run."""

    def why_not(self, act: Act) -> str | None:
        """None: it can be asked now."""
        if self._control is None and act is not Act.OPEN and not self._view.finished:
            return "this dashboard only looks on"
        return why_not(act, self._chosen(), self._view)

    def allowed(self, act: Act) -> NodeView | None:
        """The selected node, or None after having said why not."""
        reason = self.why_not(act)
        if reason:
            self._say(f"{act}: {reason}", "information")
            return None
        return self._chosen()

    @property
    def stopping(self) -> bool:
        """The run was asked to stop, whether or not it has said so."""
        return _RUN in self.asked or self._view.status == "stopping"

    def asked_of(self, node: NodeView | None) -> str:
        """What a node was asked to do and has not done yet."""
        if node is None or node.state.settled:
            return ""
        return "stopping" if self.stopping or (node.address.text, node.attempt) in self.asked else ""

    def cancel(self) -> None:
        node = self.allowed(Act.CANCEL)
        if node is not None and self._control is not None:
            text = node.address.text
            question = f"Cancel {text}? What it has done so far stays for a resume; what needs it is skipped."
            call = partial(self._control.cancel, text)
            self._ask("Cancel a node", question, "cancel it", call, f"{text} is asked to stop", (text, node.attempt))

    def retry(self) -> None:
        node = self.allowed(Act.RETRY)
        if node is not None and self._control is not None:
            self._send(partial(self._control.retry, node.address.text), f"{node.address.text} is tried again")

    def prioritise(self) -> None:
        node = self.allowed(Act.PRIORITISE)
        if node is not None and self._control is not None:
            self._send(partial(self._control.prioritise, node.address.text), f"{node.address.text} goes first")

    def pause(self) -> None:
        """Pauses, or goes on."""
        if reason := self.why_not(Act.PAUSE):
            self._say(f"pause: {reason}", "information")
        elif self._control is not None:
            paused = not self._view.paused
            said = "paused: what runs goes on, nothing new starts" if paused else "the run goes on"
            self._send(partial(self._control.pause, paused), said)

    def stop_run(self) -> None:
        if reason := self.why_not(Act.STOP):
            self._say(f"stop the run: {reason}", "information")
        elif self._control is not None:
            question = "Stop the run? Running nodes may save a checkpoint first; the next apply goes on from there."
            if self.stopping:
                question = "It is stopping already. Stop at once? What is not saved by now is lost."
            self._ask("Stop the run", question, "stop it", *self._stop(self._control), _RUN)

    def stop_or_leave(self, leave: Callable[[], None]) -> None:
        """ctrl+c means stop to some and go away to others."""

        def answered(key: str | None) -> None:
            if key == "l":
                leave()
            elif key == "s" and self._control is not None:
                self._send(*self._stop(self._control), _RUN)

        question = "Stop the run, or only leave the dashboard? The run goes on without it."
        if self.stopping:
            question = "The run is stopping. Stop it at once, or only leave the dashboard?"
        answers = (Answer("s", "stop the run"), Answer("l", "leave"))
        self._app.push_screen(AskScreen("ctrl+c", question, answers), answered)

    def _stop(self, control: Control) -> tuple[Callable[[], str | None], str]:
        """What to call and what to say: once asks, once more ends it at once."""
        return partial(control.stop_run, self.stopping), _AT_ONCE_SAID if self.stopping else _STOP_SAID

    def _ask(
        self, title: str, question: str, yes: str, call: Callable[[], str | None], said: str, of: tuple[str, int]
    ) -> None:
        def answered(key: str | None) -> None:
            if key:
                self._send(call, said, of)

        self._app.push_screen(AskScreen(title, question, (Answer("y", yes),)), answered)

    def _send(self, call: Callable[[], str | None], said: str, of: tuple[str, int] | None = None) -> None:
        """of: what is asked to stop, shown as stopping from now on."""

        async def send() -> None:
            error = await asyncio.to_thread(call)
            if of is not None and not error:
                self.asked |= {of}
            self._say(error or said, "error" if error else "information")

        self._app.run_worker(send())
