"""What a CVAT server tells about its projects, tasks, jobs, labels and frames.

Text is cleaned of control characters here, where it enters; dates stay ISO text in UTC as the server wrote them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


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
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Task:
    """status: annotation, validation or completed, decided by the jobs. size: frames; 0 until it has data.
    subset: "" where none was chosen. mode: annotation for images, interpolation for a video or tracks."""

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
        raise NotImplementedError


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
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class AttributeDef:
    """input_type: select, radio, checkbox, number or text. mutable: it may change along a track."""

    id: int
    name: str
    input_type: str = "text"
    values: tuple[str, ...] = ()
    default_value: str = ""
    mutable: bool = False


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
    def from_json(cls, data: Mapping[str, Any]) -> LabelDef:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Frame:
    """number: counts from 0 within the task, as annotations do. width, height: pixels.
    name: as the server has it, with folders; of a video, the video's."""

    number: int
    name: str
    width: int
    height: int
    deleted: bool = False


@dataclass(frozen=True, slots=True)
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
    by_name: Mapping[str, int] = field(default_factory=dict, repr=False)
