"""What `watch` decides: when to look, what to say, what to stop, what to hold."""

from __future__ import annotations

from dataclasses import replace

import pytest

from specrun.model.address import Address, parse_address
from specrun.model.node import Input, Node
from specrun.model.plan import Action, Cause, Plan, PlannedNode, Reason
from specrun.run.watching import (
    Debounce,
    Underway,
    hold_back,
    mark_of_attempt,
    overtaken,
    said_of,
    started_again,
    what_to_say,
)


def node(name: str, word: str = "old", *needs: str) -> Node:
    inputs = tuple(Input(need, parse_address(f"steps.{need}")) for need in needs)
    return Node(parse_address(f"steps.{name}"), "steps.step", 1, {"word": word}, {"word": word}, inputs)


def planned(
    name: str, action: Action = Action.NONE, *needs: str, print_: str | None = "f", **more: object
) -> PlannedNode:
    values = {"needs": tuple(parse_address(f"steps.{need}") for need in needs), "fingerprint": print_, **more}
    return PlannedNode(parse_address(f"steps.{name}"), "steps.step", action, **values)  # type: ignore[arg-type]


def plan(*nodes: PlannedNode) -> Plan:
    return Plan("demo", nodes)


def at(name: str) -> Address:
    return parse_address(f"steps.{name}")


# When to look.


def test_a_burst_of_changes_is_one_look_after_it_went_quiet() -> None:
    debounce = Debounce(quiet_s=0.5, longest_s=5.0)
    for now in (10.0, 10.3, 10.6):
        debounce.touch(now)
        assert not debounce.take(now)
    assert not debounce.take(11.0)
    assert debounce.take(11.1)
    assert not debounce.take(20.0)


def test_changes_that_never_end_are_looked_at_all_the_same() -> None:
    debounce = Debounce(quiet_s=0.5, longest_s=5.0)
    looks = []
    for tick in range(200):
        now = tick * 0.1
        debounce.touch(now)
        if debounce.take(now):
            looks.append(round(now, 1))
    assert looks == [5.0, 10.1, 15.2]


def test_a_long_look_is_followed_by_a_long_rest() -> None:
    debounce = Debounce(quiet_s=0.5, longest_s=5.0)
    debounce.looked(0.0, 2.0)
    debounce.touch(3.0)
    assert debounce.due_at == pytest.approx(20.0)


# What to say.


def test_only_changed_nodes_are_said() -> None:
    before = plan(planned("a"), planned("b"))
    said = {n.address: said_of(n) for n in before.nodes}
    stale = planned("b", Action.UPDATE, reasons=(Reason(Cause.CONFIG, "word old → new"),))
    assert what_to_say(said, plan(planned("a"), stale)) == (stale,)
    assert what_to_say({**said, at("b"): said_of(stale)}, plan(planned("a"), stale)) == ()


def test_a_node_that_left_the_spec_before_it_was_made_is_said_once() -> None:
    said = {at("a"): said_of(planned("a", Action.CREATE))}
    found = what_to_say(said, plan())
    assert [(n.address, n.action) for n in found] == [(at("a"), Action.ORPHAN)]


def test_what_a_run_tells_itself_is_not_said_again() -> None:
    said = {at("a"): said_of(planned("a", Action.CREATE))}
    assert what_to_say(said, plan(planned("a")), quiet={at("a")}) == ()


# What to stop.


def underway(*nodes: Node, running: dict[str, str], waiting: tuple[str, ...] = ()) -> Underway:
    return Underway(
        nodes={n.address: n for n in nodes},
        observed={},
        running={at(name): print_ for name, print_ in running.items()},
        waiting={at(name) for name in waiting},
    )


def test_a_running_node_whose_fingerprint_is_still_wanted_is_left_alone() -> None:
    now = plan(planned("a", Action.RESUME, print_="f1"), planned("b", Action.RESUME, print_="f2"))
    run = underway(node("a"), node("b"), running={"a": "f1", "b": "other"})
    assert overtaken(run, now, [node("a"), node("b")], {}) == {at("b")}


def test_everything_below_a_node_that_must_be_made_again_is_overtaken() -> None:
    graph = [node("a", "new"), node("b", "old", "a"), node("c", "old", "b")]
    now = plan(
        planned("a", Action.UPDATE, print_="f2"),
        planned("b", Action.RESUME, "a", print_=None),
        planned("c", Action.CREATE, "b", print_=None),
    )
    run = underway(*graph, running={"b": "f"}, waiting=("c",))
    assert overtaken(run, now, graph, {}) == {at("b"), at("c")}


def test_a_node_below_one_that_only_waits_for_people_is_left_alone() -> None:
    graph = [node("a"), node("b", "old", "a")]
    now = plan(planned("a", Action.WAIT, print_=None), planned("b", Action.WAIT, "a", print_=None))
    assert overtaken(underway(*graph, running={"b": "f"}), now, graph, {}) == set()


def test_a_node_that_could_not_be_looked_at_is_left_alone() -> None:
    now = plan(planned("a", Action.UPDATE, print_="without its observation"))
    assert overtaken(underway(node("a"), running={"a": "f"}), now, [node("a")], {}, {at("a")}) == set()


@pytest.mark.parametrize("action", [Action.DISABLED, Action.ORPHAN])
def test_a_running_node_that_is_no_longer_wanted_is_overtaken(action: Action) -> None:
    run = underway(node("a"), running={"a": "f"})
    assert overtaken(run, plan(planned("a", action, print_=None)), [node("a")], {}) == {at("a")}
    assert overtaken(run, plan(), [], {}) == {at("a")}


def test_a_node_that_waits_in_the_run_is_overtaken_by_an_edit_or_a_changed_file() -> None:
    run = underway(node("a"), running={}, waiting=("a",))
    now = plan(planned("a", Action.CREATE))
    assert overtaken(run, now, [node("a")], {}) == set()
    assert overtaken(run, now, [node("a", "new")], {}) == {at("a")}
    assert overtaken(run, now, [node("a")], {at("a"): {"a.py": "digest"}}) == {at("a")}


def test_resources_of_a_running_node_may_be_edited() -> None:
    before = node("a")
    after = replace(before, retries=3, timeout_s=10.0)
    now = plan(planned("a", Action.RESUME, print_="f"))
    assert overtaken(underway(before, running={"a": "f"}), now, [after], {}) == set()


def test_a_node_that_is_started_again_shows_what_differs_from_what_ran() -> None:
    interrupted = Reason(Cause.INTERRUPTED, "interrupted last time: killed")
    shown = started_again(planned("a", Action.RESUME, reasons=(interrupted,)), node("a"), node("a", "new"))
    assert [reason.text for reason in shown.reasons] == ["word old → new"]
    assert "stopped" in shown.notes[0]


# What to hold.


def test_a_failed_node_is_held_with_what_needs_it_until_it_has_another_fingerprint() -> None:
    failing = planned("a", Action.RESUME, print_="f1")
    below = planned("b", Action.UNKNOWN, "a", print_=None)
    held = hold_back(plan(failing, below, planned("c", Action.CREATE)), {at("a"): "f1"}, approved=False)
    assert [n.action for n in held.nodes] == [Action.DISABLED, Action.DISABLED, Action.CREATE]
    mended = hold_back(plan(replace(failing, fingerprint="f2"), below), {at("a"): "f1"}, approved=False)
    assert [n.action for n in mended.nodes] == [Action.RESUME, Action.UNKNOWN]


def test_writing_outside_the_machine_needs_approval_and_the_rest_goes_on() -> None:
    outside = planned("a", Action.CREATE, external=True)
    found = plan(outside, planned("b", Action.CREATE, "a", print_=None), planned("c", Action.CREATE))
    held = hold_back(found, {}, approved=False)
    assert [n.action for n in held.nodes] == [Action.WAIT, Action.WAIT, Action.CREATE]
    assert "needs approval" in held.nodes[0].reasons[0].text
    assert hold_back(found, {}, approved=True) == found


def test_a_node_that_failed_before_anything_was_known_is_held_until_its_inputs_are_made() -> None:
    unmade = planned("a", Action.CREATE, print_=None)
    marks = {at("a"): mark_of_attempt(unmade)}
    assert hold_back(plan(unmade), marks, approved=True).nodes[0].action is Action.DISABLED
    assert hold_back(plan(replace(unmade, fingerprint="f")), marks, approved=True).nodes[0].action is Action.CREATE
