"""Films read frame by frame with PyAV: exact frame numbers and times, upright pictures, one frame in memory at a time.

- **Number**: the frame's place in the order of showing, counted from 0 over the whole film, whatever part is read.
- **Time**: seconds since the beginning that a player shows (the container's start), from the timestamps and never
  from the rate, so that films of variable frame rate are right.
- **Orientation**: the display matrix (turns by 90 degrees and mirrors) is applied.
- **How numbers are known**: the packets' timestamps, sorted, without decoding. Films whose packets lack them, or whose
  decoder gives others, are decoded once to be counted.
- **Seeking**: only over more than `FAR` frames, and to a key frame before the last one, so that films that refresh
  gradually are whole when the frame comes.

A file cannot make the reader open another one or an address: only the protocol `file` is allowed.
"""

from __future__ import annotations

import itertools
import os
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from specrun.errors import FormatError, MissingDependency
from specrun.formats.plain_text import plain_text

FAR = 250
"""Frames that are decoded rather than sought over."""
MOST_THREADS = 4
"""Of the decoder: each holds pictures of its own."""
_CHECKED = 8
"""Frames whose timestamps are compared with those of the packets."""


@dataclass(frozen=True, slots=True)
class FilmIndex:
    """times: of all frames in the order of showing. tick: the least difference that the film's clock can hold.
    marks: timestamps in the film's own units, () when frames must be counted. keys: marks of key frames."""

    times: tuple[Fraction, ...]
    tick: Fraction
    marks: tuple[int, ...] = ()
    keys: tuple[int, ...] = ()


def read_index(path: Path, check_stop: Callable[[], None] = lambda: None) -> FilmIndex:
    """Raises FormatError: unreadable, or without pictures. MissingDependency: PyAV is not installed."""
    with _opened(path) as (container, stream):
        began, unit = _start(container, stream), Fraction(stream.time_base)
        marks: list[int | None] = []
        keys: list[int] = []
        for number, packet in enumerate(container.demux(stream)):
            if number % 1000 == 0:
                check_stop()
            if packet.size and not packet.is_discard:
                marks.append(packet.pts)
                if packet.is_keyframe and packet.pts is not None:
                    keys.append(packet.pts)
    known = sorted(mark for mark in marks if mark is not None)
    if known and len(set(known)) == len(marks) and _first_marks(path) == known[:_CHECKED]:
        return FilmIndex(tuple(mark * unit - began for mark in known), unit, tuple(known), tuple(sorted(keys)))
    return _counted(path, check_stop)


def _first_marks(path: Path) -> list[int | None]:
    with _opened(path) as (container, stream):
        return [frame.pts for frame in itertools.islice(_decoded(container, stream), _CHECKED)]


def _counted(path: Path, check_stop: Callable[[], None]) -> FilmIndex:
    """By decoding the whole film."""
    with _opened(path) as (container, stream):
        began, unit = _start(container, stream), Fraction(stream.time_base)
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        found: list[Fraction | None] = []
        for frame in _decoded(container, stream):
            check_stop()
            found.append(None if frame.pts is None else frame.pts * unit - began)
    times = dated(found, 1 / Fraction(rate))
    if not times:
        raise FormatError(f"{path}: no frame of it can be decoded.", hint="Replace the file, or convert it.")
    return FilmIndex(tuple(times), unit)


def dated(found: Sequence[Fraction | None], step_s: Fraction) -> list[Fraction]:
    """Ascending times of all frames. found: by the film, None where it says nothing.

    A frame without a time, or with an earlier one than the frame before it, comes one step after that frame; those at
    the beginning, which a film that was cut without encoding it anew leaves undated, come before the first dated one.
    """
    undated = next((number for number, time in enumerate(found) if time is not None), 0)
    first = found[undated] if found else None
    times = [first - (undated - number) * step_s for number in range(undated)] if first is not None else []
    shift = -min(times[0], Fraction(0)) if times else Fraction(0)
    for time in found[undated:]:
        after = times[-1] + step_s if times else Fraction(0)
        times.append(time if time is not None and (not times or time > times[-1]) else after)
    return [time + shift for time in times]


@dataclass(frozen=True, slots=True)
class FilmFrame:
    """picture: (height, width, 3) uint8 RGB, upright. interlaced: every other line is of another moment, as the film
    says."""

    number: int
    time: Fraction
    picture: NDArray[np.uint8]
    interlaced: bool = False


def read_frames(
    path: Path,
    index: FilmIndex,
    numbers: Sequence[int],
    check_stop: Callable[[], None] = lambda: None,
    *,
    deinterlace: bool = False,
) -> Iterator[FilmFrame]:
    """The frames of these numbers, ascending; those that cannot be decoded are left out. deinterlace: of interlaced
    frames, the upper field alone. Raises FormatError."""
    wanted = set(numbers)
    with _opened(path) as (container, stream):
        for number, frame in _numbered(container, stream, index, numbers):
            check_stop()
            if number in wanted:
                interlaced = bool(frame.interlaced_frame)
                picture = _upright(frame, deinterlace and interlaced)
                yield FilmFrame(number, index.times[number], picture, interlaced)


def _numbered(container: Any, stream: Any, index: FilmIndex, numbers: Sequence[int]) -> Iterator[tuple[int, Any]]:
    """Decoded frames with their numbers, at least those asked for; parts between far ones are skipped."""
    if not numbers:
        return
    if not index.marks:
        yield from itertools.islice(enumerate(_decoded(container, stream)), min(numbers[-1] + 1, len(index.times)))
        return
    place = {mark: number for number, mark in enumerate(index.marks)}
    source, at = _decoded(container, stream), -1
    for run in _runs(numbers):
        key = _key_before(index, run[0]) if run[0] - at > FAR else None
        if key is not None and key > at:
            container.seek(index.marks[key], stream=stream, backward=True)
            source = _decoded(container, stream)
        for frame in source:
            at = place.get(frame.pts, at)
            if frame.pts in place:
                yield at, frame
            if at >= run[-1]:
                break


def _runs(numbers: Sequence[int]) -> Iterator[list[int]]:
    """Numbers that lie near each other, together."""
    run: list[int] = []
    for number in numbers:
        if run and number - run[-1] > FAR:
            yield run
            run = []
        run.append(number)
    yield run


def _key_before(index: FilmIndex, number: int) -> int | None:
    """The number of the last key frame but one at or before a frame."""
    at = bisect_right(index.keys, index.marks[number]) - 2
    return bisect_right(index.marks, index.keys[at]) - 1 if at >= 0 else None


def _decoded(container: Any, stream: Any) -> Iterator[Any]:
    """Frames in the order of showing; what cannot be decoded is left out."""
    import av  # in workers only: the kind of the source is imported by planning

    for packet in container.demux(stream):
        with suppress(av.error.InvalidDataError):
            yield from packet.decode()


def _upright(frame: Any, deinterlace: bool) -> NDArray[np.uint8]:
    # The colours of interlaced frames are enlarged field by field (a test holds FFmpeg's scaler to it).
    picture: NDArray[np.uint8] = frame.to_ndarray(format="rgb24")
    if deinterlace:
        picture = upper_field(picture)
    for data in frame.side_data:
        if data.type.name == "DISPLAYMATRIX":
            return apply_display_matrix(picture, np.frombuffer(bytes(data), dtype="<i4"))
    return picture


def upper_field(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The lines of the first moment, and between them what lies half-way. picture: (height, width, 3)."""
    found = picture.copy()
    lines = picture[0::2].astype(np.uint16)
    between = (lines[:-1] + lines[1:] + 1) // 2
    found[1 : 2 * len(between) : 2] = between
    if len(picture) % 2 == 0:
        found[-1] = picture[-2]
    return found


def apply_display_matrix(picture: NDArray[np.uint8], matrix: NDArray[np.int32]) -> NDArray[np.uint8]:
    """A picture as it shall be shown. matrix: nine numbers (a b u, c d v, x y w) that take a stored point to
    (a·x + c·y, b·x + d·y). Turns that are no multiple of 90 degrees are taken for the nearest one.

    Source: ISO/IEC 14496-12, 6.2.2 (the matrix of a track header).
    """
    a, b, c, d = (int(matrix[i]) for i in (0, 1, 3, 4))
    if abs(a) + abs(d) >= abs(b) + abs(c):
        flipped_x, flipped_y = a < 0, d < 0
    else:
        picture = picture.transpose(1, 0, 2)
        flipped_x, flipped_y = c < 0, b < 0
    picture = picture[:, ::-1] if flipped_x else picture
    picture = picture[::-1] if flipped_y else picture
    return np.ascontiguousarray(picture)


def _start(container: Any, stream: Any) -> Fraction:
    """Seconds, in the film's own clock, that players show as zero."""
    if container.start_time is not None:
        # The container keeps it in whole microseconds; the stream's own start is exact where both are one.
        began = Fraction(container.start_time, 1_000_000)
        own = stream.start_time * Fraction(stream.time_base) if stream.start_time is not None else began
        return own if abs(own - began) < Fraction(1, 500_000) else began
    return stream.start_time * Fraction(stream.time_base) if stream.start_time is not None else Fraction(0)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """Raises FormatError, which names the file; MissingDependency."""
    try:
        import av  # see _decoded
    except ImportError as error:
        message = f"Films need PyAV, which is not installed ({error})."
        raise MissingDependency(message, hint="Install it with `pip install 'specrun[lora]'`.") from None
    try:
        container = av.open(str(path.absolute()), options={"protocol_whitelist": "file"})
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise _unreadable(path, error) from None
    with container:
        cover = av.stream.Disposition.attached_pic
        films = [stream for stream in container.streams.video if cover not in stream.disposition]
        if not films:
            raise FormatError(
                f"{path}: it has no video stream, only {_streams(container)}.", hint="Give a file with pictures."
            )
        stream = films[0]
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = min(os.cpu_count() or 1, MOST_THREADS)
        try:
            yield container, stream
        except av.error.FFmpegError as error:
            raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> FormatError:
    if isinstance(error, FileNotFoundError):
        return FormatError(f"{path}: no such film.", hint="Mend the path.")
    reason = plain_text(str(getattr(error, "strerror", "") or error))
    return FormatError(f"{path}: not a readable film ({reason}).", hint="Replace the file, or convert it.")


def _streams(container: Any) -> str:
    """What there is instead of a film."""
    kinds = {"a cover picture" if stream.type == "video" else str(stream.type) for stream in container.streams}
    return ", ".join(sorted(kinds)) or "nothing"
