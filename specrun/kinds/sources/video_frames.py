"""The work of sources.video: frames chosen, taken over from before where they are the same, else decoded and written.

While it runs, staging holds `taken.jsonl`, a row for each frame that is whole there, so that a killed run goes on;
the rows of the last output are its `frames.jsonl`. Imported by workers only.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from specrun.errors import FormatError
from specrun.formats.film_sampling import Sampling, choose_frames
from specrun.formats.image_names import name_key
from specrun.formats.samples import SAMPLES_NAME, save_samples
from specrun.formats.tally import Tally, literal
from specrun.formats.video import FilmFrame, FilmIndex, read_frames, read_index
from specrun.kinds.sources.summary import Summary
from specrun.kinds.sources.video_spec import ClipSpec, VideoSpec, clip_folder, clip_name, clips_of, films_value
from specrun.model.artifact import Artifact, Outputs
from specrun.model.digest import bytes_digest, file_digest
from specrun.model.labels import Sample
from specrun.model.work import Context
from specrun.spec.quantities import duration_s

MANIFEST = "frames.jsonl"
_FOLDER = "frames"
_RECORD = "taken.jsonl"
_WRITER_VERSION = 1
"""Raised when a frame would be written otherwise: others are not taken over."""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the manifest. film: as the spec names it; source: digest of its content. made: how it was written."""

    key: str
    file: str
    clip: str
    film: str
    frame: int
    time_s: float
    width: int
    height: int
    digest: str
    source: str
    made: str
    interlaced: bool = False


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip with its film opened and its frames chosen. key: begins the samples' keys."""

    spec: ClipSpec
    film: Path
    source: str
    index: FilmIndex
    numbers: tuple[int, ...]

    def file(self, number: int, suffix: str) -> str:
        return f"{_FOLDER}/{clip_folder(self.spec)}/{number:06d}.{suffix}"


def take_frames(spec: VideoSpec, ctx: Context) -> Outputs:
    """Raises FormatError: a film cannot be read, a segment without frames. MissingDependency: no PyAV."""
    digests: dict[str, str] = {}
    clips = [_opened_clip(spec, clip, ctx, digests) for clip in clips_of(spec)]
    taking = _Taking(spec, ctx, sum(len(clip.numbers) for clip in clips))
    rows = [row for clip in clips for row in taking.take(clip)]
    taking.finish(rows)
    if not rows:
        raise FormatError(f"{ctx.address}: no frame could be decoded.", hint="Replace the films, or convert them.")
    summary = Summary()
    descriptions = {clip_name(clip.spec): clip.spec.description for clip in clips}
    samples = summary.count(_samples(rows, descriptions, ctx.output))
    save_samples(ctx.staging / SAMPLES_NAME, samples, ctx.project_dir)
    return Outputs(
        artifacts=(Artifact("samples", "file", SAMPLES_NAME), Artifact("frames", "folder", _FOLDER)),
        facts={**summary.facts(()), "clips": _clip_facts(clips, rows), "new": taking.decoded},
        parts=summary.parts(()),
        notes=(*_notes(clips, taking.lost), *_interlaced_notes(spec, rows)),
        known_digests={row.file: row.digest for row in rows},
        observation=films_value(digests),
    )


def _opened_clip(spec: VideoSpec, clip: ClipSpec, ctx: Context, digests: dict[str, str]) -> Clip:
    film = ctx.project_dir / clip.path
    ctx.progress(0, None, "frames", f"{clip_name(clip)}: reading the film's index")
    try:
        source = digests[clip.path] if clip.path in digests else file_digest(film)
    except OSError as error:
        raise FormatError(f"{film}: cannot be read ({error.strerror}).", hint="Mend the path.") from None
    digests[clip.path] = source
    index = read_index(film, ctx.check_stop)
    numbers = choose_frames(index.times, _sampling(spec, clip), index.tick)
    if not numbers:
        raise _no_frames(ctx, clip, index)
    return Clip(clip, film, source, index, tuple(numbers))


def _sampling(spec: VideoSpec, clip: ClipSpec) -> Sampling:
    return Sampling(
        every_n=spec.every_n,
        fps=None if spec.fps is None else Fraction(str(spec.fps)),
        start=_exact(clip.start),
        end=None if clip.end is None else _exact(clip.end),
    )


def _exact(duration: str) -> Fraction:
    """To the microsecond."""
    return Fraction(round(duration_s(duration) * 1_000_000), 1_000_000)


def _no_frames(ctx: Context, clip: ClipSpec, index: FilmIndex) -> FormatError:
    until = clip.end or "its end"
    last = float(index.times[-1])
    return FormatError(
        f'{ctx.address}: clip "{clip_name(clip)}": {clip.path} has no frames from {clip.start} to {until}; '
        f"its last one is at {last:.3f} s.",
        hint="Mend start and end of the clip.",
    )


class _Taking:
    """decoded: how many frames were made anew. lost: clip name → frames that could not be decoded."""

    def __init__(self, spec: VideoSpec, ctx: Context, total: int) -> None:
        self._spec, self._ctx, self._total, self._done = spec, ctx, total, 0
        self._made = f"{spec.format} {spec.quality if spec.format == 'jpg' else ''} {_WRITER_VERSION}"
        self._made += " deinterlaced" if spec.deinterlace else ""
        self.decoded = 0
        self.lost: dict[str, int] = {}
        self._known: dict[tuple[str, int], tuple[Path, Row]] = {}
        for folder, name in ((ctx.previous, MANIFEST), (ctx.staging, _RECORD)):
            for row in _rows(folder / name) if folder else ():
                if row.made == self._made:
                    self._known[row.source, row.frame] = (folder / row.file, row)  # type: ignore[operator]

    def take(self, clip: Clip) -> list[Row]:
        rows = {number: row for number in clip.numbers if (row := self._taken_over(clip, number))}
        self._tell(clip, len(rows))
        missing = [number for number in clip.numbers if number not in rows]
        if missing:
            rows |= self._decode(clip, missing)
        lost = len(clip.numbers) - len(rows)
        if lost:
            self.lost[clip_name(clip.spec)] = lost
            self._tell(clip, lost)
        return [rows[number] for number in clip.numbers if number in rows]

    def finish(self, rows: Iterable[Row]) -> None:
        """The manifest, and nothing beside the frames that it names."""
        staging = self._ctx.staging
        with open(staging / MANIFEST, "w", encoding="utf-8", newline="\n") as file:
            named = set()
            for row in rows:
                file.write(json.dumps(asdict(row), ensure_ascii=False) + "\n")
                named.add(row.file)
        (staging / _RECORD).unlink(missing_ok=True)
        for folder, _, names in os.walk(staging / _FOLDER, topdown=False):
            for name in names:
                path = Path(folder, name)
                if path.relative_to(staging).as_posix() not in named:
                    path.unlink()
            with suppress(OSError):
                os.rmdir(folder)

    def _taken_over(self, clip: Clip, number: int) -> Row | None:
        known = self._known.get((clip.source, number))
        if known is None:
            return None
        path, row = known
        target = self._ctx.staging / clip.file(number, self._spec.format)
        try:
            if path != target:
                _link_or_copy(path, target)
            elif not target.is_file():
                return None
        except FileNotFoundError:
            return None
        return self._row(clip, number, (row.width, row.height), row.digest, row.interlaced)

    def _decode(self, clip: Clip, numbers: Sequence[int]) -> dict[int, Row]:
        """Pictures are encoded by threads while the next are decoded; only a few are held at a time."""
        threads = max(1, self._ctx.cpus)
        rows: dict[int, Row] = {}
        waiting: list[Future[Row]] = []
        with (
            open(self._ctx.staging / _RECORD, "a", encoding="utf-8", newline="\n") as record,
            ThreadPoolExecutor(threads, "frames") as pool,
        ):

            def settle(most: int) -> None:
                while len(waiting) > most:
                    row = waiting.pop(0).result()
                    rows[row.frame] = row
                    record.write(json.dumps(asdict(row)) + "\n")
                    record.flush()
                    self.decoded += 1
                    self._tell(clip, 1)

            stop, fields = self._ctx.check_stop, self._spec.deinterlace
            for frame in read_frames(clip.film, clip.index, numbers, stop, deinterlace=fields):
                waiting.append(pool.submit(self._write, clip, frame))
                settle(2 * threads)
            settle(0)
        return rows

    def _write(self, clip: Clip, frame: FilmFrame) -> Row:
        target = self._ctx.staging / clip.file(frame.number, self._spec.format)
        target.parent.mkdir(parents=True, exist_ok=True)
        data = encode_picture(frame.picture, self._spec.format, self._spec.quality)
        part = target.with_suffix(".part")
        part.write_bytes(data)
        part.replace(target)
        height, width = frame.picture.shape[:2]
        return self._row(clip, frame.number, (width, height), bytes_digest(data), frame.interlaced)

    def _row(self, clip: Clip, number: int, size_wh: tuple[int, int], digest: str, interlaced: bool) -> Row:
        return Row(
            key=f"{self._ctx.address.name}/{name_key(clip_name(clip.spec))}/{number:06d}",
            file=clip.file(number, self._spec.format),
            clip=clip_name(clip.spec),
            film=clip.spec.path,
            frame=number,
            time_s=round(float(clip.index.times[number]), 6),
            width=size_wh[0],
            height=size_wh[1],
            digest=digest,
            source=clip.source,
            made=self._made,
            interlaced=interlaced,
        )

    def _tell(self, clip: Clip, more: int) -> None:
        self._done += more
        self._ctx.progress(self._done, self._total, "frames", clip_name(clip.spec))


def encode_picture(picture: NDArray[np.uint8], form: str, quality: int) -> bytes:
    """The bytes of a JPEG or PNG file. picture: (height, width, 3) uint8 RGB."""
    from io import BytesIO  # small

    file = BytesIO()
    image = Image.fromarray(picture)
    if form == "png":
        image.save(file, "PNG", compress_level=3)  # level 6 takes three times as long for a few per cent
    else:
        image.save(file, "JPEG", quality=quality, subsampling=0 if quality >= 90 else 2)
    return file.getvalue()


def _link_or_copy(source: Path, target: Path) -> None:
    """Raises FileNotFoundError: no such source."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)


def _rows(path: Path) -> Iterator[Row]:
    """Whole rows: the last one may have been cut off by a kill."""
    with suppress(OSError, ValueError, TypeError), open(path, encoding="utf-8") as file:
        for line in file:
            yield Row(**json.loads(line))


def _samples(rows: Iterable[Row], descriptions: Mapping[str, str], output: Path) -> Iterator[Sample]:
    for row in rows:
        fields: dict[str, str | float | int | bool | None] = {
            "clip": row.clip,
            "frame": row.frame,
            "time_s": row.time_s,
        }
        if descriptions[row.clip]:
            fields["description"] = descriptions[row.clip]
        yield Sample(
            key=row.key,
            media=output / row.file,
            name=row.file.removeprefix(f"{_FOLDER}/"),
            digest=row.digest,
            size_wh=(row.width, row.height),
            annotated=False,
            fields=fields,
        )


def _clip_facts(clips: Sequence[Clip], rows: Sequence[Row]) -> dict[str, Any]:
    taken = {clip_name(clip.spec): [row for row in rows if row.clip == clip_name(clip.spec)] for clip in clips}
    return {
        name: {"frames": len(found), "from_s": found[0].time_s, "to_s": found[-1].time_s, "size": _size(found[0])}
        for name, found in taken.items()
        if found
    }


def _size(row: Row) -> str:
    return f"{row.width}×{row.height}"


def _notes(clips: Sequence[Clip], lost: Mapping[str, int]) -> Iterator[str]:
    for clip in clips:
        end, last = clip.spec.end, clip.index.times[-1]
        if end is not None and _exact(end) > last + 1:
            yield f'clip "{clip_name(clip.spec)}" shall end at {end}, the film ends at {float(last):.3f} s'
    tally = Tally()
    for name, count in lost.items():
        tally.add("frame", f'of clip "{literal(name)}" cannot be decoded and {{were}} left out', count)
    yield from tally.notes()


def _interlaced_notes(spec: VideoSpec, rows: Sequence[Row]) -> Iterator[str]:
    clips = list(dict.fromkeys(row.clip for row in rows if row.interlaced))
    if clips and not spec.deinterlace:
        named = ", ".join(f'"{clip}"' for clip in clips[:3]) + (f" and {len(clips) - 3} more" if len(clips) > 3 else "")
        what = "clip" if len(clips) == 1 else "clips"
        told = f"{what} {named}: the film is interlaced, so moving things have combs"
        yield f"{told}; write deinterlace: true to take every other line alone"
