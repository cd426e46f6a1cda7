"""What there is on a server, and how what is missing is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from specrun.clients.cvat import catalogue
from specrun.errors import NodeError
from tests.doubles.cvat.server import CvatDouble
from tests.support.cvat_server import api_of, make_images, make_project, make_task


def test_a_project_is_found_by_name_and_by_id() -> None:
    with CvatDouble() as server, api_of(server) as api:
        number = make_project(api, "reef")
        assert catalogue.find_project(api, "reef").id == number
        assert catalogue.find_project(api, number).name == "reef"
        assert catalogue.find_project(api, str(number)).name == "reef"


def test_an_unknown_project_comes_with_the_nearest_names() -> None:
    with CvatDouble() as server, api_of(server) as api:
        make_project(api, "criobe_annotated")
        make_project(api, "plants")
        with pytest.raises(NodeError, match='there is no project "criobe_anotated"') as raised:
            catalogue.find_project(api, "criobe_anotated")
        assert raised.value.hint == 'Did you mean "criobe_annotated"?'


def test_an_unknown_id_comes_with_what_there_is() -> None:
    with CvatDouble() as server, api_of(server) as api:
        make_project(api, "plants")
        with pytest.raises(NodeError, match="there is no project 99") as raised:
            catalogue.find_project(api, 99)
        assert '"plants"' in (raised.value.hint or "")


def test_a_name_that_two_projects_have_is_answered_with_their_ids() -> None:
    with CvatDouble() as server, api_of(server) as api:
        ids = [make_project(api, "twin"), make_project(api, "twin")]
        with pytest.raises(NodeError, match='2 projects are called "twin"') as raised:
            catalogue.find_project(api, "twin")
        assert all(f"{number} (of admin" in (raised.value.hint or "") for number in ids)


def test_tasks_jobs_labels_and_frames_of_a_project(tmp_path: Path) -> None:
    with CvatDouble() as server, api_of(server) as api:
        project = make_project(api, labels=("coral", "sand"))
        task = make_task(api, project, make_images(tmp_path / "images", 3), tmp_path / "links")
        (found,) = catalogue.tasks_of(api, project)
        assert (found.id, found.size, found.has_data, found.project_name) == (task, 3, True, "reef")
        assert [t.id for t in catalogue.tasks_of(api, ids=[task, 99])] == [task]
        assert [t.id for t in catalogue.tasks_of(api, project, ids=[99])] == []
        (job,) = catalogue.jobs_of(api, project)
        assert (job.task_id, job.start_frame, job.stop_frame, job.stage) == (task, 0, 2, "annotation")
        assert catalogue.jobs_of(api, task_ids=[task]) == [job]
        assert [label.name for label in catalogue.labels_of(api, project_id=project)] == ["coral", "sand"]
        frames = catalogue.frames_of(api, task)
        assert frames.by_name == {"reef_0.png": 0, "reef_1.png": 1, "reef_2.png": 2}
        assert [(frame.width, frame.height) for frame in frames.frames] == [(32, 24), (33, 24), (34, 24)]


def test_a_skeleton_keeps_its_points_inside(tmp_path: Path) -> None:
    with CvatDouble() as server, api_of(server) as api:
        points = [{"name": name, "type": "points", "attributes": []} for name in ("TL", "BR")]
        svg = '<circle r="0.75" cx="20" cy="20" data-type="element node" data-element-id="1" data-node-id="1" '
        svg += 'data-label-name="TL"></circle><circle r="0.75" cx="80" cy="80" data-type="element node" '
        svg += 'data-element-id="2" data-node-id="2" data-label-name="BR"></circle>'
        label = {"name": "corner", "type": "skeleton", "attributes": [], "sublabels": points, "svg": svg}
        project = api.post("/api/projects", {"name": "grid", "labels": [label]})["id"]
        (found,) = catalogue.labels_of(api, project_id=project)
        assert [point.name for point in found.sublabels] == ["TL", "BR"]
        assert all(point.parent == found.id for point in found.sublabels)
        assert "circle" in found.svg


def test_what_specrun_made_is_found_by_its_mark() -> None:
    with CvatDouble() as server, api_of(server) as api:
        mark = "specrun:demo/cvat_projects.round1/0"
        made = api.post("/api/tasks", {"name": "a", "labels": [], "bug_tracker": mark})["id"]
        api.post("/api/tasks", {"name": "b", "labels": [], "bug_tracker": mark + "1"})
        assert [task.id for task in catalogue.tasks_marked(api, mark)] == [made]


@pytest.mark.parametrize(("version", "said"), [("2.73.0", False), ("2.81.3", False), ("2.40.1", True), ("3.0", True)])
def test_an_unknown_version_is_a_remark_and_no_failure(version: str, said: bool) -> None:
    with CvatDouble(version=version) as server, api_of(server) as api:
        warning = catalogue.version_warning(catalogue.server_version(api))
        assert (warning is not None) == said
        assert warning is None or "2.73 to 2.81" in warning


def test_the_servers_own_formats_are_listed() -> None:
    with CvatDouble() as server, api_of(server) as api:
        assert "COCO 1.0" in {one.name for one in catalogue.formats(api)}
