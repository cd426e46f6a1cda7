"""How label fields are laid out in FiftyOne's documents: families of typed fields, reserved and escaped keys.

FiftyOne's label fields are typed, so one label field of ours is a *family* of them: the field itself has the
type of most of its labels, and the others lie beside it as `<field>_detections`, `<field>_polylines`,
`<field>_keypoints` and `<field>_tags`, made only when there is something to hold.

    Tag            Classification of Classifications, with `other_classes`, `other_confidences`
    Box            Detection; turned: closed Polyline of its four corners, with `rotation`
    Mask           Detection with `mask`: zlib of a .npy array the size of its bounding box
    Polygon        closed filled Polyline a part: first the outline, then its holes (rings of one Polyline
                   fill even-odd); parts of one object share the number `part_of`
    Polyline       open Polyline
    Keypoints      Keypoint, absent points NaN, with `names`, `visibility` and `box`

Coordinates are relative to the image, as FiftyOne wants them. What a label has besides goes into attributes
that the App shows and filters: `source_label`, `group`, `z_order`, `occluded`, `iscrowd`, `source_id`; score is
`confidence`. The label's own attributes keep their names; one that FiftyOne or we use already, or that MongoDB
cannot hold, becomes `attr_` and the name percent-encoded.

Rejected: Detections with masks for polygons (the points people drew would be lost), one Polyline with all rings
of several parts (overlapping parts would become holes).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote

Doc = dict[str, Any]

FAMILIES = ("detections", "polylines", "keypoints", "classifications")
"""The list inside each sort of field; also the order in which labels are read."""
FIELD_CLASSES = {
    "detections": "Detections",
    "polylines": "Polylines",
    "keypoints": "Keypoints",
    "classifications": "Classifications",
}
COMPANION = {
    "detections": "_detections",
    "polylines": "_polylines",
    "keypoints": "_keypoints",
    "classifications": "_tags",
}
RESERVED = frozenset(
    {"label", "tags", "confidence", "index", "bounding_box", "mask", "mask_path", "points", "closed", "filled"}
    | {"attributes", "instance", "logits", "id", "source_label", "group", "z_order", "occluded", "iscrowd"}
    | {"other_classes", "other_confidences", "source_id", "part_of", "rotation", "visibility", "names", "box"}
    | {"score", "heading", "dimensions", "location"}
)
_SAFE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_ -]*")


def choose_fields(field: str, counts: Mapping[str, int], known: Mapping[str, str]) -> dict[str, str]:
    """Family → FiftyOne field for the families that have labels or had them before.

    counts: labels by family. known: what was chosen earlier, which stays.
    """
    fields = dict(known)
    for family in sorted(FAMILIES, key=lambda f: (-counts.get(f, 0), FAMILIES.index(f))):
        if counts.get(family) and family not in fields:
            fields[family] = f"{field}{COMPANION[family]}" if field in fields.values() else field
    return fields or {"detections": field}


def attribute_key(name: str) -> str:
    """The document key of an attribute."""
    if _SAFE_NAME.fullmatch(name) and name not in RESERVED and not name.startswith("attr_"):
        return name
    return "attr_" + quote(name, safe=" ").replace(".", "%2E").replace("~", "%7E")


def attribute_name(key: str) -> str:
    return unquote(key[5:]) if key.startswith("attr_") else key
