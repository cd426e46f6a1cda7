"""What people changed: of a task since its last pull, and of the labels that were sent to begin with.

The server gives a shape that is edited a new id, so ids alone tell nothing: what is equal is taken away first, then
what is left is paired within its frame.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from specrun.kinds.cvat_send.ledger import SENT_LABELS_NAME
from specrun.kinds.cvat_send.ours import content_digest

Thing = Mapping[str, Any]
ORDER = ("moved", "relabelled", "changed", "new", "deleted")
_DECIMALS = 2


def edits_between(before: Mapping[str, Any], now: Mapping[str, Any]) -> Counter[str]:
    """before, now: annotations of a task. The keys are those of ORDER; `changed` are attributes and the like."""
    old, new = _unequal(list(_things(before)), list(_things(now)))
    found: Counter[str] = Counter()
    for what, same in (("changed", _same_place), ("relabelled", _same_points), ("moved", _same_sort)):
        old, new, pairs = _paired(old, new, same)
        found[what] = pairs
    found |= {"new": len(new), "deleted": len(old)}
    return +found


def edits_text(edits: Mapping[str, int]) -> str:
    """`3 moved, 1 new`; "" for none."""
    return ", ".join(f"{edits[what]:,} {what}" for what in ORDER if edits.get(what))


def _things(annotations: Mapping[str, Any]) -> Iterator[Thing]:
    for kind in ("tags", "shapes", "tracks"):
        yield from ({"type": kind, **thing} for thing in annotations.get(kind) or ())


def _unequal(old: Sequence[Thing], new: Sequence[Thing]) -> tuple[list[Thing], list[Thing]]:
    """Of both what the other does not have."""
    had, has = Counter(map(_content, old)), Counter(map(_content, new))
    return _beyond(old, has), _beyond(new, had)


def _beyond(things: Sequence[Thing], others: Counter[str]) -> list[Thing]:
    left, beyond = others.copy(), []
    for thing in things:
        if left[_content(thing)]:
            left[_content(thing)] -= 1
        else:
            beyond.append(thing)
    return beyond


def _paired(old: Sequence[Thing], new: Sequence[Thing], same: Any) -> tuple[list[Thing], list[Thing], int]:
    """What is left of both, and how many pairs were found; of several the nearest."""
    free, left = list(new), []
    for thing in old:
        fitting = [other for other in free if same(thing, other)]
        if fitting:
            free.remove(min(fitting, key=lambda other: _distance(thing, other)))
        else:
            left.append(thing)
    return left, free, len(old) - len(left)


def _content(thing: Thing) -> str:
    kept = {key: value for key, value in thing.items() if key not in ("id", "source", "score", "elements", "shapes")}
    kept["points"] = _points(thing)
    kept["attributes"] = sorted(map(_attribute, thing.get("attributes") or ()))
    kept["inner"] = [_content(inner) for key in ("elements", "shapes") for inner in thing.get(key) or ()]
    return json.dumps(kept, sort_keys=True)


def _attribute(value: Thing) -> list[str]:
    return [str(value.get("spec_id")), str(value.get("value"))]


def _points(thing: Thing) -> list[float]:
    """All of them, those of a skeleton's points and of a track's shapes included."""
    own = [round(float(value), _DECIMALS) for value in (*(thing.get("points") or ()), thing.get("rotation") or 0)]
    inner = [point for key in ("elements", "shapes") for one in thing.get(key) or () for point in _points(one)]
    return own + inner


def _same_place(a: Thing, b: Thing) -> bool:
    return _same_sort(a, b) and _points(a) == _points(b)


def _same_points(a: Thing, b: Thing) -> bool:
    return (a["frame"], a["type"]) == (b["frame"], b["type"]) and _points(a) == _points(b)


def _same_sort(a: Thing, b: Thing) -> bool:
    return all(a.get(key) == b.get(key) for key in ("frame", "type", "label_id"))


def _distance(a: Thing, b: Thing) -> tuple[bool, float]:
    """The id where the server kept it, else how far their middles are apart."""
    (ax, ay), (bx, by) = _middle(a), _middle(b)
    return a.get("id") != b.get("id"), (ax - bx) ** 2 + (ay - by) ** 2


def _middle(thing: Thing) -> tuple[float, float]:
    points = _points(thing)
    x, y = points[0:-1:2] or [0.0], points[1:-1:2] or [0.0]
    return sum(x) / len(x), sum(y) / len(y)


class SentLabels:
    """What a `cvat_projects` node sent, and what came back of it. sent: task → digests of contents."""

    def __init__(self, folder: Path) -> None:
        try:
            sent = json.loads((folder / SENT_LABELS_NAME).read_text("utf-8"))
        except (OSError, ValueError):
            sent = {}
        self._sent: Mapping[str, Sequence[str]] = sent
        self.counts: Counter[str] = Counter()

    def compare(self, task: int, annotations: Mapping[str, Any], labels: Iterable[Thing]) -> None:
        sent = Counter(self._sent.get(str(task), ()))
        if not sent:
            return
        defaults = dict(_defaults(labels))
        things = [*(annotations.get("tags") or ()), *(annotations.get("shapes") or ())]
        found = Counter(content_digest(thing, defaults) for thing in things)
        kept = (sent & found).total()
        drawn = len(things) + len(annotations.get("tracks") or ()) - kept
        self.counts.update({"sent": sent.total(), "kept": kept, "drawn": drawn})

    def note(self) -> Iterator[str]:
        if self.counts:
            sent, kept, drawn = (self.counts[key] for key in ("sent", "kept", "drawn"))
            yield (
                f"of {sent:,} labels that were sent, {kept:,} came back as they were, "
                f"{sent - kept:,} were changed or deleted; {drawn:,} are drawn or corrected by people"
            )


def _defaults(labels: Iterable[Thing]) -> Iterator[tuple[int, str]]:
    for label in labels:
        for attribute in label.get("attributes") or ():
            yield int(attribute["id"]), str(attribute["default_value"])
        yield from _defaults(label.get("sublabels") or ())
