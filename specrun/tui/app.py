"""The dashboard. It reads events, draws them, and asks the run for things; the run does not need it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from textual import events
from textual.app import App, ComposeResult, SystemCommand
from textual.binding import BindingType
from textual.screen import Screen
from textual.widgets import Input

from specrun.model.event import Event, NodeFailed, Notice, RunFinished
from specrun.tui import opening
from specrun.tui.acting import Act
from specrun.tui.artifacts_pane import ArtifactsPane
from specrun.tui.asking import Asking
from specrun.tui.bindings import ACT_OF, APP_BINDINGS, OF_A_RUN
from specrun.tui.clipboard import copy_through_tmux
from specrun.tui.closing import Closing
from specrun.tui.control import Control
from specrun.tui.follower import Feed, Follower
from specrun.tui.help_screen import HelpScreen
from specrun.tui.key_bar import KeyBar
from specrun.tui.keys import KeyHint, hints
from specrun.tui.line_pane import LinePane
from specrun.tui.links import links_in
from specrun.tui.log_lines import LogLines
from specrun.tui.messages import LogOpened, NodeChosen, PlaceOpened, TabChosen
from specrun.tui.node_commands import NodeCommands
from specrun.tui.panes import Panes, Shown
from specrun.tui.tab_bar import TABS
from specrun.tui.terminal import TerminalGuard
from specrun.tui.themes import OURS, fitting_theme, other_theme
from specrun.tui.titles import set_title
from specrun.tui.tree_rows import RUN_KEY
from specrun.views.node_view import NodeView
from specrun.views.run_view import RunView
from specrun.views.text import clean

NARROW, LOW = 64, 18
"""Columns and rows below which panes stand one above the other, and the machine goes."""
TICK_S = 0.25
"""Everything that arrived is drawn at once, four times a second: line by line costs a whole core."""
LIVE_S = 5.0
"""A failure older than this is history that is read again, and raises no alarm."""


class Dashboard(App[str]):
    """`run()` gives `left` (the run goes on, or was over), `stopped`, `terminated` or `gone` (no terminal any more).

    feed: events since the last call, in order; the first call gives all so far. Called in a thread.
    control: None when nothing may be asked. log_path: address → its log on disk, if there is one.
    previous_metrics: address → name → (step, value) pairs of the run before.
    finished: nothing is added to the feed any more. close_when_done: closes by itself a while
    after the run ended, unless somebody is there. The rest is handed in for tests.
    """

    TITLE = "specrun"
    CSS_PATH = Path(__file__).with_name("dashboard.tcss")
    COMMANDS = App.COMMANDS | {NodeCommands}
    BINDINGS: ClassVar[list[BindingType]] = list(APP_BINDINGS)

    def __init__(
        self,
        *,
        feed: Feed,
        control: Control | None,
        log_path: Callable[[str], Path | None] = lambda _: None,
        previous_metrics: Callable[[str], Mapping[str, Any]] | None = None,
        finished: bool = False,
        close_when_done: bool = False,
        clock: Callable[[], float] = time.time,
        environ: Mapping[str, str] = os.environ,
        run_program: Callable[[opening.Opening], None] = opening.run_program,
    ) -> None:
        # Without colours Textual chooses its filter here, before there is a theme: the other one would
        # turn the terminal's own colours into black on black.
        super().__init__(ansi_color=True if environ.get("NO_COLOR") else None)
        self.follower = Follower(feed, clock)
        self._replayed = finished
        self._wall_clock = clock
        self._environ = environ
        self._run_program = run_program
        self._chosen = RUN_KEY
        self._drawn: object = None
        self._farewell = Closing(clock, wanted=close_when_done)
        self._asking = Asking(self, control, self.run_view, chosen=lambda: self.chosen_node, say=self._say)
        for theme in OURS:
            self.register_theme(theme)
        self._guard = TerminalGuard(lambda result, status: self.exit(result, status), step_aside=self._step_aside)
        self._panes = Panes(log_path, previous_metrics)

    @property
    def run_view(self) -> RunView:
        return self.follower.view

    @property
    def chosen_node(self) -> NodeView | None:
        """None: the run itself is selected."""
        return self.run_view.of(self._chosen)

    @property
    def now(self) -> float:
        """The time that is shown: that of a run that is over stands still at its end."""
        if self._replayed or self.run_view.finished:
            return self.run_view.ended_at or self.follower.last_time
        return self._wall_clock()

    def compose(self) -> ComposeResult:
        yield from self._panes.compose()

    def run(self, **options: Any) -> str | None:
        """As App.run; whatever becomes of the terminal, this returns or the process ends."""
        self._guard.save()
        try:
            return super().run(**options)
        finally:
            self._guard.end()

    def exit(self, result: str | None = None, return_code: int = 0, message: Any = None) -> None:
        """As App.exit; a terminal that takes nothing any more keeps nobody here."""
        self._guard.leaving(return_code)
        super().exit(result, return_code, message)

    def _step_aside(self) -> None:
        driver = self._driver
        # Not while a pager has the terminal: then the driver takes it back only when the pager ends.
        if driver is not None and driver._auto_restart:
            driver.suspend_application_mode()
            # As the driver does for ctrl+z, so that all of the screen is drawn again.
            driver._must_signal_resume = True  # type: ignore[attr-defined]

    async def on_mount(self) -> None:
        self.theme_changed_signal.subscribe(self, lambda _: self.call_after_refresh(self.redraw))
        self.app_resume_signal.subscribe(self, lambda _: self.refresh(layout=True))
        self.theme = fitting_theme(self._environ, self.console.color_system)
        if not self.is_headless:
            self._guard.start()
        set_title(self._panes.tree, "Nodes")
        self._panes.tree.focus()
        await self.tick()
        self.set_interval(TICK_S, self.tick)

    async def tick(self) -> None:
        """The one timer: what came since the last time is taken in and drawn together."""
        if not (self._replayed and self.follower.last_time):
            for event in await self.follower.poll(whole=self._replayed):
                self._raise_alarm(event)
        if self._farewell.due:
            self.exit("left")
        if self._can_draw:
            self.draw()

    def draw(self) -> None:
        """Data down. Nothing is asked to draw itself unless something that it shows may have changed."""
        view, now, node, notice = self.run_view, self.now, self.chosen_node, self._farewell.notice
        depends = (
            view.version,
            int(now),
            self._chosen,
            self._panes.tab,
            self.size,
            notice,
            self.focused,
            self._asking.asked,
        )
        self._panes.draw_tab(node, self.follower)
        if depends == self._drawn:
            return
        self._drawn = depends
        over = self.run_view.finished
        offered = [hint for hint in self._app_hints() if not (over and hint.action in OF_A_RUN)]
        keys = tuple(hint for hint in (*self._pane_hints(), *offered) if hint.shown)
        asked = self._asking.asked_of(node)
        self._panes.draw(
            Shown(node, now, notice, keys, stopping=self._asking.stopping, asked=asked), self.follower, self.size.height
        )

    def redraw(self) -> None:
        self._drawn = None
        if self._can_draw:
            self.draw()

    @property
    def _can_draw(self) -> bool:
        """Not below a question, and not while the screen is taken down."""
        return self._panes.tree.is_attached and len(self.screen_stack) == 1

    def _pane_hints(self) -> list[KeyHint]:
        return hints(type(self.focused).BINDINGS) if isinstance(self.focused, LinePane) else []

    def _app_hints(self) -> list[KeyHint]:
        found = []
        for hint in hints(self.BINDINGS):
            act = ACT_OF.get(hint.action)
            label = "go on" if act is Act.PAUSE and self.run_view.paused else hint.label
            disabled = (self._asking.why_not(act) or "") if act else ""
            found.append(replace(hint, label=label, disabled=disabled))
        return found

    def on_node_chosen(self, message: NodeChosen) -> None:
        self._chosen = message.address
        self.draw()

    def on_node_entered(self) -> None:
        self._panes.focus_tab()

    def on_tab_chosen(self, message: TabChosen) -> None:
        self._show_tab(message.tab)

    async def on_key_bar_pressed(self, message: KeyBar.Pressed) -> None:
        mine = any(message.hint.action == hint.action for hint in self._pane_hints())
        await self.run_action(message.hint.action, self.focused if mine and self.focused else self)

    def on_log_opened(self, message: LogOpened) -> None:
        path = self._panes.log.path
        if path is None:
            self._say("there is no log file yet")
            return
        program = opening.editor if message.in_editor else opening.pager
        self._open(
            program(path, self._environ), "no editor is installed" if message.in_editor else "no pager is installed"
        )

    def on_place_opened(self, message: PlaceOpened) -> None:
        self._open_place(message.place)

    def on_input_changed(self, event: Input.Changed) -> None:
        self._panes.tree.filter(event.value)
        self.redraw()

    def on_input_submitted(self) -> None:
        self._panes.close_filter(forget=False)

    def on_key(self) -> None:
        self._farewell.stay()

    def on_click(self) -> None:
        self._farewell.stay()

    def on_resize(self, event: events.Resize) -> None:
        base = self.screen_stack[0]
        base.set_class(event.size.width < NARROW, "narrow")
        base.set_class(event.size.height < LOW, "low")
        self.call_after_refresh(self.redraw)

    def action_find(self) -> None:
        if isinstance(self.focused, LogLines):
            self._panes.log.open_search()
            return
        self._panes.open_filter()

    def action_step_back(self) -> None:
        """Escape: out of the search, the filter, the full screen, the pane; in this order."""
        tree, log = self._panes.tree, self._panes.log
        focused = self.focused.id if self.focused else ""
        if focused == "filter":
            self._panes.close_filter(forget=True)
        elif focused == "log-search" or (focused == "log-lines" and log.lines.wanted):
            log.close_search(forget=True)
        elif self.screen.has_class("zoomed"):
            self.action_zoom()
        elif focused == "tree" and tree.wish.narrowed:
            self._panes.close_filter(forget=True)
            tree.action_show_all()
        else:
            tree.focus()

    def action_cancel(self) -> None:
        self._asking.cancel()

    def action_retry(self) -> None:
        self._asking.retry()

    def action_prioritise(self) -> None:
        self._asking.prioritise()

    def action_pause(self) -> None:
        self._asking.pause()

    def action_stop_run(self) -> None:
        self._asking.stop_run()

    def action_interrupt(self) -> None:
        """ctrl+c copies marked text, as elsewhere; else it asks what it should mean."""
        if self.screen.get_selected_text():
            self.action_copy()
        elif self._asking.why_not(Act.STOP):
            self.action_leave()
        elif len(self.screen_stack) == 1:
            self._asking.stop_or_leave(self.action_leave)

    def action_open_output(self) -> None:
        if isinstance(self.focused, ArtifactsPane) and self.focused.place:
            self._open_place(self.focused.place)
            return
        node = self._asking.allowed(Act.OPEN)
        if node is not None:
            self._open_place(node.output)

    def action_copy(self) -> None:
        text = self.screen.get_selected_text() or self._panes.text_of(self.focused, self._chosen or self.run_view.run)
        if not text:
            self._say("there is nothing to copy")
            return
        self._copy(text)

    def action_walk(self, by: int) -> None:
        self._panes.tree.action_move(by)

    def action_tab(self, number: int) -> None:
        self._show_tab(TABS[number])

    def action_turn(self, by: int) -> None:
        self._show_tab(TABS[(TABS.index(self._panes.tab) + by) % len(TABS)])

    def action_zoom(self) -> None:
        self.screen.toggle_class("zoomed")
        if self.screen.has_class("zoomed"):
            self._panes.focus_tab()
        self.call_after_refresh(self.redraw)

    def action_machine(self) -> None:
        self.screen.toggle_class("no-machine")

    def action_theme(self) -> None:
        self.theme = other_theme(self.theme)

    def action_help(self) -> None:
        focused = self.focused.id if self.focused else ""
        names = {"tree": "the nodes", "log-lines": "the log"}
        pane = names.get(focused or "", f"the tab {self._panes.tab}")
        self.push_screen(HelpScreen(pane, self._pane_hints(), self._app_hints()))

    def action_leave(self) -> None:
        self.exit("left")

    async def action_quit(self) -> None:
        self.exit("left")

    def palette_entries(self) -> list[tuple[str, str, Callable[[], object]]]:
        tree = self._panes.tree
        entries: list[tuple[str, str, Callable[[], object]]] = []
        for hint in self._app_hints():
            if hint.action != "command_palette":
                act = partial(self.call_later, self.run_action, hint.action)
                entries.append((hint.help.capitalize(), hint.disabled or f"key {hint.key}", act))
        for node in self.run_view.nodes.values():
            text = node.address.text
            entries.append((f"Go to {text}", str(node.state), partial(tree.reveal, text)))
        return entries

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """Only what our own entries do not cover."""
        yield SystemCommand("Theme", "Choose another theme", self.action_change_theme)
        yield SystemCommand("Screenshot", "Save an SVG picture of the screen", self.deliver_screenshot)

    def _say(self, text: str, severity: Any = "information") -> None:
        if any(said.message == clean(text) and not said.has_expired for said in self._notifications):
            return
        self.notify(clean(text), severity=severity, markup=False, timeout=4)

    def _raise_alarm(self, event: Event) -> None:
        """Only what happens while somebody looks; never what an old journal tells again."""
        if self._replayed or event.time < self._wall_clock() - LIVE_S:
            return
        match event:
            case NodeFailed() if not event.interrupted:
                self._say(f"{event.address} failed: {event.cause}", "error")
                self.bell()
            case Notice() if event.level != "info":
                self._say(event.text, "error" if event.level == "error" else "warning")
            case RunFinished():
                self.bell()
                self._farewell.begin()
            case _:
                pass

    def _show_tab(self, tab: str) -> None:
        self._panes.show_tab(tab, self.focused)
        self.call_after_refresh(self.redraw)

    def _copy(self, text: str, said: str = "") -> None:
        self.copy_to_clipboard(text)
        self.run_worker(partial(copy_through_tmux, text, self._environ), thread=True)
        lines = text.count("\n") + 1
        self._say(said or (f"copied {text}" if lines == 1 and len(text) < 200 else f"copied {lines} lines"))

    def _open_place(self, place: str) -> None:
        if links_in(place) == [place]:
            program = opening.link(place, self._environ)
            if program is None:
                self._copy(place)
            else:
                self._open(program, "")
            return
        path = Path(place)
        if not path.is_absolute() or not path.exists():
            self._copy(place, f"{place} is no file here; copied")
            return
        self._open(opening.place(path, self._environ), f"nothing here can open {place}")

    def _open(self, program: opening.Opening | None, otherwise: str) -> None:
        """Steps aside while the program has the terminal."""
        if program is None:
            self._say(otherwise, "warning")
            return
        aside = self.suspend() if program.in_terminal and not self.is_headless else nullcontext()
        try:
            with aside:
                self._run_program(program)
        except OSError as error:
            self._say(f"{program.argv[0]}: {error.strerror}", "error")
            return
        if program.said:
            self._say(program.said)
