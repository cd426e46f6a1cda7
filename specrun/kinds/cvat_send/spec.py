"""What a user may write under `cvat_projects`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from specrun.spec.kind import NOT_RESULT, NodeSpec, Ref, Strict
from specrun.spec.secrets import SecretRef

Shape = Literal["polygon", "mask", "rectangle", "points", "skeleton"]
LabelType = Literal["any", "polygon", "rectangle", "polyline", "points", "ellipse", "mask", "skeleton", "tag"]
LabelName = Annotated[str, Field(min_length=1, max_length=64)]
Color = Annotated[str, Field(pattern=r"^#[0-9a-fA-F]{6}$")]


class AttributeSpec(Strict):
    """A question that annotators answer for a shape."""

    name: LabelName
    """The attribute."""
    input_type: Literal["select", "radio", "checkbox", "number", "text"] = "text"
    """How it is answered."""
    values: list[str] = []
    """The choices; of a number its least and greatest value and its step."""
    default_value: str = ""
    """The answer at first; for select and radio the first choice without one."""
    mutable: bool = False
    """It may change along a track."""


class LabelSpec(Strict):
    """One label."""

    name: LabelName
    """The label."""
    type: LabelType = "any"
    """The shape that annotators draw; a skeleton's follows from `skeleton`."""
    color: Color | None = None
    """#rrggbb in quotes; null: CVAT's choice."""
    attributes: list[AttributeSpec] = []
    """What annotators say of a shape."""
    skeleton: Annotated[str | None, Ref("skeletons")] = None
    """The points and edges of a label that is a skeleton."""


class LabelsSpec(Strict):
    """Labels of a taxonomy or of skeletons."""

    from_: Annotated[str | list[str], Ref("taxonomies", "skeletons")] = Field(alias="from")
    """`taxonomies.x`, `skeletons.x`, or a list of them; a skeleton's label is that of its declaration."""
    type: LabelType = "any"
    """The shape that annotators draw for the classes of the taxonomies."""
    attributes: list[AttributeSpec] = []
    """What annotators say of a shape, for every label."""
    rename: dict[LabelName, LabelName] = {}
    """Label that is there → its new name. Without it no label is renamed, and none is ever removed."""


class ChooseSpec(Strict):
    """Some of the images only."""

    strategy: Literal["uncertain", "different", "random"]
    """uncertain: those whose labels in `prelabels.from` have the lowest mean confidence; images without any come
    last. different: those that look least like any that was sent, by colours and where they are. random: any."""
    n: int = Field(ge=1)
    """How many, those of earlier applies included."""
    seed: int | None = None
    """The project's seed without it."""


class TasksSpec(Strict):
    """Which images become tasks, and how. A task that is made stays as it is."""

    from_: Annotated[str, Ref("datasets", "sources", "predictions")] = Field(alias="from")
    """The images; of predictions those that were predicted on."""
    name: str = Field(default="{subset}_{batch:02d}", json_schema_extra=NOT_RESULT)
    """Of a task; with {subset}, {split}, {batch} (counted within the subset) and {source}."""
    size: int = Field(default=100, ge=1, json_schema_extra=NOT_RESULT)
    """Images of a task at most."""
    subset: str = Field(default="{split}", json_schema_extra=NOT_RESULT)
    """CVAT's subset; {split} is train, val, test or nothing."""
    assignee: str | None = Field(default=None, json_schema_extra=NOT_RESULT)
    """User name of who is to do it."""
    image_quality: int = Field(default=95, ge=1, le=100, json_schema_extra=NOT_RESULT)
    """JPEG quality in the annotation view; the originals are kept beside."""
    segment_size: int = Field(default=0, ge=0, json_schema_extra=NOT_RESULT)
    """Images of a job; 0: one job a task."""
    overlap: int = Field(default=0, ge=0, json_schema_extra=NOT_RESULT)
    """Images that neighbouring jobs share."""
    choose: ChooseSpec | None = None
    """Not all of them."""


class ConfidenceSpec(Strict):
    """What is done with a model's confidence."""

    min: float = Field(default=0, ge=0, le=1)
    """Labels below are not sent."""
    attribute: str = "confidence"
    """The attribute that takes it, where a label has it: per cent if its greatest value is above 1."""


class PrelabelsSpec(Strict):
    """Labels that annotators begin with."""

    from_: Annotated[str, Ref("predictions", "datasets", "sources")] = Field(alias="from")
    """Where they are."""
    label_field: str | None = None
    """datasets only: which labels; null: the dataset's own label field."""
    shape: Shape | None = None
    """What they are drawn as; null: what they are."""
    label_map: dict[str, str | None] = {}
    """Class → label, null for none; or name of an attribute or sample field → label, where {value} is its value.
    `_default` takes the rest; without it they keep their class."""
    min_area: float = Field(default=0, ge=0)
    """Least area in square pixels."""
    confidence: float | ConfidenceSpec = ConfidenceSpec()
    """A number: labels below are not sent."""
    simplify: float = Field(default=1.0, ge=0)
    """Pixels that the outline of a mask may be off when it becomes a polygon; 0: every pixel border."""
    refresh: Literal["never", "untouched"] = "never"
    """Whether new labels replace those of jobs in which nobody has saved anything since they were sent. CVAT does not
    tell who has a job open: give a job to somebody, or move it to another stage, before work on it begins."""


class WebhookSpec(Strict):
    """CVAT tells `specrun watch` of every change, so that it need not wait for its next look."""

    listen: str = Field(default="127.0.0.1:9090", pattern=r"^\S+:\d+$", json_schema_extra=NOT_RESULT)
    """Where watch listens: host and port."""
    url: str = Field(pattern=r"^https?://\S+$")
    """How CVAT reaches it; it refuses private addresses unless its operator allows them."""
    secret: SecretRef
    """Signs every message; at most 64 characters."""


class CvatProjectSpec(NodeSpec):
    """A project in CVAT with its labels and tasks. What people have drawn is never deleted or overwritten."""

    connection: Annotated[str, Ref("connections")]
    """The server."""
    project: str | int | None = Field(default=None, union_mode="left_to_right")
    """Its name: made if it is missing; an id: it exists; null: tasks without a project."""
    labels: Literal["keep"] | LabelsSpec | list[LabelSpec]
    """From taxonomies or skeletons, or a list; keep: those that the project has."""
    tasks: TasksSpec
    """The images."""
    prelabels: PrelabelsSpec | None = Field(default=None, json_schema_extra=NOT_RESULT)
    """What annotators begin with; null: empty images."""
    webhook: WebhookSpec | None = None
    """Messages to `specrun watch`; it needs a project."""
