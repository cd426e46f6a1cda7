"""What lies in a job, told apart: ours by id and content, everything else people's.

The id is what the server answered when it was made; the content is compared because an edit keeps the id. Attributes
count where they differ from the label's default, since the server tells defaults that nobody set.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from specrun.clients.cvat.api import Api
from specrun.formats.cvat_api_write import LabelTarget
from specrun.model.digest import json_digest

Thing = Mapping[str, Any]
SORTS = ("tags", "shapes")
_DECIMALS = 2
_SHORT = 16


@dataclass(frozen=True)
class Contents:
    """things: key → the JSON of a tag or shape. digests: key → its content. tracked: frames with a track's shapes."""

    things: Mapping[str, Thing]
    digests: Mapping[str, str]
    tracked: frozenset[int]

    def on(self, frame: int) -> list[str]:
        return [key for key, thing in self.things.items() if thing["frame"] == frame]

    def holds(self, key: str, digest: str | None) -> bool:
        """Whether that thing is there, as it was."""
        return key in self.digests and self.digests[key] == digest

    def is_exactly(self, ours: Mapping[str, str]) -> bool:
        return not self.tracked and dict(self.digests) == dict(ours)


def read_contents(api: Api, job_id: int, defaults: Mapping[int, str]) -> Contents:
    told = api.get(f"/api/jobs/{job_id}/annotations/")
    things = dict(keyed(told))
    tracked = frozenset(int(shape["frame"]) for track in told.get("tracks") or () for shape in _all_shapes(track))
    return Contents(things, {key: content_digest(thing, defaults) for key, thing in things.items()}, tracked)


def keyed(told: Mapping[str, Any]) -> Iterator[tuple[str, Thing]]:
    """(key, thing) of a server's answer; tags and shapes count their ids apart."""
    for sort in SORTS:
        for thing in told.get(sort) or ():
            yield f"{sort[0]}{thing['id']}", thing


def body_of(things: Mapping[str, Thing]) -> dict[str, list[Thing]]:
    """As a PATCH takes them."""
    body: dict[str, list[Thing]] = {"tags": [], "shapes": [], "tracks": []}
    for key, thing in things.items():
        body["tags" if key.startswith("t") else "shapes"].append(thing)
    return body


def _all_shapes(track: Thing) -> Iterator[Thing]:
    yield from track.get("shapes") or ()
    for element in track.get("elements") or ():
        yield from _all_shapes(element)


def defaults_of(targets: Mapping[str, LabelTarget]) -> dict[int, str]:
    """Attribute → what it is where nobody said otherwise."""
    found: dict[int, str] = {}
    for target in targets.values():
        found |= {attribute.id: attribute.default for attribute in target.attributes.values()}
        found |= defaults_of(target.points)
    return found


def content_digest(thing: Thing, defaults: Mapping[int, str]) -> str:
    """The same for what is sent, what the server answers to that, and what it tells later."""
    elements = sorted((_element(element, defaults) for element in thing.get("elements") or ()), key=repr)
    content = [
        int(thing["frame"]),
        *_element(thing, defaults),
        int(thing.get("group") or 0),
        str(thing.get("source") or "manual"),
        elements,
    ]
    return json_digest(content).rpartition(":")[2][:_SHORT]


def _element(thing: Thing, defaults: Mapping[int, str]) -> list[Any]:
    given = sorted((int(value["spec_id"]), str(value["value"])) for value in thing.get("attributes") or ())
    return [
        int(thing["label_id"]),
        str(thing.get("type") or "tag"),
        [round(float(value), _DECIMALS) + 0.0 for value in thing.get("points") or ()],
        round(float(thing.get("rotation") or 0), _DECIMALS) + 0.0,
        int(thing.get("z_order") or 0),
        bool(thing.get("occluded")),
        bool(thing.get("outside")),
        [[id, value] for id, value in given if defaults.get(id) != value],
    ]


def still_to_send(
    wanted: Sequence[Thing], there: Contents, defaults: Mapping[int, str]
) -> tuple[list[Thing], dict[str, str]]:
    """Of what is wanted that which is not there, and what is there of it (key → digest).

    A frame that holds anything else gets nothing.
    """
    left: list[Thing] = []
    known: dict[str, str] = {}
    for frame in dict.fromkeys(thing["frame"] for thing in wanted):
        mine = [(content_digest(thing, defaults), thing) for thing in wanted if thing["frame"] == frame]
        free = Counter(digest for digest, _ in mine)
        foreign = frame in there.tracked
        for key in there.on(frame):
            digest = there.digests[key]
            if free[digest]:
                free[digest] -= 1
                known[key] = digest
            else:
                foreign = True
        if not foreign:
            left += _unmatched(mine, free)
    return left, known


def _unmatched(mine: Sequence[tuple[str, Thing]], free: Counter[str]) -> Iterator[Thing]:
    for digest, thing in mine:
        if free[digest]:
            free[digest] -= 1
            yield thing
