"""What `watch` decides: when to look, what to say, what to hold."""

from __future__ import annotations

from dataclasses import replace

import pytest

from specrun.model.address import Address, parse_address
from specrun.model.plan import Action, Cause, Plan, PlannedNode, Reason
from specrun.run.watching import Debounce, hold_back, mark_of_attempt, said_of, what_to_say


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
