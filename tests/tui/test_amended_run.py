"""The dashboard on a run that goes on with another plan."""

from __future__ import annotations

import asyncio

import pytest

from specrun.model.event import NodeFailed, NodeQueued, NodeStarted, RunAmended, RunStopping
from specrun.model.plan import Action, Plan
from tests.support.dashboard import NOON, shown_dashboard
from tests.support.synthetic_run import coral_plan, planned, started

KEPT = ("sources.reef", "datasets.reef", "exports.yolo", "models.detector")


@pytest.mark.parametrize("tab", ["1", "2", "3", "4", "5"])
def test_nodes_come_and_go_under_every_tab_while_one_that_goes_is_selected(tab: str) -> None:
    nodes = [node for node in coral_plan() if str(node.address) in KEPT]
    amended = Plan("corals", (*nodes, planned("exports.added"), planned("models.added[size=n]"))).to_json()

    async def look() -> None:
        async with shown_dashboard() as shown:
            await shown.press("end", tab)
            await shown.give(RunAmended(plan=amended, queued=("exports.added", "models.added[size=n]"), time=NOON))
            assert "added" in shown.text
            assert "old_yolo" not in shown.text
            await shown.press("home", "end", "enter", tab)
            await shown.give(NodeStarted(address="exports.added", time=NOON))
            assert "exports" in shown.text

    asyncio.run(look())


def test_a_running_node_that_is_dropped_stays_until_it_has_ended() -> None:
    first = started(planned("models.going"), planned("models.staying"))
    amended = Plan("corals", (planned("models.staying", Action.UPDATE),)).to_json()

    async def look() -> None:
        async with shown_dashboard([first, NodeStarted(address="models.going", time=NOON)]) as shown:
            await shown.press("home", "down")
            await shown.give(RunAmended(plan=amended, queued=("models.staying",), time=NOON))
            assert " going" in shown.text
            await shown.give(NodeFailed(address="models.going", cause="not wanted", interrupted=True, time=NOON))
            assert " going" not in shown.text
            await shown.press("up", "down", "1", "2", "3")

    asyncio.run(look())


def test_a_node_that_begins_anew_is_queued_again_and_a_stopping_run_says_so() -> None:
    async def look() -> None:
        async with shown_dashboard([started(planned("models.one")), NodeStarted(address="models.one")]) as shown:
            plan = Plan("corals", (planned("models.one", Action.UPDATE),)).to_json()
            stopped = NodeFailed(address="models.one", cause="it begins anew", interrupted=True, time=NOON)
            await shown.give(RunAmended(plan=plan, time=NOON), stopped, NodeQueued(address="models.one", time=NOON))
            assert "1 stopped" not in shown.text
            await shown.give(RunStopping(time=NOON))
            assert "stopping" in shown.text

    asyncio.run(look())
