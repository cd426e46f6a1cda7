"""Captions of a dataset on a real FiftyOne and an embedded server that the tests of this module share."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from specrun.clients.fiftyone import Database
from specrun.clients.mongod_binary import find_mongod
from specrun.errors import CredentialsError, FormatError, MissingDependency, NodeError, StopRequested
from specrun.kinds.captions.spec import CaptionsSpec
from specrun.kinds.captions.statistics import statistic_notes
from specrun.kinds.captions.watched import CaptionFiles, caption_files
from specrun.model.artifact import Outputs
from specrun.model.digest import canonical_json, file_digest
from specrun.model.labels import Sample
from tests.doubles.captioners import CaptionServer, Fault, caption_server
from tests.support.datasets import DatasetProject, square
from tests.support.golden import check_golden
from tests.support.look import make_look

COLORS = ((200, 30, 30), (30, 200, 30), (30, 30, 200))
TOKEN = "hf_never_to_be_seen"
SECRET = {"env": "HF_TOKEN"}


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


class Captioned(DatasetProject):
    """A dataset of the test's own, its images in a folder of the test's own."""

    def photo(self, stem: str, color: tuple[int, int, int] = (90, 90, 90), **rest: Any) -> Sample:
        media = self.root / self.name / f"{stem}.png"
        media.parent.mkdir(exist_ok=True)
        # Each picture differs, so that none is taken for another.
        image = Image.new("RGB", (96, 64), color)
        image.putpixel((sum(map(ord, stem)) % 96, 0), (1, 2, len(stem)))
        image.save(media)
        values = {"name": media.name, "size_wh": (96, 64), "digest": file_digest(media), **rest}
        return Sample(key=f"photos/{stem}.png", media=media, annotated=False, **values)

    def photos(self, count: int = 3, **rest: Any) -> list[Sample]:
        return [self.photo(f"p{place:02d}", COLORS[place % 3], **rest) for place in range(count)]

    def connect(self, kind: str, url: str, **rest: Any) -> None:
        field = "endpoint" if kind == "huggingface" else "url"
        self.declared[f"connections.{kind}"] = {"kind": kind, field: url, **rest}

    def caption(self, samples: list[Sample], *providers: dict[str, Any], least: int = 1, **captions: Any) -> Outputs:
        spec = {"providers": list(providers), **captions}
        return self.apply(samples, captions=spec, require={"min_images": least})

    def found(self, database: Database) -> dict[str, tuple[str | None, str | None]]:
        docs = database.mongo[database.layout(self.name).collection].find({})
        return {Path(doc["filepath"]).stem: (doc.get("caption"), doc.get("caption_by")) for doc in docs}

    def write(self, database: Database, stem: str, caption: str | None) -> None:
        """What a person does in the App."""
        dataset = database.dataset(self.name)
        sample = next(s for s in dataset if s.filepath.endswith(f"{stem}.png"))
        sample["caption"] = caption
        sample.save()


@pytest.fixture
def project(shared: Path, request: pytest.FixtureRequest) -> Captioned:
    made = Captioned(shared, request.node.originalname.removeprefix("test_")[:60] + str(len(request.node.name)))
    made.secrets = {canonical_json(SECRET): TOKEN}
    made.settings = {"retry": {"max_attempts": 3, "initial_delay": "10ms", "max_delay": "20ms"}}
    return made


@pytest.fixture
def database(project: Captioned) -> Iterator[Database]:
    with project.open() as database:
        yield database


@pytest.fixture
def llava(project: Captioned) -> Iterator[CaptionServer]:
    with caption_server("openai") as server:
        project.connect("llava", server.url)
        yield server


LLAVA = {"kind": "llava", "connection": "llava"}
BLIP2 = {"kind": "blip2", "connection": "huggingface"}


# Where captions come from


def test_a_text_file_beside_the_image_is_its_caption(project: Captioned, database: Database) -> None:
    samples = project.photos()
    samples[0].media.with_suffix(".txt").write_text(" an orange fish,\n swimming \n")
    made = project.caption(samples, {"kind": "template", "text": "picture {name}"})
    assert project.found(database) == {
        "p00": ("an orange fish, swimming", "sidecar"),
        "p01": ("picture p01", "template"),
        "p02": ("picture p02", "template"),
    }
    assert made.facts["captions"]["by"] == {"sidecar": 1, "template": 2}
    assert made.facts["captions"]["captioned"] == 3


def test_text_files_that_belong_to_no_image_are_told(project: Captioned) -> None:
    samples = project.photos()
    (samples[0].media.parent / "gone.txt").write_text("a fish that left")
    made = project.caption(samples, {"kind": "template", "text": "picture {name}"})
    assert any("belong to none of them: 1: gone.txt" in note for note in made.notes)


def test_metadata_files_name_their_images(project: Captioned, database: Database) -> None:
    samples = project.photos()
    folder = samples[0].media.parent
    (folder / "metadata.jsonl").write_text(
        '{"file_name": "p00.png", "text": "from json"}\n{"file_name": "gone.png", "text": "of nothing"}\n'
    )
    (folder / "metadata.csv").write_text('file_name,text\np01.png,"from csv, with a comma"\n')
    made = project.caption(samples)
    assert project.found(database)["p00"] == ("from json", "metadata")
    assert project.found(database)["p01"] == ("from csv, with a comma", "metadata")
    assert any("1 files that are no image of the dataset: gone.png" in note for note in made.notes)


def test_labels_of_boxes_are_no_captions(project: Captioned, database: Database) -> None:
    samples = project.photos(2)
    samples[0].media.with_suffix(".txt").write_text("0 0.5 0.5 0.2 0.2\n1 0.1 0.1 0.2 0.2\n")
    samples[1].media.with_suffix(".txt").write_text("a fish")
    made = project.caption(samples)
    assert project.found(database)["p00"] == (None, None)
    assert any("hold labels of boxes" in note for note in made.notes)


def test_a_vision_server_describes_what_it_sees(project: Captioned, database: Database, llava: CaptionServer) -> None:
    made = project.caption(project.photos(), {**LLAVA, "prompt": "What is it?"})
    assert project.found(database)["p01"] == ("a green picture of 96 by 64", "llava")
    asked = [one.json for one in llava.seen if one.method == "POST"]
    assert {one["model"] for one in asked} == {"eyes-7b"}
    assert asked[0]["messages"][0]["content"][0] == {"type": "text", "text": "What is it?"}
    assert made.facts["captions"]["asked"] == 3


def test_a_llava_worker_is_recognised(project: Captioned, database: Database) -> None:
    with caption_server("llava") as server:
        project.connect("llava", server.url)
        project.caption(project.photos(), LLAVA)
        assert project.found(database)["p00"] == ("a red picture of 96 by 64", "llava")
        assert server.seen[-1].json["model"] == "llava-v1.5-7b"


def test_inference_gets_the_bytes_and_the_token_that_is_shown_nowhere(project: Captioned, database: Database) -> None:
    with caption_server("hf", token=TOKEN) as server:
        project.connect("huggingface", server.url, token=SECRET)
        samples = project.photos()
        made = project.caption(samples, BLIP2)
        assert project.found(database)["p02"] == ("a blue picture of 96 by 64", "blip2")
        post = server.seen[0]
        assert (post.path, post.headers["content-type"]) == ("/models/Salesforce/blip2-opt-2.7b", "image/png")
        assert post.body in [sample.media.read_bytes() for sample in samples]
    assert TOKEN not in json.dumps([made.facts, made.notes, project.said])


def test_a_model_that_is_being_loaded_is_waited_for(project: Captioned, database: Database) -> None:
    loading = json.dumps({"error": "Model is currently loading", "estimated_time": 0.01}).encode()
    with caption_server("hf", faults=[Fault(503, loading, times=4)]) as server:
        project.connect("huggingface", server.url)
        project.caption(project.photos(1), BLIP2)
    assert project.found(database)["p00"][1] == "blip2"


def test_templates_know_fields_and_labels(project: Captioned, database: Database) -> None:
    samples = [
        project.photo("a", labels=(square("Porites"), square("Acropora"), square("Porites")), fields={"clip": "dive"}),
        project.photo("b", fields={"clip": "dive", "time_s": 1.25}),
    ]
    project.caption(
        samples,
        {"kind": "template", "text": "{clip} at {time_s:.1f} s"},
        {"kind": "template", "text": "{count} of {labels}, mostly {label}"},
    )
    assert project.found(database) == {
        "a": ("3 of Acropora, Porites, mostly Porites", "template"),
        "b": ("dive at 1.2 s", "template"),
    }


def test_an_unknown_field_names_those_that_exist_before_anybody_is_asked(
    project: Captioned, llava: CaptionServer
) -> None:
    samples = [project.photo("a", fields={"clip": "dive"})]
    with pytest.raises(NodeError, match=r'captions.providers.1.text: no sample has a field "film"') as caught:
        project.caption(samples, LLAVA, {"kind": "template", "text": "{film}"})
    assert "clip, count, label, labels, name, split, tags" in str(caught.value.hint)
    assert llava.seen == []


# When a provider fails


def test_the_next_provider_takes_over_and_the_failure_is_told(
    project: Captioned, database: Database, llava: CaptionServer
) -> None:
    page = b"<!DOCTYPE html><html><body>Bad gateway</body></html>"
    llava.faults = [Fault(200, page, "text/html", times=99)]
    made = project.caption(project.photos(8), LLAVA, {"kind": "template", "text": "{name}"}, concurrency=1)
    assert {by for _, by in project.found(database).values()} == {"template"}
    [note] = [note for note in made.notes if "llava" in note]
    assert "failed for 8 images and was not asked again" in note
    assert "answers with a web page and not with a caption" in note
    assert llava.captions_asked == 3


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"choices": []}', "its answer holds no caption"),
        (b"not json", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b'{"choices": [{"message": {"content": "  "}}]}', "is empty and no caption"),
        (b'{"choices": [{"message": {"content": "<html><p>hello</p></html>"}}]}', "is a web page and no caption"),
    ],
)
def test_nonsense_is_no_caption(project: Captioned, llava: CaptionServer, body: bytes, said: str) -> None:
    llava.faults = [Fault(200, body, times=99)]
    with pytest.raises(NodeError, match=f"no image has a caption; tried sidecar, metadata, llava.*{said}"):
        project.caption(project.photos(), LLAVA)


def test_half_a_letter_in_an_answer_is_left_out(project: Captioned, database: Database, llava: CaptionServer) -> None:
    """What a server says when its longest answer ends within an emoji."""
    llava.faults = [Fault(200, rb'{"choices": [{"message": {"content": "a fish \ud83d"}}]}')]
    project.caption(project.photos(1), LLAVA)
    assert project.found(database) == {"p00": ("a fish", "llava")}


def test_the_same_picture_under_several_names_is_asked_for_once(project: Captioned, llava: CaptionServer) -> None:
    first, *others = project.photos(4)
    for other in others:
        other.media.write_bytes(first.media.read_bytes())
    samples = [first, *(replace(other, digest=first.digest) for other in others)]
    assert project.caption(samples, LLAVA, concurrency=4).facts["captions"]["by"] == {"llava": 4}
    assert llava.captions_asked == 1


def test_a_refused_token_is_said_without_the_token(project: Captioned) -> None:
    with caption_server("hf", token="another") as server:
        project.connect("huggingface", server.url, token=SECRET)
        with pytest.raises(CredentialsError) as caught:
            project.caption(project.photos(), BLIP2)
        assert server.captions_asked <= 4
    assert "refuses the token" in caught.value.message
    assert TOKEN not in str(caught.value)


def test_a_server_that_is_busy_is_asked_again(project: Captioned, database: Database, llava: CaptionServer) -> None:
    llava.faults = [Fault(429, b"{}"), Fault(503, b"{}")]
    project.caption(project.photos(1), LLAVA)
    assert project.found(database)["p00"][1] == "llava"


def test_an_image_that_cannot_be_read_is_named(project: Captioned, llava: CaptionServer) -> None:
    samples = project.photos()
    samples[1].media.write_bytes(samples[1].media.read_bytes()[:60])
    with pytest.raises(FormatError, match=r"p01\.png"):
        project.caption(samples, LLAVA)


# What is asked, and what stays


def test_nobody_is_asked_twice(project: Captioned, database: Database, llava: CaptionServer) -> None:
    project.caption(project.photos(), LLAVA)
    made = project.caption(project.photos(4), LLAVA, trigger="reefx", suffix=".")
    assert llava.captions_asked == 4
    assert made.facts["captions"]["asked"] == 1
    assert project.found(database)["p00"] == ("reefx, a red picture of 96 by 64.", "llava")


def test_a_run_that_was_stopped_keeps_what_it_heard(
    project: Captioned, database: Database, llava: CaptionServer
) -> None:
    project.stop = lambda: llava.captions_asked >= 5
    with pytest.raises(StopRequested):
        project.caption(project.photos(20), LLAVA, concurrency=1)
    heard = llava.captions_asked
    project.stop = lambda: False
    cut = next((project.root / ".specrun/cache/captions").glob("*.jsonl"))
    with open(cut, "a") as file:
        file.write('{"image": "cut o')
    project.caption(project.photos(20), LLAVA)
    assert heard < 12
    assert llava.captions_asked <= 21
    assert len(project.found(database)) == 20
    assert {by for _, by in project.found(database).values()} == {"llava"}


def test_several_are_asked_at_once(project: Captioned, llava: CaptionServer) -> None:
    llava.gate = threading.Barrier(3)  # opens only when three stand there together
    project.caption(project.photos(6), {**LLAVA, "model": "m"}, concurrency=3)
    assert llava.most_at_once == 3


def test_what_people_write_stays_unless_overwritten(
    project: Captioned, database: Database, llava: CaptionServer
) -> None:
    project.caption(project.photos(), LLAVA)
    project.write(database, "p00", "my own words")
    made = project.caption(project.photos(), LLAVA, trigger="reefx")
    assert project.found(database)["p00"] == ("my own words", "person")
    assert project.found(database)["p01"][0] == "reefx, a green picture of 96 by 64"
    assert made.facts["captions"]["by"] == {"llava": 2, "person": 1}
    project.caption(project.photos(), LLAVA, overwrite=True)
    assert project.found(database)["p00"] == ("a red picture of 96 by 64", "llava")
    assert llava.captions_asked == 3


def test_what_a_captioner_said_stays_when_its_settings_change(
    project: Captioned, database: Database, llava: CaptionServer
) -> None:
    project.caption(project.photos(), LLAVA)
    llava.says = "another {color}"
    made = project.caption(project.photos(), {**LLAVA, "prompt": "Again"})
    assert project.found(database)["p00"][0] == "a red picture of 96 by 64"
    assert any("3 captions were made under other settings and kept" in note for note in made.notes)
    project.caption(project.photos(), {**LLAVA, "prompt": "Again"}, overwrite=True)
    assert project.found(database)["p00"][0] == "another red"


def test_templates_follow_the_spec(project: Captioned, database: Database) -> None:
    project.caption(project.photos(), {"kind": "template", "text": "one {name}"})
    project.caption(project.photos(), {"kind": "template", "text": "two {name}"})
    assert project.found(database)["p00"] == ("two p00", "template")


def test_captions_are_a_part_of_their_own(project: Captioned, database: Database) -> None:
    first = project.caption(project.photos(), {"kind": "template", "text": "one"})
    second = project.caption(project.photos(), {"kind": "template", "text": "two"})
    changed = {part for part in first.parts if first.parts[part] != second.parts[part]}
    assert changed == {"captions"}
    project.write(database, "p00", "mine")
    seen = project.observe()
    assert seen.part_changes["captions"] == ("1 sample changed in captions: p00.png",)


def test_a_captioned_sample_does_not_count_as_mended(project: Captioned, database: Database) -> None:
    project.caption(project.photos(4), {"kind": "template", "text": "{name}"})
    project.write(database, "p02", "mine")
    project.caption(project.photos(1), {"kind": "template", "text": "{name}"})
    assert sorted(project.found(database)) == ["p00", "p02"]


def test_a_caption_that_came_with_the_data_stays(project: Captioned, database: Database) -> None:
    samples = [project.photo("a", fields={"caption": "from upstream", "caption_by": "llava"}), project.photo("b")]
    project.caption(samples, {"kind": "template", "text": "{name}"})
    assert project.found(database) == {"a": ("from upstream", "llava"), "b": ("b", "template")}


def test_a_text_file_that_people_edit_is_noticed(project: Captioned) -> None:
    samples = project.photos()
    sidecar = samples[0].media.with_suffix(".txt")
    sidecar.write_text("one")
    made = project.caption(samples)
    folders = made.facts["captions"]["folders"]
    assert folders == [project.name]
    assert isinstance(made.observation, dict)

    def look() -> CaptionFiles:
        seen = make_look(project.root, f"datasets.{project.name}", observed=made.observation)
        return caption_files(seen, CaptionsSpec(), folders, project.root)

    assert look().value == made.observation["captions"]
    sidecar.write_text("three")
    seen = look()
    assert seen.value != made.observation["captions"]
    assert seen.changed == ("captions changed in p00.txt",)


# The gates


def test_too_few_images_are_an_error_before_anybody_is_asked(project: Captioned, llava: CaptionServer) -> None:
    said = r"it has 3 images, fewer than require.min_images: 10, which is the default with captions"
    with pytest.raises(NodeError, match=said) as caught:
        project.apply(project.photos(), captions={"providers": [LLAVA]})
    assert "write require: {min_images: 3}" in str(caught.value.hint)
    assert llava.seen == []


def test_no_caption_at_all_is_an_error(project: Captioned) -> None:
    with pytest.raises(NodeError, match="no image has a caption; tried sidecar, metadata"):
        project.caption(project.photos())


def test_under_half_captioned_is_a_warning(project: Captioned) -> None:
    samples = project.photos(5)
    for sample in samples[:2]:
        sample.media.with_suffix(".txt").write_text("a fish")
    made = project.caption(samples)
    assert "only 2 of 5 images have a caption (require.min_caption_ratio: 0.5)" in made.notes


def test_a_dataset_without_captions_is_gated_when_asked(project: Captioned) -> None:
    with pytest.raises(NodeError, match=r"fewer than require.min_images: 4\."):
        project.apply(project.photos(), require={"min_images": 4})
    assert "captions" not in project.apply(project.photos(), require={"min_images": 3}).facts


def test_statistics_tell_of_lengths_words_sizes_and_near_duplicates(project: Captioned) -> None:
    samples = project.photos(4)
    long = "coral " * 90
    made = project.caption(samples, {"kind": "template", "text": long + "{name}"}, max_length=120)
    told = made.facts["captions"]
    assert told["tokens"] == {"shortest": 93, "median": 93, "longest": 93, "window": 77, "cut": 4}
    assert next(iter(told["words"].items())) == ("coral", 4)
    assert told["aspect_ratios"] == {"3:2": 4}
    assert told["near_duplicates"]["images"] == 1
    assert any("4 captions are longer than the 77 tokens" in note for note in made.notes)
    (note,) = [note for note in made.notes if "nearly like another" in note]
    assert note.startswith("1 image looks nearly like another: p03.png like p00.png. What comes often")


def test_captions_can_be_read_in_the_output_with_who_wrote_them(project: Captioned) -> None:
    samples = project.photos(3)
    samples[0].media.with_suffix(".txt").write_text("un poisson doré, 魚", encoding="utf-8")
    metadata = samples[1].media.parent / "metadata.jsonl"
    metadata.write_text('{"file_name": "p01.png", "text": "a wreck"}\n', encoding="utf-8")
    made = project.caption(samples, trigger="reefx")
    assert ("captions", "captions.jsonl") in [(one.name, one.place) for one in made.artifacts]
    text = (project.output / "captions.jsonl").read_text(encoding="utf-8")
    check_golden("captions/captions.jsonl", text)


def test_duplicates_beyond_the_examples_are_counted() -> None:
    pairs = [["a", "b"], ["c", "d"], ["e", "f"]]
    facts = {"captioned": 9, "tiny": 2, "near_duplicates": {"images": 6, "examples": pairs}}
    tiny, near = statistic_notes(facts, 0.5, 9)
    assert tiny.startswith("2 images are smaller than 64 pixels: nothing is enlarged")
    assert "b like a; d like c; f like e; and 3 more. " in near


def test_what_is_longer_than_allowed_is_shortened_and_told(project: Captioned, database: Database) -> None:
    made = project.caption(
        project.photos(1), {"kind": "template", "text": "coral " * 90}, max_length=20, trigger="reefx", suffix=", photo"
    )
    caption = project.found(database)["p00"][0] or ""
    assert caption.startswith("reefx, coral coral")
    assert caption.endswith("coral, photo")
    assert any("1 caption was shortened to max_length: 20 tokens: p00.png" in note for note in made.notes)
