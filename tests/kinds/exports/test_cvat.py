from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from specrun.errors import NodeError
from specrun.kinds.exports.cvat import CvatExport
from specrun.model.address import parse_address
from specrun.model.artifact import Outputs
from specrun.model.state import Observation
from specrun.model.work import Made
from tests.doubles.cvat.server import CvatDouble
from tests.support.context import make_context
from tests.support.cvat_tasks import add_project, add_task
from tests.support.look import make_look

ADDRESS = "exports.raw"
XML = "CVAT for images 1.1"


@pytest.fixture
def server() -> Iterator[CvatDouble]:
    with CvatDouble(anonymous_per_minute=None) as double:
        yield double
        assert not double.errors, "\n".join(double.errors)


def declarations(server: CvatDouble) -> dict[str, Any]:
    secret = {"env": "CVAT_PASSWORD"}
    return {"connections.lab": {"url": server.url, "username": server.user, "password": secret}}


def source(server: CvatDouble, project: int, **standings: str) -> Made:
    """As sources.cvat tells of what it pulled. standings: of tasks by name; default ready."""
    tasks = {
        str(task.id): {
            "name": task.name,
            "updated": task.updated_date.isoformat(),
            "standing": standings.get(task.name, "ready"),
        }
        for task in server.state.tasks_of(project)
    }
    facts = {"tasks": tasks, "project_id": project, "project_name": "reef"}
    return Made(parse_address("sources.reef"), "sources.cvat", Path(), "d", facts=facts)


def make(server: CvatDouble, root: Path, made: Made, previous: Path | None = None, **config: Any) -> Outputs:
    spec = CvatExport.Spec.model_validate({"from": "sources.reef", "format": XML, **config})
    root.mkdir(exist_ok=True)
    context = make_context(
        root,
        ADDRESS,
        previous=previous,
        made={"from": [made]},
        declarations=declarations(server),
        secrets={'{"env":"CVAT_PASSWORD"}': server.password},
    )
    return CvatExport().run(spec, context)


def staging(root: Path) -> Path:
    return root / "outputs" / ".staging" / "exports" / "raw" / "f"


def exports_asked(server: CvatDouble) -> list[str]:
    return [path for method, path, _ in server.requests_seen if method == "POST" and "export" in path]


def test_each_task_becomes_an_archive_of_its_own(server: CvatDouble, tmp_path: Path) -> None:
    project = add_project(server)
    first, second = add_task(server, project, "a/b"), add_task(server, project, "c")
    made = make(server, tmp_path, source(server, project))
    assert made.facts["archives"] == {str(first): f"{first}_a_b.zip", str(second): f"{second}_c.zip"}
    with zipfile.ZipFile(staging(tmp_path) / f"{first}_a_b.zip") as archive:
        assert "annotations.xml" in archive.namelist()


def test_a_task_that_did_not_change_is_not_exported_again(server: CvatDouble, tmp_path: Path) -> None:
    project = add_project(server)
    still, edited = add_task(server, project, "still"), add_task(server, project, "edited")
    make(server, tmp_path / "1", source(server, project))
    server.person.draw(edited, 0, {"label": "coral", "points": [0, 0, 4, 4]})
    since = len(exports_asked(server))
    make(server, tmp_path / "2", source(server, project), staging(tmp_path / "1"))
    assert exports_asked(server)[since:] == [f"/api/tasks/{edited}/dataset/export"]
    name = f"{still}_still.zip"
    assert (staging(tmp_path / "2") / name).samefile(staging(tmp_path / "1") / name)


def test_a_reopened_task_keeps_the_archive_of_its_finished_state(server: CvatDouble, tmp_path: Path) -> None:
    project = add_project(server)
    task, other = add_task(server, project, "open"), add_task(server, project, "other")
    make(server, tmp_path / "1", source(server, project))
    server.person.draw(task, 0, {"label": "coral", "points": [0, 0, 4, 4]})
    made = make(server, tmp_path / "2", source(server, project, open="reopened"), staging(tmp_path / "1"))
    assert made.facts["tasks"] == 2
    made = make(server, tmp_path / "3", source(server, project, open="reopened"))
    assert made.facts["archives"] == {str(other): f"{other}_other.zip"}
    assert made.notes == (f'task {task} "open" is not ready any more and was never exported: left out',)


def test_backups_and_unpacked_formats(server: CvatDouble, tmp_path: Path) -> None:
    project = add_project(server)
    task = add_task(server, project, "a")
    make(server, tmp_path / "1", source(server, project), format="backup")
    with zipfile.ZipFile(staging(tmp_path / "1") / f"{task}_a.zip") as archive:
        assert "task.json" in archive.namelist()
    make(server, tmp_path / "2", source(server, project), unpack=True)
    assert (staging(tmp_path / "2") / f"{task}_a" / "annotations.xml").is_file()
    assert not list(staging(tmp_path / "2").glob("*.zip"))


def test_a_whole_project_in_one_archive(server: CvatDouble, tmp_path: Path) -> None:
    project = add_project(server)
    add_task(server, project, "a")
    made = make(server, tmp_path, source(server, project), per="project")
    assert made.facts["archives"] == {"project": f"project_{project}_reef.zip"}


def test_the_plan_names_formats_that_are_near_an_unknown_one(server: CvatDouble, tmp_path: Path) -> None:
    look = make_look(tmp_path, ADDRESS, declarations=declarations(server), environ={"CVAT_PASSWORD": server.password})
    spec = CvatExport.Spec.model_validate({"from": "sources.reef", "format": "Segmentation masks"})
    with pytest.raises(NodeError, match=r'exports no format "Segmentation masks".*"Segmentation mask 1.1"'):
        anyio.run(CvatExport().observe, spec, look)
    spec = CvatExport.Spec.model_validate({"from": "sources.reef", "format": XML})
    assert anyio.run(CvatExport().observe, spec, look).value is None


def test_what_specrun_made_is_observed_by_the_dates_of_its_tasks(server: CvatDouble, tmp_path: Path) -> None:
    task = add_task(server, add_project(server), "a")
    spec = CvatExport.Spec.model_validate({"from": "cvat_projects.round1", "format": "backup"})

    def observe(recorded: Any = None) -> Observation:
        look = make_look(
            tmp_path,
            ADDRESS,
            observed=recorded,
            declarations=declarations(server),
            environ={"CVAT_PASSWORD": server.password},
            facts={"cvat_projects.round1": {"task_ids": [task]}},
        )
        return anyio.run(CvatExport().observe, spec, look)

    before = observe().value
    assert observe(before).differences == ()
    server.person.draw(task, 0, {"label": "coral", "points": [0, 0, 4, 4]})
    assert observe(before).differences == (f"task {task} was edited",)
