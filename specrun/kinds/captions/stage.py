"""The captions of a dataset node: the gates, the work, what is told of it. Imported by workers only."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from specrun.clients.fiftyone.project_database import Database
from specrun.errors import NodeError
from specrun.kinds.captions.captioning import CaptionReport, caption_dataset
from specrun.kinds.captions.spec import CaptionsSpec, RequireSpec
from specrun.kinds.captions.statistics import frequent_words, length_facts, near_duplicates, size_facts, statistic_notes
from specrun.kinds.captions.watched import caption_files
from specrun.model.artifact import Artifact
from specrun.model.digest import Json
from specrun.model.work import Context
from specrun.store.listing import ListingCache

CAPTIONS_LIST = "captions.jsonl"


@dataclass(frozen=True)
class Stage:
    """What comes to the node's outputs."""

    facts: dict[str, Any] = field(default_factory=dict)
    artifacts: list[Artifact] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    observation: dict[str, Json] = field(default_factory=dict)


def caption_stage(
    captions: CaptionsSpec | None, require: RequireSpec | None, ctx: Context, db: Database, name: str, label_field: str
) -> Stage:
    """Raises NodeError: too few images, or none with a caption."""
    if captions is None and require is None:
        return Stage()
    least = require or RequireSpec()
    images = db.count(name)
    if images < least.min_images:
        written = require is not None and "min_images" in require.model_fields_set
        bound = f"require.min_images: {least.min_images}" + ("" if written else ", which is the default with captions")
        raise NodeError(
            f"{ctx.address}: it has {images} {'image' if images == 1 else 'images'}, fewer than {bound}.",
            hint=f"Add images, take more frames, or write require: {{min_images: {images}}}.",
        )
    if captions is None:
        return Stage()
    ctx.progress(0, None, phase="preparing the captions")
    report = caption_dataset(captions, ctx, db, name, label_field)
    save_captions(ctx.staging / CAPTIONS_LIST, report)
    facts = _facts(report, ctx, db, name)
    folders = [_written(folder, ctx.project_dir) for folder in report.folders if _is_outside(folder, ctx)]
    with closing(ListingCache(ctx.cache_dir.parent / "cache.db")) as cache:
        observation: dict[str, Json] = {"captions": caption_files(cache, captions, folders, ctx.project_dir).value}
    notes = [*statistic_notes(facts, least.min_caption_ratio, images), *_notes(report, captions)]
    artifacts = [Artifact("captions", "file", CAPTIONS_LIST)]
    return Stage({"captions": {**facts, "folders": folders}}, artifacts, notes, observation)


def save_captions(path: Path, report: CaptionReport) -> None:
    """A line an image, in the dataset's order, for people to read: what they write stays in FiftyOne or beside the
    images. Unescaped, since captions of other languages must be readable too."""
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        for image, caption, by, tokens in zip(
            report.images, report.captions, report.writers, report.lengths, strict=True
        ):
            told = {"caption": caption, "by": by, "tokens": tokens} if caption else {"caption": None}
            file.write(json.dumps({"file_name": image.name, **told}, ensure_ascii=False) + "\n")


def _facts(report: CaptionReport, ctx: Context, db: Database, name: str) -> dict[str, Any]:
    sizes = [
        (int(size.get("width") or 0), int(size.get("height") or 0))
        for doc in db.mongo[db.layout(name).collection].find({}, {"metadata": 1})
        if (size := doc.get("metadata") or {})
    ]
    same, examples = near_duplicates(report.images, ctx.cache_dir, lambda done, of: _tell(ctx, done, of))
    captioned = sum(1 for caption in report.captions if caption)
    return {
        "captioned": captioned,
        "images": len(report.captions),
        "by": dict(sorted(report.by.items())),
        "asked": report.asked,
        "shortened": len(report.cut),
        "tokens": length_facts([length for length in report.lengths if length], report.window),
        "words": frequent_words(report.captions),
        **size_facts(sizes),
        "near_duplicates": {"images": same, "examples": [list(pair) for pair in examples]},
    }


def _tell(ctx: Context, done: int, total: int) -> None:
    ctx.check_stop()
    ctx.progress(done, total, "images", "looking for near-duplicates", part=True)


def _notes(report: CaptionReport, spec: CaptionsSpec) -> list[str]:
    notes = list(report.notes)
    if report.cut:
        count = "1 caption was" if len(report.cut) == 1 else f"{len(report.cut)} captions were"
        notes.append(f"{count} shortened to max_length: {spec.max_length} tokens: {_some(report.cut)}")
    if report.former:
        count = "1 caption was" if len(report.former) == 1 else f"{len(report.former)} captions were"
        notes.append(
            f"{count} made under other settings and kept; captions.overwrite: true makes them anew: "
            f"{_some(report.former)}"
        )
    return notes


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (" …" if len(names) > 3 else "")


def _is_outside(folder: Path, ctx: Context) -> bool:
    """People write no text files into what specrun makes."""
    return not folder.is_relative_to(ctx.output_root)


def _written(folder: Path, project_dir: Path) -> str:
    return folder.relative_to(project_dir).as_posix() if folder.is_relative_to(project_dir) else os.fspath(folder)
