"""Names for the images of a task: readable, path-safe whatever the server says, unique without regard to case."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath

from specrun.clients.cvat.things import FrameIndex
from specrun.formats.export_names import safe_name
from specrun.formats.image_names import name_key

_DEEPEST = 6


def local_names(index: FrameIndex, numbers: Iterable[int]) -> dict[int, str]:
    """Frame → posix path below the task's folder, with the suffix that the server's name has.

    Two frames that would share a path get their number behind the stem. Frames of a video are called as CVAT's own
    exports call them, by their number in the video.
    """
    names: dict[int, str] = {}
    taken: set[str] = set()
    for number in numbers:
        name = _frame_name(index, number) if index.is_video else _safe_path(index.frames[number].name)
        if _stem(name) in taken:
            path = PurePosixPath(name)
            name = str(path.with_name(f"{path.stem}_{number:06d}{path.suffix}"))
        taken.add(_stem(name))
        names[number] = name
    return names


def _frame_name(index: FrameIndex, number: int) -> str:
    return f"frame_{index.start_frame + number * index.step:06d}.png"


def _safe_path(name: str) -> str:
    parts = [part for part in name_key(name).split("/") if part not in ("", ".", "..")]
    return "/".join(safe_name(part) for part in parts[-_DEEPEST:]) or "_"


def _stem(name: str) -> str:
    return str(PurePosixPath(name).with_suffix("")).casefold()
