"""What is learnt: images with their captions, checked before anything is loaded on a GPU."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from specrun.errors import FormatError, NodeError
from specrun.model.digest import json_digest
from specrun.model.labels import AnyLabel, Sample
from specrun.training.lora.buckets import Fit, fit
from specrun.training.lora.settings import LoraTraining

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Record:
    """One image to learn. digest: of the image's bytes. fit: how it becomes one of its bucket's size."""

    name: str
    media: Path
    digest: str
    caption: str
    size_wh: tuple[int, int]
    fit: Fit
    labels: tuple[AnyLabel, ...] = ()


@dataclass(frozen=True, slots=True)
class Records:
    """digest: of images, captions and how they are split."""

    train: tuple[Record, ...]
    validation: tuple[Record, ...]
    notes: tuple[str, ...]
    digest: str


def choose(samples: Sequence[Sample], spec: LoraTraining, seed: int) -> Records:
    """Images of the split test are left out; val is for validation, or else a share of the rest.

    Raises NodeError or FormatError: nothing can be learnt from, an image is too small, has no caption.
    """
    wanted = [sample for sample in samples if sample.split != "test"]
    if not wanted:
        raise NodeError(f"datasets: {spec.dataset} has no images to learn.", hint="Look at its sources and splits.")
    gone = [sample for sample in wanted if not sample.media.is_file()]
    if gone:
        raise FormatError(f"{_some(gone)}: the image is gone.", hint="Restore it, or import its source again.")
    notes: list[str] = []
    captioned = _captioned(wanted, spec, notes)
    records = [_record(sample, caption, spec) for sample, caption in captioned]
    in_val = [sample.split == "val" for sample, _ in captioned]
    held = [record for record, val in zip(records, in_val, strict=True) if val]
    train = [record for record, val in zip(records, in_val, strict=True) if not val]
    if spec.validation is not None and spec.validation.split and not held and len(train) > 1:
        count = max(1, round(len(train) * spec.validation.split))
        order = sorted(
            range(len(train)), key=lambda i: hashlib.sha256(f"{seed}/{train[i].digest}/{i}".encode()).digest()
        )
        chosen = set(order[: min(count, len(train) - 1)])
        held = [record for i, record in enumerate(train) if i in chosen]
        train = [record for i, record in enumerate(train) if i not in chosen]
    if not train:
        raise NodeError(f"{spec.dataset}: all images are in the split val.", hint="Put some into train.")
    if spec.validation is None:
        held = []
    digest = json_digest([[[r.digest, r.caption, r.name] for r in part] for part in (train, held)])
    return Records(tuple(train), tuple(held), tuple(notes), digest)


def _captioned(samples: Sequence[Sample], spec: LoraTraining, notes: list[str]) -> list[tuple[Sample, str]]:
    found = [(sample, str(sample.fields.get("caption") or "").strip()) for sample in samples]
    without = [sample for sample, caption in found if not caption]
    if without and spec.uncaptioned == "fail":
        raise NodeError(
            f"{len(without)} of {len(found)} images have no caption: {_some(without)}.",
            hint="Add captions: to the dataset, or write uncaptioned: skip, or trigger.",
        )
    if without and spec.uncaptioned == "skip":
        found = [(sample, caption) for sample, caption in found if caption]
        notes.append(f"{len(without)} images without a caption are left out")
    if not found:
        raise NodeError("no image has a caption.", hint="Add captions: to the dataset.")
    if spec.trigger is not None:
        found = [(sample, _with_trigger(caption, spec.trigger)) for sample, caption in found]
    return found


def _with_trigger(caption: str, trigger: str) -> str:
    if trigger.lower() in caption.lower():
        return caption
    return f"{trigger}, {caption}" if caption else trigger


def _record(sample: Sample, caption: str, spec: LoraTraining) -> Record:
    found = fit(sample.size_wh, spec.resolution, spec.bucket_step, bucketing=spec.bucketing)
    if found is None:
        width, height = sample.size_wh
        raise FormatError(
            f"{sample.name}: {width}x{height} pixels are too few: no side may be under {spec.bucket_step}.",
            hint="Leave it out of the dataset (where:), or lower bucket_step.",
        )
    return Record(sample.name, sample.media, sample.digest, caption, sample.size_wh, found, sample.labels)


def require_masks(records: Records, spec: LoraTraining) -> Records:
    """Raises NodeError: no pixel of any image would count."""
    if spec.masked_loss is None or spec.masked_loss.outside:
        return records
    whole = [*records.train, *records.validation]
    empty = [record for record in whole if not record.labels]
    field = spec.masked_loss.label_field
    if len(empty) == len(whole):
        hint = "Name the field with the labels, or write masked_loss.outside: 0.1."
        raise NodeError(f"masked_loss.label_field: {field}: no image has a label in it, so no pixel counts.", hint=hint)
    if not empty:
        return records
    note = f"{len(empty)} of {len(whole)} images have no label in {field} and teach nothing: {_some(empty)}"
    return replace(records, notes=(*records.notes, note))


def require_short(records: Records, spec: LoraTraining, count: Callable[[str], int], limit: int) -> Records:
    """count: tokens of a caption. Raises FormatError: a caption would be cut and may not."""
    long = [record for record in (*records.train, *records.validation) if count(record.caption) > limit]
    if not long:
        return records
    worst = max(long, key=lambda record: count(record.caption))
    told = f"{len(long)} captions have more than {limit} tokens, that of {worst.name} has {count(worst.caption)}"
    if spec.long_captions == "fail":
        raise FormatError(
            f"{told}: what is beyond would not be learnt.",
            hint=f"Shorten them (captions.max_length: {limit} in the dataset), or write long_captions: cut.",
        )
    return replace(records, notes=(*records.notes, f"{told}: they are cut"))


def changed_caption(caption: str, spec: LoraTraining, order: random.Random) -> str:
    """Shuffled and dropped as the spec says; order decides."""
    if spec.caption_dropout and order.random() < spec.caption_dropout:
        return ""
    if spec.caption_shuffle:
        parts = [part.strip() for part in caption.split(",")]
        rest = parts[spec.keep_tokens :]
        order.shuffle(rest)
        return ", ".join([*parts[: spec.keep_tokens], *rest])
    return caption


def _some(samples: Sequence[Sample | Record]) -> str:
    names = ", ".join(sample.name for sample in samples[:_SHOWN])
    return names if len(samples) <= _SHOWN else f"{names} and {len(samples) - _SHOWN} more"
