from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest
from PIL import Image

from specrun.errors import FormatError, StopRequested
from specrun.formats.samples import load_samples
from specrun.kinds.registry import REGISTRY
from specrun.kinds.sources.video import Video
from specrun.kinds.sources.video_spec import VideoSpec
from specrun.model.artifact import Outputs
from specrun.model.digest import file_digest
from specrun.model.event import Progress
from specrun.model.labels import Sample
from specrun.run.context import WorkerContext
from specrun.spec.project import load_project
from tests.support.context import make_context
from tests.support.films import number_of, write_film, write_interlaced_film
from tests.support.look import make_look

ADDRESS = "sources.dive"


@dataclass(frozen=True)
class Project:
    """The part of the spec's Lookup that `check` uses."""

    project_dir: Path


@dataclass
class Made:
    context: WorkerContext
    outputs: Outputs
    samples: list[Sample]

    @property
    def numbers(self) -> list[int]:
        return [int(sample.fields["frame"] or 0) for sample in self.samples]

    def picture(self, place: int) -> np.ndarray[Any, Any]:
        path = self.context.output / "frames" / self.samples[place].name
        return np.asarray(Image.open(path))


def publish(context: WorkerContext) -> None:
    shutil.rmtree(context.output, ignore_errors=True)
    context.output.parent.mkdir(parents=True, exist_ok=True)
    context.staging.rename(context.output)


def make(root: Path, **spec: Any) -> Made:
    """Run and published as the executor does."""
    output = root / "outputs" / "sources" / "dive"
    former = root / "former"
    if output.exists():
        shutil.rmtree(former, ignore_errors=True)
        shutil.copytree(output, former, copy_function=os.link)
    context = make_context(root, ADDRESS, previous=former if former.exists() else None, cpus=2)
    outputs = Video().run(VideoSpec.model_validate(spec), context)
    publish(context)
    return Made(context, outputs, list(load_samples(context.output / "samples.jsonl", root)))


def problems(root: Path, **spec: Any) -> list[tuple[str, str]]:
    found = Video().check(VideoSpec.model_validate(spec), Project(root))  # type: ignore[arg-type]
    return [(problem.path, problem.message) for problem in found]


def test_every_n_frames_become_samples_that_know_their_clip_number_and_time(tmp_path: Path) -> None:
    write_film(tmp_path / "media/dive.mp4", 40, rate=20)
    made = make(tmp_path, path="media/dive.mp4", every_n=10, description="a coral garden")
    assert made.numbers == [0, 10, 20, 30]
    assert [number_of(made.picture(place)) for place in range(4)] == [0, 10, 20, 30]
    sample = made.samples[1]
    assert (sample.key, sample.name) == ("dive/dive/000010", "dive/000010.jpg")
    assert dict(sample.fields) == {"clip": "dive", "frame": 10, "time_s": 0.5, "description": "a coral garden"}
    assert (sample.digest, sample.size_wh, sample.annotated) == (file_digest(sample.media), (192, 96), False)
    assert made.outputs.facts["images"] == 4
    assert made.outputs.facts["clips"] == {"dive": {"frames": 4, "from_s": 0.0, "to_s": 1.5, "size": "192×96"}}


def test_the_manifest_ties_each_frame_to_film_number_and_time(tmp_path: Path) -> None:
    film = write_film(tmp_path / "dive.mp4", 20)
    made = make(tmp_path, clips=[{"path": "dive.mp4", "start": "500ms", "name": "late"}], every_n=5)
    rows = [json.loads(line) for line in (made.context.output / "frames.jsonl").read_text().splitlines()]
    assert [(row["clip"], row["film"], row["frame"], row["time_s"]) for row in rows] == [
        ("late", "dive.mp4", 10, 0.5),
        ("late", "dive.mp4", 15, 0.75),
    ]
    assert rows[0]["source"] == file_digest(film)
    assert file_digest(made.context.output / rows[0]["file"]) == rows[0]["digest"]
    assert made.outputs.known_digests[rows[0]["file"]] == rows[0]["digest"]


def test_segments_at_a_rate_hold_their_start_and_not_their_end(tmp_path: Path) -> None:
    write_film(tmp_path / "dive.mp4", 60, rate=20)
    clips = [
        {"path": "dive.mp4", "start": "1s", "end": "2s", "name": "one", "description": "first"},
        {"path": "dive.mp4", "start": "2s", "name": "two"},
    ]
    made = make(tmp_path, clips=clips, fps=4, description="reef")
    assert [(s.fields["clip"], s.fields["frame"]) for s in made.samples] == [
        *(("one", n) for n in (20, 25, 30, 35)),
        *(("two", n) for n in (40, 45, 50, 55)),
    ]
    assert [made.samples[i].fields["description"] for i in (0, 4)] == ["first", "reef"]


def test_png_holds_the_pixels(tmp_path: Path) -> None:
    write_film(tmp_path / "dive.avi", 4, codec="png", options={})
    made = make(tmp_path, path="dive.avi", every_n=3, format="png")
    assert [sample.name for sample in made.samples] == ["dive/000000.png", "dive/000003.png"]
    assert set(np.unique(made.picture(1)[:40])) == {0, 255}


def test_a_second_run_decodes_only_what_is_missing(tmp_path: Path) -> None:
    write_film(tmp_path / "dive.mp4", 40)
    first = make(tmp_path, path="dive.mp4", every_n=10)
    inode = first.samples[1].media.stat().st_ino
    second = make(tmp_path, path="dive.mp4", every_n=5)
    assert second.outputs.facts["new"] == 4
    assert second.samples[2].media.stat().st_ino == inode
    third = make(tmp_path, clips=[{"path": "dive.mp4", "name": "other"}], every_n=10)
    assert third.outputs.facts["new"] == 0
    assert sorted(path.name for path in third.context.output.iterdir()) == ["frames", "frames.jsonl", "samples.jsonl"]
    assert [path.name for path in (third.context.output / "frames").iterdir()] == ["other"]


def test_another_film_or_format_is_decoded_anew(tmp_path: Path) -> None:
    write_film(tmp_path / "dive.mp4", 20)
    make(tmp_path, path="dive.mp4", every_n=10)
    assert make(tmp_path, path="dive.mp4", every_n=10, quality=50).outputs.facts["new"] == 2
    write_film(tmp_path / "dive.mp4", range(100, 120))
    made = make(tmp_path, path="dive.mp4", every_n=10, quality=50)
    assert [number_of(made.picture(place)) for place in range(2)] == [100, 110]


def test_a_run_that_was_stopped_goes_on(tmp_path: Path) -> None:
    write_film(tmp_path / "dive.mp4", 60)
    spec = VideoSpec(path="dive.mp4", every_n=2)
    context = make_context(tmp_path, ADDRESS)
    record = context.staging / "taken.jsonl"
    context.stop = lambda: record.exists() and len(record.read_text().splitlines()) >= 8
    with pytest.raises(StopRequested):
        Video().run(spec, context)
    kept = len(record.read_text().splitlines())
    with open(record, "a") as file:
        file.write('{"key": "cut o')
    context = make_context(tmp_path, ADDRESS)
    outputs = Video().run(spec, context)
    assert outputs.facts["new"] == 30 - kept
    names = sorted(path.name for path in (context.staging / "frames/dive").iterdir())
    assert names == [f"{number:06d}.jpg" for number in range(0, 60, 2)]


def test_progress_counts_to_all_frames(tmp_path: Path) -> None:
    write_film(tmp_path / "dive.mp4", 20)
    made = make(tmp_path, path="dive.mp4", every_n=2)
    last = [event for event in made.context.events if isinstance(event, Progress)][-1]  # type: ignore[attr-defined]
    assert (last.done, last.total, last.unit) == (10, 10, "frames")


def test_a_segment_without_frames_names_the_clip_and_the_films_end(tmp_path: Path) -> None:
    write_film(tmp_path / "dive.mp4", 20, rate=20)
    with pytest.raises(FormatError, match=r'clip "dive": dive\.mp4 has no frames from 5s to its end; .* at 0\.950 s'):
        make(tmp_path, clips=[{"path": "dive.mp4", "start": "5s"}], every_n=1)


def test_a_segment_that_ends_behind_the_film_is_noted(tmp_path: Path) -> None:
    write_film(tmp_path / "dive.mp4", 20, rate=20)
    made = make(tmp_path, clips=[{"path": "dive.mp4", "end": "9s"}], every_n=10)
    assert made.outputs.notes == ('clip "dive" shall end at 9s, the film ends at 0.950 s',)


def test_mistakes_are_found_without_opening_a_film(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"x")
    (tmp_path / "empty.mp4").write_bytes(b"")
    assert problems(tmp_path, path="a.mp4", every_n=2) == []
    assert problems(tmp_path, path="b.mp4", fps=2) == [("path", f"{tmp_path / 'b.mp4'} does not exist")]
    assert problems(tmp_path, path="empty.mp4", fps=2) == [("path", f"{tmp_path / 'empty.mp4'} is empty")]
    assert problems(tmp_path, path="a.mp4") == [("", "It does not say how many frames to take.")]
    assert problems(tmp_path, path="a.mp4", fps=1, every_n=1) == [("fps", "It stands beside `every_n`.")]
    assert problems(tmp_path, every_n=1) == [("", "It names no film.")]
    [(where, said)] = problems(tmp_path, clips=[{"path": "a.mp4", "start": "3s", "end": "3s"}], fps=1)
    assert (where, said) == ("clips.0.end", "The segment begins at 3s and ends at 3s: it holds no frames.")
    assert problems(tmp_path, clips=[{"path": "a.mp4"}, {"path": "a.mp4", "name": "A"}], fps=1) == [
        ("clips.1", 'A clip before it is called "A" too.')
    ]


def test_what_a_run_saw_is_what_the_next_look_sees(tmp_path: Path) -> None:
    film = write_film(tmp_path / "dive.mp4", 10)
    spec = VideoSpec(path="dive.mp4", every_n=5)
    made = make(tmp_path, path="dive.mp4", every_n=5)
    seen = anyio.run(Video().observe, spec, make_look(tmp_path, ADDRESS, observed=made.outputs.observation))
    assert (seen.value, seen.differences) == (made.outputs.observation, ())
    write_film(film, 12)
    seen = anyio.run(Video().observe, spec, make_look(tmp_path, ADDRESS, observed=made.outputs.observation))
    assert seen.differences == ("dive.mp4 changed",)


@pytest.mark.slow
def test_a_long_film_is_read_in_little_memory(tmp_path: Path) -> None:
    """Ten minutes: all of its frames at once would take 4 GB. A process of its own, so that its peak is its own."""
    import subprocess
    import sys

    film = write_film(tmp_path / "dive.mp4", (n % 4096 for n in range(15_000)), rate=25, size_wh=(384, 240))
    code = f"""
import resource, sys
from pathlib import Path
from specrun.kinds.registry import REGISTRY
from specrun.kinds.sources.video import Video
from specrun.kinds.sources.video_spec import VideoSpec
from tests.support.context import make_context
root = Path({str(tmp_path)!r})
context = make_context(root, {ADDRESS!r}, cpus=2)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
outputs = Video().run(VideoSpec(path={film.name!r}, every_n=10), context)
assert outputs.facts["images"] == 1500, outputs.facts
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert int(done.stdout.split()[-1]) < 200


def test_the_description_of_a_source_reaches_its_frames(tmp_path: Path) -> None:
    write_film(tmp_path / "dive.mp4", 4)
    text = "specrun: 1\nproject: {name: p}\nsources:\n  dive: {kind: video, path: dive.mp4, fps: 2, description: %s}\n"
    results = []
    for words in ("a reef", "a wall"):
        (tmp_path / "project.yaml").write_text(text % words)
        [node] = load_project(tmp_path / "project.yaml", REGISTRY).nodes
        assert node.config["description"] == words
        results.append(node.result_config)
    assert results[0] != results[1]


def test_a_film_that_is_interlaced_is_told_of_until_it_is_deinterlaced(tmp_path: Path) -> None:
    write_interlaced_film(tmp_path / "tape.mkv")
    fields: dict[str, Any] = {"path": "tape.mkv", "every_n": 2, "format": "png"}
    told = (
        'clip "tape": the film is interlaced, so moving things have combs; write deinterlace: true to take every '
        "other line alone",
    )
    assert make(tmp_path, **fields).outputs.notes == told
    again = make(tmp_path, **fields).outputs
    assert again.facts["new"] == 0
    assert again.notes == told
    smooth = make(tmp_path, **fields, deinterlace=True).outputs
    assert smooth.facts["new"] == 3
    assert smooth.notes == ()
