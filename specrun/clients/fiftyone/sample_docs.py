"""Samples out of MongoDB documents, without FiftyOne, which makes an object of everything it touches."""

from __future__ import annotations

import mimetypes
import os
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from specrun.clients.fiftyone.digests import is_annotated, label_docs, split_of
from specrun.clients.fiftyone.docs_to_labels import docs_to_labels
from specrun.clients.fiftyone.label_fields import FAMILIES
from specrun.clients.fiftyone.layout import MARK, SPLITS, Layout
from specrun.errors import NodeError
from specrun.model.digest import file_digest
from specrun.model.labels import AnyLabel, Sample

BATCH = 500

_OPERATORS = {name: f"${name}" for name in ("eq", "ne", "gt", "gte", "lt", "lte", "in")} | {"not_in": "$nin"}


def sample_query(
    splits: Sequence[str] | None, where: Iterable[Mapping[str, Any]], tags: Sequence[str]
) -> dict[str, Any]:
    """A MongoDB filter. where: `{"field": …, "gte": …}` as kinds.where writes it. Raises NodeError."""
    clauses: list[dict[str, Any]] = []
    if splits:
        clauses.append({"tags": {"$in": list(splits)}})
    if tags:
        clauses.append({"tags": {"$all": list(tags)}})
    for condition in where:
        for test, operand in condition.items():
            if test != "field":
                clauses.append({condition["field"]: _clause(test, operand)})
    return {"$and": clauses} if clauses else {}


def _clause(test: str, operand: Any) -> dict[str, Any]:
    if test == "between":
        return {"$gte": operand[0], "$lte": operand[1]}
    if test == "exists":
        return {"$ne": None} if operand else {"$eq": None}
    if test in _OPERATORS:
        return {_OPERATORS[test]: operand}
    raise NodeError(f"where: there is no test named {test}.")


def read_docs(samples: Any, query: Mapping[str, Any], projection: Mapping[str, int] | None) -> Iterator[dict[str, Any]]:
    """Documents in a fixed order: ours by key, then those that people added by hand, by path.

    samples: the pymongo collection.
    """
    key = f"{MARK}.key"
    ours = {"$and": [dict(query), {key: {"$exists": True}}]} if query else {key: {"$exists": True}}
    others = {"$and": [dict(query), {key: {"$exists": False}}]} if query else {key: {"$exists": False}}
    yield from samples.find(ours, projection, batch_size=BATCH).sort(key, 1)
    yield from samples.find(others, projection, batch_size=BATCH).sort("filepath", 1)


def sample_projection(layout: Layout, fields: Iterable[str]) -> dict[str, int]:
    """Of the main label field, where it is not asked for, only as much as tells whether there are labels."""
    read = tuple(fields)
    main = layout.label_fields.get(layout.main_field, {})
    present = [f"{at}.{key}" for family, at in main.items() if at not in read for key in ("_cls", f"{family}._id")]
    wanted = ("filepath", "tags", "metadata", "annotated", MARK, *layout.plain_fields, *read, *present)
    return dict.fromkeys(wanted, 1)


def doc_to_sample(doc: Mapping[str, Any], layout: Layout, families: Mapping[str, str]) -> Sample:
    """families: family → FiftyOne field, of the labels to be read."""
    own = doc.get(MARK) or {}
    media = Path(doc["filepath"])
    size_wh = _size_of(doc, media)
    labels: list[AnyLabel] = []
    for family in FAMILIES:
        if family in families:
            labels.extend(docs_to_labels(label_docs(doc.get(families[family])), size_wh, layout.marks))
    tags = doc.get("tags") or ()
    return Sample(
        key=own.get("key") or doc["filepath"],
        media=media,
        name=own.get("name") or media.name,
        digest=own.get("digest") or file_digest(media),
        size_wh=size_wh,
        split=split_of(tags, own.get("split")),
        tags=tuple(tag for tag in tags if tag not in SPLITS),
        labels=tuple(labels),
        annotated=is_annotated(doc, layout),
        fields={name: doc[name] for name in layout.plain_fields if doc.get(name) is not None},
    )


def _size_of(doc: Mapping[str, Any], media: Path) -> tuple[int, int]:
    metadata = doc.get("metadata") or {}
    if metadata.get("width") and metadata.get("height"):
        return int(metadata["width"]), int(metadata["height"])
    from PIL import Image, ImageOps  # only for samples that somebody added without metadata

    with Image.open(media) as image:
        width, height = ImageOps.exif_transpose(image).size
    return int(width), int(height)


def new_sample_doc(sample: Sample, dataset_id: object, now: datetime, make_id: Callable[[], object]) -> dict[str, Any]:
    """The document of a new sample without tags, labels and fields of its own, as FiftyOne would write it."""
    try:
        size_bytes: int | None = os.stat(sample.media).st_size
    except OSError:
        raise NodeError(f"{sample.media}: is gone.", hint="Make its source anew.") from None
    return {
        "_id": make_id(),
        "_dataset_id": dataset_id,
        "_media_type": "image",
        "_rand": random.random() * 0.001 + 0.999,
        "filepath": str(sample.media),
        "metadata": {
            "_cls": "ImageMetadata",
            "size_bytes": size_bytes,
            "mime_type": mimetypes.guess_type(sample.media.name)[0],
            "width": sample.size_wh[0],
            "height": sample.size_wh[1],
        },
        "created_at": now,
        "last_modified_at": now,
        "annotated": sample.annotated,
    }
