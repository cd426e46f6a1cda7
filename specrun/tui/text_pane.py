"""The base of the tabs that are text: lines that scroll, made again only when they would differ."""

from __future__ import annotations

from typing import ClassVar

from rich.style import Style
from textual.binding import Binding, BindingType

from specrun.tui.line_pane import LinePane
from specrun.tui.links import linked_paragraph
from specrun.tui.messages import PlaceOpened
from specrun.tui.palette import Line
from specrun.views.node_view import NodeView
from specrun.views.run_view import RunView
from specrun.views.text import pad, wrap


class TextPane(LinePane, can_focus=True):
    """Scrolls; a subclass gives the lines. They are made again only when what they depend on changed."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "scroll_up", "up", show=False),
        Binding("down,j", "scroll_down", "down", show=False),
        Binding("pageup,b", "page_up", "page up", show=False),
        Binding("pagedown,space", "page_down", "page down", show=False),
        Binding("home,g", "scroll_home", "first line", show=False),
        Binding("end,G", "scroll_end", "last line", show=False),
        Binding("u", "open_link", "open, or copy, the next link", show=False),
    ]

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._node: NodeView | None = None
        self._run = RunView()
        self._made_from: object = None
        self._opened = 0

    def show_node(self, node: NodeView | None, view: RunView) -> None:
        if node is not self._node:
            self.scroll_to(y=0, animate=False, immediate=True, force=True)
        self._node, self._run = node, view
        depends = (self.inner_width, id(node), self._depends_on(node, view))
        if depends != self._made_from:
            self._made_from = depends
            self.show_items(self.lines(node, view))

    def _depends_on(self, node: NodeView | None, view: RunView) -> object:
        return (node.state, node.attempt) if node else (view.status, view.structure)

    def lines(self, node: NodeView | None, view: RunView) -> list[Line]:
        raise NotImplementedError

    def on_resize(self) -> None:
        self.show_node(self._node, self._run)

    def repaint(self) -> None:
        self._palette = None
        self._made_from = None
        self.show_node(self._node, self._run)
        super().repaint()

    def action_open_link(self) -> None:
        """One after the other."""
        links = list(dict.fromkeys(style.link for line in self.items for _, style in line if style.link))
        if not links:
            self.app.bell()
            return
        self.post_message(PlaceOpened(links[self._opened % len(links)]))
        self._opened += 1

    def linked(self, text: str, style: Style, indent: int = 3) -> list[Line]:
        return linked_paragraph(text, self.inner_width, (style, self.palette.busy + Style(underline=True)), indent)

    def heading(self, text: str) -> list[Line]:
        return [(), ((f" {text}", self.palette.title),)]

    def paragraph(self, text: str, style: Style, indent: int = 3) -> list[Line]:
        width = max(10, self.inner_width - indent - 1)
        return [((" " * indent + line, style),) for line in wrap(text, width)]

    def field(self, name: str, value: str, name_width: int = 13) -> list[Line]:
        first, *rest = wrap(value, max(10, self.inner_width - name_width - 4)) or [""]
        head: Line = ((f"   {pad(name, name_width)}", self.palette.dim), (first, self.palette.text))
        return [head, *(((" " * (name_width + 3) + line, self.palette.text),) for line in rest)]
