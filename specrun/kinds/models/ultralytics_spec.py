"""What a YOLO model is declared with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, JsonValue

from specrun.spec.kind import NOT_RESULT, Ref, SeededSpec

if TYPE_CHECKING:
    pass


DEFAULT_EPOCHS = 100
"""Ultralytics' own."""


class UltralyticsSpec(SeededSpec):
    weights: str
    """A checkpoint (.pt, a path or a release name) or an architecture (.yaml) to train from scratch."""
    data: Annotated[str | None, Ref("exports")] = None
    """The YOLO export to train on; without it, `weights` is taken as it is."""
    start_from: str | None = None
    """A warm start on new data: previous (the node's own last output, once there is one), models.x, or the path of a
    checkpoint. It takes the place of `weights`."""
    train: dict[str, JsonValue] = Field(default={})
    """Any Ultralytics training argument: epochs, imgsz, batch, patience and so on. `batch: auto` takes the largest
    that fits on the GPU (16 on the CPU). A change of what says nothing of the weights (plots, verbose, workers,
    save_period, profile, save_json) trains nothing again."""
    resume: Literal["auto", "never"] = Field(default="auto", json_schema_extra=NOT_RESULT)
    """auto: an interrupted training goes on from its last epoch, and a finished one when more epochs are wanted; one
    that was interrupted begins anew when their number was changed, because the learning rate follows it.
    never: it starts over."""
    on_oom: Literal["fail", "halve"] = Field(default="fail", json_schema_extra=NOT_RESULT)
    """Out of memory. fail: say which setting to change. halve: go on from the last epoch with half the batch and twice
    the accumulation, so that as many images as before go into one step."""
    export: dict[str, dict[str, JsonValue]] = Field(default={})
    """Other formats to write the best checkpoint in, each with Ultralytics' export arguments."""
