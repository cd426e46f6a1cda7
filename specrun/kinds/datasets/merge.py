"""One sample after the other merged into its FiftyOne dataset; see `dataset_import` for what is kept where."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from bson import ObjectId

from specrun.clients.fiftyone.digests import doc_entry, entries_digest, label_docs, split_of
from specrun.clients.fiftyone.label_fields import FAMILIES
from specrun.clients.fiftyone.label_writer import labels_elsewhere
from specrun.clients.fiftyone.labels_to_docs import labels_to_docs
from specrun.clients.fiftyone.layout import MARK, SPLITS, WRITTEN
from specrun.clients.fiftyone.project_database import Database, field_value, utc_now
from specrun.clients.fiftyone.sample_docs import new_sample_doc, sample_projection
from specrun.clients.fiftyone.writer import BulkWriter, as_type, delete_samples
from specrun.kinds.captions.spec import CAPTION, CAPTION_BY
from specrun.kinds.datasets.prepare import Incoming, group_of, tags_of
from specrun.kinds.datasets.spec import DatasetSpec
from specrun.kinds.datasets.sync import Outcome, Report, merge_fields, merge_tags, resolve, three_way
from specrun.model.taxonomy import ResolvedTaxonomy, UnmappedLabel

NOTHING: Mapping[str, Any] = MappingProxyType({})
Docs = dict[str, list[dict[str, Any]]]
"""Label documents by family."""
_UNKNOWN = "labels of unknown origin in FiftyOne (run the predictions that write them once more, or delete their field)"


@dataclass(slots=True)
class Existing:
    """A sample as it is in FiftyOne. own: what was imported last. labels: digest of its labels now."""

    id: object
    own: Mapping[str, Any]
    labels: str
    count: int
    tags: Sequence[str]
    fields: Mapping[str, Any]
    annotated: bool
    filepath: str
    size_wh: tuple[int, int]
    caption: str | None = None

    @property
    def mended(self) -> bool:
        """Whether people changed its labels, tags, split, fields or whether it counts as annotated."""
        own = self.own
        here = {
            "labels": self.labels,
            "split": split_of(self.tags, own.get("split")),
            "tags": {tag for tag in self.tags if tag not in SPLITS},
            "fields": dict(self.fields),
            "annotated": self.annotated,
        }
        captioned = own.get(CAPTION) or own.get("fields", {})
        if self.caption and self.caption != captioned.get("text", captioned.get(CAPTION)):
            return True
        return here != {
            "labels": own.get("labels", ""),
            "split": own.get("split"),
            "tags": set(own.get("tags") or ()),
            "fields": dict(own.get("fields") or {}),
            "annotated": own.get("annotated", True),
        }


class Merge:
    """fields: family → FiftyOne field of the labels. types: sample field → its FiftyOne type.
    lost: families whose field was deleted from the schema: what they held is written again.
    """

    def __init__(
        self,
        database: Database,
        name: str,
        fields: Mapping[str, str],
        types: Mapping[str, str],
        spec: DatasetSpec,
        *,
        split_mark: str,
        lost: Collection[str] = (),
    ) -> None:
        self._database, self._name, self._spec = database, name, spec
        self._layout = database.layout(name)
        self._samples = database.mongo[self._layout.collection]
        self._fields, self._types = fields, types
        self._lost = {family: fields[family] for family in lost if family in fields}
        self._split_mark = split_mark
        self._existing: dict[str, Existing] = {}
        self._deleted: set[str] = set()
        self._seen: set[str] = set()
        self._former: ResolvedTaxonomy | None = None
        self._taxonomy: ResolvedTaxonomy | None = None
        self._writer = BulkWriter(self._samples)
        self.splits: Mapping[str, str | None] = {}
        self.report = Report()

    def read_existing(self, imported: Sequence[str]) -> None:
        """imported: the keys of the last import; those that are gone were deleted by a person."""
        projection = sample_projection(self._layout, self._fields.values())
        for doc in self._samples.find({f"{MARK}.key": {"$exists": True}}, projection, batch_size=500):
            own = doc[MARK]
            labels = self._labels(doc)
            self._existing[own["key"]] = Existing(
                id=doc["_id"],
                own=own,
                labels=own.get("labels", "") if self._lost else self._entries_digest(labels),
                count=_count_objects(labels),
                tags=doc.get("tags") or [],
                fields=_fields_of(doc, self._layout.plain_fields),
                annotated=doc.get("annotated") is not False,
                filepath=doc["filepath"],
                size_wh=_size_of(doc),
                caption=doc.get(CAPTION),
            )
        if self._spec.import_mode != "force_refresh" and self._existing:
            self._deleted = set(imported) - self._existing.keys()

    def kept_groups(self) -> dict[str, str]:
        """Group → split, for groups that were split under the same settings."""
        return {
            e.own["group"]: e.own["split"]
            for e in self._existing.values()
            if e.own.get("split") and e.own.get("group") and e.own.get("split_mark") == self._split_mark
        }

    def use_taxonomies(self, former: ResolvedTaxonomy | None, now: ResolvedTaxonomy | None) -> None:
        """former: that of the last import; labels in mended samples move from the one to the other."""
        if former is not None and now is not None and former != now:
            self._former, self._taxonomy = former, now

    def take(self, incoming: Incoming) -> None:
        """Raises NodeError: a conflict under on_conflict: fail."""
        key = incoming.sample.key
        self._seen.add(key)
        existing = self._existing.get(key)
        if existing is None:
            if key in self._deleted:
                self.report.add("stay deleted, as a person did in FiftyOne", incoming.sample.name)
            else:
                self._insert(incoming)
        elif self._spec.import_mode != "skip_existing":
            self._update(incoming, existing)

    def finish(self, left_out: Mapping[str, str]) -> None:
        """Write what waits, and take away samples that come no longer and that nobody mended.

        left_out: sample key → what of the spec leaves it out; all others are gone upstream.
        """
        self._writer.flush()
        if self._spec.import_mode == "skip_existing":
            return
        gone = []
        unseen = {key: existing for key, existing in self._existing.items() if key not in self._seen}
        elsewhere = labels_elsewhere(self._database, self._name, [one.id for one in unseen.values()])
        for key, existing in unseen.items():
            name = str(existing.own.get("name") or key)
            cause = left_out.get(key)
            mended = existing.mended or existing.id in elsewhere.mended
            if (mended or existing.id in elsewhere.unknown) and self._spec.import_mode != "force_refresh":
                why = f"left out by {cause}" if cause else "they are gone upstream"
                self.report.add(f"kept although {why}: {'mended in FiftyOne' if mended else _UNKNOWN}", name)
            else:
                self.report.add(f"removed, left out by {cause}" if cause else "removed, gone upstream", name)
                gone.append(existing.id)
        delete_samples(self._database, self._name, gone)

    def _insert(self, incoming: Incoming) -> None:
        sample = incoming.sample
        docs = labels_to_docs(sample.labels, sample.size_wh, ObjectId)
        digest = self._digest(docs)
        doc = new_sample_doc(sample, self._layout.id, utc_now(), ObjectId)
        split, tags = self.splits.get(sample.key), tags_of(incoming, self._spec, len(sample.labels))
        fields = self._field_values(incoming)
        doc["tags"] = [*([split] if split else []), *tags]
        doc.update(fields)
        doc.update(self._label_values(docs))
        doc[MARK] = self._own(incoming, digest, split, tags, fields)
        self._writer.insert(doc)
        self.report.add("added")

    def _update(self, incoming: Incoming, existing: Existing) -> None:
        sample, own, forced = incoming.sample, existing.own, self._spec.import_mode == "force_refresh"
        docs = labels_to_docs(sample.labels, sample.size_wh, ObjectId)
        digest, count = self._digest(docs), len(sample.labels)
        changes: dict[str, Any] = {}
        if self._lost:
            existing, changes = self._restored(existing, docs)
        taken = self._take_labels(incoming, existing, digest, forced)
        if taken:
            changes.update(self._label_values(self._with_former_ids(existing, docs)))
        elif existing.labels != digest:
            count = existing.count
            changes.update(self._remapped(existing))
        split = self._merged_split(incoming, existing, forced)
        wanted = tags_of(incoming, self._spec, count)
        here = [tag for tag in existing.tags if tag not in SPLITS]
        tags = wanted if forced else merge_tags(own.get("tags") or (), here, wanted)
        fields = self._field_values(incoming)
        changes.update(self._merged_fields(fields, existing, forced, sample.name))
        changes["tags"] = [*([split] if split else []), *tags]
        changes["filepath"] = str(sample.media)
        changes["annotated"] = (
            sample.annotated if own.get("annotated", True) == existing.annotated else existing.annotated
        )
        self._write_changes(incoming, existing, changes, self._own(incoming, digest, split, wanted, fields, own))

    def _restored(self, existing: Existing, docs: Docs) -> tuple[Existing, dict[str, Any]]:
        """The sample as it is with the lost fields filled again, and what fills them."""
        doc = self._samples.find_one({"_id": existing.id}, dict.fromkeys(self._fields.values(), 1)) or {}
        doc |= {at: field_value(family, docs.get(family, [])) for family, at in self._lost.items()}
        labels = self._labels(doc)
        whole = replace(existing, labels=self._entries_digest(labels), count=_count_objects(labels))
        return whole, {at: doc[at] for at in self._lost.values()}

    def _take_labels(self, incoming: Incoming, existing: Existing, digest: str, forced: bool) -> bool:
        moved = incoming.source != existing.own.get("source", "")
        outcome = three_way(existing.own.get("labels", ""), existing.labels, digest, moved=moved)
        name = incoming.sample.name
        if outcome is Outcome.SAME:
            return False
        taken = forced or resolve(outcome, self._spec.on_conflict, f"{self._name}, {name}")
        if outcome is Outcome.CONFLICT:
            side = "the source's labels taken" if taken else "the labels in FiftyOne kept"
            self.report.add(f"changed at the source and in FiftyOne, {side}", name)
        elif outcome is Outcome.KEPT and not taken:
            self.report.add("kept as people mended them in FiftyOne", name)
        return taken

    def _merged_split(self, incoming: Incoming, existing: Existing, forced: bool) -> str | None:
        wanted, here = self.splits.get(incoming.sample.key), split_of(existing.tags, existing.own.get("split"))
        outcome = three_way(existing.own.get("split"), here, wanted)
        taken = forced or resolve(outcome, self._spec.on_conflict, f"{incoming.sample.name}, split")
        return wanted if taken else here

    def _merged_fields(self, wanted: Mapping[str, Any], existing: Existing, forced: bool, name: str) -> dict[str, Any]:
        base = {
            field: as_type(v, self._types.get(field, "")) for field, v in (existing.own.get("fields") or {}).items()
        }
        if forced:
            return {field: wanted.get(field) for field in base.keys() | wanted.keys()}
        changes, conflicts = merge_fields(base, existing.fields, wanted, self._spec.on_conflict, name)
        if conflicts:
            self.report.add("with a field changed by its name and in FiftyOne", name)
        return changes

    def _write_changes(
        self, incoming: Incoming, existing: Existing, changes: dict[str, Any], own: Mapping[str, Any]
    ) -> None:
        """Only what differs, so that an import that changed nothing moves no date."""
        current = {"tags": list(existing.tags), "filepath": existing.filepath, "annotated": existing.annotated}
        current.update(existing.fields)
        unset = [field for field, value in changes.items() if value is None and field in current]
        values = {
            field: v for field, v in changes.items() if v is not None and (field not in current or current[field] != v)
        }
        if incoming.sample.size_wh != existing.size_wh:
            fresh = new_sample_doc(incoming.sample, self._layout.id, utc_now(), ObjectId)
            values["metadata"] = fresh["metadata"]
        visible = bool(values or unset)
        if own != existing.own:
            values[MARK] = own
        if values or unset:
            self._writer.update(existing.id, values, unset)
        self.report.add("updated" if visible else "unchanged")

    def _remapped(self, existing: Existing) -> dict[str, Any]:
        """A mended sample under an edited taxonomy: labels still classed as the former one said move along."""
        if self._former is None or self._taxonomy is None:
            return {}
        doc = self._samples.find_one({"_id": existing.id}, dict.fromkeys(self._fields.values(), 1)) or {}
        changes = {}
        for family, at in self._fields.items():
            former = list(label_docs(doc.get(at)))
            moved = [label for label in map(dict, former) if _remap(label, self._former, self._taxonomy)]
            if moved != former:
                changes[at] = field_value(family, moved)
        return changes

    def _with_former_ids(self, existing: Existing, docs: Docs) -> Docs:
        """Labels that did not change keep their document: its id, its tags and what evaluations wrote."""
        doc = self._samples.find_one({"_id": existing.id}, dict.fromkeys(self._fields.values(), 1)) or {}
        former: dict[str, list[dict[str, Any]]] = {}
        for at in self._fields.values():
            for label in label_docs(doc.get(at)):
                former.setdefault(doc_entry(label, self._layout.marks), []).append(dict(label))
        kept: Docs = {}
        for family, labels in docs.items():
            found = [former.get(doc_entry(label, frozenset())) or [] for label in labels]
            kept[family] = [same.pop(0) if same else label for same, label in zip(found, labels, strict=True)]
        return kept

    def _label_values(self, docs: Docs) -> dict[str, Any]:
        return {at: field_value(family, docs.get(family, [])) for family, at in self._fields.items()}

    def _field_values(self, incoming: Incoming) -> dict[str, Any]:
        found = incoming.sample.fields
        return {name: as_type(v, self._types[name]) for name, v in found.items() if v is not None}

    def _own(
        self,
        incoming: Incoming,
        labels: str,
        split: str | None,
        tags: Sequence[str],
        fields: Mapping[str, Any],
        former: Mapping[str, Any] = NOTHING,
    ) -> dict[str, Any]:
        """former: what was noted last; what captions and predictions noted stays as they left it."""
        sample, split_spec = incoming.sample, self._spec.split
        return {
            **{note: former[note] for note in (CAPTION, WRITTEN) if note in former},
            "key": sample.key,
            "name": sample.name,
            "digest": sample.digest,
            "source": incoming.source,
            "labels": labels,
            "split": self.splits.get(sample.key),
            "group": group_of(sample, split_spec.group_by) if split_spec else None,
            "split_mark": self._split_mark,
            "tags": list(tags),
            "fields": dict(fields),
            "annotated": sample.annotated,
        }

    def _entries_digest(self, labels: Sequence[Mapping[str, Any]]) -> str:
        return entries_digest([doc_entry(label, self._layout.marks) for label in labels])

    def _digest(self, docs: Docs) -> str:
        return entries_digest([doc_entry(label, frozenset()) for family in FAMILIES for label in docs.get(family, ())])

    def _labels(self, doc: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        fields = [self._fields[family] for family in FAMILIES if family in self._fields]
        return [label for at in fields for label in label_docs(doc.get(at))]


def _remap(label: dict[str, Any], former: ResolvedTaxonomy, now: ResolvedTaxonomy) -> bool:
    """Class a label anew if nobody did by hand; returns False if it is dropped now."""
    original = label.get("source_label")
    if original is None:
        return True
    try:
        if former.apply(original) != label.get("label"):
            return True
        wanted = now.apply(original)
    except UnmappedLabel:
        return True
    if wanted is not None:
        label["label"] = wanted
    return wanted is not None


def _count_objects(labels: Sequence[Mapping[str, Any]]) -> int:
    """Parts of one polygon count once."""
    parts = [label["part_of"] for label in labels if label.get("part_of") is not None]
    return len(labels) - len(parts) + len(set(parts))


def _fields_of(doc: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Plain fields with a value; captions that the node made are none of the source's."""
    brought = (doc[MARK].get("fields") or {}).keys()
    return {
        name: doc[name]
        for name in names
        if doc.get(name) is not None and (name not in (CAPTION, CAPTION_BY) or name in brought)
    }


def _size_of(doc: Mapping[str, Any]) -> tuple[int, int]:
    metadata = doc.get("metadata") or {}
    return int(metadata.get("width") or 0), int(metadata.get("height") or 0)
