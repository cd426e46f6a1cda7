"""The captions of a dataset: found, asked for, finished, and written into FiftyOne. Imported by workers only.

Each sample keeps under `specrun.caption` what was written last: {text, by, raw, image, key}. A caption that differs
from it was written by a person, or came with the data, and stays unless `overwrite`. What a captioner said of the same
picture stays too; what comes from files and templates follows them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from specrun.clients.fiftyone.layout import MARK
from specrun.clients.fiftyone.project_database import Database
from specrun.clients.fiftyone.writer import BulkWriter, ensure_plain_fields
from specrun.errors import CredentialsError, NodeError
from specrun.formats.plain_text import whole_letters
from specrun.kinds.captions.files import lone_sidecars
from specrun.kinds.captions.providers import Metadata, Pictured, Provider, Sidecar, make_provider
from specrun.kinds.captions.spec import (
    ASKED,
    CAPTION,
    CAPTION_BY,
    PERSON,
    CaptionsSpec,
    TemplateProvider,
    provider_chain,
)
from specrun.kinds.captions.standing import Standing
from specrun.kinds.captions.template import OWN_FIELDS, template_fields
from specrun.kinds.captions.text import Finish
from specrun.kinds.captions.tokens import load_tokens
from specrun.model.labels import Sample
from specrun.model.work import Context

FILES = frozenset({"sidecar", "metadata"})
_WRITTEN_AT_ONCE = 50
"""Captions written to the database together; answers of captioners are on the disk before."""


@dataclass(frozen=True, slots=True)
class Item:
    """A sample with the caption that it has. own: what was written last."""

    id: object
    image: Pictured
    caption: str
    by: str
    own: Mapping[str, Any]

    @property
    def foreign(self) -> bool:
        """Written by somebody else than specrun."""
        return bool(self.caption) and self.caption != self.own.get("text")


@dataclass(frozen=True, slots=True)
class Captioned:
    """raw: before it was finished. key: of the provider. cut: it had to be shortened."""

    text: str
    by: str
    raw: str = ""
    key: str = ""
    cut: bool = False
    former: bool = False
    """Said under other settings."""


@dataclass
class CaptionReport:
    """captions: caption of each sample, "" without. writers: who wrote it. lengths: in tokens, 0 without. cut, former:
    names of samples."""

    captions: list[str] = field(default_factory=list)
    writers: list[str] = field(default_factory=list)
    by: Counter[str] = field(default_factory=Counter)
    cut: list[str] = field(default_factory=list)
    former: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    images: list[Pictured] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    asked: int = 0
    window: int = 0
    lengths: list[int] = field(default_factory=list)


def caption_dataset(spec: CaptionsSpec, ctx: Context, db: Database, name: str, label_field: str) -> CaptionReport:
    """Raises NodeError: a template names a field that no sample has, or no image has a caption in the end."""
    items = list(_items(db, name, label_field, ctx))
    _check_templates(spec, items, str(ctx.address))
    tokens, notes = load_tokens(spec.tokenizer, ctx.project_dir)
    finish = Finish(spec.trigger, spec.prefix, spec.suffix, spec.clean, spec.max_length, tokens)
    refused: Counter[str] = Counter()
    with ExitStack() as stack:
        chain = [make_provider(provider, ctx, refused) for provider in provider_chain(spec)]
        for provider in chain:
            stack.enter_context(closing(provider))
        standing = Standing(chain)
        work = _Captioning(spec, finish, standing)
        ensure_plain_fields(db, name, {CAPTION: "StringField", CAPTION_BY: "StringField"})
        report = _write(work, items, ctx, db, name)
        report.asked = sum(getattr(provider, "asked", 0) for provider in chain)
        report.notes += [
            *notes,
            *standing.notes(),
            *_refused_notes(refused),
            *_metadata_notes(chain),
            *_lone_notes(chain),
        ]
    if items and not any(report.captions):
        raise _none_captioned(spec, ctx, standing)
    report.window = tokens.window
    report.lengths = [tokens.count(caption) if caption else 0 for caption in report.captions]
    return report


class _Captioning:
    def __init__(self, spec: CaptionsSpec, finish: Finish, standing: Standing) -> None:
        self._spec, self._finish, self._standing = spec, finish, standing
        self._keys = {provider.key for provider in standing.providers}

    def caption(self, item: Item) -> Captioned | None:
        """None: nobody has one."""
        if item.foreign and not self._spec.overwrite:
            own = item.by if item.by and not item.own else PERSON
            return Captioned(item.caption, own)
        for place, provider in enumerate(self._standing.providers):
            kept = None if provider.kind in FILES else self._kept(item)
            if kept is not None:
                return kept
            raw = whole_letters(self._standing.ask(place, item.image) or "")
            if raw:
                text, cut = self._finish.apply(raw, by_model=provider.kind in ASKED)
                return Captioned(text, provider.kind, raw, provider.key, cut)
        return self._kept(item) or (Captioned(item.caption, item.by or PERSON) if item.foreign else None)

    def _kept(self, item: Item) -> Captioned | None:
        """What a captioner said of this very picture."""
        own = item.own
        if self._spec.overwrite or own.get("by") not in ASKED or not own.get("raw") or not item.caption:
            return None
        if own.get("image") != item.image.digest:
            return None
        text, cut = self._finish.apply(own["raw"], by_model=True)
        return Captioned(text, own["by"], own["raw"], own["key"], cut, former=own["key"] not in self._keys)


def _items(db: Database, name: str, label_field: str, ctx: Context) -> Iterator[Item]:
    layout = db.layout(name)
    wanted = {"filepath": 1, MARK: 1, CAPTION: 1, CAPTION_BY: 1}
    docs = {
        (doc.get(MARK) or {}).get("key") or doc["filepath"]: doc
        for doc in db.mongo[layout.collection].find({}, wanted, batch_size=500)
    }
    for done, sample in enumerate(db.samples(name, label_field if label_field in layout.label_fields else None)):
        if done % 500 == 0:
            ctx.check_stop()
        doc = docs[sample.key]
        own = (doc.get(MARK) or {}).get(CAPTION) or {}
        image = Pictured(sample.name, sample.media, sample.digest, _root_of(sample), _values(sample))
        yield Item(doc["_id"], image, doc.get(CAPTION) or "", doc.get(CAPTION_BY) or "", own)


def _root_of(sample: Sample) -> Path:
    """The folder of the source's media: the image's path without its name in the source."""
    depth = len(Path(sample.name).parts)
    parents = sample.media.parents
    return parents[depth - 1] if depth <= len(parents) and sample.media.as_posix().endswith(sample.name) else parents[0]


def _values(sample: Sample) -> dict[str, object]:
    counts = Counter(label.label for label in sample.labels)
    own: dict[str, object] = {
        "name": Path(sample.name).stem,
        "split": sample.split,
        "tags": ", ".join(sample.tags),
        "label": min(counts, key=lambda one: (-counts[one], one)) if counts else None,
        "labels": ", ".join(sorted(counts)),
        "count": len(sample.labels),
    }
    return {**own, **{field: value for field, value in sample.fields.items() if field not in (CAPTION, CAPTION_BY)}}


def _check_templates(spec: CaptionsSpec, items: Sequence[Item], address: str) -> None:
    known = {name for item in items for name in item.image.values} | set(OWN_FIELDS)
    for i, provider in enumerate(spec.providers):
        if not isinstance(provider, TemplateProvider) or not items:
            continue
        for name in template_fields(provider.text):
            if name not in known:
                raise NodeError(
                    f'{address}: captions.providers.{i}.text: no sample has a field "{name}".',
                    hint=f"There are {', '.join(sorted(known))}.",
                )


def _write(work: _Captioning, items: Sequence[Item], ctx: Context, db: Database, name: str) -> CaptionReport:
    report = CaptionReport()
    writer = BulkWriter(db.mongo[db.layout(name).collection])
    for done, (item, found) in enumerate(_captioned(work, items, ctx), start=1):
        change = _change(item, found)
        if change:
            writer.update(item.id, change)
        _count(report, item, found)
        if done % _WRITTEN_AT_ONCE == 0:
            writer.flush()
        ctx.progress(done, len(items), "images", "captions")
    writer.flush()
    report.folders = _topmost({image.root for image in report.images})
    return report


def _captioned(work: _Captioning, items: Sequence[Item], ctx: Context) -> Iterator[tuple[Item, Captioned | None]]:
    """In order, a few at a time."""
    threads = work._spec.concurrency
    waiting: list[tuple[Item, Future[Captioned | None]]] = []
    pool = ThreadPoolExecutor(threads, "captions")
    try:
        for item in items:
            ctx.check_stop()
            waiting.append((item, pool.submit(work.caption, item)))
            if len(waiting) > 2 * threads:
                first, future = waiting.pop(0)
                yield first, future.result()
        for item, future in waiting:
            yield item, future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _change(item: Item, found: Captioned | None) -> dict[str, Any]:
    if found is None:
        return {CAPTION: None, CAPTION_BY: None, f"{MARK}.{CAPTION}": None} if item.caption or item.own else {}
    change: dict[str, Any] = {}
    if found.text != item.caption:
        change[CAPTION] = found.text
    if found.by != item.by:
        change[CAPTION_BY] = found.by
    if found.raw:
        own = {"text": found.text, "by": found.by, "raw": found.raw, "image": item.image.digest, "key": found.key}
        if own != dict(item.own):
            change[f"{MARK}.{CAPTION}"] = own
    return change


def _count(report: CaptionReport, item: Item, found: Captioned | None) -> None:
    report.images.append(item.image)
    report.captions.append(found.text if found else "")
    report.writers.append(found.by if found else "")
    if found:
        report.by[found.by] += 1
        report.cut += [item.image.name] if found.cut else []
        report.former += [item.image.name] if found.former else []


def _topmost(folders: set[Path]) -> list[Path]:
    return sorted(one for one in folders if not any(other in one.parents for other in folders))


def _refused_notes(refused: Counter[str]) -> list[str]:
    return [f"{why}: not read" for why in sorted(refused)[:3]]


def _metadata_notes(chain: Sequence[Provider]) -> Iterator[str]:
    for provider in chain:
        if isinstance(provider, Metadata):
            for folder, names in provider.files.unused():
                shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
                yield f"{folder}: metadata has captions of {len(names)} files that are no image of the dataset: {shown}"


def _lone_notes(chain: Sequence[Provider]) -> Iterator[str]:
    for provider in chain:
        if isinstance(provider, Sidecar) and (lone := lone_sidecars(provider.folders, provider.suffix)):
            shown = ", ".join(lone[:3]) + (", …" if len(lone) > 3 else "")
            yield f"text files beside the images that belong to none of them: {len(lone)}: {shown}"


def _none_captioned(spec: CaptionsSpec, ctx: Context, standing: Standing) -> NodeError:
    tried = ", ".join(provider.kind for provider in standing.providers) or "nothing"
    worst = standing.worst()
    message = f"{ctx.address}: no image has a caption; tried {tried}."
    if worst is None:
        return NodeError(message, hint="Write text files beside the images, or add captions.providers.")
    error = CredentialsError if isinstance(worst, CredentialsError) else NodeError
    return error(f"{message} {worst.message}", hint=worst.hint)
