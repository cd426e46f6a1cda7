"""What a CVAT server tells about its projects, tasks, jobs, labels and frames.

Text is cleaned of control characters here, where it enters; dates stay ISO text in UTC as the server wrote them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from specrun.clients.cvat.answers import plain


@dataclass(frozen=True, slots=True)
class Project:
    id: int
    name: str
    status: str = "annotation"
    owner: str | None = None
    assignee: str | None = None
    bug_tracker: str = ""
    organization_id: int | None = None
    created: str = ""
    updated: str = ""
    task_count: int = 0
    subsets: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Project:
        return cls(
            id=int(data["id"]),
            name=plain(data.get("name")),
            status=plain(data.get("status")),
            owner=_user(data.get("owner")),
            assignee=_user(data.get("assignee")),
            bug_tracker=plain(data.get("bug_tracker")),
            organization_id=data.get("organization_id"),
            created=plain(data.get("created_date")),
            updated=plain(data.get("updated_date")),
            task_count=_count(data.get("tasks"), "count"),
            subsets=tuple(plain(subset) for subset in data.get("task_subsets") or ()),
        )


@dataclass(frozen=True, slots=True)
class Task:
    """status: annotation, validation or completed, decided by the jobs. size: frames; 0 until it has data.
    subset: "" where none was chosen. mode: annotation for images, interpolation for a video.
    original_chunks, compressed_chunks: imageset or video."""

    id: int
    name: str
    project_id: int | None = None
    project_name: str = ""
    subset: str = ""
    status: str = "annotation"
    mode: str = ""
    media_type: str = ""
    dimension: str = "2d"
    size: int = 0
    has_data: bool = False
    segment_size: int = 0
    overlap: int = 0
    image_quality: int = 0
    chunk_size: int = 0
    original_chunks: str = ""
    compressed_chunks: str = ""
    owner: str | None = None
    assignee: str | None = None
    bug_tracker: str = ""
    organization_id: int | None = None
    created: str = ""
    updated: str = ""
    job_count: int = 0
    jobs_completed: int = 0

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Task:
        return cls(
            id=int(data["id"]),
            name=plain(data.get("name")),
            project_id=data.get("project_id"),
            project_name=plain(data.get("project_name")),
            subset=plain(data.get("subset")),
            status=plain(data.get("status")),
            mode=plain(data.get("mode")),
            media_type=plain(data.get("media_type")),
            dimension=plain(data.get("dimension")),
            size=int(data.get("size") or 0),
            has_data=bool(data.get("data")) and bool(data.get("size")),
            segment_size=int(data.get("segment_size") or 0),
            overlap=int(data.get("overlap") or 0),
            image_quality=int(data.get("image_quality") or 0),
            chunk_size=int(data.get("data_chunk_size") or 0),
            original_chunks=plain(data.get("data_original_chunk_type")),
            compressed_chunks=plain(data.get("data_compressed_chunk_type")),
            owner=_user(data.get("owner")),
            assignee=_user(data.get("assignee")),
            bug_tracker=plain(data.get("bug_tracker")),
            organization_id=data.get("organization_id"),
            created=plain(data.get("created_date")),
            updated=plain(data.get("updated_date")),
            job_count=_count(data.get("jobs"), "count"),
            jobs_completed=_count(data.get("jobs"), "completed"),
        )


@dataclass(frozen=True, slots=True)
class Job:
    """start_frame, stop_frame: inclusive numbers of the task. type: annotation, ground_truth or consensus_replica."""

    id: int
    task_id: int
    task_name: str = ""
    project_id: int | None = None
    project_name: str = ""
    type: str = "annotation"
    stage: str = "annotation"
    state: str = "new"
    status: str = "annotation"
    start_frame: int = 0
    stop_frame: int = 0
    frame_count: int = 0
    assignee: str | None = None
    created: str = ""
    updated: str = ""
    issue_count: int = 0
    parent_job_id: int | None = None

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Job:
        return cls(
            id=int(data["id"]),
            task_id=int(data["task_id"]),
            task_name=plain(data.get("task_name")),
            project_id=data.get("project_id"),
            project_name=plain(data.get("project_name")),
            type=plain(data.get("type")) or "annotation",
            stage=plain(data.get("stage")),
            state=plain(data.get("state")),
            status=plain(data.get("status")),
            start_frame=int(data.get("start_frame") or 0),
            stop_frame=int(data.get("stop_frame") or 0),
            frame_count=int(data.get("frame_count") or 0),
            assignee=_user(data.get("assignee")),
            created=plain(data.get("created_date")),
            updated=plain(data.get("updated_date")),
            issue_count=_count(data.get("issues"), "count"),
            parent_job_id=data.get("parent_job_id"),
        )


@dataclass(frozen=True, slots=True)
class AttributeDef:
    """input_type: select, radio, checkbox, number or text. mutable: it may change along a track."""

    id: int
    name: str
    input_type: str = "text"
    values: tuple[str, ...] = ()
    default_value: str = ""
    mutable: bool = False

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> AttributeDef:
        return cls(
            id=int(data["id"]),
            name=plain(data.get("name")),
            input_type=plain(data.get("input_type")) or "text",
            values=tuple(plain(value) for value in data.get("values") or ()),
            default_value=plain(data.get("default_value")),
            mutable=bool(data.get("mutable")),
        )


@dataclass(frozen=True, slots=True)
class LabelDef:
    """type: any, polygon, rectangle, polyline, points, ellipse, cuboid, mask, skeleton or tag.
    sublabels: the points of a skeleton, in its order. svg: how the skeleton is drawn. parent: id of the skeleton."""

    id: int
    name: str
    color: str = ""
    type: str = "any"
    attributes: tuple[AttributeDef, ...] = ()
    sublabels: tuple[LabelDef, ...] = ()
    svg: str = ""
    parent: int | None = None

    @classmethod
    def from_json(cls, data: Mapping[str, Any], parent: int | None = None) -> LabelDef:
        number = int(data["id"])
        return cls(
            id=number,
            name=plain(data.get("name")),
            color=plain(data.get("color")),
            type=plain(data.get("type")) or "any",
            attributes=tuple(AttributeDef.from_json(a) for a in data.get("attributes") or ()),
            sublabels=tuple(LabelDef.from_json(s, number) for s in data.get("sublabels") or ()),
            svg=str(data.get("svg") or ""),
            parent=data.get("parent_id") or parent,
        )


@dataclass(frozen=True, slots=True)
class Frame:
    """number: counts from 0 within the task, as annotations do. width, height: pixels.
    name: as the server has it, with folders; of a video, the video's."""

    number: int
    name: str
    width: int
    height: int
    deleted: bool = False


@dataclass(frozen=True)
class FrameIndex:
    """frames: all of the task, in order; frames[i].number == i. start_frame, stop_frame, step: which of the
    data's own frames they are. chunk_size: frames in a chunk. is_video: frames share one name and one size.
    updated: when the server's chunks were last made."""

    frames: tuple[Frame, ...]
    chunk_size: int
    start_frame: int = 0
    stop_frame: int = 0
    step: int = 1
    is_video: bool = False
    image_quality: int = 0
    updated: str = ""

    @cached_property
    def by_name(self) -> dict[str, int]:
        """Name → number; of several with one name, the first."""
        found: dict[str, int] = {}
        for frame in self.frames:
            found.setdefault(frame.name, frame.number)
        return found

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> FrameIndex:
        """data: `/api/tasks/{id}/data/meta`, whose `frames` is one entry for a whole video."""
        told = data.get("frames") or ()
        size = int(data.get("size") or 0)
        is_video = size != len(told) and len(told) == 1
        deleted = {int(number) for number in data.get("deleted_frames") or ()}
        frames = []
        for number in range(size):
            one = told[0 if is_video else number]
            width, height = int(one.get("width") or 0), int(one.get("height") or 0)
            # A name is not cleaned: shapes are sent by it. Whoever shows it cleans it.
            frames.append(Frame(number, str(one.get("name") or ""), width, height, number in deleted))
        return cls(
            frames=tuple(frames),
            chunk_size=max(1, int(data.get("chunk_size") or 1)),
            start_frame=int(data.get("start_frame") or 0),
            stop_frame=int(data.get("stop_frame") or 0),
            step=_step(str(data.get("frame_filter") or "")),
            is_video=is_video,
            image_quality=int(data.get("image_quality") or 0),
            updated=plain(data.get("chunks_updated_date")),
        )


def _step(frame_filter: str) -> int:
    """`step=5` → 5."""
    number = frame_filter.rpartition("=")[2].strip()
    return max(1, int(number)) if number.isdecimal() else 1


def _user(data: Any) -> str | None:
    return plain(data.get("username")) if isinstance(data, Mapping) else None


def _count(data: Any, key: str) -> int:
    return int(data.get(key) or 0) if isinstance(data, Mapping) else 0
