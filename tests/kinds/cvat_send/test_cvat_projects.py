"""What is checked before a server is asked, what makes the node stale, what CVAT is asked in a plan."""

from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from pydantic import ValidationError

from specrun.errors import CredentialsError, NodeError
from specrun.kinds.cvat_projects import CvatProject
from specrun.kinds.cvat_send.sending import connect
from specrun.kinds.cvat_send.spec import CvatProjectSpec
from specrun.kinds.datasets.spec import DatasetSpec
from specrun.kinds.declarations.skeleton import SkeletonSpec
from specrun.kinds.declarations.taxonomy import TaxonomySpec
from specrun.kinds.predictions.prediction import PredictionSpec
from specrun.model.address import parse_address
from specrun.model.state import NodeRecord
from specrun.spec.kind import Need
from tests.doubles.cvat.server import CvatDouble
from tests.support.cvat_sending import ADDRESS, QUICK, Round, polygons, spec_of, square
from tests.support.look import make_look

NUMBER = {"name": "n", "input_type": "number"}


class Entries:
    project_dir = Path()

    def __init__(self):
        self.entries = {
            "taxonomies.reef": TaxonomySpec(classes=["coral", "sand"]),
            "skeletons.corners": SkeletonSpec(label="corner", points=["TL", "B&R"]),
            "predictions.masks": PredictionSpec(model="unet", on="datasets.reef"),
            "datasets.reef": DatasetSpec.model_validate({"from": "sources.x", "label_field": "truth"}),
        }

    def spec(self, address):
        return self.entries.get(address)

    def kind_of(self, address):
        return None


def problems(**changes):
    return {problem.path: problem for problem in CvatProject().check(spec_of(**changes), Entries())}


def test_a_spec_without_mistakes_has_no_problems():
    assert problems(prelabels=polygons(label_map={"a": "coral", "b": "{value}", "_default": None})) == {}


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"project": None, "labels": "keep"}, "labels"),
        ({"project": None, "webhook": {"url": "https://x", "secret": {"env": "X"}}}, "webhook"),
        ({"tasks": {"from": "sources.x", "overlap": 2}}, "tasks.overlap"),
        ({"tasks": {"from": "sources.x", "segment_size": 4, "overlap": 3}}, "tasks.overlap"),
        ({"tasks": {"from": "sources.x", "name": "{bach}"}}, "tasks.name"),
        ({"tasks": {"from": "sources.x", "subset": "{batch}"}}, "tasks.subset"),
        ({"tasks": {"from": "sources.x", "choose": {"strategy": "uncertain", "n": 2}}}, "tasks.choose.strategy"),
        ({"labels": [{"name": "a"}, {"name": "a"}]}, "labels.1.name"),
        ({"labels": [{"name": "a", "type": "skeleton"}]}, "labels.0.type"),
        ({"labels": {"from": "skeletons.corners"}}, "labels.from"),
        ({"labels": {"from": "taxonomies.reef", "rename": {"old": "corral"}}}, "labels.rename.old"),
        (
            {"labels": [{"name": "a", "attributes": [{"name": "n", "input_type": "number"}]}]},
            "labels.0.attributes.0.values",
        ),
        ({"prelabels": {"from": "predictions.masks", "shape": "mask"}}, "prelabels.shape"),
        (
            {"labels": [{"name": "a", "type": "rectangle"}], "prelabels": {"from": "predictions.x", "shape": "mask"}},
            "prelabels.shape",
        ),
        ({"prelabels": {"from": "predictions.masks", "label_field": "x"}}, "prelabels.label_field"),
        ({"prelabels": {"from": "predictions.masks", "label_map": {"a": "corall"}}}, "prelabels.label_map.a"),
    ],
)
def test_mistakes_are_found_before_a_server_is_asked(changes, path):
    assert set(problems(**changes)) == {path}


def test_a_colour_without_quotes_or_hash_is_a_mistake():
    with pytest.raises(ValidationError):
        CvatProjectSpec.model_validate({"labels": [{"name": "a", "color": "red"}]})


def test_the_content_of_predictions_makes_nothing_stale_unless_untouched_jobs_are_refreshed():
    kind = CvatProject()
    sent = [Need("images", "sources.photos", ("media",)), Need("prelabels", "predictions.masks", ("membership",))]
    assert kind.needs(spec_of(prelabels=polygons()), Entries()) == sent
    refreshed = kind.needs(spec_of(prelabels=polygons(refresh="untouched")), Entries())
    assert refreshed[1] == Need("prelabels", "predictions.masks", ())
    field = kind.needs(spec_of(prelabels={"from": "datasets.reef", "refresh": "untouched"}), Entries())
    assert field[1].parts == ("media", "field:truth")


def test_the_images_of_predictions_are_those_that_they_were_made_on():
    needs = CvatProject().needs(spec_of(tasks={"from": "predictions.masks"}), Entries())
    assert needs[0] == Need("images", "datasets.reef", ("media",))


@pytest.fixture
def server():
    with CvatDouble(anonymous_per_minute=None) as double:
        yield double


class Looking:
    """A Look at a node that was made by `work`."""

    def __init__(self, work, outputs):
        context = work.context()
        self.declarations, self.settings = context.declarations, QUICK
        self.project_dir, self.output_root = work.folder, work.folder / "outputs"
        self.secret = context.secret
        self.facts = lambda address: None
        self.recall = context.recall
        self.record = NodeRecord(
            address=parse_address(ADDRESS),
            kind="cvat_projects.cvat_project",
            kind_version=1,
            fingerprint="f",
            result_config={},
            inputs={},
            observation=outputs.observation,
            digest="d",
            parts={},
            facts=outputs.facts,
            folder="",
            run="",
            made_at="",
            duration_s=0,
        )


def look(work, outputs, spec=None):
    return anyio.run(CvatProject().observe, spec or spec_of(), Looking(work, outputs))


def test_a_plan_tells_of_a_label_that_somebody_deleted_and_a_project_that_is_gone(tmp_path, server):
    work = Round(tmp_path, server)
    work.add_image("a.png")
    outputs = work.run()
    assert look(work, outputs).value == outputs.observation
    server.person.delete_label(2)
    seen = look(work, outputs)
    assert seen.value == outputs.observation
    assert seen.notes == ('people deleted the label "sand": it is not made again',)
    assert look(work, work.run()).differences == ()
    server.state.projects.clear()
    assert look(work, outputs).differences == ('the project "reef" (1) is gone from CVAT',)


def test_finished_work_and_deleted_tasks_make_nothing_stale(tmp_path, server):
    work = Round(tmp_path, server)
    work.add_image("a.png", square(10, 10))
    work.add_image("b.png", split="val")
    outputs = work.run(spec_of(prelabels=polygons()))
    server.person.finish_task(1)
    server.person.delete_task(2)
    assert look(work, outputs).value == outputs.observation


def test_a_prelabel_setting_counts_only_where_jobs_are_refreshed(tmp_path, server):
    work = Round(tmp_path, server)
    work.add_image("a.png", square(10, 10))
    for refresh, counts in (("never", False), ("untouched", True)):
        outputs = work.run(spec_of(prelabels=polygons(refresh=refresh)))
        edited = spec_of(prelabels=polygons(refresh=refresh, min_area=5))
        assert (look(work, outputs, edited).value != outputs.observation) is counts


def test_labels_come_to_a_project_that_exists_and_keep_changes_none(tmp_path, server):
    work = Round(tmp_path, server)
    work.add_image("a.png")
    with connect(spec_of(), work.context()) as api:
        api.post("/api/projects", {"name": "reef", "labels": [{"name": "old", "type": "polygon"}]})
    keep = work.run(spec_of(labels="keep"))
    assert [label.name for label in server.state.labels.values()] == ["old"]
    assert keep.facts["label_names"] is None
    renamed = {"from": "taxonomies.reef", "type": "polygon", "rename": {"old": "sand"}}
    outputs = work.run(spec_of(labels=renamed))
    assert [label.name for label in server.state.labels.values()] == ["sand", "coral"]
    assert {"labels added: coral", "labels renamed: old to sand"} <= set(outputs.notes)


def test_a_plan_says_how_many_frames_a_new_model_would_draw_otherwise(tmp_path, server):
    work = Round(tmp_path, server)
    for name in ("a.png", "b.png"):
        work.add_image(name, square(10, 10))
    spec = spec_of(prelabels=polygons())
    outputs = work.run(spec)
    assert look(work, outputs, spec).notes == ()
    work.predicted["photos/a.png"] = (square(50, 10),)
    work.made()
    seen = look(work, outputs, spec)
    assert seen.value == outputs.observation
    assert seen.notes == (
        "1 frame that was sent would get other labels from predictions.masks now; sent is sent (refresh: never)",
    )


SOURCE = {"sources.photos": {"images": 7, "classes": ["coral"], "splits": {"train": 5, "val": 2}}}


def first_look(work, spec=None, facts=None, password=None):
    declarations = work.context().declarations
    asked = make_look(work.folder, ADDRESS, declarations=declarations, facts=facts or {},
                      environ={"CVAT_PASSWORD": password or work.server.password})  # fmt: skip
    return anyio.run(CvatProject().observe, spec or spec_of(), replace(asked, settings=QUICK)).notes


def test_a_first_plan_says_what_will_be_made(tmp_path, server):
    work = Round(tmp_path, server)
    host = server.url.removeprefix("http://")
    assert first_look(work, facts=SOURCE) == (
        f'{host}: a new project "reef" with the labels coral, sand',
        "images: 7 of sources.photos, in 4 tasks",
    )
    tasks = {"from": "sources.photos", "size": 2, "choose": {"strategy": "random", "n": 3}}
    assert first_look(work, spec_of(tasks=tasks), SOURCE)[1] == "images: 3 of 7 of sources.photos, in 2 tasks or more"
    assert first_look(work, spec_of(tasks=tasks))[1] == "images: at most 3 of sources.photos, in tasks of 2"
    assert server.state.projects == {}


def test_a_first_plan_names_the_labels_that_a_project_gets_and_those_that_look_like_a_slip(tmp_path, server):
    work = Round(tmp_path, server)
    with connect(spec_of(), work.context()) as api:
        api.post("/api/projects", {"name": "reef", "labels": [{"name": "corals", "type": "polygon"}]})
    host = server.url.removeprefix("http://")
    assert first_look(work)[:2] == (
        f'{host}: project "reef" (1, 0 tasks): new labels coral, sand',
        'the new label "coral" is close to "corals", which is there: it cannot be taken away again',
    )
    assert first_look(work, spec_of(project="reefs"))[0].endswith('; did you mean "reef"?')


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"project": 12}, "there is no project 12"),
        ({"project": "weeds", "labels": "keep"}, 'there is no project "weeds"'),
        ({"tasks": {"from": "sources.photos", "assignee": "nobody"}}, 'there is no user "nobody"'),
    ],
)
def test_a_first_plan_refuses_what_would_fail_the_run(tmp_path, server, spec, words):
    with pytest.raises(NodeError, match=words):
        first_look(Round(tmp_path, server), spec_of(**spec))


def test_a_first_plan_asks_with_the_password(tmp_path, server):
    with pytest.raises(CredentialsError):
        first_look(Round(tmp_path, server), password="wrong")


def test_a_first_plan_without_the_server_says_so_and_does_not_fail(tmp_path):
    with CvatDouble(anonymous_per_minute=None) as server:
        work = Round(tmp_path, server)
        work.context()
    (note,) = first_look(work)
    assert note.startswith("what would be made is not known: ")


def test_what_a_run_did_is_told_once(tmp_path, server):
    work = Round(tmp_path, server)
    work.add_image("a.png")
    outputs = work.run()
    assert 'the project "reef" was made' in outputs.notes
    record = replace(Looking(work, outputs).record, notes=outputs.notes)
    assert record.lasting_notes == ()


def test_a_plan_names_labels_that_the_spec_got_since(tmp_path, server):
    work = Round(tmp_path, server)
    work.add_image("a.png")
    outputs = work.run()
    assert look(work, outputs).notes == ()
    more = spec_of(labels=[{"name": "coral"}, {"name": "sand"}, {"name": "corall"}])
    host = server.url.removeprefix("http://")
    assert look(work, outputs, more).notes == (
        f"{host}: new labels corall",
        'the new label "corall" is close to "coral", which is there: it cannot be taken away again',
    )
