"""A dataset: a persistent FiftyOne dataset that people open, filter, tag and mend, kept in step with its sources."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import partial

import anyio.to_thread

from specrun.kinds.captions.spec import caption_problems
from specrun.kinds.captions.watched import CaptionFiles, caption_files
from specrun.kinds.datasets.spec import (
    FIFTYONE_FIELDS,
    SPLITS,
    DatasetSpec,
)
from specrun.kinds.where import problems as condition_problems
from specrun.model.artifact import Outputs
from specrun.model.digest import Json
from specrun.model.state import Observation
from specrun.model.work import Context, Look
from specrun.spec.kind import Kind, Lookup, Need, Problem, Ref


class Dataset(Kind):
    Spec = DatasetSpec
    worker = "fiftyone"
    uses_seed = True
    packages = ("fiftyone", "pymongo")

    def check(self, spec: DatasetSpec, lookup: Lookup) -> Sequence[Problem]:
        return [
            *_split_problems(spec),
            *_metadata_problems(spec),
            *condition_problems(spec.where),
            *_quality_problems(spec),
            *_name_problems(spec),
            *caption_problems(spec.captions, lookup, origins(spec), _groups_of(spec)),
        ]

    def inputs(self, spec: DatasetSpec) -> Sequence[Need]:
        """Of another dataset only what people see as the data: predictions in it make nothing stale."""
        of_dataset = ("media", "split", "tags", "fields", "captions", "classes", f"field:{spec.label_field}")
        return [Need("source", ref, of_dataset if ref.startswith("datasets.") else ()) for ref in origins(spec)]

    def exclusive(self, spec: DatasetSpec) -> Sequence[str]:
        return [f"fiftyone:{spec.name}"] if spec.name else []

    async def observe(self, spec: DatasetSpec, look: Look) -> Observation:
        """Whether the dataset is there, and the digests of its parts as people left them."""
        from specrun.clients.fiftyone.observe import observe_dataset  # with pymongo, where it must be asked

        if look.record is None:
            return Observation()
        name = str(look.record.facts.get("name") or "")
        ask = partial(observe_dataset, look.settings, look.state_dir, look.project_dir, name, look.record.parts)
        seen = await anyio.to_thread.run_sync(ask)
        if not seen.exists:
            return Observation(value={"dataset": "gone"}, differences=(f"the FiftyOne dataset {name} is gone",))
        files = await anyio.to_thread.run_sync(_caption_files, spec, look)
        label_field = str(look.record.facts.get("label_field") or spec.label_field)
        part = f"field:{label_field}"
        value: dict[str, Json] = {"dataset": "present", **({"captions": files.value} if files else {})}
        before = look.record.observation
        told = files is not None and isinstance(before, dict) and before.get("captions", files.value) != files.value
        differences = files.changed if files and told else ()
        if part in look.record.parts and part not in seen.parts:
            differences = (f"the label field {label_field} is gone from FiftyOne",)
            value["label_field"] = "gone"
        return Observation(value=value, differences=differences, parts=seen.parts, part_changes=seen.changes)

    def run(self, spec: DatasetSpec, ctx: Context) -> Outputs:
        from specrun.kinds.datasets.importing import import_dataset  # numpy, pymongo and FiftyOne come with it

        return import_dataset(spec, ctx)


def origins(spec: DatasetSpec) -> list[str]:
    """The addresses of what it is made from."""
    written = [spec.from_] if isinstance(spec.from_, str) else spec.from_
    return [Ref("sources", "datasets").address(text) for text in written]


def _caption_files(spec: DatasetSpec, look: Look) -> CaptionFiles | None:
    """The files of captions beside the images of last time; None: there are none to look at."""
    told = look.record.facts.get("captions") if look.record else None
    if spec.captions is None or not isinstance(told, dict):
        return None
    return caption_files(look, spec.captions, _texts(told.get("folders")), look.project_dir)


def _texts(value: Json) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list) else []


def _split_problems(spec: DatasetSpec) -> list[Problem]:
    if spec.split is None:
        return []
    problems = []
    ratios = spec.split.ratios
    if any(not 0 <= ratio <= 1 for ratio in ratios.values()):
        problems.append(Problem("split.ratios", "Shares lie between 0 and 1."))
    elif not math.isclose(total := sum(ratios.values()), 1.0, abs_tol=1e-6):
        problems.append(Problem("split.ratios", f"The shares sum to {total:g}.", "They must sum to 1."))
    groups = _groups_of(spec)
    for key, wanted in (("group_by", spec.split.group_by), ("stratify_by", spec.split.stratify_by)):
        known = wanted is None or wanted in groups or (key == "stratify_by" and wanted == "label")
        if groups and not known:
            hint = f"The pattern has {', '.join(sorted(groups))}."
            message = f'The metadata pattern has no group "{wanted}"; the field must come from the source.'
            problems.append(Problem(f"split.{key}", message, hint, warning=True))
    return problems


def _metadata_problems(spec: DatasetSpec) -> list[Problem]:
    if spec.metadata is None:
        return []
    try:
        groups = re.compile(spec.metadata.pattern).groupindex
    except re.error as error:
        return [Problem("metadata.pattern", f"Not a regular expression: {error}.")]
    if not groups:
        return [Problem("metadata.pattern", "It names no group.", "Write (?P<name>…) for each field.")]
    problems = []
    for name in groups:
        if name in FIFTYONE_FIELDS or name == spec.label_field:
            problems.append(Problem("metadata.pattern", f'"{name}" is a field that FiftyOne or specrun uses already.'))
    for key in ("types", "aliases"):
        for name in getattr(spec.metadata, key):
            if name not in groups:
                hint = f"It has {', '.join(groups)}."
                problems.append(Problem(f"metadata.{key}.{name}", "The pattern has no such group.", hint))
    return problems


def _quality_problems(spec: DatasetSpec) -> list[Problem]:
    problems = []
    for i, rule in enumerate(spec.quality):
        if rule.min_labels is None and rule.max_labels is None:
            problems.append(Problem(f"quality.{i}", "It has no bound.", "Add min_labels or max_labels."))
        elif rule.min_labels is not None and rule.max_labels is not None and rule.min_labels > rule.max_labels:
            problems.append(Problem(f"quality.{i}", "min_labels is above max_labels: no sample can have the tag."))
        if rule.tag in SPLITS:
            problems.append(Problem(f"quality.{i}.tag", f'"{rule.tag}" names a split.', "Choose another tag."))
    problems += [
        Problem(f"tags.{i}", f'"{tag}" names a split.', "Use `split`, or another tag.")
        for i, tag in enumerate(spec.tags)
        if tag in SPLITS
    ]
    return problems


def _name_problems(spec: DatasetSpec) -> list[Problem]:
    problems = []
    if spec.label_field in FIFTYONE_FIELDS:
        problems.append(
            Problem("label_field", f'"{spec.label_field}" is a field that FiftyOne or specrun uses already.')
        )
    if "specrun" in spec.info:
        problems.append(Problem("info.specrun", "specrun keeps its own notes there.", "Choose another key."))
    return problems


def _groups_of(spec: DatasetSpec) -> set[str]:
    if spec.metadata is None:
        return set()
    try:
        return set(re.compile(spec.metadata.pattern).groupindex)
    except re.error:
        return set()
