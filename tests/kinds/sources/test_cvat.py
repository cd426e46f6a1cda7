from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from specrun.errors import NodeError, SpecError, WaitingForPeople
from specrun.formats.samples import load_samples
from specrun.kinds.registry import REGISTRY
from specrun.kinds.sources.cvat import CvatSource
from specrun.model.address import parse_address
from specrun.model.artifact import Manifest, Outputs
from specrun.model.digest import file_digest
from specrun.model.labels import Box, Keypoints, Mask, Sample, Tag, Visibility
from specrun.model.state import Observation
from specrun.model.work import Made
from specrun.run.context import WorkerContext
from specrun.spec.project import load_project
from specrun.store.manifest import write_manifest
from tests.doubles.cvat.server import CvatDouble
from tests.support.context import make_context
from tests.support.cvat_sending import Round, polygons, spec_of, square
from tests.support.cvat_tasks import add_project, add_task, picture
from tests.support.look import make_look

ADDRESS = "sources.reef"


@pytest.fixture
def server() -> Iterator[CvatDouble]:
    with CvatDouble(anonymous_per_minute=None) as double:
        yield double
        assert not double.errors, "\n".join(double.errors)


class Source:
    """One node, observed and made again and again as a project would."""

    def __init__(self, server: CvatDouble, root: Path, **config: Any) -> None:
        self.server = server
        self.root = root
        self.config = {"connection": "lab", "project": "reef", **config}
        self.observation: Any = None
        self.outputs: Outputs | None = None
        self.runs = 0
        self.organization: str | None = None
        self.facts: dict[str, dict[str, Any]] = {}
        """Of other nodes."""

    @property
    def output(self) -> Path:
        return self.root / "outputs" / "sources" / "reef"

    @property
    def declarations(self) -> dict[str, Any]:
        return {
            "connections.lab": {
                "url": self.server.url,
                "username": self.server.user,
                "password": {"env": "CVAT_PASSWORD"},
                "organization": self.organization,
            }
        }

    def spec(self) -> Any:
        return CvatSource.Spec.model_validate(self.config)

    def observe(self) -> Observation:
        look = make_look(
            self.root,
            ADDRESS,
            observed=self.observation,
            declarations=self.declarations,
            environ={"CVAT_PASSWORD": self.server.password},
            facts=self.facts,
        )
        return anyio.run(CvatSource().observe, self.spec(), look)

    def context(self) -> WorkerContext:
        made = [
            Made(parse_address(address), "cvat_projects.cvat_project", self.root, "d", facts=facts)
            for address, facts in self.facts.items()
        ]
        return make_context(
            self.root,
            ADDRESS,
            made={"project": made},
            previous=self.output if self.output.exists() else None,
            declarations=self.declarations,
            secrets={'{"env":"CVAT_PASSWORD"}': self.server.password},
        )

    def run(self, context: WorkerContext | None = None) -> dict[str, Sample]:
        """Make it and publish it; the samples by key."""
        ctx = context or self.context()
        self.outputs = CvatSource().run(self.spec(), ctx)
        self.observation = self.outputs.observation
        write_manifest(ctx.staging, _manifest(self.outputs))
        self.runs += 1
        if self.output.exists():
            self.output.rename(self.root / f"trash{self.runs}")
        self.output.parent.mkdir(parents=True, exist_ok=True)
        ctx.staging.rename(self.output)
        return {sample.key: sample for sample in load_samples(self.output / "samples.jsonl", self.root)}


def _manifest(outputs: Outputs) -> Manifest:
    return Manifest(
        address=ADDRESS,
        kind="sources.cvat",
        kind_version=1,
        fingerprint="f",
        inputs={},
        versions={},
        seed=0,
        files=(),
        parts=outputs.parts,
        facts=outputs.facts,
        notes=outputs.notes,
        artifacts=outputs.artifacts,
        run="r",
        made_at="2026-01-01T00:00:00Z",
        observation=outputs.observation,
    )


def asked(server: CvatDouble, since: int) -> list[str]:
    """Paths asked for since then, without the sign-in."""
    return [path for _, path, _ in server.requests_seen[since:] if "/auth/" not in path]


def box(*points: float) -> dict[str, Any]:
    return {"label": "coral", "type": "rectangle", "points": list(points)}


def test_a_finished_task_becomes_samples_with_images_and_fields(server: CvatDouble, tmp_path: Path) -> None:
    task = add_task(server, add_project(server), "dive", 2)
    server.person.draw(task, 1, box(1, 2, 5, 8))
    server.person.finish_task(task)
    source = Source(server, tmp_path)
    samples = source.run()
    assert list(samples) == [f"reef/{task}/000000", f"reef/{task}/000001"]
    sample = samples[f"reef/{task}/000001"]
    assert sample.media.is_file()
    assert (sample.name, sample.size_wh, sample.split, sample.annotated) == ("img_001.jpg", (16, 12), "train", True)
    (label,) = sample.labels
    assert isinstance(label, Box)
    assert (label.x, label.y, label.width, label.height) == (1, 2, 4, 6)
    fields = sample.fields
    assert (fields["cvat_task_name"], fields["cvat_project_name"], fields["cvat_subset"]) == ("dive", "reef", "train")
    assert (fields["cvat_task_id"], fields["cvat_frame"]) == (task, 1)
    assert source.outputs is not None
    assert source.outputs.facts["labels"] == {"coral": 1, "fish": 0}


def test_an_unchanged_project_is_not_stale_and_costs_listings_only(server: CvatDouble, tmp_path: Path) -> None:
    project = add_project(server)
    for name in ("a", "b", "c"):
        server.person.finish_task(add_task(server, project, name))
    source = Source(server, tmp_path)
    source.run()
    since = len(server.requests_seen)
    seen = source.observe()
    assert seen.value == source.observation
    assert seen.differences == ()
    assert len(asked(server, since)) <= 4
    since = len(server.requests_seen)
    source.run()
    assert not [path for path in asked(server, since) if "annotations" in path or "data" in path]


def test_drawing_in_a_task_that_is_not_ready_makes_nothing_stale(server: CvatDouble, tmp_path: Path) -> None:
    project = add_project(server)
    done, open_task = add_task(server, project, "done"), add_task(server, project, "open")
    server.person.finish_task(done)
    source = Source(server, tmp_path)
    source.run()
    server.person.draw(open_task, 0, box(0, 0, 4, 4))
    seen = source.observe()
    assert seen.value == source.observation
    assert any("open" in note and "0 of 1 jobs ready" in note for note in seen.notes)


def test_an_edited_task_is_asked_again_but_not_for_its_images(server: CvatDouble, tmp_path: Path) -> None:
    project = add_project(server)
    still, edited = add_task(server, project, "still"), add_task(server, project, "edited")
    for task in (still, edited):
        server.person.finish_task(task)
    source = Source(server, tmp_path)
    source.run()
    server.person.draw(edited, 0, box(0, 0, 4, 4))
    assert source.observe().differences == (f'task {edited} "edited" was edited',)
    since = len(server.requests_seen)
    before = (source.output / "media" / str(edited) / "img_000.jpg").stat().st_ino
    samples = source.run()
    assert len(samples[f"reef/{edited}/000000"].labels) == 1
    paths = asked(server, since)
    assert [path for path in paths if "annotations" in path] == [f"/api/tasks/{edited}/annotations/"]
    assert not [path for path in paths if path.rstrip("/").endswith("/data")]
    assert (source.output / "media" / str(edited) / "img_000.jpg").stat().st_ino == before


def test_a_job_that_is_given_to_somebody_changes_the_fields(server: CvatDouble, tmp_path: Path) -> None:
    ada = server.add_user("ada", "x")
    task = add_task(server, add_project(server), "dive", 1)
    server.person.finish_task(task)
    source = Source(server, tmp_path)
    source.run()
    (job,) = server.state.jobs_of(task)
    server.person.change_job(job.id, assignee=ada.id)
    (line,) = source.observe().differences
    assert line in (f'task {task} "dive" has a job that was changed', f'task {task} "dive" was edited')
    (sample,) = source.run().values()
    assert sample.fields["cvat_assignee"] == "ada"


def test_frames_deleted_after_a_pull_go(server: CvatDouble, tmp_path: Path) -> None:
    task = add_task(server, add_project(server), "dive", 3)
    server.person.finish_task(task)
    source = Source(server, tmp_path)
    source.run()
    server.person.delete_frames(task, 2)
    assert source.observe().differences
    assert len(source.run()) == 2
    assert not (source.output / "media" / str(task) / "img_002.jpg").exists()


def test_a_reopened_task_is_told_and_its_finished_state_kept(server: CvatDouble, tmp_path: Path) -> None:
    task = add_task(server, add_project(server), "dive")
    shape = server.person.draw(task, 0, box(0, 0, 4, 4))
    server.person.finish_task(task)
    source = Source(server, tmp_path)
    source.run()
    server.person.reopen_job(server.state.jobs_of(task)[0].id)
    server.person.edit_shape(shape["id"], points=[0, 0, 9, 9])
    seen = source.observe()
    assert seen.value == source.observation
    assert "was reopened" in seen.notes[0]
    (label,) = source.run()[f"reef/{task}/000000"].labels
    assert isinstance(label, Box)
    assert label.width == 4


def test_tasks_that_the_organization_hides_are_not_called_deleted(server: CvatDouble, tmp_path: Path) -> None:
    project = add_project(server)
    task = add_task(server, project, "dive")
    server.person.finish_task(task)
    source = Source(server, tmp_path, project=project, deleted="drop")
    source.run()
    admin = next(user for user in server.state.users.values() if user.username == server.user)
    server.add_organization("psa", admin)
    source.organization = "psa"
    with pytest.raises(NodeError, match="has 1 tasks, and the server lists 0 of them") as refused:
        source.observe()
    assert "organization" in str(refused.value.hint)


def test_a_task_that_moved_to_another_project_is_out_and_not_deleted(server: CvatDouble, tmp_path: Path) -> None:
    project, other = add_project(server), add_project(server, "other")
    gone, stays = add_task(server, project, "gone"), add_task(server, project, "stays")
    for task in (gone, stays):
        server.person.finish_task(task)
    source = Source(server, tmp_path)
    source.run()
    server.state.tasks[gone].project_id = other
    for job in server.state.jobs_of(gone):
        assert job.task_id == gone
    assert f"task {gone} is out now: it is not in the project any more" in source.observe().differences
    assert {sample.fields["cvat_task_id"] for sample in source.run().values()} == {stays}


def test_a_deleted_task_is_told_and_its_data_kept(server: CvatDouble, tmp_path: Path) -> None:
    project = add_project(server)
    gone, stays = add_task(server, project, "gone"), add_task(server, project, "stays")
    for task in (gone, stays):
        server.person.finish_task(task)
    source = Source(server, tmp_path)
    source.run()
    server.person.delete_task(gone)
    seen = source.observe()
    assert seen.value == source.observation
    assert seen.notes == (f"task {gone} was deleted in CVAT; its data is kept",)
    assert len(source.run()) == 4
    assert source.outputs is not None
    facts: Any = source.outputs.facts
    assert facts["tasks"][str(gone)]["standing"] == "deleted"
    source.config["deleted"] = "drop"
    assert source.observe().differences == (f"task {gone} was deleted in CVAT; its data goes",)
    assert {sample.fields["cvat_task_id"] for sample in source.run().values()} == {stays}


def test_another_project_keeps_nothing_of_the_one_before(server: CvatDouble, tmp_path: Path) -> None:
    for name in ("reef", "lagoon"):
        server.person.finish_task(add_task(server, add_project(server, name), name, 1))
    source = Source(server, tmp_path)
    source.run()
    source.config["project"] = "lagoon"
    assert source.observe().notes == ()
    assert [sample.fields["cvat_task_name"] for sample in source.run().values()] == ["lagoon"]


def test_single_tasks_are_pulled_without_their_project(server: CvatDouble, tmp_path: Path) -> None:
    project = add_project(server)
    wanted, other = add_task(server, project, "wanted", 1), add_task(server, project, "other", 1)
    for task in (wanted, other):
        server.person.finish_task(task)
    source = Source(server, tmp_path, project=None, tasks=[wanted, other])
    assert len(source.run()) == 2
    source.config["tasks"] = [wanted]
    assert source.observe().differences == (f"task {other} is out now: it is not selected",)
    assert [sample.fields["cvat_task_id"] for sample in source.run().values()] == [wanted]
    source.config["tasks"] = [wanted, 999]
    with pytest.raises(NodeError, match="there is no task 999"):
        source.observe()


def test_a_renamed_label_renames_the_labels_without_asking_for_them(server: CvatDouble, tmp_path: Path) -> None:
    task = add_task(server, add_project(server), "dive", 1)
    server.person.draw(task, 0, box(0, 0, 4, 4))
    server.person.finish_task(task)
    source = Source(server, tmp_path)
    source.run()
    server.person.label(task, "coral").name = "polyp"
    assert source.observe().differences == ('label "polyp" was changed',)
    since = len(server.requests_seen)
    (sample,) = source.run().values()
    assert [label.label for label in sample.labels] == ["polyp"]
    assert not [path for path in asked(server, since) if "annotations" in path]
    assert source.observe().value == source.observation


def test_too_few_finished_tasks_are_waited_for_with_links(server: CvatDouble, tmp_path: Path) -> None:
    project = add_project(server)
    done, owed = add_task(server, project, "done"), add_task(server, project, "owed")
    server.person.finish_task(done)
    source = Source(server, tmp_path, require="all")
    (job,) = server.state.jobs_of(owed)
    missing = source.observe().missing
    assert missing[0] == "1 of 2 tasks are ready, required: all"
    assert missing[1].endswith(f"{server.url}/tasks/{owed}/jobs/{job.id}")
    with pytest.raises(WaitingForPeople):
        source.run()
    source.config["require"] = "50%"
    assert source.observe().missing == ()


def test_what_to_do_is_said_once_and_for_the_case(server: CvatDouble, tmp_path: Path) -> None:
    project = add_project(server)
    tasks = [add_task(server, project, name) for name in ("a", "b")]
    said = "when a job is finished, set its stage to acceptance and its state to completed in CVAT"
    assert Source(server, tmp_path).observe().missing[3:] == (said,)
    server.state.jobs_of(tasks[0])[0].state = "completed"
    early = "; or let jobs count without a review: ready: {stage: annotation, state: completed, status: null}"
    assert Source(server, tmp_path).observe().missing[-1] == said + early
    reviewed = Source(server, tmp_path, ready={"status": None, "stage": "validation"})
    assert reviewed.observe().missing[-1] == "when a job is finished, set its stage to validation in CVAT"


def test_while_it_waits_the_plan_tells_what_was_edited_meanwhile(server: CvatDouble, tmp_path: Path) -> None:
    project = add_project(server)
    edited, reopened = add_task(server, project, "edited", 1), add_task(server, project, "reopened", 1)
    for task in (edited, reopened):
        server.person.finish_task(task)
    source = Source(server, tmp_path, require="all")
    assert f'task {edited} "edited" is in: 1 frame, new' in source.observe().notes
    source.run()
    server.person.reopen_job(server.state.jobs_of(reopened)[0].id)
    server.person.draw(edited, 0, box(0, 0, 4, 4))
    seen = source.observe()
    assert seen.missing
    assert f'task {edited} "edited" was edited' in seen.notes
    assert any("was reopened" in note for note in seen.notes)


def test_a_subset_that_is_not_mapped_is_named(server: CvatDouble, tmp_path: Path) -> None:
    project = add_project(server)
    for name, subset in (("a", "train"), ("b", "holdout"), ("c", "")):
        server.person.finish_task(add_task(server, project, name, subset=subset))
    source = Source(server, tmp_path)
    notes = " ".join(source.observe().notes)
    assert '"b" is out: its subset "holdout" is not mapped' in notes
    assert '"c" is out: it has no subset' in notes
    source.config["select"] = {"subsets": {"holdout": "test", "": None}}
    assert {sample.split for sample in source.run().values()} == {"test", None}


def test_a_project_none_of_whose_tasks_is_selected_is_an_error(server: CvatDouble, tmp_path: Path) -> None:
    server.person.finish_task(add_task(server, add_project(server), "a", subset=""))
    with pytest.raises(NodeError, match=r"none of its 1 tasks is selected.*no subset"):
        Source(server, tmp_path).observe()


def test_one_job_of_a_task_is_pulled_alone(server: CvatDouble, tmp_path: Path) -> None:
    task = add_task(server, add_project(server), "dive", 4, segment_size=2)
    first, _ = server.state.jobs_of(task)
    server.person.finish_job(first.id)
    source = Source(server, tmp_path, select={"jobs": [first.id]})
    assert [sample.fields["cvat_frame"] for sample in source.run().values()] == [0, 1]
    server.person.draw(task, 3, box(0, 0, 2, 2))
    assert source.observe().value == source.observation


def test_deleted_frames_are_no_samples(server: CvatDouble, tmp_path: Path) -> None:
    task = add_task(server, add_project(server), "dive", 3)
    server.person.delete_frames(task, 1)
    server.person.finish_task(task)
    assert [sample.fields["cvat_frame"] for sample in Source(server, tmp_path).run().values()] == [0, 2]


def test_a_video_has_frames_numbered_as_in_the_video_and_interpolated_tracks(
    server: CvatDouble, tmp_path: Path
) -> None:
    images = {f"{number}.png": picture((16, 12), number) for number in range(5)}
    task = add_task(server, add_project(server), "clip", images, chunk_size=2)
    media = server.state.tasks[task].media
    assert media is not None
    media.mode, media.frame_filter, media.start_frame, media.stop_frame = "interpolation", "step=3", 10, 22
    for frame in media.frames:
        frame.name = "clip.mp4"
    keyframe = {"type": "rectangle", "frame": 1, "points": [0, 0, 4, 4], "outside": False}
    last = {**keyframe, "frame": 3, "points": [2, 2, 6, 6], "outside": True}
    server.person.track(task, {"label": "fish", "frame": 1, "shapes": [keyframe, last]})
    server.person.finish_task(task)
    samples = list(Source(server, tmp_path).run().values())
    assert [Path(sample.name).stem for sample in samples] == [f"frame_{n:06d}" for n in (10, 13, 16, 19, 22)]
    assert [len(sample.labels) for sample in samples] == [0, 1, 1, 0, 0]
    (moved,) = samples[2].labels
    assert isinstance(moved, Box)
    assert (moved.x, moved.y) == (1, 1)
    assert len({sample.digest for sample in samples}) == 5


def test_a_skeleton_and_a_mask_come_whole(server: CvatDouble, tmp_path: Path) -> None:
    skeleton = {
        "name": "body",
        "type": "skeleton",
        "attributes": [],
        "sublabels": [{"name": name, "type": "points", "attributes": []} for name in ("head", "tail")],
        "svg": '<circle r="1" cx="20" cy="20" data-type="element node" data-element-id="1" data-node-id="1" '
        'data-label-name="head"></circle><circle r="1" cx="80" cy="80" data-type="element node" '
        'data-element-id="2" data-node-id="2" data-label-name="tail"></circle>',
    }
    labels: list[dict[str, Any]] = [skeleton, {"name": "area", "type": "mask", "attributes": []}]
    task = add_task(server, add_project(server, labels=labels), "dive", 1)
    names = {name: server.person.label(task, name).id for name in ("head", "tail")}
    elements = [
        {"type": "points", "label_id": names["tail"], "frame": 0, "points": [5, 6], "occluded": True},
        {"type": "points", "label_id": names["head"], "frame": 0, "points": [1, 2], "outside": True},
    ]
    server.person.draw(task, 0, {"label": "body", "type": "skeleton", "points": [], "elements": elements})
    server.person.draw(task, 0, {"label": "area", "type": "mask", "points": [1, 3, 2, 3, 3, 4]})
    server.person.tag(task, 0, "area")
    server.person.finish_task(task)
    (sample,) = Source(server, tmp_path).run().values()
    tag, body, area = sample.labels
    assert isinstance(tag, Tag)
    assert isinstance(body, Keypoints)
    assert (body.names, body.visibility) == (("head", "tail"), (Visibility.ABSENT, Visibility.OCCLUDED))
    assert isinstance(area, Mask)
    assert (area.left, area.top, area.bitmap.tolist()) == (2, 3, [[False, True], [True, True]])


def test_what_specrun_made_is_waited_for_until_it_is_there(server: CvatDouble, tmp_path: Path) -> None:
    project = add_project(server)
    mine, other = add_task(server, project, "mine", 1, subset=""), add_task(server, project, "other", 1)
    server.person.finish_task(other)
    source = Source(server, tmp_path, **{"from": "round1", "connection": None, "project": None})
    assert source.observe() == Observation()
    source.facts = {"cvat_projects.round1": {"project_id": project, "task_ids": [mine]}}
    assert "0 of 1 task is ready" in source.observe().missing[0]
    with pytest.raises(WaitingForPeople):
        source.run()
    server.person.finish_task(mine)
    (sample,) = source.run().values()
    assert (sample.fields["cvat_task_id"], sample.split) == (mine, None)
    assert source.observe().value == source.observation


def test_names_from_the_server_cannot_leave_the_folder(server: CvatDouble, tmp_path: Path) -> None:
    images = {
        "../../evil.jpg": picture((8, 8), 1),
        "/etc/pass\u202ewd.jpg": picture((8, 8), 2),
        "a/img.jpg": picture((8, 8), 3),
        "A/IMG.jpg": picture((8, 8), 4),
    }
    task = add_task(server, add_project(server), "dive", images)
    server.person.finish_task(task)
    source = Source(server, tmp_path)
    samples = list(source.run().values())
    assert len({sample.name.casefold() for sample in samples}) == 4
    for sample in samples:
        assert sample.media.resolve().is_relative_to(source.output / "media" / str(task))
    assert [sample.media.read_bytes() for sample in samples] == list(images.values())


def test_equal_names_in_two_tasks_stay_two_images(server: CvatDouble, tmp_path: Path) -> None:
    project = add_project(server)
    for name, shade in (("a", 1), ("b", 200)):
        server.person.finish_task(add_task(server, project, name, {"same.jpg": picture((8, 8), shade)}))
    samples = list(Source(server, tmp_path).run().values())
    assert [sample.name for sample in samples] == ["same.jpg", "same.jpg"]
    assert samples[0].digest != samples[1].digest


def test_an_image_with_exif_orientation_comes_upright(server: CvatDouble, tmp_path: Path) -> None:
    images = {"turned.jpg": picture((20, 10), 5, orientation=6)}
    task = add_task(server, add_project(server), "dive", images)
    server.person.draw(task, 0, box(1, 2, 9, 19))
    server.person.finish_task(task)
    (sample,) = Source(server, tmp_path).run().values()
    assert sample.size_wh == (10, 20)
    (label,) = sample.labels
    assert isinstance(label, Box)
    assert (label.x, label.y, label.width, label.height) == (1, 2, 8, 17)


def test_local_images_are_believed_by_name_and_size(server: CvatDouble, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "images" / "deep"
    folder.mkdir(parents=True)
    (folder / "img_000.jpg").write_bytes(picture((16, 12), 77))
    (folder / "img_001.jpg").write_bytes(picture((99, 12), 78))
    task = add_task(server, add_project(server), "dive", 2)
    server.person.finish_task(task)
    source = Source(server, tmp_path, media={"download": "missing", "from": ["data/images"]})
    found, fetched = source.run().values()
    assert found.media == folder / "img_000.jpg"
    assert fetched.media == source.output / "media" / str(task) / "img_001.jpg"
    (folder / "img_000.jpg").write_bytes(picture((16, 12), 79))
    found, _ = source.run().values()
    assert found.digest == file_digest(folder / "img_000.jpg")
    source.config["media"] = {"download": "none", "from": ["data/images"]}
    assert len(source.run()) == 1
    assert source.outputs is not None
    assert "1 frame has no image here and was left out" in source.outputs.notes
    source.config["media"] = {"download": "all", "from": ["data/images"]}
    copied, _ = source.run().values()
    assert copied.media.read_bytes() == (folder / "img_000.jpg").read_bytes()
    assert copied.media.is_relative_to(source.output)


def test_compressed_images_are_those_that_annotators_see(server: CvatDouble, tmp_path: Path) -> None:
    task = add_task(server, add_project(server), "dive", 1)
    server.person.finish_task(task)
    media = server.state.tasks[task].media
    assert media is not None
    (sample,) = Source(server, tmp_path, media={"quality": "compressed"}).run().values()
    assert sample.media.read_bytes() == media.frames[0].compressed


def test_a_pull_that_was_cut_off_goes_on_where_it_was(server: CvatDouble, tmp_path: Path) -> None:
    project = add_project(server)
    first, second = add_task(server, project, "first"), add_task(server, project, "second")
    for task in (first, second):
        server.person.finish_task(task)
    source = Source(server, tmp_path)
    server.faults.add("GET", f"/api/tasks/{second}/annotations", status=400, times=9)
    context = source.context()
    with pytest.raises(NodeError):
        source.run(context)
    server.faults.clear()
    since = len(server.requests_seen)
    assert len(source.run(context)) == 4
    assert not [path for path in asked(server, since) if f"/tasks/{first}/" in path]


def test_a_task_that_is_saved_while_it_is_pulled_is_asked_again(
    server: CvatDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from specrun.clients.cvat import transfer

    task = add_task(server, add_project(server), "dive")
    server.person.finish_task(task)
    ask = transfer.annotations
    drawn: list[dict[str, Any]] = []

    def ask_then_draw(api: Any, task_id: int) -> dict[str, Any]:
        told = ask(api, task_id)
        if not drawn:
            drawn.append(server.person.draw(task, 0, box(0, 0, 4, 4)))
        return told

    monkeypatch.setattr(transfer, "annotations", ask_then_draw)
    source = Source(server, tmp_path)
    assert len(source.run()[f"reef/{task}/000000"].labels) == 1
    assert source.observe().value == source.observation


def test_contradicting_settings_are_mistakes() -> None:
    def messages(**config: Any) -> list[str]:
        spec = CvatSource.Spec.model_validate(config)
        return [problem.message for problem in CvatSource().check(spec, None)]  # type: ignore[arg-type]

    assert messages(connection="lab", project="a") == []
    assert messages(**{"from": "round1"}) == []
    assert "`project` and `tasks` are both given" in messages(connection="lab", project="a", tasks=[1])
    assert "`connection` is missing" in messages(project="a")
    assert any("never holds" in text for text in messages(connection="lab", project=1, ready={"stage": "validation"}))
    assert messages(connection="lab", project=1, ready={"status": None, "state": "completed"}) == []


@pytest.mark.parametrize("require", ["most", "0%", "120%", 0, True])
def test_what_require_cannot_be(require: object) -> None:
    with pytest.raises(ValueError, match="none of any, all"):
        CvatSource.Spec.model_validate({"connection": "lab", "project": "a", "require": require})


def test_the_facts_are_json(server: CvatDouble, tmp_path: Path) -> None:
    server.person.finish_task(add_task(server, add_project(server), "a"))
    source = Source(server, tmp_path)
    source.run()
    assert source.outputs is not None
    facts = json.loads(json.dumps(source.outputs.facts))
    assert (facts["images"], facts["project_name"], facts["splits"]) == (2, "reef", {"train": 2})


def test_a_connection_that_is_misspelt_is_reported_where_it_is_written_alone(tmp_path: Path) -> None:
    spec = """\
specrun: 1
project: {name: p}
connections:
  lab: {kind: cvat, url: "https://cvat.org", access_token: {env: T}}
sources:
  photos: {kind: images, path: .}
  done: {kind: cvat, from: cvat_projects.round}
cvat_projects:
  round: {connection: labb, project: p, labels: [{name: a}], tasks: {from: sources.photos}}
"""
    (tmp_path / "project.yaml").write_text(spec)
    with pytest.raises(SpecError) as raised:
        load_project(tmp_path / "project.yaml", REGISTRY)
    (found,) = raised.value.diagnostics
    assert "cvat_projects.round.connection: there is no connections.labb" in str(found)


def test_what_people_changed_since_the_last_pull_is_told_once(server: CvatDouble, tmp_path: Path) -> None:
    task = add_task(server, add_project(server), "dive", 2)
    shape = server.person.draw(task, 0, box(0, 0, 4, 4))
    server.person.finish_task(task)
    source = Source(server, tmp_path)
    source.run()
    assert source.outputs is not None
    assert "edits" not in source.outputs.facts
    server.person.edit_shape(shape["id"], points=[0, 0, 9, 9])
    server.person.draw(task, 1, box(1, 1, 3, 3))
    source.run()
    note = "since the last pull: 1 moved, 1 new"
    assert note in source.outputs.notes
    assert source.outputs.facts["edits"] == {"moved": 1, "new": 1}
    assert source.outputs.facts["passing_notes"] == [note]


def test_what_became_of_the_labels_that_were_sent_is_told(server: CvatDouble, tmp_path: Path) -> None:
    sending = Round(tmp_path / "sent", server)
    sending.add_image("a.png", square(10, 10), square(50, 50))
    sent = sending.run(spec_of(prelabels=polygons()))
    (task,) = sent.facts["task_ids"]
    shutil.copy(next((tmp_path / "sent").rglob("labels.json")), tmp_path / "labels.json")
    first = server.person.shapes(task)[0]
    server.person.edit_shape(first["id"], points=[10, 10, 40, 10, 40, 40, 10, 40])
    server.person.draw(task, 0, {"label": "sand", "type": "polygon", "points": [1, 1, 9, 1, 9, 9]})
    server.person.finish_task(task)
    source = Source(server, tmp_path, **{"from": "round1", "connection": None, "project": None})
    source.facts = {"cvat_projects.round1": dict(sent.facts)}
    source.run()
    assert source.outputs is not None
    assert source.outputs.facts["of_sent"] == {"sent": 2, "kept": 1, "drawn": 2}
    told = "of 2 labels that were sent, 1 came back as they were, 1 were changed or deleted; "
    assert source.outputs.notes[0].startswith(told)
