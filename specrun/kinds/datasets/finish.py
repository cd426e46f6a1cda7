"""The last step of an import: classes, colours, skeleton and notes on the dataset; and what is told of it.

Imported by workers only.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from specrun.clients.fiftyone.digests import split_of
from specrun.clients.fiftyone.layout import MARK, SPLITS
from specrun.clients.fiftyone.project_database import Database, at_path, utc_now
from specrun.kinds.datasets.spec import DatasetSpec
from specrun.model.digest import json_digest
from specrun.model.taxonomy import ResolvedTaxonomy
from specrun.model.work import Context


def finish_dataset(
    spec: DatasetSpec, ctx: Context, db: Database, name: str, taxonomy: ResolvedTaxonomy | None, found: Sequence[str]
) -> None:
    """found: the classes of the labels that came in. Only what differs is written: no date moves for nothing."""
    layout = db.layout(name)
    remembered = list((layout.mark or {}).get("classes") or ())
    classes = class_order(taxonomy, _source_classes(ctx), set(found), remembered)
    doc = db.mongo["datasets"].find_one({"name": name})
    wanted: dict[str, Any] = {f"info.{key}": value for key, value in spec.info.items()}
    wanted["default_classes"] = classes
    fields = layout.family_fields(spec.label_field)
    wanted |= {f"classes.{at}": classes for at in fields.values()}
    wanted["tags"] = [*dict.fromkeys([*(doc.get("tags") or ()), "specrun"])]
    if (skeleton := _skeleton(spec, ctx)) and "keypoints" in fields:
        wanted[f"skeletons.{fields['keypoints']}"] = skeleton
    changed = {path: value for path, value in wanted.items() if at_path(doc, path) != value}
    mark: dict[str, Any] = {
        "classes": classes,
        "taxonomy": json.dumps(taxonomy.to_json()) if taxonomy else None,
        "complete": True,
    }
    changed |= {f"info.{MARK}.{key}": v for key, v in mark.items() if at_path(doc, f"info.{MARK}.{key}") != v}
    if changed:
        db.mongo["datasets"].update_one({"name": name}, {"$set": {**changed, "last_modified_at": utc_now()}})
    if taxonomy and taxonomy.colors:
        _set_colors(db, name, list(fields.values()), taxonomy.colors)


def class_order(
    taxonomy: ResolvedTaxonomy | None, source: Sequence[str], found: set[str], remembered: Sequence[str]
) -> list[str]:
    """Declared order first; else the order of last time, then the source's, then by name."""
    if taxonomy is not None and taxonomy.classes is not None:
        return taxonomy.order(frozenset(found))
    known = set(found) if taxonomy is not None else found | set(source)
    order = [name for name in remembered if name in known]
    listed = [] if taxonomy is not None else [name for name in source if name in known]
    return list(dict.fromkeys([*order, *listed, *sorted(known)]))


def describe_dataset(spec: DatasetSpec, ctx: Context, db: Database, name: str) -> dict[str, Any]:
    """The node's facts, also written to dataset.json."""
    layout = db.layout(name)
    splits: Counter[str] = Counter()
    images = 0
    for doc in db.mongo[layout.collection].find({}, {"tags": 1, f"{MARK}.split": 1, "_id": 0}):
        images += 1
        split = split_of(doc.get("tags") or (), (doc.get(MARK) or {}).get("split"))
        splits.update([split] if split else [])
    colors: Mapping[str, str] = {}
    if spec.taxonomy is not None:
        address = spec.taxonomy if "." in spec.taxonomy else f"taxonomies.{spec.taxonomy}"
        colors = ResolvedTaxonomy.from_json(ctx.declarations[address]).colors
    counts = db.label_counts(name, spec.label_field)
    return {
        "name": name,
        "label_field": spec.label_field,
        "fields": dict(layout.family_fields(spec.label_field)),
        "sample_fields": list(layout.plain_fields),
        "classes": [*layout.classes, *sorted(counts.keys() - set(layout.classes))],
        "images": images,
        "splits": {split: splits[split] for split in SPLITS if splits[split]},
        "labels": counts,
        "colors": dict(colors),
        "info": dict(spec.info),
    }


def own_parts(facts: Mapping[str, Any]) -> dict[str, str]:
    """The parts that only the node's own run changes: the order of its classes, and how it looks."""
    look = {"colors": facts["colors"], "info": facts["info"]}
    return {"classes": json_digest(facts["classes"]), "look": json_digest(look)}


def declare_attributes(db: Database, name: str) -> None:
    """Make the labels' attributes known to FiftyOne, so that the App lists and filters them."""
    db.dataset(name).add_dynamic_sample_fields()


def _set_colors(db: Database, name: str, fields: Sequence[str], colors: Mapping[str, str]) -> None:
    """The App's colours by class, unless people have chosen some themselves since."""
    values = [{"value": label, "color": color} for label, color in sorted(colors.items())]
    wanted = [{"path": at, "colorByAttribute": "label", "valueColors": values} for at in fields]
    layout = db.layout(name)
    set_before = (layout.mark or {}).get("colors")
    dataset = db.dataset(name)
    scheme = dataset.app_config.color_scheme
    if set_before == wanted or (scheme is not None and set_before is None):
        return
    dataset.app_config.color_scheme = db.fiftyone.ColorScheme(color_by="value", fields=wanted)
    dataset.save()
    db.update_mark(name, {"colors": wanted})


def _source_classes(ctx: Context) -> list[str]:
    return list(dict.fromkeys(str(name) for made in ctx.inputs("source") for name in made.facts.get("classes") or ()))


def _skeleton(spec: DatasetSpec, ctx: Context) -> dict[str, Any] | None:
    if spec.skeleton is None:
        return None
    address = spec.skeleton if "." in spec.skeleton else f"skeletons.{spec.skeleton}"
    data = ctx.declarations[address]
    names = [str(point) for point in data["points"]]
    edges = [[names.index(str(a)), names.index(str(b))] for a, b in data.get("edges") or ()]
    return {"_cls": "KeypointSkeleton", "labels": names, "edges": edges}
