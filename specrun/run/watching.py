"""What `watch` decides, without clock, files or processes: when to look, what to say, what to hold."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from specrun.model.address import Address
from specrun.model.plan import Action, Cause, Plan, PlannedNode, Reason

QUIET_S = 0.5
LONGEST_S = 5.0
BUSY_SHARE = 0.1
"""Looking takes at most this share of the time, however much is written in a watched folder."""

_NEVER = "never made"


class Debounce:
    """Changes come in bursts: one look when they have been quiet for a moment, or have gone on for too long.

    Times are seconds of any clock that never goes back; whoever calls brings it.
    """

    def __init__(self, quiet_s: float = QUIET_S, longest_s: float = LONGEST_S) -> None:
        self._quiet_s = quiet_s
        self._longest_s = longest_s
        self._first: float | None = None
        self._last = 0.0
        self._rest_until = float("-inf")

    def touch(self, now: float) -> None:
        self._first = now if self._first is None else self._first
        self._last = now

    def looked(self, began: float, ended: float) -> None:
        """A look that took long is followed by a longer rest."""
        self._rest_until = ended + (ended - began) * (1 / BUSY_SHARE - 1)

    @property
    def due_at(self) -> float | None:
        """None: nothing has changed."""
        if self._first is None:
            return None
        return max(min(self._last + self._quiet_s, self._first + self._longest_s), self._rest_until)

    def take(self, now: float) -> bool:
        """Whether a look is due; what has changed so far is then dealt with."""
        due_at = self.due_at
        if due_at is None or now < due_at:
            return False
        self._first = None
        return True


Said = tuple[Action, tuple[str, ...]]
"""An action and the texts of its reasons: what a person was told about a node."""


def said_of(node: PlannedNode) -> Said:
    return node.action, tuple(reason.text for reason in node.reasons)


def what_to_say(
    said: Mapping[Address, Said], plan: Plan, *, quiet: Collection[Address] = ()
) -> tuple[PlannedNode, ...]:
    """The nodes about which there is something new. quiet: those whose news the lines of a run tell."""
    news = [n for n in plan.nodes if n.address not in quiet and said.get(n.address) != said_of(n)]
    declared = {node.address for node in plan.nodes}
    for address, (action, _) in said.items():
        if address not in declared and action is not Action.ORPHAN:
            reason = Reason(Cause.ORPHAN, "no longer in the spec")
            news.append(PlannedNode(address, "", Action.ORPHAN, (reason,), folder=address.folder))
    return tuple(news)


def hold_back(plan: Plan, failed: Mapping[Address, str], *, approved: bool) -> Plan:
    """The plan without what must not start by itself.

    failed: address → the fingerprint with which it failed or was stopped by a person ("": not known); it runs again
    when it has another one. approved: writing outside the machine was agreed to.
    """
    held: dict[Address, PlannedNode] = {}
    nodes: list[PlannedNode] = []
    for planned in plan.nodes:
        kept = _held(planned, failed, held, approved=approved) if planned.action.runs else None
        if kept is not None:
            held[planned.address] = kept
        nodes.append(kept or planned)
    return replace(plan, nodes=tuple(nodes))


def mark_of_attempt(planned: PlannedNode) -> str:
    """What `hold_back` compares."""
    return planned.fingerprint or _NEVER


def _held(
    planned: PlannedNode, failed: Mapping[Address, str], held: Mapping[Address, PlannedNode], *, approved: bool
) -> PlannedNode | None:
    """None: nothing keeps it."""
    if failed.get(planned.address) == mark_of_attempt(planned):
        return replace(planned, action=Action.DISABLED, reasons=(_failed_reason(planned),))
    if planned.external and not approved:
        reason = Reason(Cause.PEOPLE, "needs approval (--yes): it writes outside this machine")
        return replace(planned, action=Action.WAIT, reasons=(reason,))
    above = next((need for need in planned.needs if need in held), None)
    if above is None:
        return None
    text = f"waits for {above}"
    return replace(planned, action=held[above].action, reasons=(Reason(Cause.AFTER, text, address=above),))


def _failed_reason(planned: PlannedNode) -> Reason:
    last = next((r for r in planned.reasons if r.cause in (Cause.FAILED, Cause.INTERRUPTED)), None)
    text = last.text if last is not None else "it did not finish"
    return Reason(Cause.FAILED, f"{text}; it runs again when something it depends on changes")
