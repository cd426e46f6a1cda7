"""The lines above the tabs: how the selected node stands, in words."""

from __future__ import annotations

from rich.style import Style

from specrun.tui.gauges import bar
from specrun.tui.line_pane import LinePane, line_width
from specrun.tui.links import linked_paragraph, links_in
from specrun.tui.palette import Line
from specrun.views.facts import done_text
from specrun.views.node_view import NodeState, NodeView
from specrun.views.pace import steps_of
from specrun.views.quantities import duration, short_time_left, stopwatch, time_left, took
from specrun.views.run_view import RunView
from specrun.views.text import cells, wrap

MAX_LINES = 4


class NodeHeader(LinePane, can_focus=False):
    """One line for most states; a failure or a wait explains itself in up to four."""

    _asked = ""

    def show_node(self, node: NodeView | None, view: RunView, now: float, asked: str = "") -> None:
        self._asked = asked or ("stopping" if view.status == "stopping" else "")
        lines = [self._run_line(view)] if node is None else self._node_lines(node, now)
        if len(lines) > MAX_LINES:
            more: Line = ((f"   … {len(lines) - MAX_LINES + 1} lines more: Details", self.palette.dim),)
            lines = [*lines[: MAX_LINES - 1], more]
        self.show_items(lines)
        height = min(len(lines), MAX_LINES)
        if self.styles.height is None or self.styles.height.value != height:
            self.styles.height = height

    def _run_line(self, view: RunView) -> Line:
        latest = view.notices[-1] if view.notices else None
        if latest is not None and latest.level != "info":
            return ((" ⚠ ", self.palette.warn), (latest.text, self.palette.text))
        return ((f" run {view.run}", self.palette.dim),)

    def _node_lines(self, node: NodeView, now: float) -> list[Line]:
        style = self.palette.of_state(node.state)
        head: Line = ((f" {node.sign} ", style), (str(node.state), style))
        match node.state:
            case NodeState.RUNNING:
                if self._asked:
                    head = ((f" {NodeState.STOPPED.sign} ", self.palette.warn), (self._asked, self.palette.warn))
                return [(*head, *self._progress(node, now))]
            case NodeState.FAILED | NodeState.STOPPED:
                after = f" after {duration(node.elapsed(now) or 0.0)}" if node.elapsed(now) else ""
                return [
                    (*head, (after, self.palette.dim)),
                    *self._said(node.cause, "text"),
                    *self._said(node.hint, "accent"),
                ]
            case NodeState.WAITING:
                owed = node.missing if node.waiting_for == "waits for people" else ()
                waits: Line = ((f" {node.sign} ", style), (node.waiting_for, style))
                if owed and not links_in(owed[0]) and cells(owed[0]) + line_width(waits) + 4 < self.inner_width:
                    waits, owed = (*waits, (f": {owed[0]}", self.palette.text)), owed[1:]
                return [waits, *(line for text in owed for line in self._linked(text))]
            case NodeState.DONE:
                done_in = f" in {took(node.elapsed(now) or 0.0, node.earlier_s)}"
                made = done_text(node.facts)
                return [(*head, (done_in, self.palette.dim), (f"   {made}" if made else "", self.palette.text))]
            case NodeState.RETRYING:
                left = max(0.0, (node.retry_at or now) - now)
                again = f" attempt {node.attempt} in {duration(left)}"
                return [(*head, (again, self.palette.dim)), *self._said(node.reason, "text")]
            case _:
                said = f"  waits for {node.waits_for}" if node.waits_for else f"  {node.reason}" if node.reason else ""
                return [(*head, (said, self.palette.dim))]

    def _progress(self, node: NodeView, now: float) -> Line:
        """What matters most stands first; what does not fit is left out from the end."""
        palette, progress = self.palette, node.progress
        parts: list[Line] = []
        if progress.fraction is not None:
            done, rest = bar(progress.fraction, max(6, min(24, self.inner_width // 5)))
            percent = (f" {progress.percent}", palette.busy)
            parts.append((("  ", Style()), (done, palette.busy), (rest, palette.track), percent))
        if progress.said:
            parts.append(((f"  {progress.said}", palette.text),))
        parts.append(((f"  {stopwatch(node.elapsed(now) or 0.0)}", palette.text),))
        left = None if self._asked else node.remaining(now)
        if left is not None:
            said = time_left(left, complete=True) if self.inner_width >= 72 else f"{short_time_left(left)} left"
            parts.append(((f"  {said}", palette.accent),))
        if node.attempt > 1:
            parts.append(((f"  attempt {node.attempt}", palette.warn),))
        if node.gpus:
            parts.append(((f"  GPU {', '.join(map(str, node.gpus))}", palette.dim),))
        stepped = steps_of(progress.total, "", progress.phase) == progress.total
        if progress.done and progress.unit not in ("", "%") and not progress.part and not stepped:
            total = f" of {progress.total:,.0f}" if progress.total else ""
            parts.append(((f"  {progress.done:,.0f}{total} {progress.unit}", palette.dim),))
        room = self.inner_width - 12
        fitting: list[tuple[str, Style]] = []
        for part in parts:
            if line_width(part) > room:
                break
            room -= line_width(part)
            fitting += part
        return tuple(fitting)

    def _linked(self, text: str) -> list[Line]:
        return linked_paragraph(text, self.inner_width, (self.palette.text, self.palette.busy + Style(underline=True)))

    def _said(self, text: str, style: str) -> list[Line]:
        if not text:
            return []
        chosen = {"text": self.palette.text, "accent": self.palette.accent, "dim": self.palette.dim}[style]
        return [((f"   {line}", chosen),) for line in wrap(text, max(10, self.inner_width - 4))]
