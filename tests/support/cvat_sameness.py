"""Whether a server's answer means what a recorded one meant: same status, same shape, same values.

Ids, dates and the address of the server differ between two servers. They are compared by what they do: an id must stand
for the same thing wherever it stood for that thing in the recording, and a date must move exactly when the recorded one
moved.
"""

from __future__ import annotations

import re
from typing import Any

Json = Any
RECORDED_HOST = "http://server"
_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")
_STAMP = re.compile(r"\d{4}(_\d\d){5}")
_PATH = re.compile(r"/api/(projects|tasks|jobs|labels|users|organizations|webhooks|issues)/(\d+)")
_QUERY = re.compile(r"\b(project|task|job|issue|label)_id=(\d+)")
_TARGET = re.compile(r"(target(?:=|%3D)(project|task|job)(?:&|%26)target_id(?:=|%3D))(\d+)")
_FILE = re.compile(r"\b(project|task|job)_(\d+)(?=_(?:annotations|dataset)_)")
_USER = re.compile(r"(user_id(?:=|%3D))(\d+)")
_BACKUP = re.compile(
    r"(?<=id=)[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?<=id%3D)[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
)
_UPLOAD = re.compile(r"\b(\d+_)[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_DATA = re.compile(r"(/data/data/)\d+(/raw/)")
_KINDS = {
    "project_id": "projects",
    "task_id": "tasks",
    "job_id": "jobs",
    "job": "jobs",
    "label_id": "labels",
    "parent_id": "labels",
    "spec_id": "attributes",
    "data": "data",
    "organization": "organizations",
    "organization_id": "organizations",
    "org_id": "organizations",
    "result_id": "tasks",
    "webhook_id": "webhooks",
    "assignee": "users",
    "assignee_id": "users",
    "owner_id": "users",
}
_LISTS = {
    "shapes": "shapes",
    "elements": "shapes",
    "tags": "tags",
    "tracks": "tracks",
    "sublabels": "labels",
    "attributes": "attributes",
}
_SECRET = "<redacted>"
# What a server makes up, and how far it had come when it was asked.
_FREE = ("color", "request_duration", "progress", "expiry_date", "last_login", "date_joined")
_COORDINATE_PX = 0.02


class Sameness:
    """What is known of the two servers so far: which ids belong together, and the last date of each field."""

    def __init__(self) -> None:
        self.ids: dict[tuple[str, int], int] = {}
        self._dates: dict[tuple[str, ...], tuple[str, str]] = {}
        self.renamed: dict[str, str] = {}
        """Recorded → actual, for names that a server makes up: uploads, requests of backups."""

    def number(self, kind: str, recorded: int) -> int:
        return self.ids.get((kind, recorded), recorded)

    def text(self, recorded: str, url: str) -> str:
        """A recorded text as the actual server would have said it."""
        said = recorded.replace(RECORDED_HOST, url)
        for old, new in self.renamed.items():
            said = said.replace(old, new)
        said = _PATH.sub(lambda m: f"/api/{m[1]}/{self.number(m[1], int(m[2]))}", said)
        said = _QUERY.sub(lambda m: f"{m[1]}_id={self.number(m[1] + 's', int(m[2]))}", said)
        said = _TARGET.sub(lambda m: f"{m[1]}{self.number(m[2] + 's', int(m[3]))}", said)
        said = _FILE.sub(lambda m: f"{m[1]}_{self.number(m[1] + 's', int(m[2]))}", said)
        return _USER.sub(lambda m: f"{m[1]}{self.number('users', int(m[2]))}", said)

    def body(self, recorded: Json, url: str, key: str = "", holder: str = "") -> Json:
        """A recorded request's body with the ids of the actual server."""
        if isinstance(recorded, dict):
            return {name: self.body(value, url, name, key or holder) for name, value in recorded.items()}
        if isinstance(recorded, list):
            return [self.body(value, url, key, holder) for value in recorded]
        if isinstance(recorded, int) and not isinstance(recorded, bool):
            kind = _LISTS.get(holder, holder) if key == "id" else _KINDS.get(key)
            return self.number(kind, recorded) if kind else recorded
        return self.text(recorded, url) if isinstance(recorded, str) else recorded

    def differences(self, recorded: Json, actual: Json, url: str, kind: str = "") -> list[str]:
        """Empty when both mean the same. kind: of the things that the answer is about, when they carry no URL."""
        self._url = url
        return list(self._compare(recorded, actual, "", kind, ()))

    def _compare(self, recorded: Json, actual: Json, where: str, kind: str, identity: tuple[str, ...]) -> list[str]:
        if isinstance(recorded, dict) and isinstance(actual, dict):
            return self._compare_dicts(recorded, actual, where, kind)
        if isinstance(recorded, list) and isinstance(actual, list):
            return self._compare_lists(recorded, actual, where, kind)
        if isinstance(recorded, str) and isinstance(actual, str):
            return self._compare_texts(recorded, actual, where, identity)
        numbers = isinstance(recorded, (int, float)) and isinstance(actual, (int, float))
        if numbers and not isinstance(recorded, bool) and not isinstance(actual, bool):
            return [] if abs(recorded - actual) <= _COORDINATE_PX else [f"{where}: {recorded} became {actual}"]
        return [] if recorded == actual else [f"{where}: {_short(recorded)} became {_short(actual)}"]

    def _compare_dicts(self, recorded: Json, actual: Json, where: str, kind: str) -> list[str]:
        if set(recorded) != set(actual):
            missing, extra = set(recorded) - set(actual), set(actual) - set(recorded)
            return [f"{where}: lacks {sorted(missing)}, has {sorted(extra)} too"]
        found = _PATH.search(recorded["url"]) if isinstance(recorded.get("url"), str) else None
        kind = found[1] if found else kind
        problems = []
        for name in sorted(recorded, key=lambda name: (name != "id", name)):
            old, new = recorded[name], actual[name]
            own = kind if name == "id" else _KINDS.get(name)
            if name in _FREE or old == _SECRET or (name == "message" and recorded.get("status") == "started"):
                problems += [] if type(old) is type(new) else [f"{where}.{name}: {old!r} became {new!r}"]
            elif name == "task_subsets":
                problems += [] if sorted(old) == sorted(new) else [f"{where}.{name}: {old} became {new}"]
            elif own and isinstance(old, int) and isinstance(new, int):
                problems += self._same_id(own, old, new, f"{where}.{name}")
            else:
                inner = _LISTS.get(name, "" if name not in ("results", "webhook") else kind)
                if name == "shapes" and kind == "tracks":
                    inner = "tracked_shapes"
                if name == "elements" and kind == "tracks":
                    inner = "tracks"
                identity = (kind, str(recorded.get("id")), name)
                problems += self._compare(old, new, f"{where}.{name}", inner, identity)
        return problems

    def _compare_lists(self, recorded: Json, actual: Json, where: str, kind: str) -> list[str]:
        if len(recorded) != len(actual):
            return [f"{where}: {len(recorded)} became {len(actual)}"]
        if all(isinstance(thing, dict) and "frame" in thing and "label_id" in thing for thing in recorded):
            recorded = sorted(recorded, key=self._place)
            actual = sorted(actual, key=_place)
        pairs = zip(recorded, actual, strict=True)
        return [
            problem
            for number, (old, new) in enumerate(pairs)
            for problem in self._compare(old, new, f"{where}[{number}]", kind, (where, str(number)))
        ]

    def _place(self, thing: Json) -> tuple[Any, ...]:
        return _place(thing | {"label_id": self.number("labels", thing["label_id"])})

    def _same_id(self, kind: str, old: int, new: int, where: str) -> list[str]:
        known = self.ids.setdefault((kind, old), new)
        return [] if known == new else [f"{where}: {kind} {old} was {known} before and is {new} now"]

    def _compare_texts(self, recorded: str, actual: str, where: str, identity: tuple[str, ...]) -> list[str]:
        if _DATE.match(recorded) and _DATE.match(actual):
            return self._same_move(recorded, actual, where, identity)
        said = _plain(self.text(recorded, self._url))
        return [] if said == _plain(actual) else [f"{where}: {_short(said)} became {_short(actual)}"]

    def _same_move(self, recorded: str, actual: str, where: str, identity: tuple[str, ...]) -> list[str]:
        if not identity or not identity[-1].endswith(("updated_date", "created_date")) or "None" in identity:
            return []
        before = self._dates.get(identity)
        self._dates[identity] = (recorded, actual)
        if before is None:
            return []
        moved, really = before[0] != recorded, before[1] != actual
        return [] if moved == really else [f"{where}: the date {'stayed' if moved else 'moved'} ({identity})"]


def _plain(text: str) -> str:
    text = _STAMP.sub("<date>", text)
    text = _BACKUP.sub("<uuid>", text)
    return _DATA.sub(r"\1N\2", _UPLOAD.sub(r"\1<uuid>", text))


def _place(thing: Json) -> tuple[Any, ...]:
    points = tuple(round(value, 1) for value in thing.get("points", ()))
    return thing["frame"], thing["label_id"], thing.get("type", ""), points, thing.get("id") or 0


def _short(value: Json) -> str:
    text = repr(value)
    return text if len(text) <= 160 else text[:157] + "…"
