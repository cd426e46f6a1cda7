"""All panes of the dashboard: how they stand together, and what each of them is told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widget import Widget
from textual.widgets import ContentSwitcher, Input

from specrun.tui.artifacts_pane import ArtifactsPane
from specrun.tui.details_pane import DetailsPane
from specrun.tui.follower import Follower
from specrun.tui.key_bar import KeyBar
from specrun.tui.keys import KeyHint
from specrun.tui.line_pane import LinePane
from specrun.tui.log_pane import LogPane
from specrun.tui.machine_pane import MachinePane
from specrun.tui.metrics_pane import MetricsPane
from specrun.tui.node_header import NodeHeader
from specrun.tui.node_tree import NodeTree
from specrun.tui.plan_pane import PlanPane
from specrun.tui.run_header import RunHeader
from specrun.tui.tab_bar import TABS, TabBar
from specrun.tui.titles import set_subtitle, set_title
from specrun.views.node_view import NodeView


@dataclass(frozen=True, slots=True)
class Shown:
    """What is to be drawn: node None stands for the run itself; notice takes the place of the time left.
    stopping: the run was asked to stop. asked: what the node was asked to do and has not done yet."""

    node: NodeView | None
    now: float
    notice: str
    keys: tuple[KeyHint, ...]
    stopping: bool = False
    asked: str = ""


class Panes:
    def __init__(
        self,
        log_path: Callable[[str], Path | None],
        previous_metrics: Callable[[str], Mapping[str, Any]] | None,
    ) -> None:
        self.tab = TABS[0]
        self.header = RunHeader(id="run-header")
        self.tree = NodeTree(id="tree")
        self.filter = Input(id="filter", placeholder="part of an address", compact=True, classes="hidden")
        self.log = LogPane(log_path, id="log")
        self.artifacts = ArtifactsPane(id="artifacts")
        self._right = Vertical(id="right")
        self._node_header = NodeHeader(id="node-header")
        self._tab_bar = TabBar(id="tab-bar")
        self._tabs = ContentSwitcher(id="tabs", initial=self.tab.lower())
        self._metrics = MetricsPane(previous_metrics, id="metrics")
        self._plan = PlanPane(id="plan")
        self._details = DetailsPane(log_path, id="details")
        self._machine = MachinePane(id="machine")
        self._keys = KeyBar(id="keys")

    def compose(self) -> ComposeResult:
        yield self.header
        with Horizontal(id="body"):
            with Vertical(id="left"):
                yield self.tree
                yield self.filter
            with self._right:
                yield self._node_header
                yield self._tab_bar
                with self._tabs:
                    yield self.log
                    yield self._metrics
                    yield self._plan
                    yield self.artifacts
                    yield self._details
        yield self._machine
        yield self._keys

    def draw(self, shown: Shown, follower: Follower, screen_height: int) -> None:
        """Everything but the tab."""
        view, node = follower.view, shown.node
        self.header.show_run(view, shown.now, shown.notice, stopping=shown.stopping)
        self.tree.show_run(view, shown.now)
        self._node_header.show_node(node, view, shown.now, shown.asked)
        self._machine.show_run(view, screen_height // 4)
        set_title(self._right, node.address.text if node else view.project or "run")
        self._tab_bar.show_tabs(self.tab, _marks(node))
        self._keys.show_keys(shown.keys)

    def draw_tab(self, node: NodeView | None, follower: Follower) -> None:
        """The tab in front; its log may have grown although no event came."""
        if self.tab != "Log":
            set_subtitle(self._right, self._metrics.legend if self.tab == "Metrics" else "")
        match self.tab:
            case "Log" if node is None:
                self.log.show_story(follower.story, follower.told)
            case "Log" if node is not None:
                self.log.show_node(node)
            case "Metrics":
                self._metrics.show_node(node)
            case "Plan":
                self._plan.show_node(node, follower.view)
            case "Artifacts":
                self.artifacts.show_node(node, follower.view)
            case _:
                self._details.show_node(node, follower.view)

    def show_tab(self, tab: str, focused: Widget | None) -> None:
        """Another tab in front; the focus goes along when it was on the one before."""
        inside = focused is not None and self._tabs in focused.ancestors
        self.tab = tab
        self._tabs.current = tab.lower()
        if inside:
            self.focus_tab()

    def focus_tab(self) -> None:
        pane = self._tabs.get_child_by_id(self.tab.lower())
        (self.log.lines if isinstance(pane, LogPane) else pane).focus()

    def open_filter(self) -> None:
        self.filter.remove_class("hidden")
        self.filter.focus()

    def close_filter(self, *, forget: bool) -> None:
        if forget:
            self.filter.value = ""
        self.filter.set_class(not self.filter.value, "hidden")
        self.tree.focus()

    def text_of(self, pane: Widget | None, chosen: str) -> str:
        """What a pane stands for when it is copied."""
        if isinstance(pane, ArtifactsPane):
            return pane.place
        if isinstance(pane, NodeTree):
            return chosen
        return "\n".join(pane.plain_lines()) if isinstance(pane, LinePane) else ""


def _marks(node: NodeView | None) -> dict[str, str]:
    """How much there is behind a tab."""
    amounts: Iterable[tuple[str, int]] = ()
    if node is not None:
        amounts = (("Metrics", len(node.metrics)), ("Artifacts", len(node.artifacts)))
    return {name: str(amount) for name, amount in amounts if amount}
