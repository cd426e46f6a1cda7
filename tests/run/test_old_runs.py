"""Which folders of earlier runs go."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from specrun.model.event import NodeFinished
from specrun.model.state import RunRecord
from specrun.run.old_runs import runs_to_forget
from specrun.store.paths import ProjectPaths
from specrun.store.state import State
from tests.support.jobs import apply, plan_job, python, step

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def ran(name: str, days_ago: float, *, ended: bool = True) -> RunRecord:
    at = (NOW - timedelta(days=days_ago)).isoformat()
    return RunRecord(name, at, at if ended else None, "done" if ended else "running", 0, 1)


def test_the_last_ones_the_young_ones_the_needed_ones_and_one_that_goes_on_stay() -> None:
    runs = [ran("last", 40), ran("young", 29), ran("old", 41), ran("needed", 50), ran("on", 60, ended=False)]
    assert runs_to_forget(runs, ["needed"], keep=1, now=NOW) == ["old"]
    assert runs_to_forget(runs, ["needed"], keep=3, now=NOW) == []


def test_folders_of_old_runs_go_when_a_run_begins(tmp_path: Path) -> None:
    paths = ProjectPaths(tmp_path, tmp_path / "outputs")
    first = plan_job(tmp_path, [step("a", python("pass"))])
    assert apply(tmp_path, [step("a", python("pass"))]).code == 0
    made_by = next(p.name for p in paths.runs.iterdir())
    with State.open(paths.state_db) as state:
        for name in ("20200101-000000-aaaa", "20200101-000000-bbbb"):
            (paths.run(name) / "steps/a").mkdir(parents=True)
            state.put_run(replace(ran(name, 0), started_at="2020-01-01T00:00:00+00:00"))
        state.put_run(replace(state.runs()[0], started_at="2020-01-02T00:00:00+00:00"))
    from specrun.run.supervisor import Supervision, supervise

    events: list[object] = []
    job = plan_job(tmp_path, [*first.nodes, step("b", python("pass"))])
    job = replace(job, settings={**job.settings, "runs": {"keep": 1}})
    supervise(job, Supervision(listeners=[events.append]))
    assert any(isinstance(event, NodeFinished) for event in events)
    assert sorted(os.listdir(paths.runs)) == sorted([made_by, job.run])
