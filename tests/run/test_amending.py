"""What becomes of a run when another plan takes the place of its own: decisions on little graphs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from specrun.model.address import Address, parse_address
from specrun.model.node import Input, Node
from specrun.model.plan import Action, Cause, Plan, PlannedNode, Reason
from specrun.model.state import NodeRecord, Observation, Unreachable
from specrun.run.amending import Amendment, Standing, amend
from specrun.run.job import Job
from specrun.run.ledger import Ledger
from specrun.run.scheduler import Status
from specrun.store.paths import ProjectPaths


def at(name: str) -> Address:
    return parse_address(f"steps.{name}")


def node(name: str, word: str = "old", *needs: str) -> Node:
    inputs = tuple(Input(need, at(need)) for need in needs)
    return Node(at(name), "steps.step", 1, {"word": word}, {"word": word}, inputs)


def planned(this: Node, action: Action = Action.CREATE, *reasons: Reason) -> PlannedNode:
    return PlannedNode(this.address, this.kind, action, reasons, needs=this.needs)


class World:
    """made: nodes with their outputs, as the ledger has them."""

    def __init__(self, *made: Node) -> None:
        self.made: dict[Address, NodeRecord] = {}
        for one in made:
            self.made[one.address] = self._record(one)

    def ledger(self, job: Job) -> Ledger:
        return Ledger(job, ProjectPaths(Path("/p"), Path("/p/outputs")), self.made)

    def print_of(self, this: Node, observed: Any = None) -> str:
        seen = {this.address: Observation(value=observed)} if observed is not None else {}
        return self.ledger(job_of([], observations=seen)).wanted(this)[1]

    def _record(self, this: Node) -> NodeRecord:
        print_ = self.print_of(this)
        return NodeRecord(
            this.address, this.kind, 1, print_, this.result_config, {}, None, print_, {}, {}, "f", "run", "then", 1.0
        )


def job_of(plan: list[tuple[Node, Action]], **more: Any) -> Job:
    return Job(
        run="r",
        project="demo",
        spec_file="project.yaml",
        spec_yaml="",
        project_dir=Path("/p"),
        output_root=Path("/p/outputs"),
        seed=1,
        settings={},
        nodes=tuple(n for n, _ in plan),
        plan=Plan("demo", tuple(planned(n, action) for n, action in plan)),
        **more,
    )


def standing(*nodes: tuple[Node, Status, str], **more: Any) -> Standing:
    return Standing(
        plan=Plan("demo", tuple(planned(n) for n, _, _ in nodes)),
        nodes={n.address: n for n, _, _ in nodes},
        status={n.address: status for n, status, _ in nodes},
        prints={n.address: print_ for n, _, print_ in nodes if print_},
        **more,
    )


def decided(before: Standing, world: World, plan: list[tuple[Node, Action]], **more: Any) -> Amendment:
    job = job_of(plan, **more)
    return amend(before, job, world.ledger(job))


def test_a_running_node_whose_fingerprint_is_still_the_wanted_one_is_left_alone() -> None:
    world, a = World(), node("a")
    edited = replace(a, retries=3, timeout_s=10.0)
    found = decided(standing((a, Status.RUNNING, world.print_of(a))), world, [(edited, Action.RESUME)])
    assert (found.status, found.again, found.dropped) == ({at("a"): Status.RUNNING}, set(), set())
    assert found.plan.nodes[0].action is Action.CREATE


def test_a_changed_file_overtakes_as_an_edit_does() -> None:
    world, a = World(), node("a")
    before = standing((a, Status.RUNNING, world.print_of(a)))
    edit = decided(before, world, [(node("a", "new"), Action.CREATE)])
    file = decided(before, world, [(a, Action.CREATE)], observations={at("a"): Observation(value="digest")})
    assert edit.again == file.again == {at("a")}
    assert [reason.text for reason in edit.plan.nodes[0].reasons] == ["word old → new"]


def test_what_cannot_be_looked_at_or_waits_for_people_by_now_is_left_running() -> None:
    world, a = World(), node("a")
    before = standing((a, Status.RUNNING, world.print_of(a)))
    gone = decided(before, world, [(a, Action.UPDATE)], unreachable={at("a"): Unreachable("no answer")})
    waits = decided(before, world, [(a, Action.WAIT)])
    assert not gone.again | gone.dropped | waits.again | waits.dropped


def test_a_node_that_an_earlier_amendment_stopped_begins_anew_even_as_it_was() -> None:
    world, a = World(), node("a")
    before = standing((a, Status.RUNNING, world.print_of(a)), overtaken={at("a")})
    assert decided(before, world, [(a, Action.CREATE)]).again == {at("a")}


def test_a_disabled_or_undeclared_running_node_is_dropped() -> None:
    world, a = World(), node("a")
    before = standing((a, Status.RUNNING, world.print_of(a)))
    for plan in ([(a, Action.DISABLED)], []):
        found = decided(before, world, plan)
        assert (found.dropped, found.status) == ({at("a")}, {})


def test_a_failed_node_stays_failed_while_nothing_about_it_changes() -> None:
    world, a, b = World(), node("a"), node("b", "old", "a")
    before = standing((a, Status.FAILED, world.print_of(a)), (b, Status.SKIPPED, ""))
    same = decided(before, world, [(a, Action.RESUME), (b, Action.UNKNOWN)])
    assert same.status == {at("a"): Status.FAILED, at("b"): Status.SKIPPED}
    mended = decided(before, world, [(node("a", "new"), Action.RESUME), (b, Action.UNKNOWN)])
    assert mended.status == {at("a"): Status.PENDING, at("b"): Status.PENDING}


def test_a_new_node_below_a_failed_one_is_skipped_and_does_not_keep_the_run_open() -> None:
    world, a, b = World(), node("a"), node("b", "old", "a")
    before = standing((a, Status.FAILED, world.print_of(a)))
    found = decided(before, world, [(a, Action.RESUME), (b, Action.CREATE)])
    assert found.status[at("b")] is Status.SKIPPED


def test_a_node_that_a_person_cancelled_before_it_began_stays_so_until_it_is_edited() -> None:
    world, a = World(), node("a")
    before = standing((a, Status.SKIPPED, ""), cancelled={at("a")})
    assert decided(before, world, [(a, Action.CREATE)]).status == {at("a"): Status.SKIPPED}
    assert decided(before, world, [(node("a", "new"), Action.CREATE)]).status == {at("a"): Status.PENDING}


def test_what_was_made_stays_made_and_below_what_is_stale_everything_begins_anew() -> None:
    a, b = node("a"), node("b", "old", "a")
    world = World(a)
    world.made[at("b")] = world._record(b)
    before = standing((a, Status.DONE, world.print_of(a)), (b, Status.DONE, world.print_of(b)))
    same = decided(before, world, [(a, Action.NONE), (b, Action.NONE)])
    assert same.status == {at("a"): Status.DONE, at("b"): Status.DONE}
    assert not same.changes(before)
    stale = decided(before, world, [(node("a", "new"), Action.UPDATE), (b, Action.UNKNOWN)])
    assert stale.status == {at("a"): Status.PENDING, at("b"): Status.PENDING}


def test_nodes_that_waited_begin_when_people_have_finished_and_those_below_still_wait_for_others() -> None:
    world, a, b = World(), node("a"), node("b", "old", "a")
    reasons = Reason(Cause.PEOPLE, "ann: task 7")
    before = Standing(
        plan=Plan("demo", (planned(a, Action.WAIT, reasons), planned(b, Action.WAIT))), nodes={}, status={}, prints={}
    )
    found = decided(before, world, [(a, Action.CREATE), (b, Action.CREATE)])
    assert found.status == {at("a"): Status.PENDING, at("b"): Status.PENDING}
    out = decided(
        before, world, [(a, Action.UPDATE), (b, Action.CREATE)], unreachable={at("a"): Unreachable("no answer")}
    )
    assert out.status == {}
    assert [n.action for n in out.plan.nodes] == [Action.WAIT, Action.WAIT]


def test_what_was_made_after_the_world_was_looked_at_is_known_better_by_the_run() -> None:
    a, b = node("a"), node("b", "old", "a")
    world = World()
    job = job_of([(a, Action.CREATE), (b, Action.CREATE)], observations={at("a"): Observation(value=None)})
    ledger = world.ledger(job)
    ledger.add(world._record(a))
    # The look came before `a` was made: it saw live parts of something older.
    stale = replace(job, observations={at("a"): Observation(parts={"labels": "old"})}, gone={at("a"): "deleted"})
    ledger.renew(stale)
    assert ledger.is_made(at("a"), world.print_of(a))
    world.made[at("a")] = world._record(a)
    assert ledger.wanted(b)[1] == world.print_of(b)
