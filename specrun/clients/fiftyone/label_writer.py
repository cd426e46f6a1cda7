"""Labels of a node into a field of samples, over what it wrote before and never over what people made of it.

Every sample notes the digest of what was written into a field last, in the same update as the labels, so that a
kill leaves no doubt whose they are: `specrun.written.<label field>`. Labels with another digest were mended, and
labels that bear tags were looked at. Rejected: comparing with the node's last output, which knows nothing of what
a killed run wrote.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from specrun.clients.fiftyone.digests import doc_entry, entries_digest, label_docs
from specrun.clients.fiftyone.label_fields import FAMILIES
from specrun.clients.fiftyone.labels_to_docs import count_families, labels_to_docs
from specrun.clients.fiftyone.layout import MARK, WRITTEN, Layout
from specrun.clients.fiftyone.project_database import IDENTITIES, Database, at_path, field_value, utc_now
from specrun.errors import NodeError
from specrun.model.labels import AnyLabel

WRITE_BATCH = 500
Row = tuple[str, Sequence[AnyLabel]]
"""Sample key, and its labels in pixels."""


@dataclass(frozen=True, slots=True)
class Written:
    """covered: how many samples hold the node's labels now. kept: names of those that keep people's."""

    covered: int
    kept: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Ids of samples. unknown: a node made the field, but no note tells whether people changed the labels since:
    versions before the notes wrote them. They may be hours of work, so they count as little as ours as the mended."""

    mended: set[object]
    unknown: set[object]


def write_labels(database: Database, name: str, field: str, rows: Iterable[Row], *, ours: bool = False) -> Written:
    """Put labels into a field of samples, in place of what was written there before; what people mended stays.

    ours: whether labels without a note of who wrote them are the caller's. Raises NodeError: no such dataset, or a
    key that it lacks.
    """
    covered, kept = 0, list[str]()

    def write(batch: Sequence[Row]) -> int:
        left = _write_batch(database, name, field, batch, ours=ours)
        kept.extend(left)
        return len(batch) - len(left)

    batch: list[Row] = []
    typed = field in database.layout(name).label_fields
    for row in rows:
        batch.append(row)
        typed = typed or bool(row[1])  # the first labels decide the field's type: empty rows wait for them
        if typed and len(batch) >= WRITE_BATCH:
            covered += write(batch)
            batch = []
    if batch:
        covered += write(batch)
    database.sync(name)
    return Written(covered, tuple(kept))


def mended_samples(database: Database, name: str, field: str, *, ours: bool = False) -> list[str]:
    """Names of the samples whose labels in a field people changed or tagged; ours: as above."""
    layout = database.layout(name)
    families = layout.label_fields.get(field, {})
    wanted = dict.fromkeys((MARK, "filepath", *families.values()), 1)
    docs = database.mongo[layout.collection].find({}, wanted, batch_size=WRITE_BATCH)
    return [_name_of(doc) for doc in docs if _is_mended(doc, field, families, layout, ours=ours)]


def labels_elsewhere(database: Database, name: str, identities: Sequence[object]) -> Elsewhere:
    """Which of these samples hold labels that may be people's in a field other than the dataset's own."""
    layout = database.layout(name)
    fields = {field: families for field, families in layout.label_fields.items() if field != layout.main_field}
    made_here = (layout.mark or {}).get("label_fields") or {}
    wanted = dict.fromkeys((MARK, *(at for families in fields.values() for at in families.values())), 1)
    found = Elsewhere(set(), set())
    for start in range(0, len(identities), IDENTITIES):
        query = {"_id": {"$in": list(identities[start : start + IDENTITIES])}}
        for doc in database.mongo[layout.collection].find(query, wanted):
            mended = [f for f, families in fields.items() if _is_mended(doc, f, families, layout, ours=False)]
            if any(f not in made_here or _is_mended(doc, f, fields[f], layout, ours=True) for f in mended):
                found.mended.add(doc["_id"])
            elif mended:
                found.unknown.add(doc["_id"])
    return found


def is_marked(database: Database, name: str, field: str) -> bool:
    """Whether any sample notes what was written into the field."""
    samples = database.mongo[database.layout(name).collection]
    return samples.find_one({f"{MARK}.{WRITTEN}.{field}": {"$exists": True}}, {"_id": 1}) is not None


def _write_batch(database: Database, name: str, field: str, rows: Sequence[Row], *, ours: bool) -> list[str]:
    """Names of the samples that were left alone."""
    from bson import ObjectId  # comes with pymongo, which the database has loaded
    from pymongo import UpdateOne  # as above

    counts = count_families(label for _, labels in rows for label in labels)
    families = database.ensure_label_field(name, field, counts)
    layout = database.layout(name)
    samples = database.mongo[layout.collection]
    found = _docs_by_key(samples, [key for key, _ in rows], families.values())
    kept, updates = [], []
    for key, labels in rows:
        if key not in found:
            raise NodeError(f"FiftyOne dataset {name}: it has no sample {key}.")
        doc = found[key]
        docs = labels_to_docs(labels, _size_of(doc), ObjectId)
        digest = entries_digest([doc_entry(one, frozenset()) for family in FAMILIES for one in docs.get(family, ())])
        values: dict[str, Any] = {at: field_value(family, docs.get(family, [])) for family, at in families.items()}
        if _is_there(doc, families) and digest == _digest(doc, families, layout):
            values = {}  # their documents stay, with the tags and verdicts on them
        elif _is_mended(doc, field, families, layout, ours=ours):
            kept.append(_name_of(doc))
            continue
        if _written(doc, field) != digest:
            own = doc.get(MARK) or {}
            values[MARK] = {**own, WRITTEN: {**(own.get(WRITTEN) or {}), field: digest}}
        if values:
            updates.append(UpdateOne({"_id": doc["_id"]}, {"$set": {**values, "last_modified_at": utc_now()}}))
    if updates:
        samples.bulk_write(updates, ordered=False)
    return kept


def _docs_by_key(samples: Any, keys: Sequence[str], fields: Iterable[str]) -> dict[str, dict[str, Any]]:
    query = {"$or": [{f"{MARK}.key": {"$in": list(keys)}}, {"filepath": {"$in": list(keys)}}]}
    wanted = dict.fromkeys(("metadata", "filepath", MARK, *fields), 1)
    return {(doc.get(MARK) or {}).get("key") or doc["filepath"]: doc for doc in samples.find(query, wanted)}


def _is_mended(doc: Mapping[str, Any], field: str, families: Mapping[str, str], layout: Layout, *, ours: bool) -> bool:
    """Not where nothing is: a field that was deleted, or cleared for a sample, waits to be filled."""
    if not _is_there(doc, families):
        return False
    labels = _labels(doc, families)
    if any(label.get("tags") for label in labels):
        return True
    written = _written(doc, field)
    if written is None:
        return bool(labels) and not ours
    return _digest(doc, families, layout) != written


def _is_there(doc: Mapping[str, Any], families: Mapping[str, str]) -> bool:
    return any(doc.get(at) is not None for at in families.values())


def _digest(doc: Mapping[str, Any], families: Mapping[str, str], layout: Layout) -> str:
    return entries_digest([doc_entry(label, layout.marks) for label in _labels(doc, families)])


def _labels(doc: Mapping[str, Any], families: Mapping[str, str]) -> list[Mapping[str, Any]]:
    return [label for family in FAMILIES if family in families for label in label_docs(doc.get(families[family]))]


def _written(doc: Mapping[str, Any], field: str) -> str | None:
    noted = at_path(doc, f"{MARK}.{WRITTEN}.{field}")
    return None if noted is None else str(noted)


def _name_of(doc: Mapping[str, Any]) -> str:
    return str((doc.get(MARK) or {}).get("name") or Path(doc["filepath"]).name)


def _size_of(doc: Mapping[str, Any]) -> tuple[int, int]:
    metadata = doc.get("metadata") or {}
    return int(metadata.get("width") or 1), int(metadata.get("height") or 1)
