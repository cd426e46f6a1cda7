"""Samples as a dataset wants them: filtered, geometry and taxonomy applied, with fields, split and tags.

Imported by workers only.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from specrun.errors import FormatError, NodeError
from specrun.formats.samples import label_to_json
from specrun.kinds.datasets.geometry import apply_geometry
from specrun.kinds.datasets.metadata import Mismatch, fields_of_name
from specrun.kinds.datasets.quality import quality_tags
from specrun.kinds.datasets.spec import DatasetSpec
from specrun.kinds.datasets.split import Member, assign_splits
from specrun.kinds.where import holds
from specrun.model.digest import json_digest
from specrun.model.labels import AnyLabel, Sample
from specrun.model.taxonomy import ResolvedTaxonomy, UnmappedLabel


@dataclass(frozen=True)
class Incoming:
    """sample: as it shall be, tags without split and quality. source: digest of its labels as they came."""

    sample: Sample
    source: str


@dataclass
class Preparation:
    """Turns samples of a source into Incoming, and counts what it did for the notes."""

    spec: DatasetSpec
    taxonomy: ResolvedTaxonomy | None
    shapes: Counter[str] = field(default_factory=Counter)
    mismatches: list[str] = field(default_factory=list)
    dropped_labels: Counter[str] = field(default_factory=Counter)
    left_out: dict[str, str] = field(default_factory=dict)
    """Sample key → by what: `where` or metadata."""
    known_fields: set[str] = field(default_factory=set)
    matches: Counter[int] = field(default_factory=Counter)
    """How many samples each condition of `where` holds for by itself, by its place."""

    def prepare(self, samples: Iterable[Sample]) -> Iterator[Incoming]:
        """Raises FormatError: something that the spec calls an error."""
        for sample in samples:
            fields = self._fields(sample)
            if fields is None:
                self.left_out[sample.key] = "metadata"
                continue
            if not self._meets_where(fields):
                self.left_out[sample.key] = "where"
                continue
            source = json_digest([label_to_json(label) for label in sample.labels]) if sample.labels else ""
            labels = apply_geometry(sample.labels, self.spec.geometry.model_dump(), self.shapes, sample.name)
            labels = self._classified(labels, sample.name)
            yield Incoming(replace(sample, labels=tuple(labels), fields=fields), source)

    def _meets_where(self, fields: Mapping[str, object]) -> bool:
        if not self.spec.where:
            return True
        self.known_fields.update(name for name, value in fields.items() if value is not None)
        held = [holds([condition], fields) for condition in self.spec.where]
        self.matches.update(i for i, met in enumerate(held) if met)
        return all(held)

    def check_where(self, address: str, left: int) -> None:
        """After the last sample. left: how many came through.

        Raises NodeError: a condition on a field that no sample has, or one that would empty the dataset.
        """
        if not left and not self.left_out:
            raise NodeError(f"{address}: its sources have no images.", hint="Look at their paths and filters.")
        known = ", ".join(sorted(self.known_fields)) or "none"
        if "where" in self.left_out.values() or left:
            for i, condition in enumerate(self.spec.where):
                if condition.field not in self.known_fields:
                    message = f'{address}: where.{i}: no sample has a field "{condition.field}".'
                    raise NodeError(message, hint=f"The samples' fields: {known}.")
                if not self.matches[i]:
                    tests = ", ".join(f"{test}: {operand}" for test, operand in condition.tests.items())
                    message = f"{address}: where.{i}: no sample meets {condition.field} {tests}."
                    raise NodeError(message, hint=f"The samples' fields: {known}.")
        if not left:
            message = f"{address}: where and metadata leave out every sample."
            raise NodeError(message, hint=f"Loosen them. The samples' fields: {known}.")

    def _fields(self, sample: Sample) -> dict[str, str | float | int | bool | None] | None:
        """The sample's fields with those of its name; None: it is left out."""
        metadata = self.spec.metadata
        if metadata is None:
            return dict(sample.fields)
        try:
            found = fields_of_name(sample.name, re.compile(metadata.pattern), metadata.types, metadata.aliases)
        except Mismatch as mismatch:
            if metadata.on_mismatch == "error":
                raise FormatError(f"{mismatch}.", hint="Mend the pattern, or set metadata.on_mismatch.") from None
            if metadata.on_mismatch != "ignore":
                self.mismatches.append(str(mismatch))
            return None if metadata.on_mismatch == "drop" else dict(sample.fields)
        return {**sample.fields, **found}

    def _classified(self, labels: Sequence[AnyLabel], where: str) -> list[AnyLabel]:
        if self.taxonomy is None:
            return list(labels)
        done = []
        for label in labels:
            original = label.label
            try:
                name = self.taxonomy.apply(original)
            except UnmappedLabel as error:
                raise UnmappedLabel(f"{where}: {error.message}", hint=error.hint) from None
            if name is None:
                self.dropped_labels[original] += 1
            else:
                done.append(replace(label, label=name, source_label=original))
        return done

    def notes(self) -> list[str]:
        lines = [f"{n} {what}" if n == 1 else f"{n} × {what}" for what, n in sorted(self.shapes.items())]
        if self.mismatches:
            shown = "; ".join(self.mismatches[:3])
            more = f" and {len(self.mismatches) - 3} more" if len(self.mismatches) > 3 else ""
            left_out = " (left out)" if self.spec.metadata and self.spec.metadata.on_mismatch == "drop" else ""
            lines.append(f"metadata{left_out}: {shown}{more}")
        for what, n in sorted(Counter(self.left_out.values()).items()):
            lines.append(f"{n} {'sample' if n == 1 else 'samples'} left out by {what}")
        if self.dropped_labels:
            classes = ", ".join(f"{n} {name}" for name, n in sorted(self.dropped_labels.items()))
            lines.append(f"dropped by the taxonomy: {classes}")
        return lines


@dataclass
class Facts:
    """What must be known of all samples before the first one is written."""

    members: list[Member] = field(default_factory=list)
    source_splits: dict[str, str | None] = field(default_factory=dict)
    families: Counter[str] = field(default_factory=Counter)
    classes: Counter[str] = field(default_factory=Counter)
    field_types: dict[str, set[type]] = field(default_factory=dict)
    duplicates: int = 0

    def add(self, incoming: Incoming, spec: DatasetSpec, family_of: Callable[[AnyLabel], str]) -> bool:
        """Returns False for a key that came before: the first one counts."""
        sample = incoming.sample
        if sample.key in self.source_splits:
            self.duplicates += 1
            return False
        self.source_splits[sample.key] = sample.split
        self.families.update(family_of(label) for label in sample.labels)
        self.classes.update(label.label for label in sample.labels)
        for name, value in sample.fields.items():
            if value is not None:
                self.field_types.setdefault(name, set()).add(type(value))
        if spec.split is not None:
            self.members.append(_member(sample, spec.split.group_by, spec.split.stratify_by))
        return True

    def splits(self, spec: DatasetSpec, seed: int, kept: Mapping[str, str]) -> Mapping[str, str | None]:
        """Sample key → split. kept: group → split of last time, under the same split settings."""
        if spec.split is None:
            return self.source_splits
        ratios = {str(name): ratio for name, ratio in spec.split.ratios.items()}
        chosen = assign_splits(self.members, ratios, seed if spec.split.seed is None else spec.split.seed, kept)
        return dict(chosen)


def _member(sample: Sample, group_by: str | None, stratify_by: str | None) -> Member:
    return Member(sample.key, group_of(sample, group_by), _stratum(sample, stratify_by))


def group_of(sample: Sample, group_by: str | None) -> str:
    """The value that keeps samples together; a sample without one stands alone."""
    value = sample.fields.get(group_by) if group_by else None
    return sample.key if value is None else f"{group_by}={value}"


def _stratum(sample: Sample, stratify_by: str | None) -> str:
    if stratify_by is None:
        return ""
    if stratify_by in sample.fields:
        return f"={sample.fields[stratify_by]}"
    if stratify_by == "label" and sample.labels:
        counts = Counter(label.label for label in sample.labels)
        return f"={min(counts, key=lambda name: (-counts[name], name))}"
    return "none"


def tags_of(incoming: Incoming, spec: DatasetSpec, labels: int) -> list[str]:
    """The tags that the spec and the source want, without the split. labels: how many the sample has in the end."""
    return list(dict.fromkeys([*quality_tags(labels, spec.quality), *incoming.sample.tags, *spec.tags]))
