"""A project's FiftyOne database as the kinds use it: datasets are read with pymongo, FiftyOne is imported on need."""

from __future__ import annotations

import contextlib
import gc
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from specrun.clients.fiftyone.connection import Connection, Secret, connect, import_fiftyone, release_fiftyone
from specrun.clients.fiftyone.digests import CAPTIONS, Snapshot, sample_parts
from specrun.clients.fiftyone.label_fields import FIELD_CLASSES, choose_fields
from specrun.clients.fiftyone.layout import MARK, WRITERS, WRITTEN, Layout, read_layout
from specrun.clients.fiftyone.look import look_at, open_mongo
from specrun.clients.fiftyone.sample_docs import doc_to_sample, read_docs, sample_projection, sample_query
from specrun.clients.fiftyone.snapshots import Snapshots
from specrun.errors import NodeError
from specrun.model.digest import Json
from specrun.model.labels import Sample

READ_BATCH = 250
IDENTITIES = 50_000
"""How many ids one question names: 900,000 are more than the 16 MB that MongoDB takes."""


@contextlib.contextmanager
def open_database(
    settings: Mapping[str, Any],
    state_dir: Path,
    *,
    project_dir: Path | None = None,
    secret: Secret | None = None,
    may_import: bool = True,
) -> Iterator[Database]:
    """The database of a project; the embedded server runs at least as long as this is open.

    Raises MissingDependency, NodeError.
    """
    with contextlib.ExitStack() as stack:
        connection = stack.enter_context(connect(settings, state_dir, secret, may_import=may_import))
        client = stack.enter_context(open_mongo(connection.uri))
        database = Database(connection, client, project_dir or state_dir.parent)
        stack.callback(database.close)
        yield database


class Database:
    def __init__(self, connection: Connection, client: Any, project_dir: Path) -> None:
        self.connection = connection
        self.mongo = client[connection.name]
        self.project_dir = project_dir

    def close(self) -> None:
        """Let FiftyOne go from the database while the server still runs."""
        if "fiftyone" in self.__dict__ and self.connection.own:
            release_fiftyone(self.fiftyone)

    @property
    def uri(self) -> str:
        return self.connection.uri

    @cached_property
    def fiftyone(self) -> Any:
        """The fiftyone module, bound to this database; the first call takes seconds."""
        return import_fiftyone(self.connection)

    def dataset(self, name: str) -> Any:
        """fiftyone.Dataset. Raises NodeError: there is none of this name."""
        self.layout(name)
        dataset = self.fiftyone.load_dataset(name)
        dataset.reload()  # FiftyOne keeps what an earlier load of this process saw
        return dataset

    def names(self) -> list[str]:
        return sorted(doc["name"] for doc in self.mongo["datasets"].find({}, {"name": 1}))

    def find_layout(self, name: str) -> Layout | None:
        doc = self.mongo["datasets"].find_one({"name": name})
        return read_layout(doc) if doc else None

    def layout(self, name: str) -> Layout:
        """Raises NodeError: there is no such dataset."""
        layout = self.find_layout(name)
        if layout is None:
            raise NodeError(f"FiftyOne: there is no dataset named {name}.", hint="Apply its node first.")
        return layout

    def samples(
        self,
        name: str,
        label_field: str | None = "ground_truth",
        splits: Sequence[str] | None = None,
        where: Iterable[Mapping[str, Any]] = (),
        tags: Sequence[str] = (),
    ) -> Iterator[Sample]:
        """Samples in the order of their keys. label_field: all of its family is read; None: no labels.

        splits: only these. where: conditions as `kinds.where` writes them. tags: samples that have all of them.
        Raises NodeError: no such dataset or label field.
        """
        layout = self.layout(name)
        families = layout.family_fields(label_field) if label_field else {}
        query = sample_query(splits, where, tags)
        docs = read_docs(self.mongo[layout.collection], query, sample_projection(layout, families.values()))
        while True:
            with paused_collection():
                batch = [doc_to_sample(doc, layout, families) for doc in itertools.islice(docs, READ_BATCH)]
            if not batch:
                return
            yield from (sample for sample in batch if not splits or sample.split in splits)

    def count(self, name: str) -> int:
        return int(self.mongo[self.layout(name).collection].count_documents({}))

    def classes(self, name: str, label_field: str | None = None) -> list[str]:
        """The dataset's classes in their order; with a label field also those that only its labels know, sorted."""
        layout = self.layout(name)
        known = list(layout.classes)
        if label_field:
            found = self.label_counts(name, label_field)
            known += sorted(found.keys() - set(known))
        return known

    def label_counts(self, name: str, label_field: str) -> dict[str, int]:
        """Objects by class; parts of one object count once."""
        layout = self.layout(name)
        counts: dict[str, int] = {}
        for family, at in layout.family_fields(label_field).items():
            path = f"${at}.{family}" if layout.schema.get(at) == FIELD_CLASSES[family] else f"${at}"
            identity = {
                "$cond": [{"$gte": [f"{path}.part_of", 0]}, {"s": "$_id", "p": f"{path}.part_of"}, f"{path}._id"]
            }
            pipeline: list[dict[str, Any]] = [{"$project": {at: 1}}, {"$unwind": path}]
            pipeline += [{"$group": {"_id": {"label": f"{path}.label", "object": identity}}}]
            pipeline += [{"$group": {"_id": "$_id.label", "n": {"$sum": 1}}}]
            for row in self.mongo[layout.collection].aggregate(pipeline, allowDiskUse=True):
                if row["_id"] is not None:
                    counts[row["_id"]] = counts.get(row["_id"], 0) + int(row["n"])
        return dict(sorted(counts.items()))

    def look(self, name: str) -> Json:
        """The cheap look; None: there is no such dataset."""
        doc = self.mongo["datasets"].find_one({"name": name})
        return look_at(self.mongo, doc) if doc else None

    def parts(self, name: str) -> dict[str, str]:
        """Digest by part; read anew only if the dataset looks other than last time. Raises NodeError."""
        snapshots = Snapshots(self.connection.root, name)
        look = self.look(name)
        return snapshots.parts_at(look) or snapshots.save(look, self.snapshot(name))

    def snapshot(self, name: str) -> Snapshot:
        """All parts, read from all samples."""
        layout = self.layout(name)
        snapshot: Snapshot = {"media": {}, "tags": {}, "split": {}, "fields": {}}
        if CAPTIONS[0] in layout.plain_fields:
            snapshot["captions"] = {}
        snapshot.update((f"field:{label_field}", {}) for label_field in layout.label_fields)
        fields = [at for families in layout.label_fields.values() for at in families.values()]
        inside = f"{self.project_dir}/"
        with paused_collection():
            for doc in self.mongo[layout.collection].find({}, sample_projection(layout, fields), batch_size=500):
                key = (doc.get(MARK) or {}).get("key") or doc["filepath"]
                for part, value in sample_parts(doc, layout, doc["filepath"].removeprefix(inside)).items():
                    snapshot[part][key] = value
        return {part: values for part, values in snapshot.items() if part.removeprefix("field:") not in layout.lost}

    def ensure_label_field(self, name: str, field: str, families: Mapping[str, int]) -> dict[str, str]:
        """Family → FiftyOne field; makes what is missing (that imports FiftyOne) and notes it in our mark."""
        layout = self.layout(name)
        known = dict(layout.label_fields.get(field, {}))
        fields = choose_fields(field, families, known)
        if fields == known:
            return fields
        dataset = self.dataset(name)
        for family, at in fields.items():
            if not dataset.has_sample_field(at):
                document = getattr(self.fiftyone, FIELD_CLASSES[family])
                dataset.add_sample_field(at, self.fiftyone.EmbeddedDocumentField, embedded_doc_type=document)
        if layout.mark is not None:
            self.update_mark(name, {f"label_fields.{field}": fields})
        return fields

    def sign_label_field(self, name: str, field: str, writer: str) -> None:
        """Note in our mark which node writes a field from now on; that ends the claim of whoever wrote it before."""
        if self.layout(name).mark is not None:
            self.update_mark(name, {f"{WRITERS}.{field}": writer})

    def delete_label_field(self, name: str, field: str) -> None:
        """A label field with its whole family, out of the samples, the schema and our mark."""
        layout = self.layout(name)
        places = [at for at in layout.label_fields.get(field, {}).values() if at in layout.schema]
        if places:
            self.dataset(name).delete_sample_fields(places)
        gone = {f"info.{MARK}.{key}.{field}": "" for key in ("label_fields", WRITERS)}
        self.mongo["datasets"].update_one({"name": name}, {"$unset": gone, "$set": {"last_modified_at": utc_now()}})
        mark = f"{MARK}.{WRITTEN}.{field}"
        self.mongo[layout.collection].update_many({mark: {"$exists": True}}, {"$unset": {mark: ""}})

    def evaluated_fields(self, name: str) -> dict[str, list[str]]:
        """Key of every evaluation run in FiftyOne → the fields that it compares."""
        from bson import DBRef, ObjectId  # comes with pymongo, which this class has loaded

        doc = self.mongo["datasets"].find_one({"name": name}, {"evaluations": 1}) or {}
        found = {}
        for key, run in (doc.get("evaluations") or {}).items():
            where = run.id if isinstance(run, DBRef) else run
            kept = self.mongo["runs"].find_one({"_id": where}) if isinstance(where, ObjectId) else where
            config = (kept or {}).get("config") or {}
            found[key] = [str(config[side]) for side in ("gt_field", "pred_field") if config.get(side)]
        return found

    def sync(self, name: str) -> None:
        """Wait until everything written so far is in the server's journal, so that a power cut cannot lose it."""
        from pymongo.write_concern import WriteConcern  # comes with pymongo, which this class has loaded

        datasets = self.mongo["datasets"].with_options(write_concern=WriteConcern(j=True))
        datasets.update_one({"name": name}, {"$set": {"name": name}})

    def update_mark(self, name: str, values: Mapping[str, Any]) -> None:
        """Set entries of our mark, by dotted path; what is so already moves no date."""
        doc = self.mongo["datasets"].find_one({"name": name}, {"info": 1}) or {}
        changes = {f"info.{MARK}.{path}": v for path, v in values.items() if at_path(doc, f"info.{MARK}.{path}") != v}
        if not changes:
            return
        self.mongo["datasets"].update_one({"name": name}, {"$set": {**changes, "last_modified_at": utc_now()}})


def at_path(doc: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path, or None."""
    value: Any = doc
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def field_value(family: str, docs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {"_cls": FIELD_CLASSES[family], family: list(docs)}


@contextlib.contextmanager
def paused_collection() -> Iterator[None]:
    """Without the cyclic garbage collector, which takes most of the time where documents of nested lists are
    decoded while many objects are held (seen: 2 s instead of 0.3 s for 2,000 samples of ten polygons)."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def utc_now() -> datetime:
    """Naive UTC in milliseconds, as MongoDB keeps it and FiftyOne writes it."""
    now = datetime.now(UTC).replace(tzinfo=None)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)
