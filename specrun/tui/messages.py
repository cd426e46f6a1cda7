"""What widgets tell the app. Typed messages go up; data goes down by method calls."""

from __future__ import annotations

from textual.message import Message


class NodeChosen(Message):
    """address: of the node now selected; "" stands for the run."""

    def __init__(self, address: str) -> None:
        super().__init__()
        self.address = address


class NodeEntered(Message):
    """The selected node was entered: its tab wants the focus."""


class TabChosen(Message):
    def __init__(self, tab: str) -> None:
        super().__init__()
        self.tab = tab


class PlaceOpened(Message):
    """A place (an absolute path or a URI) is to be opened."""

    def __init__(self, place: str) -> None:
        super().__init__()
        self.place = place


class LogOpened(Message):
    """The whole log is to be opened; in the editor or in the pager."""

    def __init__(self, *, in_editor: bool) -> None:
        super().__init__()
        self.in_editor = in_editor
