"""The planner: (graph, state, observations) → plan. Pure; the observing came before it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from specrun.model.address import Address
from specrun.model.node import Node
from specrun.model.plan import Action, Cause, Estimate, Plan, PlannedNode, Reason
from specrun.model.state import Attempt, NodeRecord, Observation, Outcome
from specrun.planner import explain
from specrun.planner.fingerprint import fingerprint, read_digests
from specrun.planner.world import Begun, World


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What the command line asked for. targets: None means everything; closures are already taken."""

    targets: Collection[Address] | None = None
    replace: Collection[Address] = ()
    exclude: Collection[Address] = ()


def make_plan(
    project: str,
    nodes: Sequence[Node],
    world: World,
    wish: Wish | None = None,
    *,
    estimate: Callable[[Node, NodeRecord | None, Sequence[str]], Estimate] | None = None,
    state: str = "",
) -> Plan:
    """nodes: in an order in which they can run. estimate: asked for nodes that may run, with the paths of the fields
    that changed; none when something else changed too."""
    asked = wish or Wish()
    planned: dict[Address, PlannedNode] = {}
    for node in nodes:
        if asked.targets is not None and node.address not in asked.targets:
            continue
        planned[node.address] = _plan_node(node, world, asked, planned, estimate or _last_duration)
    declared = {node.address for node in nodes}
    orphans = [_orphan(record) for address, record in sorted(world.records.items()) if address not in declared]
    if asked.targets is not None:
        orphans = []
    return Plan(project, (*planned.values(), *orphans), state, graph=tuple(nodes))


def _plan_node(
    node: Node,
    world: World,
    wish: Wish,
    planned: Mapping[Address, PlannedNode],
    estimate: Callable[[Node, NodeRecord | None, Sequence[str]], Estimate],
) -> PlannedNode:
    record = world.records.get(node.address)
    action, reasons, print_ = _decide(node, record, world, wish, planned)
    return PlannedNode(
        address=node.address,
        kind=node.kind,
        action=action,
        reasons=tuple(reasons),
        notes=_notes(record, world, action, node.address),
        fingerprint=print_,
        estimate=estimate(node, record, _fields_only(reasons) if print_ else ()) if action.runs else Estimate(),
        needs=node.needs,
        external=node.external,
        folder=node.address.folder,
    )


def _notes(record: NodeRecord | None, world: World, action: Action, address: Address) -> tuple[str, ...]:
    """What is seen now, and of a node that stays as it is, what its last run said."""
    observed = world.observations.get(address)
    seen = observed.notes if observed else ()
    if observed and action.runs:
        seen = (*seen, *observed.foreseen)
    if record and action is Action.WAIT and address not in world.gone:
        seen = (*seen, explain.still_there(record))
    said = record.lasting_notes if record and action is Action.NONE else ()
    return (*seen, *(note for note in said if note not in seen))


def _decide(
    node: Node,
    record: NodeRecord | None,
    world: World,
    wish: Wish,
    planned: Mapping[Address, PlannedNode],
) -> tuple[Action, list[Reason], str | None]:
    if not node.enabled or node.address in wish.exclude:
        text = "enabled: false" if not node.enabled else "excluded on the command line"
        return Action.DISABLED, [Reason(Cause.DISABLED, text, explain.mark_of(node, "enabled"))], None
    held = [a for a in node.needs if a in planned and planned[a].action is Action.DISABLED and a not in world.records]
    if held:
        return Action.DISABLED, [Reason(Cause.DISABLED, f"needs {held[0]}, which is not run", address=held[0])], None
    # What could not be looked at is taken for what it was.
    unseen = Observation(record.observation) if record and node.address in world.unreachable else Observation()
    observed = world.observations.get(node.address, unseen)
    if observed.missing:
        return Action.WAIT, [Reason(Cause.PEOPLE, line) for line in observed.missing], None
    waiting = [a for a in node.needs if a in planned and planned[a].action is Action.WAIT]
    if waiting:
        return Action.WAIT, [Reason(Cause.PEOPLE, f"waits for {waiting[0]}", address=waiting[0])], None

    moving = [a for a in node.needs if a in planned and planned[a].action.runs]
    read, print_ = None, None
    if not moving and all(used.address in world.records for used in node.inputs):
        read = read_digests(node, world.records.__getitem__, world.observations.get)
        print_ = fingerprint(node, read, observed.value)
    reasons = _asked_reasons(node, record, world, wish)
    if record is not None and (print_ is None or record.fingerprint != print_):
        reasons += explain.config_reasons(node, record)
        reasons += explain.observation_reasons(node, record, observed)
        reasons += explain.input_reasons(node, record, read, world) if read is not None else ()
    attempt = world.attempts.get(node.address)
    if attempt is not None and _still_counts(attempt, record, print_) and (reasons or moving or record is None):
        begun = world.begun.get(node.address, Begun())
        return Action.RESUME, _resume_reasons(node, attempt, begun, reasons, read), print_
    if record is None:
        return Action.CREATE, [explain.new_reason(node), *reasons], print_
    if reasons:
        return Action.UPDATE, reasons, print_
    if moving:
        return Action.UNKNOWN, [explain.after_reason(moving)], None
    return Action.NONE, [], print_


def _resume_reasons(
    node: Node, attempt: Attempt, begun: Begun, reasons: Sequence[Reason], read: Mapping[str, str] | None
) -> list[Reason]:
    """Why it runs again, with what was edited since it was interrupted. read: None: not known yet."""
    failed = attempt.outcome is Outcome.FAILED
    # Whether work on other inputs can go on is seen when it begins.
    goes_on = begun.goes_on if read is not None and dict(read) == dict(begun.read) else ""
    text = explain.interrupted_text(attempt.cause, failed=failed, goes_on=goes_on)
    edited = explain.edited_since(node, begun)
    paths = {reason.path for reason in edited}
    others = [r for r in reasons if r.cause is not Cause.NEW and (r.cause is not Cause.CONFIG or r.path not in paths)]
    cause = Cause.FAILED if failed else Cause.INTERRUPTED
    return [Reason(cause, text, old=attempt.cause), *edited, *others]


def _asked_reasons(node: Node, record: NodeRecord | None, world: World, wish: Wish) -> list[Reason]:
    """Reasons that a fingerprint does not see."""
    reasons: list[Reason] = []
    if node.address in wish.replace:
        reasons.append(explain.replaced_reason())
    if node.address in world.unreachable:
        reasons.append(explain.unreachable_reason(world.unreachable[node.address]))
    if record is not None and node.address in world.gone:
        reasons.append(explain.gone_reason(world.gone[node.address]))
    return reasons


def _still_counts(attempt: Attempt, record: NodeRecord | None, print_: str | None) -> bool:
    """A failure counts until something of the node changes; an interruption may have left work to go on with."""
    if attempt.outcome is Outcome.INTERRUPTED or not attempt.fingerprint:
        return True
    return attempt.fingerprint == print_ if print_ is not None else record is None


def _orphan(record: NodeRecord) -> PlannedNode:
    reason = Reason(Cause.ORPHAN, "no longer in the spec; kept: `specrun prune` removes it")
    return PlannedNode(record.address, record.kind, Action.ORPHAN, (reason,), folder=record.folder)


def _fields_only(reasons: Sequence[Reason]) -> tuple[str, ...]:
    """The fields that changed, when nothing else makes the node stale."""
    if any(reason.cause is not Cause.CONFIG for reason in reasons):
        return ()
    return tuple(reason.path for reason in reasons)


def _last_duration(node: Node, record: NodeRecord | None, changed: Sequence[str]) -> Estimate:
    return Estimate() if record is None else Estimate(seconds=record.duration_s, source="last run")
