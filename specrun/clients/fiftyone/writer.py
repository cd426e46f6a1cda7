"""Making and filling a persistent dataset: FiftyOne's own calls for its schema, pymongo in bulk for its samples."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from specrun.clients.fiftyone.layout import MARK, Layout
from specrun.clients.fiftyone.project_database import IDENTITIES, Database, utc_now
from specrun.errors import NodeError

INSERT_BATCH = 500
FIELD_TYPES = {bool: "BooleanField", int: "IntField", float: "FloatField", str: "StringField"}


def require_ours(database: Database, name: str, layout: Layout | None) -> None:
    """Raises NodeError: a dataset of this name exists and is not ours to change."""
    if layout is None:
        return
    if layout.mark is None:
        raise NodeError(
            f"FiftyOne dataset {name}: it exists and was not made by specrun, so it is not touched.",
            hint="Give the node another `name`, or delete or rename that dataset in FiftyOne.",
        )
    owner = str(layout.mark.get("project") or "")
    elsewhere = owner and owner != str(database.project_dir) and (Path(owner) / ".specrun").is_dir()
    if elsewhere and not database.connection.embedded:
        raise NodeError(
            f"FiftyOne dataset {name}: it belongs to the project in {owner}.", hint="Give the node another `name`."
        )


def ensure_dataset(database: Database, name: str, address: str, label_field: str) -> Layout:
    """The dataset, made if missing and marked as ours; `complete` once an import has ended.

    Raises NodeError: it is somebody else's.
    """
    layout = database.find_layout(name)
    require_ours(database, name, layout)
    mark: dict[str, Any] = {"name": name, "format": 1, "address": address, "project": str(database.project_dir)}
    mark |= {"label_field": label_field}
    if layout is None:
        _create(database, name, {**mark, "complete": False})
    else:
        database.update_mark(name, mark)
        # Left so by a kill between a new dataset's name and this.
        database.mongo["datasets"].update_one({"name": name, "persistent": False}, {"$set": {"persistent": True}})
    layout = database.layout(name)
    database.mongo[layout.collection].create_index(
        f"{MARK}.key", name=f"{MARK}_key", unique=True, partialFilterExpression={f"{MARK}.key": {"$exists": True}}
    )
    return layout


def _create(database: Database, name: str, mark: Mapping[str, Any]) -> None:
    """Renamed when it bears the mark: a kill before leaves a temporary dataset that FiftyOne itself drops."""
    fiftyone = database.fiftyone
    dataset = fiftyone.Dataset(f"specrun-new-{secrets.token_hex(6)}", persistent=False)
    dataset.media_type = "image"
    dataset.add_sample_field("annotated", fiftyone.BooleanField, description="Somebody looked at it")
    dataset.add_sample_field(MARK, fiftyone.DictField, description="What specrun imported last", read_only=True)
    dataset.info[MARK] = dict(mark)
    dataset.save()
    try:
        dataset.name = name
    except ValueError as error:
        dataset.delete()
        raise NodeError(f"FiftyOne refuses the dataset name {name}: {error}.", hint="Give another `name`.") from None
    dataset.persistent = True


def ensure_plain_fields(database: Database, name: str, types: Mapping[str, str]) -> None:
    """Declare sample fields; one of another type is made anew, its values are lost. types: name → `IntField`."""
    schema = database.layout(name).schema
    missing = {field: kind for field, kind in types.items() if schema.get(field) != kind}
    if not missing:
        return
    dataset = database.dataset(name)
    for field, kind in sorted(missing.items()):
        if field in schema:
            dataset.delete_sample_field(field)
        dataset.add_sample_field(field, getattr(database.fiftyone, kind))


def field_type(types: Iterable[type]) -> str:
    """FiftyOne's field for values of these Python types; whole numbers fit among floats, all else becomes text."""
    found = set(types)
    if found == {int, float}:
        return FIELD_TYPES[float]
    return FIELD_TYPES[found.pop()] if len(found) == 1 else FIELD_TYPES[str]


def as_type(value: Any, kind: str) -> Any:
    match kind:
        case "StringField":
            return value if isinstance(value, str) else str(value)
        case "FloatField":
            return float(value)
        case _:
            return value


class BulkWriter:
    """Collects inserts and updates of samples and writes them in batches, each sample whole or not at all."""

    def __init__(self, samples: Any) -> None:
        self._samples = samples
        self._operations: list[Any] = []
        self.written = 0

    def insert(self, doc: Mapping[str, Any]) -> None:
        from pymongo import InsertOne  # loaded with the client

        self._add(InsertOne(doc))

    def update(self, identity: object, values: Mapping[str, Any], unset: Sequence[str] = ()) -> None:
        from pymongo import UpdateOne  # loaded with the client

        change: dict[str, Any] = {"$set": {**values, "last_modified_at": utc_now()}}
        if unset:
            change["$unset"] = dict.fromkeys(unset, "")
        self._add(UpdateOne({"_id": identity}, change))

    def flush(self) -> None:
        if self._operations:
            self._samples.bulk_write(self._operations, ordered=False)
            self.written += len(self._operations)
            self._operations = []

    def _add(self, operation: Any) -> None:
        self._operations.append(operation)
        if len(self._operations) >= INSERT_BATCH:
            self.flush()


def delete_samples(database: Database, name: str, identities: Sequence[object]) -> None:
    if identities:
        samples = database.mongo[database.layout(name).collection]
        for start in range(0, len(identities), IDENTITIES):
            samples.delete_many({"_id": {"$in": list(identities[start : start + IDENTITIES])}})
        now = utc_now()
        dates = {"last_modified_at": now, "last_deletion_at": now}
        database.mongo["datasets"].update_one({"name": name}, {"$set": dates})
