"""The labels that annotators begin with: read, mapped to the project's labels and filtered."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from specrun.clients.cvat.things import AttributeDef, LabelDef
from specrun.errors import FormatError, NodeError
from specrun.formats.cvat_api_values import AttributeTarget, attribute_text
from specrun.formats.cvat_api_write import (
    LabelTarget,
    Writing,
    label_area,
    labels_to_cvat,
)
from specrun.formats.samples import SAMPLES_NAME, label_from_json, label_to_json, load_samples
from specrun.formats.tally import Tally
from specrun.kinds.cvat_send.ledger import rows_digest
from specrun.kinds.cvat_send.spec import ConfidenceSpec, PrelabelsSpec
from specrun.model.digest import json_digest
from specrun.model.labels import AnyLabel, Sample
from specrun.model.work import Context, Made
from specrun.spec.suggest import did_you_mean

DEFAULT = "_default"
NONE_SENT = ""
"""The digest of no labels at all."""


@dataclass
class Prelabels:
    """By the content of the image. rows: label JSON as sources keep it; bitmaps of all would not fit."""

    spec: PrelabelsSpec
    rows: Mapping[str, list[dict[str, Any]]]
    lost: Tally = field(default_factory=Tally)

    @property
    def confidence(self) -> ConfidenceSpec:
        given = self.spec.confidence
        return given if isinstance(given, ConfidenceSpec) else ConfidenceSpec(min=given)

    def mean_score(self, digest: str) -> float | None:
        scores = [row["score"] for row in self.rows.get(digest, ()) if row.get("score") is not None]
        return sum(scores) / len(scores) if scores else None

    def why_none(self, images: Iterable[str]) -> str:
        """Of images of which no label is sent. images: their contents."""
        rows = [row for digest in images for row in self.rows.get(digest, ())]
        if not rows:
            return f"{self.spec.from_} has no labels for these images"
        scores = [row["score"] for row in rows if row.get("score") is not None]
        if len(scores) == len(rows) and max(scores) < self.confidence.min:
            return f"{self.spec.from_} has no label above {self.confidence.min:g}; the best has {max(scores):.2f}"
        few = f"the {len(rows):,} labels" if len(rows) > 1 else "the one label"
        return f"{few} that {self.spec.from_} has for these images are left out by prelabels or refused by CVAT"

    def digest_of(self, sample: Sample) -> str:
        """Of what would be sent; NONE_SENT without any."""
        rows = [label_to_json(label) for label in self.labels(sample)]
        how = [self.spec.shape, self.spec.simplify, self.confidence.attribute]
        return json_digest([rows, how]) if rows else NONE_SENT

    def rows_digest(self, sample: Sample) -> str:
        """Of the labels as they stand in their file, whatever of them is sent."""
        return rows_digest(self.rows.get(sample.digest, ()))

    def labels(self, sample: Sample) -> list[AnyLabel]:
        """Those to send, with the labels of the project as their classes."""
        wanted: list[AnyLabel] = []
        for row in self.rows.get(sample.digest, ()):
            score = row.get("score")
            if score is not None and score < self.confidence.min:
                continue
            label = label_from_json(row)
            name = self.name_of(label, sample)
            area = label_area(label)
            if name is not None and (area is None or area >= self.spec.min_area):
                wanted.append(replace(label, label=name, source_label=None, id=None))
        return wanted

    def name_of(self, label: AnyLabel, sample: Sample) -> str | None:
        """The label in CVAT; None: it is not sent."""
        mapping = self.spec.label_map
        if label.label in mapping:
            return _filled(mapping[label.label], label.label)
        for key, template in mapping.items():
            value = label.attributes.get(key, sample.fields.get(key))
            if key != DEFAULT and value is not None:
                return _filled(template, attribute_text(value))
        return _filled(mapping[DEFAULT], label.label) if DEFAULT in mapping else label.label

    def unknown(self, samples: Iterable[Sample], known: Sequence[str]) -> list[str]:
        """Names that the project has no label for, sorted."""
        used = {label.label for sample in samples for label in self.labels(sample)}
        return sorted(used - set(known))

    def writing(self) -> Writing:
        return Writing(self.spec.shape, self.spec.simplify, self.confidence.attribute, self.lost)

    def shapes(
        self, sample: Sample, frame: int, targets: Mapping[str, LabelTarget], writing: Writing
    ) -> dict[str, list[dict[str, Any]]]:
        """`{"tags": […], "shapes": […]}` of one frame."""
        pairs = [(label, targets[label.label]) for label in self.labels(sample)]
        return labels_to_cvat(pairs, frame, sample.size_wh, writing)


def _filled(template: str | None, value: str) -> str | None:
    return None if template is None else template.replace("{value}", value)


def read_prelabels(spec: PrelabelsSpec, made: Made, wanted: frozenset[str], ctx: Context) -> Prelabels:
    """wanted: contents of the images whose labels are needed."""
    if made.kind.startswith("predictions."):
        rows: Iterator[tuple[str, list[dict[str, Any]]]] = _predicted(made)
    else:
        rows = ((s.digest, [label_to_json(label) for label in s.labels]) for s in _labelled(spec, made, ctx))
    return Prelabels(spec, {digest: labels for digest, labels in rows if digest in wanted})


def _predicted(made: Made) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    path = made.artifact("predictions")
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            try:
                row = json.loads(line)
                yield row["digest"], row.get("labels", [])
            except (ValueError, KeyError, TypeError) as error:
                raise FormatError(f"{path}:{number}: not a prediction.", hint="Make it anew with --replace.") from error


def _labelled(spec: PrelabelsSpec, made: Made, ctx: Context) -> Iterable[Sample]:
    if not made.kind.startswith("datasets."):
        return load_samples(made.folder / SAMPLES_NAME, ctx.project_dir)
    from specrun.clients.fiftyone import database  # loads pymongo

    field_name = spec.label_field or str(made.facts.get("label_field") or "ground_truth")
    with database(ctx) as db:
        return list(db.samples(str(made.facts["name"]), field_name))


def label_targets(labels: Sequence[LabelDef]) -> dict[str, LabelTarget]:
    """By name, as labels are written."""
    return {label.name: _target(label) for label in labels}


def _target(label: LabelDef) -> LabelTarget:
    return LabelTarget(
        id=label.id,
        attributes={attribute.name: _attribute(attribute) for attribute in label.attributes},
        points={point.name: _target(point) for point in label.sublabels},
        type=label.type,
    )


def _attribute(attribute: AttributeDef) -> AttributeTarget:
    return AttributeTarget(attribute.id, attribute.input_type, attribute.values, attribute.default_value)


def check_known(
    prelabels: Prelabels, samples: Iterable[Sample], known: Sequence[str], where: str, deleted: Sequence[str] = ()
) -> None:
    """deleted: labels that people deleted. Raises NodeError: a class that is no label of the project."""
    unknown = prelabels.unknown(samples, known)
    if not unknown:
        return
    named = ", ".join(f'"{name}"' for name in unknown[:5]) + (" and more" if len(unknown) > 5 else "")
    gone = [name for name in unknown if name in deleted]
    if gone:
        raise NodeError(
            f'{where}: {prelabels.spec.from_} has "{gone[0]}", and people deleted that label in CVAT.',
            hint="Make it again in CVAT, or map it to null or another label in prelabels.label_map.",
        )
    near = did_you_mean(unknown[0], known, otherwise="Labels are")
    raise NodeError(
        f"{where}: {prelabels.spec.from_} has {named}, which CVAT's project has no label for.",
        hint=f"Map it in prelabels.label_map, or to null to leave it out. {near or ''}".rstrip(),
    )
