"""Names of metrics: as trainers report them, as people write them, and which one somebody means."""

from __future__ import annotations

from collections.abc import Collection

_SPOKEN = {
    "map50": "mAP50",
    "map": "mAP50-95",
    "box_map50": "boxes mAP50",
    "box_map": "boxes mAP50-95",
    "miou": "mIoU",
    "pixel_accuracy": "pixel accuracy",
    "dice": "Dice",
    "oks_map50": "OKS mAP50",
    "oks_map": "OKS mAP50-95",
    "pck": "PCK",
    "top5": "top-5",
    "f1": "F1",
    "validation_loss": "validation loss",
    "training_loss": "training loss",
}
_OF_WHAT = {"(B)": "boxes", "(M)": "masks", "(P)": "keypoints"}
"""Ultralytics' suffixes."""


def spoken_metric(key: str) -> str:
    """`metrics/mAP50(M)` → `masks mAP50`, `map50` → `mAP50`: as people write them."""
    name = key.removeprefix("metrics/")
    for suffix, what in _OF_WHAT.items():
        if name.endswith(suffix):
            name = f"{what} {name.removesuffix(suffix)}"
    return _SPOKEN.get(name, name)


def meant_metrics(written: str, known: Collection[str]) -> list[str]:
    """The known metrics that a person can mean: the one of exactly that name; else those that are spoken so, in any
    case; else those whose spoken name ends so (`map50` for `boxes mAP50`). Several: it is not clear which."""
    if written in known:
        return [written]
    folded = spoken_metric(written).casefold()
    by_name = [name for name in known if spoken_metric(name).casefold() == folded]
    return by_name or [name for name in known if spoken_metric(name).casefold().endswith(f" {folded}")]
