"""The Artifacts tab: paths, sizes, opening."""

from __future__ import annotations

from typing import ClassVar

from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType

from specrun.tui.messages import PlaceOpened
from specrun.tui.palette import Line
from specrun.tui.text_pane import TextPane
from specrun.views.node_view import MadeArtifact, NodeView
from specrun.views.quantities import size
from specrun.views.run_view import RunView
from specrun.views.text import cells, pad


class ArtifactsPane(TextPane):
    """What the node made, and where. Up and down choose, enter opens."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "choose(-1)", "up", show=False),
        Binding("down,j", "choose(1)", "down", show=False),
        Binding("enter", "open", "open"),
    ]

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.chosen = 0
        self._places: list[tuple[int, str]] = []
        """Row and place of each entry."""

    @property
    def place(self) -> str:
        return self._places[self.chosen][1] if self.chosen < len(self._places) else ""

    def lines(self, node: NodeView | None, view: RunView) -> list[Line]:
        entries = self._entries(node, view)
        self._places = []
        if not entries:
            return [(), (("   nothing was made yet", self.palette.dim),)]
        name_width = min(28, max(cells(name) for name, *_ in entries))
        type_width = max(len(made.type) for _, made in entries)
        lines: list[Line] = [()]
        for name, made in entries:
            amount = size(made.size_bytes) if made.size_bytes is not None else ""
            self._places.append((len(lines), made.place))
            lines.append(
                (
                    (f"   {pad(name, name_width)}", self.palette.text),
                    (f"  {pad(made.type, type_width)}", self.palette.dim),
                    (f"  {amount:>8}", self.palette.dim),
                    (f"  {made.place}", self.palette.wait),
                )
            )
        self.chosen = min(self.chosen, len(entries) - 1)
        return lines

    def _entries(self, node: NodeView | None, view: RunView) -> list[tuple[str, MadeArtifact]]:
        nodes = [node] if node is not None else list(view.nodes.values())
        found = []
        for each in nodes:
            prefix = f"{each.address.text} " if node is None else ""
            found += [(f"{prefix}{made.name}", made) for made in each.artifacts.values()]
            if node is not None and each.output:
                found.append(("output", MadeArtifact("output", "folder", each.output)))
        return found

    def _depends_on(self, node: NodeView | None, view: RunView) -> object:
        nodes = [node] if node is not None else list(view.nodes.values())
        return (len(nodes), sum(len(each.artifacts) for each in nodes), node.output if node else "")

    def background(self, index: int) -> Style | None:
        here = self._places and self.chosen < len(self._places) and self._places[self.chosen][0] == index
        return (self.palette.chosen if self.has_focus else None) if here else None

    def on_focus(self) -> None:
        self.refresh()

    def on_blur(self) -> None:
        self.refresh()

    def on_click(self, event: events.Click) -> None:
        row = event.y - self.gutter.top + self.scroll_offset.y
        for index, (at, place) in enumerate(self._places):
            if at == row:
                if index == self.chosen and event.chain > 1:
                    self.post_message(PlaceOpened(place))
                self.chosen = index
                self.refresh()

    def action_choose(self, by: int) -> None:
        self.chosen = max(0, min(self.chosen + by, len(self._places) - 1))
        if self._places:
            self.scroll_to(
                y=max(0, self._places[self.chosen][0] - self.size.height // 2),
                animate=False,
                immediate=True,
                force=True,
            )
        self.refresh()

    def action_open(self) -> None:
        if self.place:
            self.post_message(PlaceOpened(self.place))
