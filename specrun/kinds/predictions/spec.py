"""What a user may write under predictions, and what of it is a mistake."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

from pydantic import Field

from specrun.kinds.predictions.field import field_problems
from specrun.kinds.where import Condition
from specrun.kinds.where import problems as condition_problems
from specrun.spec.kind import NOT_RESULT, Best, Duration, Lookup, NodeSpec, Problem, Ref, Strict
from specrun.spec.suggest import listed

Split = Literal["train", "val", "test"]
ViewName = Literal["none", "flip", "flip_vertical", "rotate", "scale"]
Side = Annotated[int, Field(ge=32)]


class OutputsSpec(Strict):
    """Files to write beside predictions.jsonl. Masks, overlays and cutouts show what has a confidence of at
    least 0.25, and of models of pixels everything; coco and yolo hold everything above the threshold."""

    masks: bool = True
    """PNG, one an image: 0 background, else the number of the class counted from 1."""
    images: bool = False
    """Links to the images."""
    cutouts: bool = False
    """RGBA PNG, one an object."""
    overlays: bool = False
    """The image with what was found drawn over it."""
    coco: bool = True
    """One COCO file with scores."""
    yolo: bool = False
    """One label file an image."""


class TileSpec(Strict):
    """Images cut into tiles, so that small things stay large and images may be larger than memory."""

    size: tuple[Side, Side]
    """Width and height of a tile in pixels."""
    overlap: float = Field(default=0.5, ge=0, lt=1)
    """Least share of a tile that its neighbour covers too. An object up to that size is whole in one of them."""


class NmsSpec(Strict):
    """When two labels are the same object. Models of pixels have none."""

    iou: float = Field(default=0.7, gt=0, le=1)
    """Labels that overlap a more certain one by more are left out."""
    class_wise: bool = True
    """Only labels of one class are compared; false: of two classes on one place the more certain one stays."""


class EndpointSpec(Strict):
    """A model that answers over HTTP as inference endpoints of the Hugging Face Hub do: object detection with
    boxes, image segmentation with PNG masks."""

    connection: Annotated[str, Ref("connections")]
    """The account: a connection of the kind huggingface."""
    url: Annotated[str, Field(min_length=1)]
    """Address of the endpoint."""
    classes: list[str] | None = Field(default=None, min_length=1)
    """The classes in their order, for masks and YOLO files; null: those that it answers with, sorted."""
    parameters: dict[str, Any] = {}
    """Sent with every image, for example {threshold: 0.3}; the image is then sent within JSON."""
    concurrency: int = Field(default=4, ge=1, le=64, json_schema_extra=NOT_RESULT)
    """Requests at a time."""
    timeout: Duration = Field(default="120s", json_schema_extra=NOT_RESULT)
    """The longest silence within one request."""


class PredictionSpec(NodeSpec):
    """A model run on images."""

    model: Annotated[str | Best | None, Ref("models")] = None
    """The model."""
    endpoint: EndpointSpec | None = None
    """Instead of a model: one that answers over HTTP."""
    on: Annotated[str, Ref("datasets", "sources")]
    """The dataset or source whose images it sees."""
    split: Split | list[Split] | None = None
    """Only these images; null: all."""
    view: str | None = None
    """Only the images of this saved view of the dataset in FiftyOne, as it is when the node runs. That the view
    itself was changed there is not noticed: use --replace."""
    where: list[Condition] = []
    """Only images whose fields agree, for example [{field: year, gte: 2021}]."""
    tags: list[str] = []
    """Only images that have all of these tags."""
    label_field: str | None = None
    """Where the labels go in the dataset; null: predictions_ and the name of this entry."""
    tile: TileSpec | None = None
    """Images in tiles, for example {size: [1024, 1024], overlap: 0.5}; null: whole. Probabilities of pixels are
    blended, so that no seam shows; objects that a tile cuts are joined."""
    tta: list[ViewName] = []
    """The image is looked at in these ways too: flip, flip_vertical, rotate (three quarters of a turn), scale
    (0.8 and 1.25). Probabilities are averaged, objects fused; a score is the mean over all ways."""
    threshold: float | None = Field(default=None, ge=0, le=1)
    """Least confidence of a label. Average precision needs a low one, such as 0.01. Of a model of pixels: from which
    probability on a pixel has a class, however likely the background is; of classes that exclude each other the
    likeliest counts. null: 0.25; 0 for a model that classifies images, which then answers for each; for a model of
    pixels what its val/iou counts: the likeliest, background or class, or each with 0.5 if they may overlap."""
    min_area: float = Field(default=0, ge=0)
    """Least area of a label in square pixels; of a model of pixels, of an island of its class."""
    max_count: int | None = Field(default=None, ge=1)
    """Most labels of an image, the most certain ones; null: 300, which is the library's own limit, or in tiles
    300 a tile."""
    nms: NmsSpec | None = None
    """When two labels are the same object; null: the model's own suppression."""
    skeleton: Annotated[str | None, Ref("skeletons")] = None
    """Names and order of keypoints; null: the dataset's own."""
    precision: Literal["auto", "fp32", "fp16", "bf16"] = "auto"
    """Of the numbers in the model. auto: fp16 on a GPU, fp32 on the CPU."""
    batch: int = Field(default=8, ge=1, json_schema_extra=NOT_RESULT)
    """Images or tiles at a time."""
    outputs: OutputsSpec = OutputsSpec()
    """Files to write."""


def problems(spec: PredictionSpec, lookup: Lookup) -> Iterator[Problem]:
    if spec.model is None and spec.endpoint is None:
        yield Problem("", "nothing predicts", "Give `model` or `endpoint`.")
    if spec.model is not None and spec.endpoint is not None:
        yield Problem("endpoint", "stands beside `model`", "Keep one of the two.")
    if spec.view is not None and not spec.on.startswith("datasets."):
        yield Problem("view", "only datasets have saved views", "Use `where` or `tags`.")
    if len(set(spec.tta)) < len(spec.tta):
        yield Problem("tta", "names a way twice", "Remove one.")
    if "none" in spec.tta and len(spec.tta) > 1:
        yield Problem("tta", "none stands beside others", "Remove it: the image as it is always counts.")
    yield from condition_problems(spec.where)
    yield from field_problems(spec, lookup)
    if spec.endpoint is not None:
        yield from _endpoint_problems(spec, spec.endpoint, lookup)
    elif isinstance(spec.model, str) and lookup.kind_of(Ref("models").address(spec.model)) == "models.smp":
        for field in ("nms", "max_count", "skeleton"):
            if getattr(spec, field) is not None:
                yield Problem(field, "a model of pixels finds no objects", "Remove it.")


def missing_splits(spec: PredictionSpec, images: Mapping[str, int]) -> str | None:
    """`no image is in split test, but 64 in train and 16 in val`; None: some image is. images: by split."""
    wanted = [spec.split] if isinstance(spec.split, str) else list(spec.split or ())
    if not wanted or any(images.get(split) for split in wanted):
        return None
    there = listed([f"{images[split]:,} in {split}" for split in get_args(Split) if images.get(split)], "and")
    return f"no image is in split {listed(wanted)}, " + (f"but {there}" if there else "nor in any other")


def _endpoint_problems(spec: PredictionSpec, endpoint: EndpointSpec, lookup: Lookup) -> Iterator[Problem]:
    address = Ref("connections").address(endpoint.connection)
    kind = lookup.kind_of(address)
    if kind is not None and kind != "connections.huggingface":
        yield Problem("endpoint.connection", f"{address} is no account of the Hub", "Name one of kind huggingface.")
    parts = urlsplit(endpoint.url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        yield Problem("endpoint.url", "is not the address of a web server", "Write for example https://….")
    elif parts.username is not None:
        yield Problem("endpoint.url", "holds a user or password", "The connection's token is sent.")
    if spec.precision != "auto":
        yield Problem("precision", "is the endpoint's own affair", "Remove it.")
    if spec.skeleton is not None:
        yield Problem("skeleton", "endpoints answer with boxes or masks", "Remove it.")
    if spec.endpoint is not None and spec.outputs.yolo and spec.endpoint.classes is None:
        yield Problem("outputs.yolo", "needs the order of the classes", "Give endpoint.classes.")
