"""What a FiftyOne dataset document says: its label fields, its plain fields, our mark, what evaluations wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from specrun.clients.fiftyone.label_fields import FIELD_CLASSES
from specrun.errors import NodeError

MARK = "specrun"
"""Key of our entry in `dataset.info`, and of our field in each sample."""
WRITTEN = "written"
"""Key within our field of a sample: label field → digest of the labels that a node other than the dataset's wrote."""
WRITERS = "writers"
"""Key within our entry in `dataset.info`: label field → address of the node, other than the dataset's, that wrote it
last. Fields of earlier versions have none."""
SPLITS = ("train", "val", "test")

_LIST_CLASSES = {name: family for family, name in FIELD_CLASSES.items()}
_SINGLE_CLASSES = {
    "Classification": "classifications",
    "Detection": "detections",
    "Polyline": "polylines",
    "Keypoint": "keypoints",
}
_PLAIN_TYPES = ("StringField", "IntField", "FloatField", "BooleanField")
_OWN_FIELDS = frozenset({"id", "filepath", "tags", "metadata", "created_at", "last_modified_at", "annotated", MARK})


@dataclass(frozen=True, slots=True)
class Layout:
    """id, collection: where the samples lie. label_fields: our field → family → FiftyOne field.
    plain_fields: sample fields of one plain value. marks: keys that evaluations and brain runs wrote.
    lost: label field → family → FiftyOne field that somebody deleted from the schema.
    mark: our entry in `dataset.info`, None for a dataset of somebody else's.
    """

    id: object
    name: str
    collection: str
    label_fields: Mapping[str, Mapping[str, str]]
    plain_fields: Sequence[str]
    marks: frozenset[str]
    mark: Mapping[str, Any] | None = None
    classes: tuple[str, ...] = ()
    schema: Mapping[str, str] = field(default_factory=dict)
    lost: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def main_field(self) -> str:
        """The label field that the dataset's node fills."""
        return str((self.mark or {}).get("label_field") or "ground_truth")

    def writer(self, label_field: str) -> str | None:
        """Address of the node that wrote a label field last, if it was noted."""
        found = ((self.mark or {}).get(WRITERS) or {}).get(label_field)
        return None if found is None else str(found)

    def family_fields(self, label_field: str) -> Mapping[str, str]:
        """Family → FiftyOne field; raises NodeError: the dataset has no such label field."""
        try:
            return self.label_fields[label_field]
        except KeyError:
            known = ", ".join(sorted(self.label_fields)) or "none"
            raise NodeError(
                f'FiftyOne dataset {self.name}: it has no label field "{label_field}".',
                hint=f"Its label fields: {known}.",
            ) from None


def read_layout(doc: Mapping[str, Any]) -> Layout:
    """From a document of the `datasets` collection."""
    schema = {f["name"]: _type_name(f) for f in doc.get("sample_fields") or ()}
    mark = _own_mark(doc)
    declared: Mapping[str, Mapping[str, str]] = (mark or {}).get("label_fields") or {}
    label_fields = {name: {f: at for f, at in fields.items() if at in schema} for name, fields in declared.items()}
    lost = {
        name: gone
        for name, fields in declared.items()
        if (gone := {f: at for f, at in fields.items() if at not in schema})
    }
    taken = {at for fields in label_fields.values() for at in fields.values()}
    for name, type_name in schema.items():
        family = _LIST_CLASSES.get(type_name) or _SINGLE_CLASSES.get(type_name)
        if family and name not in taken:
            label_fields.setdefault(name, {family: name})
    marks = run_marks(doc, frozenset(label_fields))
    plain = sorted(
        name
        for name, type_name in schema.items()
        if type_name in _PLAIN_TYPES and not name.startswith("_") and name not in _OWN_FIELDS and name not in marks
    )
    return Layout(
        id=doc["_id"],
        name=doc["name"],
        collection=doc["sample_collection_name"],
        label_fields=label_fields,
        plain_fields=plain,
        marks=marks,
        mark=mark,
        classes=tuple((mark or {}).get("classes") or doc.get("default_classes") or ()),
        schema=schema,
        lost=lost,
    )


def run_marks(doc: Mapping[str, Any], label_fields: frozenset[str]) -> frozenset[str]:
    """Keys that evaluations (`ev`, `ev_id`, `ev_iou`, `ev_tp`, …) and brain runs write into labels and samples."""
    found: set[str] = set()
    for key in doc.get("evaluations") or {}:
        found.add(key)
        found.update(f"{key}_{end}" for end in ("id", "iou", "tp", "fp", "fn", "accuracy", "precision", "recall"))
    brain_methods: Mapping[str, Any] = doc.get("brain_methods") or {}
    for run in brain_methods.values():
        config = run.get("config") if isinstance(run, Mapping) else None
        for name, value in (config or {}).items():
            if name.endswith("_field") and isinstance(value, str):
                found.add(value)
    return frozenset(found - label_fields)


def _own_mark(doc: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """FiftyOne copies `info` into clones; the mark names its dataset, so that a clone is not taken for ours."""
    mark = (doc.get("info") or {}).get(MARK)
    return mark if isinstance(mark, Mapping) and mark.get("name") == doc["name"] else None


def _type_name(field_doc: Mapping[str, Any]) -> str:
    full = field_doc.get("embedded_doc_type") or field_doc.get("ftype") or ""
    return str(full).rsplit(".", 1)[-1]
