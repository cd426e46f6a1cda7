"""The cheap look at a FiftyOne dataset: counts and dates, a few milliseconds, pymongo only."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from specrun.clients.fiftyone.layout import MARK
from specrun.errors import MissingDependency, NodeError
from specrun.model.digest import Json

SERVER_TIMEOUT_MS = 10_000
EMBEDDED_NAME = "fiftyone"
"""The database inside the embedded server; the server belongs to the project, so one name is enough."""


@contextlib.contextmanager
def open_mongo(uri: str) -> Iterator[Any]:
    """A pymongo client. Raises MissingDependency; NodeError: no answer, or refused."""
    try:
        from pymongo import MongoClient  # 0.1 s that commands without a database need not pay
        from pymongo.errors import PyMongoError  # as above
    except ImportError:
        raise MissingDependency(
            "FiftyOne's database: pymongo is not installed.", hint="Install it with `pip install 'specrun[fiftyone]'`."
        ) from None
    try:
        client: Any = MongoClient(uri, serverSelectionTimeoutMS=SERVER_TIMEOUT_MS, appname="specrun")
    except PyMongoError as error:
        raise NodeError(f"FiftyOne's database: its address is wrong ({type(error).__name__}).") from None
    try:
        yield client
    except PyMongoError as error:
        raise NodeError(f"FiftyOne's database: {_reason(error)}.", hint="Is the server running?") from error
    finally:
        client.close()


def look_at(database: Any, dataset: Mapping[str, Any]) -> Json:
    """[id, samples, newest sample date, dataset date, deletion date]; differs after any edit in FiftyOne.

    Deleting samples moves no date of a sample, so the count is part of it. dataset: its document.
    """
    samples = database[dataset["sample_collection_name"]]
    newest = samples.find_one({}, {"last_modified_at": 1, "_id": 0}, sort=[("last_modified_at", -1)]) or {}
    dates = (newest.get("last_modified_at"), dataset.get("last_modified_at"), dataset.get("last_deletion_at"))
    count = samples.estimated_document_count()
    return [str(dataset["_id"]), count, *(date.isoformat() if date else None for date in dates)]


def look_at_server(uri: str, name: str) -> Json:
    """Dataset name → look, for every dataset that bears our mark."""
    with open_mongo(uri) as client:
        database = client[name]
        wanted = {
            "name": 1,
            "sample_collection_name": 1,
            "last_modified_at": 1,
            "last_deletion_at": 1,
        }
        marked = database["datasets"].find({f"info.{MARK}": {"$exists": True}}, wanted)
        return {doc["name"]: look_at(database, doc) for doc in marked}


def look_at_embedded(uri: str) -> Json:
    return look_at_server(uri, EMBEDDED_NAME)


def _reason(error: Exception) -> str:
    """MongoDB's messages may carry the address with its password: the sort of error and no more of it."""
    code = getattr(error, "code", None)
    return f"{type(error).__name__}{f' {code}' if code else ''}"
