"""The Log tab: whose log it is, where it comes from, and the search below it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Input

from specrun.tui.log_layout import LongLines
from specrun.tui.log_lines import LogLines
from specrun.tui.log_tail import LogTail
from specrun.tui.titles import set_subtitle
from specrun.views.node_view import NodeState, NodeView


class LogPane(Vertical):
    """A node's log is read from its file on disk; what the events said stands in until there is one."""

    def __init__(self, log_path: Callable[[str], Path | None], *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._log_path = log_path
        self._address: str | None = None
        self._tail: LogTail | None = None
        self._seen = 0
        self._found: int | None = None

    def compose(self) -> ComposeResult:
        yield LogLines(id="log-lines")
        yield Input(id="log-search", placeholder="search", compact=True, classes="hidden")

    @property
    def lines(self) -> LogLines:
        return self.query_one(LogLines)

    @property
    def path(self) -> Path | None:
        """Of the log that is shown, once it exists."""
        return self._tail.path if self._tail is not None else None

    def show_story(self, story: Sequence[str], count: int) -> None:
        """What happened in the run so far; count: of all lines ever."""
        self._show_memory("", story, count, "nothing has happened yet")

    def show_node(self, node: NodeView) -> None:
        address = node.address.text
        if self._tail is None or self._address != address:
            path = self._log_path(address)
            if path is not None and path.is_file():
                self._begin_file(address, path)
                return
            self._show_memory(address, list(node.log), node.log_count, _why_empty(node))
            return
        lines = self._tail.poll()
        if self._tail.restarted:
            self.lines.replace(lines)
        self.lines.append(() if self._tail.restarted else lines, pending=self._tail.pending)
        self.show_state()

    def show_state(self) -> None:
        lines = self.lines
        said = []
        if self._found is not None:
            said.append(f"{self._found} lines match" if self._found != 1 else "1 line matches")
        if not lines.following:
            said.append("not following")
        if lines.long_lines is not LongLines.FITTED:
            said.append(lines.long_lines)
        if lines.left:
            said.append(f"from column {lines.left + 1}")
        if self._tail is not None and self._tail.skipped:
            said.append("the end of a long log; v opens all of it")
        parent = self.parent.parent if self.parent is not None else None
        if parent is not None and self.display:
            set_subtitle(parent, " · ".join(said))  # type: ignore[arg-type]

    def open_search(self) -> None:
        search = self.query_one("#log-search", Input)
        search.remove_class("hidden")
        search.focus()

    def close_search(self, *, forget: bool) -> None:
        search = self.query_one("#log-search", Input)
        if forget:
            search.value = ""
            self.lines.search("")
            self._found = None
        search.set_class(not search.value, "hidden")
        self.lines.focus()
        self.show_state()

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        found = self.lines.search(event.value)
        self._found = found if event.value else None
        self.show_state()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.close_search(forget=False)

    def _begin_file(self, address: str, path: Path) -> None:
        self._address, self._tail = address, LogTail(path)
        self.lines.replace(self._tail.poll(), empty_text="the log is empty")
        self.lines.append((), pending=self._tail.pending)
        self._search_again()
        self.show_state()

    def _show_memory(self, address: str, lines: Sequence[str], count: int, empty_text: str) -> None:
        if self._address != address or self._tail is not None:
            self._address, self._tail = address, None
            self.lines.replace(lines, empty_text=empty_text)
            self._search_again()
        elif count > self._seen:
            self.lines.append(list(lines)[-min(count - self._seen, len(lines)) :] if lines else [])
        elif self.lines.empty_text != empty_text:
            self.lines.empty_text = empty_text
            self.lines.refresh()
        self._seen = count
        self.show_state()

    def _search_again(self) -> None:
        if self.lines.wanted:
            self._found = len(self.lines.matches())


def _why_empty(node: NodeView) -> str:
    match node.state:
        case NodeState.QUEUED:
            return f"queued: waits for {node.waits_for}" if node.waits_for else "queued: it has not started yet"
        case NodeState.WAITING:
            return node.waiting_for
        case NodeState.UNCHANGED:
            return "up to date: nothing was done"
        case NodeState.SKIPPED:
            return node.reason or "skipped: nothing was done"
        case _:
            return "no line yet"
