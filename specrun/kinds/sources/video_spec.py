"""What a source of films is declared with."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field

from specrun.model.digest import Json
from specrun.spec.kind import Duration, NodeSpec, Strict

FRAME_FIELDS = ("clip", "frame", "time_s", "description")
"""Sample fields of every frame."""


class ClipSpec(Strict):
    """A film, or a segment of it."""

    path: str
    """The film, relative to the spec."""
    start: Duration = "0s"
    """Where the segment begins."""
    end: Duration | None = None
    """Where it ends; the frame at this very moment is no part of it. null: the end of the film."""
    name: str | None = Field(default=None, pattern=r"^[^\x00-\x1f/\\]{1,100}$")
    """What the frames are called by; null: the file's name without its suffix."""
    description: str = ""
    """What it shows; captions may use it. Without one, that of the source."""


class VideoSpec(NodeSpec):
    path: str | None = None
    """One film, taken whole, relative to the spec; for segments or several films, `clips`."""
    clips: list[ClipSpec] = []
    """Films and segments of films."""
    every_n: int | None = Field(default=None, ge=1)
    """Every so many frames, counted from the first one of the clip. Either this or `fps`."""
    fps: float | None = Field(default=None, gt=0, le=1000)
    """Frames a second, by the film's timestamps; at most as many as there are."""
    format: Literal["jpg", "png"] = "jpg"
    """jpg is about ten times smaller; png loses nothing."""
    quality: int = Field(default=95, ge=1, le=100)
    """Of JPEG."""
    deinterlace: bool = False
    """Of interlaced films, every other line of a frame, with the lines between them interpolated: moving things have no
    combs, and half the detail from top to bottom."""
    description: str = ""
    """What it shows; captions may use it as `{description}`."""


def clips_of(spec: VideoSpec) -> list[ClipSpec]:
    """`path` is a clip like any other; each with the description that counts."""
    clips = [ClipSpec(path=spec.path)] if spec.path is not None else list(spec.clips)
    return [clip if clip.description else clip.model_copy(update={"description": spec.description}) for clip in clips]


def clip_name(clip: ClipSpec) -> str:
    return clip.name or Path(clip.path).stem


def clip_folder(clip: ClipSpec) -> str:
    """The clip's name as a folder's."""
    return re.sub(r'[<>:"|?*%]', lambda found: f"%{ord(found[0]):02X}", clip_name(clip)).strip(". ") or "clip"


def films_value(digests: Mapping[str, str | None]) -> dict[str, Json]:
    """Observation.value."""
    return {"films": dict(digests)}
