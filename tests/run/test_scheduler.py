"""The scheduler on little graphs."""

from __future__ import annotations

from specrun.model.address import Address, parse_address
from specrun.model.node import Input, Node, Resources
from specrun.run.scheduler import Capacity, Scheduler, Status

TWO = Capacity(max_parallel=2, cpus=8, gpus=1)


def node(name: str, *needs: str, resources: Resources = Resources(), exclusive: tuple[str, ...] = ()) -> Node:
    inputs = tuple(Input("from", at(n)) for n in needs)
    return Node(at(name), "steps.step", 1, {}, {}, inputs, resources=resources, exclusive=exclusive)


def at(name: str) -> Address:
    return parse_address(f"steps.{name}")


def names(nodes: list[Node]) -> list[str]:
    return [n.address.name for n in nodes]


def test_nodes_start_when_what_they_need_is_done() -> None:
    s = Scheduler([node("a"), node("b", "a"), node("c", "a", "b")], TWO)
    assert names(s.start()) == ["a"]
    assert s.start() == []
    s.settle(at("a"), Status.DONE)
    assert names(s.start()) == ["b"]
    s.settle(at("b"), Status.DONE)
    assert names(s.start()) == ["c"]
    s.settle(at("c"), Status.DONE)
    assert s.finished


def test_failed_node_skips_its_dependents_and_nothing_else() -> None:
    s = Scheduler([node("a"), node("b", "a"), node("c", "b"), node("d")], TWO)
    s.start()
    skipped = s.settle(at("a"), Status.FAILED)
    assert [k.address.name for k in skipped] == ["b", "c"]
    assert s.status[at("d")] is Status.RUNNING
    s.settle(at("d"), Status.DONE)
    assert s.finished


def test_no_more_than_max_parallel_run() -> None:
    s = Scheduler([node(n) for n in "abc"], TWO)
    assert names(s.start()) == ["a", "b"]


def test_gpu_nodes_share_the_gpus_and_others_pass_them() -> None:
    gpu = Resources(gpus=1)
    s = Scheduler([node("a", resources=gpu), node("b", resources=gpu), node("c")], TWO)
    assert names(s.start()) == ["a", "c"]
    assert s.blocked_by(s.nodes[at("b")]) == "a GPU"
    s.settle(at("a"), Status.DONE)
    assert names(s.start()) == ["b"]


def test_wanting_a_gpu_where_there_is_none_runs_on_the_cpu() -> None:
    s = Scheduler([node("a", resources=Resources(gpus=2))], Capacity(2, 2, gpus=0))
    assert names(s.start()) == ["a"]
    assert s.gpus_for(s.nodes[at("a")]) == 0


def test_a_node_larger_than_the_machine_runs_alone() -> None:
    s = Scheduler([node("a", resources=Resources(cpus=64)), node("b")], TWO)
    assert names(s.start()) == ["a"]
    s.settle(at("a"), Status.DONE)
    assert names(s.start()) == ["b"]


def test_a_lease_has_one_holder_at_a_time() -> None:
    s = Scheduler([node("a", exclusive=("db",)), node("b", exclusive=("db",)), node("c")], TWO)
    assert names(s.start()) == ["a", "c"]


def test_waiting_for_people_is_passed_down() -> None:
    s = Scheduler([node("a"), node("b", "a")], TWO)
    s.start()
    s.settle(at("a"), Status.WAITING)
    assert s.status[at("b")] is Status.WAITING
    assert s.finished


def test_a_retried_node_brings_back_what_was_skipped() -> None:
    s = Scheduler([node("a"), node("b", "a")], TWO)
    s.start()
    s.settle(at("a"), Status.FAILED)
    assert s.retry(at("a")) == [at("a"), at("b")]
    assert s.retry(at("a")) == []
    assert names(s.start()) == ["a"]
    s.settle(at("a"), Status.DONE)
    assert names(s.start()) == ["b"]


def test_a_prioritised_node_and_what_it_needs_go_first() -> None:
    s = Scheduler([node("a"), node("b"), node("c"), node("d", "c")], Capacity(1, 8))
    s.prioritise(at("d"))
    assert names(s.start()) == ["c"]
    s.settle(at("c"), Status.DONE)
    assert names(s.start()) == ["d"]


def test_a_paused_scheduler_starts_nothing() -> None:
    s = Scheduler([node("a")], TWO)
    s.paused = True
    assert s.start() == []


def test_stopping_gives_up_what_has_not_started() -> None:
    s = Scheduler([node("a"), node("b", "a")], TWO)
    s.start()
    assert s.skip_pending() == [at("b")]
    s.settle(at("a"), Status.FAILED)
    assert s.finished


def test_a_retry_leaves_what_another_failure_keeps_from_running() -> None:
    s = Scheduler([node("a"), node("b"), node("c", "a", "b")], TWO)
    s.start()
    s.settle(at("a"), Status.FAILED)
    s.settle(at("b"), Status.FAILED)
    assert s.retry(at("a"))
    s.start()
    s.settle(at("a"), Status.DONE)
    assert s.finished
    assert s.status[at("c")] is Status.SKIPPED


def test_an_amended_node_that_runs_is_pending_when_it_ends_and_keeps_its_resources_until_then() -> None:
    s = Scheduler([node("a"), node("b", "a"), node("c")], Capacity(max_parallel=1, cpus=8))
    s.start()
    s.amend([node("a"), node("b", "a"), node("c")], {at("a"): Status.RUNNING}, [at("a")])
    assert s.start() == []
    assert s.settle(at("a"), Status.STOPPED) == []
    assert names(s.start()) == ["a"]
    s.settle(at("a"), Status.DONE)
    assert names(s.start()) == ["b"]


def test_an_amended_run_is_not_finished_before_what_left_it_has_ended() -> None:
    s = Scheduler([node("a")], TWO)
    s.start()
    s.amend([], {}, [])
    assert not s.finished
    s.settle(at("a"), Status.STOPPED)
    assert s.finished
    assert s.status == {}


def test_stopping_forgets_what_was_to_begin_anew() -> None:
    s = Scheduler([node("a")], TWO)
    s.start()
    s.amend([node("a")], {}, [at("a")])
    s.skip_pending()
    s.settle(at("a"), Status.STOPPED)
    assert s.finished


def test_a_node_that_was_to_begin_anew_may_be_given_up() -> None:
    s = Scheduler([node("a"), node("b", "a")], TWO)
    s.start()
    s.amend([node("a"), node("b", "a")], {}, [at("a")])
    s.forgo(at("a"))
    assert [skip.address.name for skip in s.settle(at("a"), Status.STOPPED)] == ["b"]
    assert s.finished


def test_what_waits_for_people_is_put_back_with_what_waits_for_it() -> None:
    s = Scheduler([node("a"), node("b", "a")], TWO)
    s.start()
    s.settle(at("a"), Status.WAITING)
    assert s.finished
    assert s.revive_waiting() == [at("a"), at("b")]
    assert names(s.start()) == ["a"]
    s.settle(at("a"), Status.DONE)
    assert names(s.start()) == ["b"]
