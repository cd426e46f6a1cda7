"""The Plan tab: reasons, old and new values, neighbours."""

from __future__ import annotations

from collections.abc import Sequence

from rich.style import Style

from specrun.model.address import Address
from specrun.model.plan import Action, Reason
from specrun.tui.palette import Line
from specrun.tui.text_pane import TextPane
from specrun.views.node_view import NodeState, NodeView
from specrun.views.plan_text import estimate_text, exact_values
from specrun.views.run_view import RunView
from specrun.views.text import cells, clean, pad_address


class PlanPane(TextPane):
    """Why the node has its action, with old and new values, and what stands around it."""

    def _depends_on(self, node: NodeView | None, view: RunView) -> object:
        return (super()._depends_on(node, view), node.missing if node else (), id(node.planned) if node else 0)

    def lines(self, node: NodeView | None, view: RunView) -> list[Line]:
        if node is None:
            return self._run_lines(view)
        planned = node.planned
        if planned is None:
            return [(), (("   the plan does not name this node", self.palette.dim),)]
        lines: list[Line] = [
            (),
            (
                (f" {planned.action.sign} ", self.action_style(planned.action)),
                (_said(planned.action), self.palette.bold),
            ),
        ]
        for reason in planned.reasons:
            lines += self._reason(reason)
        if planned.external and planned.action.runs:
            lines += self.paragraph("writes outside this machine: asks for approval first (--yes)", self.palette.accent)
        if node.missing and node.state is NodeState.WAITING:
            lines += self.heading("Waits for")
            lines += [line for text in node.missing for line in self.linked(text, self.palette.text)]
        lines += [line for note in node.notes for line in self.paragraph(f"note: {note}", self.palette.warn)]
        estimate = estimate_text(planned.estimate)
        if estimate and planned.action.runs:
            lines += [*self.heading("Estimate"), *self.paragraph(estimate, self.palette.text)]
        lines += self._around("Needs", planned.needs, view)
        lines += self._around("Needed by", _needed_by(planned.address, view), view)
        return lines

    def action_style(self, action: Action) -> Style:
        palette = self.palette
        match action:
            case Action.CREATE:
                return palette.good
            case Action.UPDATE | Action.RESUME:
                return palette.warn
            case Action.WAIT:
                return palette.wait
            case Action.UNKNOWN:
                return palette.busy
            case Action.ORPHAN:
                return palette.bad
            case _:
                return palette.dim

    def _run_lines(self, view: RunView) -> list[Line]:
        width = max((cells(node.address.text) for node in view.nodes.values()), default=0)
        lines: list[Line] = [()]
        for node in view.nodes.values():
            if node.planned is None:
                continue
            action = node.planned.action
            reason = clean(node.planned.reasons[0].text) if node.planned.reasons else _said(action)
            quiet = action in (Action.NONE, Action.DISABLED)
            lines.append(
                (
                    (f" {action.sign} ", self.action_style(action)),
                    (pad_address(node.address.text, min(width, 40)), self.palette.dim if quiet else self.palette.text),
                    (f"  {reason}", self.palette.dim),
                )
            )
        return lines

    def _reason(self, reason: Reason) -> list[Line]:
        where = f"  {clean(reason.where.short)}" if reason.where else ""
        lines = self.paragraph(clean(reason.text) + where, self.palette.text)
        if values := exact_values(reason):
            lines += self.paragraph(f"- {values[0]}", self.palette.bad, indent=5)
            lines += self.paragraph(f"+ {values[1]}", self.palette.good, indent=5)
        return lines

    def _around(self, title: str, addresses: Sequence[Address], view: RunView) -> list[Line]:
        if not addresses:
            return []
        lines = self.heading(title)
        for address in addresses:
            node = view.nodes.get(address)
            sign = node.sign if node else "·"
            style = self.palette.of_state(node.state) if node else self.palette.dim
            lines.append(((f"   {sign} ", style), (clean(address.text), self.palette.text)))
        return lines


def _needed_by(address: Address, view: RunView) -> list[Address]:
    return [node.address for node in view.nodes.values() if node.planned and address in node.planned.needs]


def _said(action: Action) -> str:
    return {
        Action.CREATE: "to be made for the first time",
        Action.UPDATE: "out of date",
        Action.RESUME: "to go on where it was interrupted",
        Action.NONE: "up to date",
        Action.UNKNOWN: "decided when what it needs is known",
        Action.WAIT: "waiting for people",
        Action.ORPHAN: "no longer in the spec",
        Action.DISABLED: "disabled",
    }[action]
