"""sources.video: pictures out of films, every so many frames or so many a second.

    frames/<clip>/000123.jpg   named by the frame's number in its film
    frames.jsonl               one line a frame: key, file, clip, film, frame, time_s, size, digest, interlaced
    samples.jsonl              the same frames as samples; fields clip, frame, time_s, description

A frame that lies in the last output, or in what a killed run left, is linked and not decoded again when the film's
content, the frame's number, format and quality are the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import anyio.to_thread

from specrun.kinds.sources.video_spec import (
    VideoSpec,
    clip_folder,
    clip_name,
    clips_of,
    films_value,
)
from specrun.model.artifact import Outputs
from specrun.model.digest import Json
from specrun.model.state import Observation
from specrun.model.work import Context, Look
from specrun.spec.kind import Kind, Lookup, Problem
from specrun.spec.quantities import duration_s


class Video(Kind):
    """Takes frames out of films, with their exact numbers and times."""

    Spec = VideoSpec
    packages: ClassVar[tuple[str, ...]] = ("av", "pillow")

    def check(self, spec: VideoSpec, lookup: Lookup) -> Sequence[Problem]:
        return [*_sampling_problems(spec), *_film_problems(spec, Path(lookup.project_dir)), *_name_problems(spec)]

    async def observe(self, spec: VideoSpec, look: Look) -> Observation:
        films = sorted({clip.path for clip in clips_of(spec)})
        paths = [look.project_dir / film for film in films]
        digests = await anyio.to_thread.run_sync(look.file_digests, paths)
        now = {film: digests[path] for film, path in zip(films, paths, strict=True)}
        before = look.record.observation if look.record else None
        return Observation(films_value(now), _differences(before, now))

    def resume_key(self, spec: VideoSpec) -> Json:
        """Every frame that a killed run left says itself what it was made from."""
        return "frames"

    def run(self, spec: VideoSpec, ctx: Context) -> Outputs:
        # numpy, Pillow and PyAV come with it.
        from specrun.kinds.sources.video_frames import take_frames

        return take_frames(spec, ctx)


def _differences(before: Json, now: Mapping[str, str | None]) -> tuple[str, ...]:
    films = before.get("films") if isinstance(before, dict) else None
    if not isinstance(films, dict):
        return ()
    lines = [f"{film} is gone" for film, digest in now.items() if digest is None]
    changed = [film for film, digest in now.items() if digest and film in films and films[film] != digest]
    return (*lines, *(f"{film} changed" for film in changed))


def _sampling_problems(spec: VideoSpec) -> list[Problem]:
    problems = []
    if spec.path is None and not spec.clips:
        problems.append(Problem("", "It names no film.", "Give `path`, or `clips`."))
    if spec.path is not None and spec.clips:
        problems.append(Problem("path", "It stands beside `clips`.", "Make it one of the clips."))
    if spec.every_n is None and spec.fps is None:
        problems.append(Problem("", "It does not say how many frames to take.", "Give `every_n: 10` or `fps: 2`."))
    if spec.every_n is not None and spec.fps is not None:
        problems.append(Problem("fps", "It stands beside `every_n`.", "Keep one of the two."))
    for i, clip in enumerate(spec.clips):
        if clip.end is not None and duration_s(clip.start) >= duration_s(clip.end):
            message = f"The segment begins at {clip.start} and ends at {clip.end}: it holds no frames."
            problems.append(Problem(f"clips.{i}.end", message, "Let it end later."))
    return problems


def _film_problems(spec: VideoSpec, project_dir: Path) -> list[Problem]:
    named = [("path", spec.path)] if spec.path is not None else []
    named += [(f"clips.{i}.path", clip.path) for i, clip in enumerate(spec.clips)]
    problems = []
    for place, written in named:
        film = project_dir / written
        if not film.is_file():
            what = "is a folder" if film.is_dir() else "does not exist"
            problems.append(Problem(place, f"{film} {what}", "Put the film there, or mend the path."))
        elif film.stat().st_size == 0:
            problems.append(Problem(place, f"{film} is empty", "Replace the file."))
    return problems


def _name_problems(spec: VideoSpec) -> list[Problem]:
    """Names that are one in files: letters' case does not tell them apart everywhere."""
    problems, seen = [], set[str]()
    for i, clip in enumerate(spec.clips):
        folder = clip_folder(clip).casefold()
        if folder in seen:
            message = f'A clip before it is called "{clip_name(clip)}" too.'
            problems.append(Problem(f"clips.{i}", message, "Give each a `name` of its own."))
        seen.add(folder)
    return problems
