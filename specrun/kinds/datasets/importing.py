"""The work of a dataset node: its sources prepared, merged into the FiftyOne dataset sample by sample, and told.

Each sample document keeps under `specrun` what was imported last: digests of its labels as they came and as they
were written, its tags, split and fields. A sample is written whole or not at all, so that a killed import is
repaired by repeating it. Which samples were imported stands in the output folder (`samples.txt`): one that is
there and no longer in FiftyOne was deleted by a person, and stays deleted.

Imported by workers only.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from specrun.clients.fiftyone import database
from specrun.clients.fiftyone.labels_to_docs import family_of
from specrun.clients.fiftyone.project_database import Database, paused_collection
from specrun.clients.fiftyone.writer import ensure_dataset, ensure_plain_fields, field_type
from specrun.formats.samples import SAMPLES_NAME, load_samples
from specrun.kinds.captions.stage import caption_stage
from specrun.kinds.datasets.finish import declare_attributes, describe_dataset, finish_dataset, own_parts
from specrun.kinds.datasets.merge import Merge
from specrun.kinds.datasets.prepare import Facts, Incoming, Preparation
from specrun.kinds.datasets.spec import DatasetSpec, dataset_name
from specrun.kinds.datasets.split import small_splits
from specrun.kinds.datasets.sync import Report
from specrun.model.artifact import Artifact, Outputs
from specrun.model.digest import json_digest
from specrun.model.labels import Sample
from specrun.model.taxonomy import ResolvedTaxonomy
from specrun.model.work import Context

SAMPLES_LIST = "samples.txt"
HELD_LABELS = 200_000
"""Prepared labels held in memory between the two passes (about 200 MB); beyond, the sources are read twice."""


def import_dataset(spec: DatasetSpec, ctx: Context) -> Outputs:
    """Raises NodeError: a foreign dataset, a conflict under on_conflict: fail, or what the policies call an error."""
    name = dataset_name(spec, ctx.project_dir.name, ctx.address.name, ctx.recall("name"))
    with database(ctx) as db:
        layout = db.find_layout(name)
        before = layout.mark if layout else None
        if spec.import_mode == "skip_if_exist" and layout is not None and before is not None and db.count(name):
            report = Report()
            report.counts["left as they are (import_mode: skip_if_exist)"] = db.count(name)
            return _outputs(spec, ctx, db, name, report.notes(), _imported_before(ctx))
        ensure_dataset(db, name, str(ctx.address), spec.label_field)
        ctx.remember("name", name)
        with paused_collection():
            notes, keys = _import(spec, ctx, db, name, before)
        return _outputs(spec, ctx, db, name, notes, keys)


def _import(
    spec: DatasetSpec, ctx: Context, db: Database, name: str, before: Mapping[str, Any] | None
) -> tuple[list[str], list[str]]:
    taxonomy = _taxonomy(spec, ctx)
    preparation = Preparation(spec, taxonomy)
    facts, held = _first_pass(spec, ctx, db, preparation)
    preparation.check_where(str(ctx.address), len(facts.source_splits))
    types = {field: field_type(found) for field, found in facts.field_types.items()}
    ensure_plain_fields(db, name, types)
    lost = db.layout(name).lost.get(spec.label_field, {})
    fields = db.ensure_label_field(name, spec.label_field, facts.families)
    merge = Merge(db, name, fields, types, spec, split_mark=_split_mark(spec, ctx), lost=lost)
    whole = before is not None and before.get("complete")
    merge.read_existing(_imported_before(ctx) if whole else [])
    merge.splits = facts.splits(spec, ctx.seed, merge.kept_groups())
    merge.use_taxonomies(_former_taxonomy(before), taxonomy)
    total = len(facts.source_splits)
    for done, incoming in enumerate(held if held is not None else _again(spec, ctx, db, taxonomy), start=1):
        merge.take(incoming)
        if done % 100 == 0 or done == total:
            ctx.progress(done, total, "samples", "importing", part=spec.captions is not None)
            ctx.check_stop()
    merge.finish(preparation.left_out)
    if merge.report.counts["added"] or merge.report.counts["updated"]:
        declare_attributes(db, name)
    finish_dataset(spec, ctx, db, name, taxonomy, list(facts.classes))
    for line in merge.report.lines():
        ctx.log(line)
    notes = [*merge.report.notes(), *preparation.notes()]
    if facts.duplicates:
        notes.append(f"{facts.duplicates} samples came from two inputs; the first one counts")
    return notes, list(facts.source_splits)


def _first_pass(
    spec: DatasetSpec, ctx: Context, db: Database, preparation: Preparation
) -> tuple[Facts, list[Incoming] | None]:
    """What must be known of all samples, and the samples themselves if they are few enough."""
    facts, labels = Facts(), 0
    keep: list[Incoming] | None = []
    for incoming in preparation.prepare(_read_sources(ctx, db)):
        if not facts.add(incoming, spec, family_of):
            continue
        labels += len(incoming.sample.labels)
        if labels > HELD_LABELS:
            keep = None
        if keep is not None:
            keep.append(incoming)
        if len(facts.source_splits) % 200 == 0:
            ctx.progress(len(facts.source_splits), None, "samples", "reading")
            ctx.check_stop()
    return facts, keep


def _again(spec: DatasetSpec, ctx: Context, db: Database, taxonomy: ResolvedTaxonomy | None) -> Iterator[Incoming]:
    seen: set[str] = set()
    for incoming in Preparation(spec, taxonomy).prepare(_read_sources(ctx, db)):
        if incoming.sample.key not in seen:
            seen.add(incoming.sample.key)
            yield incoming


def _read_sources(ctx: Context, db: Database) -> Iterator[Sample]:
    def read(made: Any) -> Iterator[Sample]:
        if made.address.section == "datasets":
            return db.samples(str(made.facts["name"]), str(made.facts["label_field"]))
        return load_samples(made.folder / SAMPLES_NAME, ctx.project_dir)

    return chain.from_iterable(read(made) for made in ctx.inputs("source"))


def _taxonomy(spec: DatasetSpec, ctx: Context) -> ResolvedTaxonomy | None:
    if spec.taxonomy is None:
        return None
    address = spec.taxonomy if "." in spec.taxonomy else f"taxonomies.{spec.taxonomy}"
    return ResolvedTaxonomy.from_json(ctx.declarations[address])


def _former_taxonomy(mark: Mapping[str, Any] | None) -> ResolvedTaxonomy | None:
    """Kept in the mark as JSON text: class names may hold characters that MongoDB keys may not."""
    text = (mark or {}).get("taxonomy")
    return ResolvedTaxonomy.from_json(json.loads(text)) if text else None


def _split_mark(spec: DatasetSpec, ctx: Context) -> str:
    """Tells splits made under other settings from those that may be kept."""
    return json_digest([spec.split.model_dump(), ctx.seed]) if spec.split else ""


def _imported_before(ctx: Context) -> list[str]:
    if ctx.previous is None:
        return []
    try:
        return [json.loads(line) for line in (ctx.previous / SAMPLES_LIST).read_text().splitlines()]
    except (OSError, ValueError):
        return []


def _outputs(
    spec: DatasetSpec, ctx: Context, db: Database, name: str, notes: Sequence[str], keys: Sequence[str]
) -> Outputs:
    stage = caption_stage(spec.captions, spec.require, ctx, db, name, spec.label_field)
    db.sync(name)
    facts = {**describe_dataset(spec, ctx, db, name), **stage.facts}
    ratios = {str(split): ratio for split, ratio in spec.split.ratios.items()} if spec.split is not None else {}
    _write(ctx.staging / "dataset.json", json.dumps(facts, indent=2, ensure_ascii=False) + "\n")
    _write(ctx.staging / SAMPLES_LIST, "".join(json.dumps(key) + "\n" for key in sorted(keys)))
    return Outputs(
        artifacts=(Artifact("dataset", "dataset", f"fiftyone:{name}"), *stage.artifacts),
        facts=facts,
        parts={**db.parts(name), **own_parts(facts)},
        notes=(*notes, *small_splits(facts["splits"], ratios), *stage.notes),
        observation={"dataset": "present", **stage.observation},
    )


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
