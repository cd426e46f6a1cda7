"""The dataset node on a real FiftyOne and an embedded server that the tests of this module share."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bson import ObjectId

from specrun.clients.fiftyone import Database
from specrun.clients.fiftyone.label_writer import Written, labels_elsewhere, write_labels
from specrun.clients.fiftyone.writer import delete_samples
from specrun.clients.mongod_binary import find_mongod
from specrun.errors import MissingDependency, NodeError
from specrun.model.address import parse_address
from specrun.model.labels import AnyLabel, Box, Keypoints, Mask, Part, Polygon, Sample, Tag, Visibility
from specrun.model.taxonomy import ResolvedTaxonomy, UnmappedLabel
from tests.support.datasets import DatasetProject, square


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project whose server runs as long as this module's tests."""
    root = tmp_path_factory.mktemp("project")
    try:
        find_mongod(root / "mongod.json")
    except MissingDependency as missing:
        pytest.skip(str(missing))
    with DatasetProject(root, "holder").open():
        yield root


@pytest.fixture
def project(shared: Path, request: pytest.FixtureRequest) -> DatasetProject:
    """A dataset of the test's own in the shared database."""
    return DatasetProject(shared, request.node.name.removeprefix("test_")[:60])


@pytest.fixture
def database(project: DatasetProject) -> Iterator[Database]:
    with project.open() as database:
        yield database


def classes_of(labels: list[AnyLabel]) -> list[str]:
    return [label.label for label in labels]


def mend(database: Database, project: DatasetProject, stem: str, label: str) -> None:
    """What a person does in the App: the first label of a sample gets another class."""
    dataset = database.dataset(project.name)
    sample = next(s for s in dataset if s.filepath.endswith(f"{stem}.png"))
    sample.ground_truth.polylines[0].label = label
    sample.save()


# Importing


def test_samples_become_a_persistent_dataset(project: DatasetProject, database: Database) -> None:
    samples = [project.sample("a", square(), split="train"), project.sample("b", split="val", annotated=False)]
    outputs = project.apply(samples, classes=["Acropora", "Porites"], tags=["v1"], info={"license": "CC0"})
    assert outputs.facts["images"] == 2
    assert outputs.facts["splits"] == {"train": 1, "val": 1}
    assert outputs.facts["classes"] == ["Acropora", "Porites"]
    assert outputs.facts["labels"] == {"Acropora": 1}
    dataset = database.dataset(project.name)
    assert dataset.persistent
    assert dataset.info["license"] == "CC0"
    assert [(s.filename, s.tags, s.annotated) for s in dataset] == [
        ("a.png", ["train", "v1"], True),
        ("b.png", ["val", "v1"], False),
    ]
    read = list(database.samples(project.name))
    assert [(s.key, s.split, s.annotated) for s in read] == [
        ("photos/a.png", "train", True),
        ("photos/b.png", "val", False),
    ]


def test_the_output_folder_says_what_was_made(project: DatasetProject) -> None:
    project.apply([project.sample("a", square())])
    assert '"images": 1' in (project.output / "dataset.json").read_text()


def test_fiftyone_reads_what_was_written(project: DatasetProject, database: Database) -> None:
    bitmap = np.zeros((3, 4), bool)
    bitmap[1, 2] = True
    labels: list[AnyLabel] = [
        Box(label="Porites", x=3.2, y=6, width=8, height=12, score=0.5, attributes={"alive": True}),
        Mask(label="Acropora", bitmap=bitmap, left=8, top=6),
    ]
    project.apply([project.sample("a", *labels)])
    sample = database.dataset(project.name).first()
    box, mask = sample.ground_truth.detections
    assert box.bounding_box == pytest.approx([0.1, 0.25, 0.25, 0.5])
    assert (box.label, box.confidence, box.alive) == ("Porites", 0.5, True)
    assert np.array_equal(mask.mask, bitmap)
    assert sample.metadata.width == 32
    assert "alive" in database.dataset(project.name).get_field_schema(flat=True)["ground_truth.detections.alive"].name


def test_mixed_shapes_lie_in_companion_fields(project: DatasetProject, database: Database) -> None:
    points = Keypoints(
        label="corner",
        points=np.array([[1.0, 1], [0, 0]]),
        names=("TL", "TR"),
        visibility=(Visibility.VISIBLE, Visibility.ABSENT),
    )
    outputs = project.apply(
        [
            project.sample(
                "a", square(), square(), points, Tag(label="murky"), Box(label="q", x=0, y=0, width=2, height=2)
            )
        ]
    )
    assert outputs.facts["fields"] == {
        "polylines": "ground_truth",
        "detections": "ground_truth_detections",
        "keypoints": "ground_truth_keypoints",
        "classifications": "ground_truth_tags",
    }
    assert database.dataset(project.name).first().ground_truth_tags.classifications[0].label == "murky"
    labels = project.labels(database, "a")
    assert [type(label).__name__ for label in labels] == ["Box", "Polygon", "Polygon", "Keypoints", "Tag"]
    assert set(outputs.parts) == {"media", "tags", "split", "fields", "classes", "look", "field:ground_truth"}


def test_parts_and_holes_come_back(project: DatasetProject, database: Database) -> None:
    ring = np.array([[0.0, 0], [10, 0], [10, 10], [0, 10]])
    hole = np.array([[2.0, 2], [4, 2], [4, 4], [2, 4]])
    label = Polygon(label="x", parts=(Part(ring, (hole,)), Part(ring + 12)), attributes={"odd.name$": "é"})
    outputs = project.apply([project.sample("a", label)])
    [read] = project.labels(database, "a")
    assert isinstance(read, Polygon)
    assert [(len(part.exterior), len(part.holes)) for part in read.parts] == [(4, 1), (4, 0)]
    assert np.allclose(read.parts[1].exterior, ring + 12)
    assert read.attributes == {"odd.name$": "é"}
    assert outputs.facts["labels"] == {"x": 1}


def test_a_second_import_changes_nothing(project: DatasetProject, database: Database) -> None:
    samples = [project.sample("a", square(), split="train")]
    first = project.apply(samples)
    look = database.look(project.name)
    second = project.apply(samples)
    assert second.parts == first.parts
    assert second.notes == ()
    assert database.look(project.name) == look


def test_upstream_changes_are_taken_and_untouched_labels_keep_their_ids(
    project: DatasetProject, database: Database
) -> None:
    project.apply([project.sample("a", square(), square("Porites", 10))])
    before = {p.label: p.id for p in database.dataset(project.name).first().ground_truth.polylines}
    project.apply([project.sample("a", square(), square("Pavona", 10)), project.sample("b")])
    after = {p.label: p.id for p in database.dataset(project.name).first().ground_truth.polylines}
    assert after.keys() == {"Acropora", "Pavona"}
    assert after["Acropora"] == before["Acropora"]
    assert database.count(project.name) == 2


def test_a_sample_gone_upstream_goes_unless_it_was_mended(project: DatasetProject, database: Database) -> None:
    project.apply([project.sample(stem, square()) for stem in "abc"])
    mend(database, project, "b", "Pavona")
    outputs = project.apply([project.sample("a", square())])
    assert [s.name for s in database.samples(project.name)] == ["a.png", "b.png"]
    assert "1 sample removed, gone upstream: c.png" in outputs.notes
    assert any("mended in FiftyOne: b.png" in note for note in outputs.notes)


def test_a_sample_deleted_in_fiftyone_stays_deleted(project: DatasetProject, database: Database) -> None:
    samples = [project.sample(stem, square()) for stem in "ab"]
    project.apply(samples)
    dataset = database.dataset(project.name)
    dataset.delete_samples([dataset.first().id])
    for _ in range(2):
        project.apply(samples)
        assert [s.name for s in database.samples(project.name)] == ["b.png"]
    project.apply(samples, import_mode="force_refresh")
    assert database.count(project.name) == 2


@pytest.mark.parametrize("what", ["tags", "split", "fields"])
def test_a_sample_with_changed_tags_split_or_fields_is_kept_like_mended_labels(
    project: DatasetProject, database: Database, what: str
) -> None:
    project.name = f"kept_for_its_{what}"
    samples = [project.sample(stem, split="train", fields={"year": 2020}) for stem in "ab"]
    project.apply(samples, tags=["v1"])
    sample = database.dataset(project.name).match_tags("train").last()
    match what:
        case "tags":
            sample.tags = ["train", "v1", "favourite"]
        case "split":
            sample.tags = ["val", "v1"]
        case _:
            sample["year"] = 2021
    sample.save()
    outputs = project.apply([project.sample("c", fields={"year": 2020})], tags=["v1"])
    assert [s.name for s in database.samples(project.name)] == ["b.png", "c.png"]
    assert "1 sample removed, gone upstream: a.png" in outputs.notes
    assert "1 sample kept although they are gone upstream: mended in FiftyOne: b.png" in outputs.notes


def test_samples_that_where_leaves_out_are_not_called_gone(project: DatasetProject, database: Database) -> None:
    samples = [project.sample(f"y{year}", square(), fields={"year": year}) for year in (2019, 2020, 2021)]
    project.apply(samples)
    mend(database, project, "y2019", "Pavona")
    outputs = project.apply(samples, where=[{"field": "year", "gte": 2021}])
    assert [s.name for s in database.samples(project.name)] == ["y2019.png", "y2021.png"]
    assert "1 sample removed, left out by where: y2020.png" in outputs.notes
    assert "1 sample kept although left out by where: mended in FiftyOne: y2019.png" in outputs.notes
    assert "2 samples left out by where" in outputs.notes


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ([{"field": "yaer", "gte": 2019}], 'where.0: no sample has a field "yaer"'),
        ([{"field": "area", "eq": "A"}, {"field": "year", "gt": 2030}], "where.1: no sample meets year gt: 2030"),
        ([{"field": "area", "eq": "A"}, {"field": "year", "eq": 2020}], "leave out every sample"),
    ],
)
def test_a_where_that_matches_nothing_is_an_error(
    project: DatasetProject, database: Database, where: list[dict[str, Any]], message: str
) -> None:
    project.name = "where_of_nothing"
    samples = [project.sample(area, fields={"year": year, "area": area}) for area, year in (("A", 2019), ("B", 2020))]
    project.apply(samples)
    with pytest.raises(NodeError, match=message) as raised:
        project.apply(samples, where=where)
    assert "area, year" in str(raised.value.hint)
    assert database.count(project.name) == 2


def test_a_sample_whose_predictions_people_mended_stays_when_it_is_gone_upstream(
    project: DatasetProject, database: Database
) -> None:
    project.name = "mended_elsewhere"
    samples = [project.sample(stem, square()) for stem in "abc"]
    project.apply(samples)
    write_labels(database, project.name, "found", [(f"photos/{stem}.png", [square(score=0.5)]) for stem in "abc"])
    collection = database.mongo[database.layout(project.name).collection]
    assert collection.update_one(
        {"filepath": {"$regex": "b.png"}}, {"$set": {"found.polylines.0.label": "Porites"}}
    ).modified_count
    outputs = project.apply(samples[:1])
    assert [sample.name for sample in database.samples(project.name)] == ["a.png", "b.png"]
    assert "1 sample kept although they are gone upstream: mended in FiftyOne: b.png" in outputs.notes


def test_labels_of_unknown_origin_keep_a_sample_until_they_are_written_again(
    project: DatasetProject, database: Database
) -> None:
    project.name = "unknown_origin"
    samples = [project.sample(stem, square()) for stem in "abc"]
    project.apply(samples)
    rows = [(f"photos/{stem}.png", [square(score=0.5)]) for stem in "abc"]
    write_labels(database, project.name, "found", rows)
    collection = database.mongo[database.layout(project.name).collection]
    collection.update_many({}, {"$unset": {"specrun.written": ""}})  # as earlier versions left them
    collection.update_one({"filepath": {"$regex": "c.png"}}, {"$set": {"found.polylines.0.tags": ["look"]}})
    notes = project.apply(samples[:1]).notes
    assert [sample.name for sample in database.samples(project.name)] == ["a.png", "b.png", "c.png"]
    assert (
        "1 sample kept although they are gone upstream: labels of unknown origin in FiftyOne (run the predictions "
        "that write them once more, or delete their field): b.png"
    ) in notes
    assert "1 sample kept although they are gone upstream: mended in FiftyOne: c.png" in notes
    write_labels(database, project.name, "found", rows, ours=True)
    project.apply(samples[:1])
    assert [sample.name for sample in database.samples(project.name)] == ["a.png", "c.png"]


def test_more_samples_than_one_question_holds_may_be_gone(project: DatasetProject, database: Database) -> None:
    project.apply([project.sample("a", square())])
    write_labels(database, project.name, "found", [("photos/a.png", [square(score=0.5)])])
    collection = database.mongo[database.layout(project.name).collection]
    collection.update_one({}, {"$set": {"found.polylines.0.label": "Pavona"}})
    own = collection.find_one({})["_id"]
    many = [*(ObjectId() for _ in range(900_000)), own]
    assert labels_elsewhere(database, project.name, many).mended == {own}
    delete_samples(database, project.name, many)
    assert collection.count_documents({}) == 0


def test_labels_drawn_in_fiftyone_annotate_a_sample(project: DatasetProject, database: Database) -> None:
    samples = [project.sample("a", annotated=False), project.sample("b", square())]
    project.apply(samples)
    write_labels(database, project.name, "predictions", [("photos/a.png", [square(score=0.5)])])
    assert [s.annotated for s in database.samples(project.name)] == [False, True]
    write_labels(database, project.name, "ground_truth", [("photos/a.png", [square()])])
    for field in ("ground_truth", "predictions", None):
        assert [s.annotated for s in database.samples(project.name, field)] == [True, True]
    project.apply(samples)
    assert [s.annotated for s in database.samples(project.name)] == [True, True]


def test_of_several_split_tags_the_one_that_was_added_counts(project: DatasetProject, database: Database) -> None:
    samples = [project.sample(stem, split="train") for stem in "ab"]
    project.apply(samples)
    sample = database.dataset(project.name).first()
    sample.tags = ["train", "val"]
    sample.save()
    assert [s.name for s in database.samples(project.name, splits=["train"])] == ["b.png"]
    assert [s.name for s in database.samples(project.name, splits=["val"])] == ["a.png"]
    assert project.apply(samples).facts["splits"] == {"train": 1, "val": 1}


# Conflicts


def test_what_people_mended_is_kept(project: DatasetProject, database: Database) -> None:
    samples = [project.sample("a", square())]
    project.apply(samples)
    mend(database, project, "a", "Pavona")
    outputs = project.apply([*samples, project.sample("b")])
    assert classes_of(project.labels(database, "a")) == ["Pavona"]
    assert "1 sample kept as people mended them in FiftyOne: a.png" in outputs.notes


@pytest.mark.parametrize(("policy", "expected"), [("keep", "Pavona"), ("upstream", "Porites")])
def test_a_conflict_follows_on_conflict(
    project: DatasetProject, database: Database, policy: str, expected: str
) -> None:
    project.name = f"conflict_{policy}"
    project.apply([project.sample("a", square())])
    mend(database, project, "a", "Pavona")
    outputs = project.apply([project.sample("a", square("Porites"))], on_conflict=policy)
    assert classes_of(project.labels(database, "a")) == [expected]
    assert any("changed at the source and in FiftyOne" in note for note in outputs.notes)


def test_a_conflict_can_stop_the_node(project: DatasetProject, database: Database) -> None:
    project.apply([project.sample("a", square())])
    mend(database, project, "a", "Pavona")
    with pytest.raises(NodeError, match=r"a\.png: changed at its source and in FiftyOne"):
        project.apply([project.sample("a", square("Porites"))], on_conflict="fail")


def test_force_refresh_takes_upstream_whole(project: DatasetProject, database: Database) -> None:
    samples = [project.sample("a", square())]
    project.apply(samples)
    mend(database, project, "a", "Pavona")
    project.apply(samples, import_mode="force_refresh")
    assert classes_of(project.labels(database, "a")) == ["Acropora"]


def test_skip_existing_only_adds(project: DatasetProject, database: Database) -> None:
    project.apply([project.sample("a", square()), project.sample("gone")])
    project.apply([project.sample("a", square("Porites")), project.sample("b")], import_mode="skip_existing")
    assert classes_of(project.labels(database, "a")) == ["Acropora"]
    assert database.count(project.name) == 3


def test_skip_if_exist_leaves_the_dataset_alone(project: DatasetProject, database: Database) -> None:
    project.apply([project.sample("a", square())])
    project.apply([project.sample("b")], import_mode="skip_if_exist")
    assert [s.name for s in database.samples(project.name)] == ["a.png"]


def test_tags_and_splits_of_people_survive(project: DatasetProject, database: Database) -> None:
    samples = [project.sample("a", split="train", tags=("night",))]
    project.apply(samples)
    sample = database.dataset(project.name).first()
    sample.tags = ["val", "favourite"]
    sample.save()
    project.apply(samples, tags=["v2"])
    [read] = database.samples(project.name)
    assert read.split == "val"
    assert set(read.tags) == {"favourite", "v2"}


def test_a_dataset_of_somebody_else_is_not_touched(project: DatasetProject, database: Database) -> None:
    foreign = database.fiftyone.Dataset(project.name, persistent=True)
    with pytest.raises(NodeError, match="was not made by specrun, so it is not touched"):
        project.apply([project.sample("a", square())])
    assert len(foreign) == 0


def test_a_clone_is_not_taken_for_ours(project: DatasetProject, database: Database) -> None:
    project.apply([project.sample("a", square())])
    database.dataset(project.name).clone(f"{project.name}_copy", persistent=True)
    project.name += "_copy"
    with pytest.raises(NodeError, match="not touched"):
        project.apply([])


def test_a_killed_import_is_repaired_by_repeating_it(project: DatasetProject, database: Database) -> None:
    """Half of the samples were written when the process died; the mark says that no import ended yet."""
    whole = [project.sample(stem, square()) for stem in "abcd"]
    project.apply(whole)
    expected = database.parts(project.name)
    layout = database.layout(project.name)
    database.mongo[layout.collection].delete_many({"specrun.name": {"$in": ["c.png", "d.png"]}})
    database.update_mark(project.name, {"complete": False})
    project.apply(whole)
    assert database.parts(project.name) == expected


# Taxonomy, metadata, splits, quality


def test_a_taxonomy_maps_drops_and_keeps_the_source_label(project: DatasetProject, database: Database) -> None:
    project.taxonomies["t"] = ResolvedTaxonomy(
        classes=("Group1", "Acropora"), mapping={"Goniastrea": "Group1"}, dropped=frozenset({"Empty"})
    )
    labels = [square("Goniastrea"), square("Empty"), square("Acropora")]
    outputs = project.apply([project.sample("a", *labels)], taxonomy="t")
    read = project.labels(database, "a")
    assert [(label.label, label.source_label) for label in read] == [
        ("Group1", "Goniastrea"),
        ("Acropora", "Acropora"),
    ]
    assert outputs.facts["classes"] == ["Group1", "Acropora"]
    assert "dropped by the taxonomy: 1 Empty" in outputs.notes


def test_an_unknown_class_names_the_sample(project: DatasetProject) -> None:
    project.taxonomies["t"] = ResolvedTaxonomy(classes=("Acropora",))
    with pytest.raises(UnmappedLabel, match=r'a\.png: the taxonomy has no class "Acropra".*Is it "Acropora"'):
        project.apply([project.sample("a", square("Acropra"))], taxonomy="t")


def test_a_taxonomy_edit_reaches_what_nobody_mended(project: DatasetProject, database: Database) -> None:
    samples = [project.sample("a", square("Pavona"), square("Other", 10)), project.sample("b", square("Pavona"))]
    project.taxonomies["t"] = ResolvedTaxonomy(mapping={"Pavona": "Old", "Other": "Other"}, unmapped="keep")
    project.apply(samples, taxonomy="t")
    dataset = database.dataset(project.name)
    sample = dataset.first()
    sample.ground_truth.polylines[1].label = "Mended"
    sample.save()
    project.taxonomies["t"] = ResolvedTaxonomy(mapping={"Pavona": "New", "Other": "Rest"}, unmapped="keep")
    project.apply(samples, taxonomy="t")
    assert classes_of(project.labels(database, "a")) == ["New", "Mended"]
    assert classes_of(project.labels(database, "b")) == ["New"]


def test_the_order_of_classes_is_remembered(project: DatasetProject) -> None:
    first = project.apply([project.sample("a", square("b"), square("c"))])
    second = project.apply([project.sample("a", square("a"), square("b"), square("c"))])
    assert first.facts["classes"] == ["b", "c"]
    assert second.facts["classes"] == ["b", "c", "a"]


def test_metadata_fills_fields_that_filters_and_splits_use(project: DatasetProject, database: Database) -> None:
    samples = [project.sample(f"reef_{year}_{n}", square()) for year in (2020, 2021, 2022) for n in range(4)]
    outputs = project.apply(
        [*samples, project.sample("odd")],
        metadata={"pattern": r"(?P<area>.+)_(?P<year>\d{4})_\d+", "types": {"year": "int"}},
        where=[{"field": "year", "gte": 2021}],
        split={"ratios": {"train": 0.5, "val": 0.5}, "group_by": "year"},
    )
    assert outputs.facts["images"] == 8
    splits: dict[Any, set[str | None]] = {}
    for sample in database.samples(project.name):
        splits.setdefault(sample.fields["year"], set()).add(sample.split)
    assert splits.keys() == {2021, 2022}
    assert all(len(found) == 1 for found in splits.values())
    assert any("odd.png: the metadata pattern does not fit" in note for note in outputs.notes)
    found = database.samples(project.name, where=[{"field": "year", "between": [2022, 2030]}])
    assert sum(1 for _ in found) == 4


def test_quality_rules_tag_samples(project: DatasetProject, database: Database) -> None:
    rules = [{"max_labels": 0, "tag": "empty"}, {"min_labels": 2, "tag": "dense"}]
    project.apply(
        [project.sample("a"), project.sample("b", square()), project.sample("c", square(), square())], quality=rules
    )
    assert [s.tags for s in database.samples(project.name)] == [("empty",), (), ("dense",)]


def test_a_dataset_can_be_made_from_another(project: DatasetProject, database: Database) -> None:
    project.apply([project.sample("a", square(), split="val")])
    assert project.last is not None
    facts = project.last.facts
    made = replace(project.source([]), address=parse_address(f"datasets.{project.name}"), facts=facts)
    copy = DatasetProject(project.root, f"{project.name}_copy")
    copy.run([made])
    [sample] = database.samples(copy.name)
    assert (sample.key, sample.split, classes_of(list(sample.labels))) == ("photos/a.png", "val", ["Acropora"])


def test_a_dataset_of_a_dataset_classifies_what_people_mended(project: DatasetProject, database: Database) -> None:
    project.taxonomies["t"] = ResolvedTaxonomy(mapping={"Pavona": "Coral"}, unmapped="keep")
    project.apply([project.sample("a", square("Pavona"), square("Pavona", 10))], taxonomy="t")
    mend(database, project, "a", "Sponge")
    assert project.last is not None
    made = replace(project.source([]), address=parse_address(f"datasets.{project.name}"), facts=project.last.facts)
    copy = DatasetProject(project.root, f"{project.name}_copy")
    copy.taxonomies["u"] = ResolvedTaxonomy(mapping={"Coral": "Hard", "Sponge": "Soft"})
    copy.run([made], taxonomy="u")
    read = copy.labels(database, "a")
    assert [(label.label, label.source_label) for label in read] == [("Soft", "Sponge"), ("Hard", "Coral")]


# Digests


def test_an_evaluation_changes_no_digest(project: DatasetProject, database: Database) -> None:
    project.apply([project.sample("a", square(), square("Porites", 12))])
    write_labels(database, project.name, "predictions", [("photos/a.png", [square(score=0.9)])])
    before = database.parts(project.name)
    dataset = database.dataset(project.name)
    dataset.evaluate_detections("predictions", gt_field="ground_truth", eval_key="ev", use_boxes=True)
    assert dataset.first().ground_truth.polylines[0].ev in ("tp", "fn")
    assert database.parts(project.name) == before
    assert [label.attributes for label in project.labels(database, "a")] == [{}, {}]


def test_predictions_are_a_part_of_their_own(project: DatasetProject, database: Database) -> None:
    samples = [project.sample("a", square())]
    project.apply(samples)
    before = database.parts(project.name)
    written = write_labels(database, project.name, "predictions", [("photos/a.png", [square(score=0.5)])])
    after = database.parts(project.name)
    assert written == Written(1, ())
    assert {part: after[part] for part in before} == before
    assert after.keys() - before.keys() == {"field:predictions"}
    assert project.labels(database, "a", "predictions")[0].score == 0.5
    project.apply(samples)
    assert database.parts(project.name) == after


def test_writing_to_an_unknown_sample_is_an_error(project: DatasetProject, database: Database) -> None:
    project.apply([project.sample("a", square())])
    with pytest.raises(NodeError, match="it has no sample nobody"):
        write_labels(database, project.name, "predictions", [("nobody", [square()])])


def test_an_unknown_label_field_names_the_known_ones(project: DatasetProject, database: Database) -> None:
    project.apply([project.sample("a", square())])
    with pytest.raises(NodeError, match=r'no label field "truth".*ground_truth'):
        next(database.samples(project.name, "truth"))


# Observing


@pytest.fixture
def own(tmp_path: Path, shared: Path) -> DatasetProject:
    """A project with a server of its own, which stops between two steps."""
    return DatasetProject(tmp_path, "own")


def three(project: DatasetProject) -> list[Sample]:
    return [project.sample(stem, square(), split="train") for stem in "abc"]


def test_an_untouched_dataset_is_known_without_a_server(own: DatasetProject, monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = own.apply(three(own))
    monkeypatch.setattr("specrun.clients.fiftyone.connection.shared_server", None)
    seen = own.observe()
    assert seen.parts == outputs.parts
    assert seen.value == outputs.observation


def test_the_order_of_classes_and_the_look_are_parts_that_observing_carries_over(own: DatasetProject) -> None:
    own.taxonomies["t"] = ResolvedTaxonomy(classes=("Acropora", "Porites"), colors={"Acropora": "#ff0000"})
    plain = own.apply(three(own), classes=["Acropora", "Porites"])
    licensed = own.apply(three(own), classes=["Acropora", "Porites"], info={"license": "CC0"})
    coloured = own.apply(three(own), taxonomy="t", info={"license": "CC0"})
    own.taxonomies["t"] = ResolvedTaxonomy(classes=("Porites", "Acropora"), colors={"Acropora": "#ff0000"})
    shuffled = own.apply(three(own), taxonomy="t", info={"license": "CC0"})
    assert licensed.facts["info"] == {"license": "CC0"}
    assert plain.parts["classes"] == licensed.parts["classes"] == coloured.parts["classes"]
    assert coloured.parts["classes"] != shuffled.parts["classes"]
    assert len({plain.parts["look"], licensed.parts["look"], coloured.parts["look"]}) == 3
    assert coloured.parts["look"] == shuffled.parts["look"]
    seen = own.observe()
    assert seen.parts == shuffled.parts
    assert seen.part_changes == {}


def test_parts_that_the_record_lacks_are_not_invented(own: DatasetProject) -> None:
    outputs = own.apply(three(own))
    own.last = replace(outputs, parts={k: v for k, v in outputs.parts.items() if k not in ("classes", "look")})
    assert own.observe().parts == own.last.parts


def test_a_label_mended_in_fiftyone_is_noticed_and_named(own: DatasetProject) -> None:
    before = own.apply(three(own)).parts
    with own.open() as database:
        mend(database, own, "b", "Pavona")
    for _ in range(2):
        seen = own.observe()
        assert seen.parts is not None
        moved = {part for part in before if seen.parts[part] != before[part]}
        assert moved == {"field:ground_truth"}
        assert seen.part_changes["field:ground_truth"] == (
            "1 sample changed in ground_truth: b.png (1 Acropora → Pavona)",
        )


def test_a_moved_sample_is_a_change_of_the_split_alone(own: DatasetProject) -> None:
    own.apply(three(own))
    with own.open() as database:
        sample = database.dataset(own.name).first()
        sample.tags = ["val"]
        sample.save()
    assert own.observe().part_changes == {"split": ("1 sample changed in split: a.png (train → val)",)}


def test_a_deleted_sample_is_noticed(own: DatasetProject) -> None:
    own.apply(three(own))
    with own.open() as database:
        dataset = database.dataset(own.name)
        dataset.delete_samples([dataset.last().id])
    assert own.observe().part_changes["media"] == ("1 sample gone: c.png",)


def test_a_deleted_dataset_makes_the_node_stale(own: DatasetProject) -> None:
    own.apply(three(own))
    with own.open() as database:
        database.dataset(own.name).delete()
    seen = own.observe()
    assert seen.value == {"dataset": "gone"}
    assert seen.differences == ("the FiftyOne dataset own is gone",)


def test_a_deleted_label_field_makes_the_node_stale_and_is_written_again(own: DatasetProject) -> None:
    box = Box(label="Quadrat", x=0, y=0, width=4, height=4)
    samples = [own.sample("a", square(), square(), box), own.sample("b", square())]
    before = own.apply(samples)
    with own.open() as database:
        database.dataset(own.name).delete_sample_field("ground_truth")
    seen = own.observe()
    assert seen.value != before.observation
    assert seen.differences == ("the label field ground_truth is gone from FiftyOne",)
    after = own.apply(samples)
    assert after.parts == before.parts
    assert after.notes == ()
    assert own.observe().value == after.observation


def test_a_lost_database_makes_the_node_stale(own: DatasetProject) -> None:
    own.apply(three(own))
    shutil.rmtree(own.root / ".specrun" / "fiftyone")
    assert own.observe().value == {"dataset": "gone"}


def observe_alone(project: DatasetProject, unwanted: str) -> None:
    """Observes in a fresh process, which must not load some modules."""
    state_dir, root = str(project.root / ".specrun"), str(project.root)
    script = f"""
import sys
from pathlib import Path
from specrun.clients.fiftyone.observe import observe_dataset
assert observe_dataset({{}}, Path({state_dir!r}), Path({root!r}), 'own', {{}}).exists
assert not set({unwanted.split()!r}) & sys.modules.keys()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_looking_at_a_changed_dataset_imports_no_fiftyone(own: DatasetProject) -> None:
    own.apply(three(own))
    with own.open() as database:
        mend(database, own, "a", "Pavona")
    observe_alone(own, "fiftyone mongoengine torch cv2")


def test_looking_at_an_untouched_dataset_loads_nothing_heavy(own: DatasetProject) -> None:
    own.apply(three(own))
    observe_alone(own, "pymongo numpy fiftyone psutil specrun.model.labels")


def test_an_empty_source_is_an_error(project: DatasetProject) -> None:
    with pytest.raises(NodeError, match="its sources have no images"):
        project.apply([])


KILLED = """
import os, signal, sys
from pathlib import Path
from specrun.clients.fiftyone import writer
from tests.support.datasets import DatasetProject, square

writer.INSERT_BATCH = 10
left, flush = int(sys.argv[2]), writer.BulkWriter.flush

def killed(self):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    flush(self)

writer.BulkWriter.flush = killed
project = DatasetProject(Path(sys.argv[1]), "own")
project.apply([project.sample(f"s{i:02d}", square(x=i / 4)) for i in range(40)])
"""


@pytest.mark.slow
@pytest.mark.parametrize("batches", [0, 2])
def test_an_import_killed_between_two_batches_goes_on(own: DatasetProject, batches: int) -> None:
    arguments = [sys.executable, "-c", KILLED, str(own.root), str(batches)]
    repository = Path(__file__).parents[3]
    done = subprocess.run(arguments, cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == -9, done.stderr
    samples = [own.sample(f"s{i:02d}", square(x=i / 4)) for i in range(40)]
    outputs = own.apply(samples)
    assert outputs.facts["images"] == 40
    assert f"{10 * batches} samples unchanged" in own.said or batches == 0
    assert own.apply(samples).parts == outputs.parts
