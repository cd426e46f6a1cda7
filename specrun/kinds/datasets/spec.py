"""What a dataset is declared with."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue

from specrun.kinds.captions.spec import CaptionsSpec, RequireSpec
from specrun.kinds.where import Condition
from specrun.spec.kind import NOT_RESULT, NodeSpec, Ref, Strict

SPLITS = ("train", "val", "test")
FIFTYONE_FIELDS = frozenset(
    {"id", "filepath", "tags", "metadata", "created_at", "last_modified_at", "annotated", "specrun"}
)
"""Sample fields that are taken."""


class MetadataSpec(Strict):
    """Sample fields out of file names."""

    pattern: str
    """A regular expression with named groups; it must fit the whole file name without its suffix."""
    types: dict[str, Literal["str", "int", "float", "bool"]] = {}
    """The type of each group; text without one."""
    aliases: dict[str, dict[str, str]] = {}
    """Group → written value → the value that is meant."""
    on_mismatch: Literal["warn", "ignore", "drop", "error"] = "warn"
    """What happens to a sample whose name does not fit."""


class GeometrySpec(Strict):
    """What is done with shapes that not every consumer can take."""

    unclosed: Literal["close", "keep", "drop", "error"] = "close"
    """Open lines whose ends nearly meet: outlines that somebody forgot to close."""
    holes: Literal["subtract", "fill"] = "subtract"
    """Holes of polygons."""
    multipart: Literal["group", "split"] = "group"
    """Polygons of several parts: one object, or an object each."""
    invalid: Literal["repair", "keep", "drop", "error"] = "repair"
    """Polygons that cross themselves or have no area; repair keeps the area that they fill even-odd."""
    exif: Literal["apply"] = "apply"
    """Labels belong to the upright image, the EXIF orientation applied."""


class SplitSpec(Strict):
    """Which samples are for training, validation and test."""

    ratios: dict[Literal["train", "val", "test"], float]
    """Shares that sum to 1. Each sample's own hash decides, so that new samples move no others; of a few dozen images
    the sizes are then off by some, and `stratify_by` meets them."""
    group_by: str | None = None
    """A sample field; samples of one value stay in one split."""
    stratify_by: str | None = None
    """A sample field, or `label` for the most frequent class: the ratios are met within each value, as nearly
    as whole images allow; samples stay where they were when others come."""
    seed: int | None = None
    """The project's seed without it."""


class QualityRule(Strict):
    """A tag for samples with few or many labels."""

    tag: str
    """The tag."""
    min_labels: int | None = Field(default=None, ge=0)
    """At least so many labels."""
    max_labels: int | None = Field(default=None, ge=0)
    """At most so many labels."""


class DatasetSpec(NodeSpec):
    from_: Annotated[str | list[str], Ref("sources", "datasets")] = Field(alias="from")
    """Where the samples come from: a source, another dataset, or a list of them."""
    name: str | None = Field(default=None, pattern=r"^[^\x00-\x1f/\\]{1,100}$")
    """Its name in FiftyOne; without one, the project folder's name and the node's."""
    import_mode: Literal["task_tracking", "skip_existing", "force_refresh", "skip_if_exist"] = Field(
        default="task_tracking", json_schema_extra=NOT_RESULT
    )
    """What an import does with samples that are there already; asked when the node is stale anyway (for once, use
    `--replace`). task_tracking: what is new, changed or gone upstream is followed, sample by sample: an edited CVAT
    task changes the samples that were edited, a task that was reopened or deleted in CVAT changes nothing since its
    source keeps it, one that is no longer selected takes its samples away unless people mended them here.
    skip_existing: only new samples are added; edited, moved and vanished ones stay as they are. force_refresh:
    upstream is taken whole; what people mended, deleted and tagged here is lost. skip_if_exist: a dataset that has
    samples stays as it is, new tasks included."""
    on_conflict: Literal["keep", "upstream", "fail"] = Field(default="keep", json_schema_extra=NOT_RESULT)
    """When the source and a person in FiftyOne changed the same sample."""
    label_field: str = Field(default="ground_truth", pattern=r"^[a-z][a-z0-9_]{0,63}$")
    """The field of the labels."""
    taxonomy: Annotated[str | None, Ref("taxonomies")] = None
    """Classes that are merged, renamed or dropped."""
    skeleton: Annotated[str | None, Ref("skeletons")] = None
    """The layout of its keypoints."""
    metadata: MetadataSpec | None = None
    """Sample fields out of file names."""
    geometry: GeometrySpec = GeometrySpec()
    """What is done with shapes that not every consumer can take."""
    split: SplitSpec | None = None
    """Splits by ratio; without it the source's own splits count."""
    where: list[Condition] = []
    """Only samples whose fields meet all of these."""
    quality: list[QualityRule] = []
    """Tags for samples with few or many labels."""
    tags: list[str] = []
    """Tags for every sample."""
    info: dict[str, JsonValue] = {}
    """Anything worth keeping with the dataset, for example its license."""
    captions: CaptionsSpec | None = None
    """A sentence for each image, in the sample field `caption`; who wrote it stands in `caption_by`."""
    require: RequireSpec | None = None
    """What it must have; with captions, the defaults count."""


def dataset_name(spec: DatasetSpec, project: str, node: str, remembered: Any) -> str:
    """The name in FiftyOne. remembered: what an unnamed one was called first, so that a moved project finds it."""
    if spec.name:
        return spec.name
    return str(remembered) if remembered else f"{re.sub(r'[^A-Za-z0-9._-]+', '-', project) or 'project'}.{node}"
