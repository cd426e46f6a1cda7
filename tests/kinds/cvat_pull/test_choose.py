from __future__ import annotations

from typing import Any

import pytest

from specrun.clients.cvat.things import Job, Task
from specrun.kinds.cvat_pull.choose import Choice, Stand, choose
from specrun.kinds.cvat_pull.spec import CvatSourceSpec, required


def task(id: int = 1, **more: Any) -> Task:
    return Task(id=id, **{"name": "dive", "subset": "train", "status": "completed", "size": 4, **more})


def job(id: int, **more: Any) -> Job:
    return Job(id=id, **{"task_id": 1, "stage": "acceptance", "state": "completed", "status": "completed", **more})


def chosen(of: Task, *jobs: Job, **config: Any) -> Choice:
    spec = CvatSourceSpec.model_validate({"connection": "lab", "project": "a", **config})
    (choice,) = choose(spec, [of], jobs)
    return choice


@pytest.mark.parametrize(
    ("require", "wanted", "need"),
    [
        ("any", 5, 1),
        ("all", 5, 5),
        ("all", 0, 1),
        (3, 5, 3),
        ("80%", 5, 4),
        ("80%", 6, 5),
        ("33.4%", 3, 2),
        ("1%", 0, 1),
    ],
)
def test_how_many_tasks_are_required(require: str | int, wanted: int, need: int) -> None:
    assert required(require, wanted) == need


def test_a_task_is_ready_when_each_job_is_accepted_and_completed() -> None:
    assert chosen(task(), job(1), job(2)).stand is Stand.READY
    waiting = chosen(task(status="validation"), job(1), job(2, state="new", assignee="ada"))
    assert waiting.stand is Stand.WAITING
    assert waiting.reason == "1 of 2 jobs ready; job 2 is new at stage acceptance, ada"


def test_jobs_can_be_ready_at_another_stage() -> None:
    done = job(1, stage="annotation", state="completed", status="annotation")
    ready = {"status": None, "stage": "annotation", "state": "completed"}
    assert chosen(task(status="annotation"), done, ready=ready).stand is Stand.READY
    assert chosen(task(status="annotation"), done).stand is Stand.WAITING


def test_ground_truth_jobs_and_replicas_never_count() -> None:
    choice = chosen(task(), job(1), job(2, type="ground_truth", state="new"), job(3, type="consensus_replica"))
    assert choice.stand is Stand.READY
    assert [found.id for found in choice.jobs] == [1]


def test_a_job_without_an_assignee_belongs_to_the_user_of_its_task() -> None:
    jobs = (job(1, assignee="bob"), job(2, start_frame=2))
    choice = chosen(task(assignee="ada"), *jobs, select={"assignee": "ada"})
    assert [found.id for found in choice.jobs] == [2]
    assert not choice.whole
    nobody = chosen(task(), *jobs, select={"assignee": "eve"})
    assert (nobody.stand, nobody.reason) == (Stand.OUT, "none of its jobs is selected")


def test_usual_subsets_become_splits_and_named_ones_are_exact() -> None:
    assert chosen(task(subset="Validation"), job(1)).split == "val"
    exact = chosen(task(subset="Validation"), job(1), select={"subsets": {"validation": "val"}})
    assert exact.reason == 'its subset "Validation" is not mapped by select.subsets'


def test_a_task_without_images_is_owed_and_3d_data_is_left_out() -> None:
    assert chosen(task(size=0)).reason == "it has no images yet"
    assert chosen(task(dimension="3d"), job(1)).stand is Stand.OUT


def test_a_share_is_counted_without_the_rounding_of_binary_fractions() -> None:
    assert required("16.1%", 1000) == 161


def test_a_job_that_went_on_to_a_later_stage_is_as_ready_as_before() -> None:
    ready = {"status": None, "stage": "validation", "state": "completed"}
    further = job(1, stage="acceptance", state="new", status="validation")
    assert chosen(task(status="validation"), further, ready=ready).stand is Stand.READY
    behind = job(1, stage="annotation", state="completed", status="annotation")
    assert chosen(task(status="annotation"), behind, ready=ready).stand is Stand.WAITING


def test_a_task_that_went_on_to_a_later_status_is_as_ready_as_before() -> None:
    assert chosen(task(), job(1), ready={"status": "validation"}).stand is Stand.READY


def test_a_stage_that_this_version_does_not_know_is_not_ready() -> None:
    unknown = job(1, stage="archived", state="completed")
    ready = {"status": None, "stage": "validation"}
    assert chosen(task(status="archived"), unknown, ready=ready).stand is Stand.WAITING
