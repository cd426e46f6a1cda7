"""Digests of what consumers read of a dataset, and readable differences between two of them.

A part (`media`, `tags`, `split`, `fields`, `field:<label field>`) is a mapping from sample key to a small value.
Labels count as `model.labels` sees them: no ids, no dates, no label tags, nothing that an evaluation wrote.
They are digested from FiftyOne's documents, where both sides of a comparison are at home, so that no number
passes through a conversion that might change its last bit.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from specrun.clients.fiftyone.label_fields import RESERVED
from specrun.clients.fiftyone.layout import MARK, SPLITS, Layout
from specrun.model.digest import DIGEST_BYTES, Json, canonical_json

Values = dict[str, Json]
"""Sample key → what the part says of it."""
Snapshot = dict[str, Values]
"""Part → values."""

CAPTIONS = ("caption", "caption_by")
"""Sample fields that are a part of their own, `captions`, where the dataset has them; who wrote one changes nothing."""
UNANNOTATED = "not annotated|mark||"
"""Stands among the labels of a sample that nobody looked at: an export treats it otherwise than an empty one."""
_COUNTED = (
    *("source_label", "group", "z_order", "occluded", "iscrowd", "source_id", "part_of", "rotation", "names"),
    *("other_classes", "other_confidences"),
)
_NAMES = {"box": "box", "mask": "mask", "polygon": "polygon", "line": "line", "keypoints": "keypoint set", "tag": "tag"}


def sample_parts(doc: Mapping[str, Any], layout: Layout, media_path: str) -> dict[str, Json]:
    """media_path: the sample's file as the digest should see it (relative to the project where it lies inside)."""
    own = doc.get(MARK) or {}
    tags = doc.get("tags") or ()
    parts: dict[str, Json] = {
        "media": f"{own.get('digest', '')} {media_path}",
        "split": split_of(tags, own.get("split")) or "",
        "tags": sorted(tag for tag in tags if tag not in SPLITS),
        "fields": [[f, _plain(doc[f])] for f in layout.plain_fields if f not in CAPTIONS and doc.get(f) is not None],
    }
    if CAPTIONS[0] in layout.plain_fields:
        parts["captions"] = str(doc.get(CAPTIONS[0]) or "")
    for label_field, families in layout.label_fields.items():
        entries: list[Json] = []
        for at in families.values():
            entries.extend(doc_entry(label, layout.marks) for label in label_docs(doc.get(at)))
        parts[f"field:{label_field}"] = entries
    if not is_annotated(doc, layout) and (main := f"field:{layout.main_field}") in parts:
        parts[main] = [*entries_of(parts[main]), UNANNOTATED]
    return parts


def _plain(value: Json) -> Json:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def entries_of(value: Json) -> list[str]:
    return [str(entry) for entry in value] if isinstance(value, list) else []


def label_docs(value: Mapping[str, Any] | None) -> Sequence[Mapping[str, Any]]:
    """The labels of a field's value, be it a list of them or a single one."""
    if not value:
        return ()
    kind = str(value.get("_cls", ""))
    listed = value.get(kind.lower())
    if isinstance(listed, list):
        return listed
    return (value,) if not kind.endswith("s") else ()


def split_of(tags: Iterable[str], imported: str | None = None) -> str | None:
    """imported: the split that the sample came with; beside it, the one that somebody added counts."""
    tagged = set(tags)
    found = [split for split in SPLITS if split in tagged]
    return next((split for split in found if split != imported), found[0] if found else None)


def is_annotated(doc: Mapping[str, Any], layout: Layout) -> bool:
    """Whether somebody looked at a sample: it came so, was ticked, or came without labels and has some now."""
    if doc.get("annotated") is not False:
        return True
    if (doc.get(MARK) or {}).get("labels"):
        return False
    main = layout.label_fields.get(layout.main_field, {})
    return any(label_docs(doc.get(at)) for at in main.values())


def doc_entry(doc: Mapping[str, Any], marks: frozenset[str]) -> str:
    """`class|shape|digest of the geometry|digest of the rest` of one label document."""
    shape, geometry = _geometry(doc)
    rest: dict[str, Any] = {key: doc[key] for key in _COUNTED if doc.get(key)}
    if doc.get("group") == 0 or doc.get("part_of") == 0:
        rest.update((key, 0) for key in ("group", "part_of") if doc.get(key) == 0)
    score = doc.get("confidence") if shape != "keypoints" else doc.get("score")
    if score is not None:
        rest["score"] = score
    for key, value in doc.items():
        if key not in RESERVED and key not in marks and key[0] != "_" and isinstance(value, str | float | int | bool):
            rest[f"={key}"] = value
    if doc.get("attributes"):
        rest["attributes"] = {k: v.get("value") for k, v in doc["attributes"].items() if isinstance(v, Mapping)}
    return f"{doc.get('label') or ''}|{shape}|{_short(geometry)}|{_short(_text(rest)) if rest else ''}"


def part_digest(values: Values) -> str:
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for key in sorted(values):
        digest.update(f"{key}\0{canonical_json(values[key])}\n".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def entries_digest(entries: Sequence[str]) -> str:
    """Digest of one sample's labels."""
    return _short("\n".join(entries).encode("utf-8", "surrogatepass")) if entries else ""


def _geometry(doc: Mapping[str, Any]) -> tuple[str, bytes]:
    import numpy as np  # planning reads this module when a dataset changed, not else

    kind = doc.get("_cls")
    if kind == "Polyline":
        closed = bool(doc.get("closed") or doc.get("filled"))
        rings = [np.asarray(ring, dtype=np.float64) + 0.0 for ring in doc.get("points") or ()]
        return ("polygon" if closed else "line"), b"|".join(ring.tobytes() for ring in rings)
    if kind == "Detection":
        place = np.asarray(doc.get("bounding_box") or (), dtype=np.float64).tobytes()
        if doc.get("mask"):
            from specrun.clients.fiftyone.docs_to_labels import unpack_mask  # numpy comes with it

            bitmap = unpack_mask(doc["mask"])
            return "mask", place + str(bitmap.shape).encode() + np.packbits(bitmap).tobytes()
        return ("mask", place + str(doc["mask_path"]).encode()) if doc.get("mask_path") else ("box", place)
    if kind == "Keypoint":
        points = np.asarray(doc.get("points") or (), dtype=np.float64)
        points = np.where(np.isnan(points), -1.0, points)  # one NaN, whatever its bits
        return "keypoints", points.tobytes() + _text([doc.get("visibility"), doc.get("box")])
    return "tag", b""


def _text(value: object) -> bytes:
    import json  # the plain call: NaN may stand in an attribute that somebody wrote

    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str).encode("utf-8", "surrogatepass")


def _short(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=6).hexdigest()


# Differences


def describe(part: str, old: Values, new: Values, names: Mapping[str, str], limit: int = 3) -> tuple[str, ...]:
    """What changed in a part, one readable line each. names: sample key → how people call it."""
    added, removed = new.keys() - old.keys(), old.keys() - new.keys()
    changed = sorted(key for key in new.keys() & old.keys() if new[key] != old[key])
    where = part.removeprefix("field:")
    lines = []
    if added:
        lines.append(f"{_count(len(added), 'new sample')}{_names(sorted(added), names, limit)}")
    if removed:
        lines.append(f"{_count(len(removed), 'sample')} gone{_names(sorted(removed), names, limit)}")
    if changed:
        text = f"{_count(len(changed), 'sample')} changed in {where}: {_listed(changed, names, limit)}"
        if part.startswith("field:"):
            text += f" ({describe_labels(_entries(old, changed), _entries(new, changed))})"
        elif part == "split" and len(changed) == 1:
            text += f" ({old[changed[0]] or 'none'} → {new[changed[0]] or 'none'})"
        lines.append(text)
    return tuple(lines)


def describe_labels(old: Sequence[str], new: Sequence[str]) -> str:
    """`+1 Acropora, -2 Porites, 1 polygon moved, 1 Porites → Acropora`; entries as `doc_entry` makes them."""
    gone, come = Counter(old) - Counter(new), Counter(new) - Counter(old)
    told = []
    for columns, word in (((1, 2, 3), "relabelled"), ((0, 1, 3), "moved"), ((0, 1, 2), "edited")):
        matched = _match(gone, come, columns)
        if word == "relabelled":
            told += [
                f"{n} {was} → {now}" for (was, now), n in sorted(Counter((a[0], b[0]) for a, b in matched).items())
            ]
        else:
            shapes = Counter(a[1] for a, _ in matched)
            told += [f"{_count(n, _NAMES.get(shape, shape))} {word}" for shape, n in sorted(shapes.items())]
    grown, shrunk = _by_class(come), _by_class(gone)
    told = [f"+{n} {name}" for name, n in grown] + [f"-{n} {name}" for name, n in shrunk] + told
    return ", ".join(told) or "their order"


def _match(gone: Counter[str], come: Counter[str], columns: Sequence[int]) -> list[tuple[list[str], list[str]]]:
    """Pairs of a gone and a come label that agree in some columns; both are taken out of the counts."""
    by_key: dict[tuple[str, ...], list[str]] = {}
    for entry in sorted(come.elements()):
        fields = entry.rsplit("|", 3)
        by_key.setdefault(tuple(fields[i] for i in columns), []).append(entry)
    pairs = []
    for entry in sorted(gone.elements()):
        fields = entry.rsplit("|", 3)
        partners = by_key.get(tuple(fields[i] for i in columns))
        if partners:
            partner = partners.pop(0)
            pairs.append((fields, partner.rsplit("|", 3)))
            gone[entry] -= 1
            come[partner] -= 1
    for counts in (gone, come):
        for entry in [e for e, n in counts.items() if n <= 0]:
            del counts[entry]
    return pairs


def _by_class(counts: Counter[str]) -> list[tuple[str, int]]:
    classes: Counter[str] = Counter()
    for entry, n in counts.items():
        classes[entry.rsplit("|", 3)[0]] += n
    return sorted(classes.items())


def _entries(values: Values, keys: Iterable[str]) -> list[str]:
    return [entry for key in keys for entry in entries_of(values[key])]


def _names(keys: Sequence[str], names: Mapping[str, str], limit: int) -> str:
    return f": {_listed(keys, names, limit)}"


def _listed(keys: Sequence[str], names: Mapping[str, str], limit: int) -> str:
    shown = ", ".join(names.get(key, key) for key in keys[:limit])
    return f"{shown} and {len(keys) - limit} more" if len(keys) > limit else shown


def _count(n: int, word: str) -> str:
    return f"{n} {word}" if n == 1 else f"{n} {word}s"
