"""What every export declares, and the samples of its dataset."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from specrun.errors import NodeError
from specrun.formats.tally import Tally, literal
from specrun.kinds.where import Condition, problems
from specrun.model.node import Resources
from specrun.model.work import Context
from specrun.spec.kind import Kind, Lookup, Need, NodeSpec, Problem, Ref

if TYPE_CHECKING:
    from specrun.model.labels import Sample

Unannotated = Literal["negative", "skip"]
Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
_PROGRESS_EVERY = 512
_SHOWN_NAMES = 5


class ExportSpec(NodeSpec):
    """Keys that every export has."""

    dataset: Annotated[str, Ref("datasets")]
    """The dataset that is written."""
    label_field: str | None = None
    """Which labels; null: the dataset's own label field."""
    splits: list[Split] | None = Field(default=None, min_length=1)
    """Which splits are written; null: all. Images without a split are never written."""
    where: list[Condition] = []
    """Only images whose fields agree, for example [{field: year, gte: 2021}]."""


class Export(Kind):
    """Reads the media, the splits and one label field of a dataset."""

    Spec: ClassVar[type[ExportSpec]] = ExportSpec
    resources: ClassVar[Resources] = Resources(cpus=2.0)
    writes_look: ClassVar[bool] = False
    """Whether colours or info of the dataset are written, so that a change of them makes it stale."""

    def check(self, spec: Any, lookup: Lookup) -> Sequence[Problem]:
        return problems(spec.where)

    def needs(self, spec: Any, lookup: Lookup) -> Sequence[Need]:
        return [dataset_need(spec, lookup.spec(dataset_address(spec)), look=self.writes_look)]

    def inputs(self, spec: Any) -> Sequence[Need]:
        return [dataset_need(spec, None, look=self.writes_look)]


def dataset_address(spec: ExportSpec) -> str:
    return Ref("datasets").address(spec.dataset)


def dataset_need(spec: ExportSpec, dataset: Any, *, look: bool) -> Need:
    """dataset: the spec of the dataset, for its label field; None when it is not known. look: colours and info."""
    field = spec.label_field or getattr(dataset, "label_field", None) or "ground_truth"
    parts = ("media", "split", f"field:{field}", "classes", *(("look",) if look else ()))
    # A condition may look at any field of a sample, whose digests are parts of their own.
    return Need("dataset", dataset_address(spec), (*parts, "tags", "fields") if spec.where else parts)


@dataclass(frozen=True)
class DatasetRead:
    """samples: those to write, ordered by key, each with a split. unsplit: how many have none.
    gone: names of the images whose file is missing; they are in no other field.
    classes: in the order of the dataset. colors: class → "#rrggbb", as far as declared."""

    name: str
    label_field: str
    classes: tuple[str, ...]
    colors: Mapping[str, str]
    samples: tuple[Sample, ...]
    unsplit: int
    gone: tuple[str, ...] = ()

    def note_left_out(self, tally: Tally) -> None:
        tally.add("image", "without a split {are} left out", self.unsplit)
        if self.gone:
            tally.add("image", f"{{are}} gone: {literal(_some(self.gone))}", len(self.gone))


def without_unannotated(samples: Sequence[Sample], policy: Unannotated, tally: Tally) -> list[Sample]:
    """Those to write; raises NodeError: none is left."""
    kept = list(samples) if policy == "negative" else [sample for sample in samples if sample.annotated]
    sentence = "{are} written as negative examples" if policy == "negative" else "{are} left out"
    tally.add("image", f"without annotation {sentence}", sum(not sample.annotated for sample in samples))
    if not kept:
        raise NodeError("no image is annotated, so nothing is written.", hint="Set `unannotated: negative`.")
    return kept


def count_splits(samples: Sequence[Sample]) -> dict[str, int]:
    """Number of images by split, in the order train, val, test."""
    counts = Counter(sample.split for sample in samples)
    return {split: counts[split] for split in SPLITS if counts[split]}


def read_dataset(spec: ExportSpec, ctx: Context) -> DatasetRead:
    """Raises NodeError: there is no image in any wanted split."""
    # The client loads pymongo and numpy.
    from specrun.clients import fiftyone

    made = ctx.input("dataset")
    field = spec.label_field or str(made.facts.get("label_field") or "ground_truth")
    name = str(made.facts["name"])
    total = made.facts.get("images")
    samples: list[Sample] = []
    gone: list[str] = []
    unsplit = seen = 0
    wanted = set(spec.splits or SPLITS)
    with fiftyone.database(ctx) as database:
        classes = tuple(str(value) for value in made.facts.get("classes") or database.classes(name))
        for sample in database.samples(name, field, where=[condition.as_mapping() for condition in spec.where]):
            seen += 1
            if seen % _PROGRESS_EVERY == 0:
                ctx.progress(seen, total, "images", "reading", part=True)
                ctx.check_stop()
            if sample.split in wanted:
                if is_gone(sample.media):
                    gone.append(sample.name)
                else:
                    samples.append(sample)
            elif sample.split not in SPLITS:
                unsplit += 1
    ctx.progress(seen, seen, "images", "reading", part=True)
    if gone and not samples:
        raise _all_gone(str(made.address), gone)
    if not samples:
        raise _nothing_to_write(str(made.address), seen, unsplit, spec)
    if not made.config.get("taxonomy"):
        # Without a taxonomy nobody promised a list: what people draw in the App is a class too.
        found = {label.label for sample in samples for label in sample.labels}
        classes = (*classes, *sorted(found.difference(classes)))
    colors = dict(made.facts.get("colors") or {})
    return DatasetRead(name, field, classes, colors, tuple(samples), unsplit, tuple(gone))


def is_gone(media: Path) -> bool:
    """Nothing lies at the path, or only a link to nothing; what cannot be read for another reason is not gone."""
    try:
        os.stat(media)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def _all_gone(address: str, gone: Sequence[str]) -> NodeError:
    return NodeError(
        f"{address}: every image to write is gone: {_some(gone)}.",
        hint="Restore the files, or import their source again.",
    )


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN_NAMES])
    return f"{shown} and {len(names) - _SHOWN_NAMES:,} more" if len(names) > _SHOWN_NAMES else shown


def _nothing_to_write(address: str, seen: int, unsplit: int, spec: ExportSpec) -> NodeError:
    if not seen:
        return NodeError(f"{address} has no images to write.", hint="Look at its sources and at `where`.")
    if unsplit == seen:
        hint = f"Add `split:` to {address}, or tag images train, val or test in FiftyOne."
        return NodeError(f"{address}: none of its {seen} images is in a split.", hint=hint)
    wanted = ", ".join(spec.splits or SPLITS)
    return NodeError(f"{address}: no image is in {wanted}.", hint="Change `splits`, or the split of the dataset.")


def declared_skeleton(name: str | None, ctx: Context) -> Mapping[str, Any] | None:
    """The resolved JSON of a skeleton that the spec names."""
    if name is None:
        return None
    declared: Mapping[str, Any] | None = ctx.declarations.get(name if "." in name else f"skeletons.{name}")
    return declared
