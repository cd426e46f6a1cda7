"""A node's facts as people read them: what was made, and how well it scored."""

from __future__ import annotations

import re
from collections.abc import Mapping

from specrun.model.digest import Json
from specrun.model.metric_names import spoken_metric
from specrun.views.quantities import count, number
from specrun.views.text import clean

_SHOWN = (
    *("images", "labels", "edits", "classes", "splits", "epochs", "frames", "predicted", "steps"),
    *("records", "chosen", "uploaded", "labels_sent", "skipped", "failed"),
)
"""Facts that say how much was made, in the order in which people ask. The rest is for consumers and `--json`."""
_LOWER = frozenset({"loss", "error", "mae", "rmse", "mse", "fid", "wait"})
_NO_LETTER = re.compile(r"[^a-z]+")
_SPLITS = ("train", "val", "test")
_TELLING = ("map50-95", "map50", "miou", "iou", "dice", "f1", "acc", "top")
"""Parts of names of scores, the most telling first."""
_SETTINGS = frozenset({"threshold", "confidence"})
"""Numbers that somebody chose: no scores."""


def made_text(facts: Mapping[str, Json]) -> str:
    """`80 images, 412 labels, 3 classes, train 64, val 16`; "" when there is nothing to say."""
    # "0 labels" is news where there could be some: not of a folder of images.
    shown = [key for key in _SHOWN if key in facts and (key != "labels" or facts[key] or facts.get("classes"))]
    named = {"images": "frames"} if "clips" in facts else {}
    told = [text for key in shown if (text := _fact(named.get(key, key), facts[key])) and text != "0 classes"]
    captions = facts.get("captions")
    if isinstance(captions, Mapping) and isinstance(captions.get("captioned"), int):
        told.append(f"{captions['captioned']:,} captioned")
    if isinstance(facts.get("made"), int) and isinstance(facts.get("kept"), int) and facts["kept"]:
        told.append(f"{facts['made']:,} made, {facts['kept']:,} kept")
    return ", ".join(told)


def done_text(facts: Mapping[str, Json]) -> str:
    """What was made, and the one number that says most of how good it is."""
    score = main_score(facts)
    return ", ".join(text for text in (made_text(facts), f"{score[0]} {number(score[1])}" if score else "") if text)


def main_score(facts: Mapping[str, Json]) -> tuple[str, float] | None:
    """Of all classes, by what people compare models by."""
    found = list(scores(facts).items())
    return min(found, key=lambda item: _telling(item[0]), default=None)


def _telling(name: str) -> tuple[bool, int, int]:
    """Smaller is better: a known score, of everything (`val/iou` before `val/iou/coral`), the most telling one."""
    rank = next((rank for rank, word in enumerate(_TELLING) if word in name.casefold()), len(_TELLING))
    return rank == len(_TELLING), name.count("/"), rank


def _fact(key: str, value: Json) -> str:
    name = clean(key).replace("_", " ")
    match value:
        case bool() | None | str() | float():
            return ""
        case int():
            return count(value, _one(name), name)
        case list():
            return count(len(value), name.removesuffix("es") if name == "classes" else name.removesuffix("s"), name)
        case dict():
            return _breakdown(key, name, value)


def _one(name: str) -> str:
    """`labels sent` → `label sent`"""
    noun, space, rest = name.partition(" ")
    return noun.removesuffix("s") + space + rest


def _breakdown(key: str, name: str, amounts: Mapping[str, Json]) -> str:
    whole = {clean(k): v for k, v in amounts.items() if isinstance(v, int) and not isinstance(v, bool)}
    if key == "labels" and not amounts:
        return "0 labels"
    if not whole or len(whole) != len(amounts):
        return ""
    if key == "splits":
        return ", ".join(f"{split} {whole[split]:,}" for split in sorted(whole, key=_split_rank))
    return count(sum(whole.values()), name.removesuffix("s"), name)


def _split_rank(split: str) -> tuple[int, str]:
    return (_SPLITS.index(split) if split in _SPLITS else len(_SPLITS), split)


_PACE = frozenset({"lr", "images/s", "steps/s", "data_wait"})
"""How a training went: no scores either."""


def scores(facts: Mapping[str, Json]) -> dict[str, float]:
    """Every measured number: the floats among the facts and all of `metrics`, flat, in their order; losses last, and of
    those what was held out before what was learnt."""
    found = {name: value for name, value in _measured(facts).items() if name not in _PACE}
    return dict(sorted(found.items(), key=lambda item: (lower_is_better(item[0]), item[0].startswith("train"))))


def _measured(facts: Mapping[str, Json]) -> dict[str, float]:
    found: dict[str, float] = {}
    for key, value in facts.items():
        if isinstance(value, float) and key not in _SETTINGS:
            found[spoken_metric(clean(key))] = value
    metrics = facts.get("metrics")
    if isinstance(metrics, Mapping):
        _flatten("", metrics, found)
    return found


def _flatten(prefix: str, values: Mapping[str, Json], found: dict[str, float]) -> None:
    for key, value in values.items():
        name = f"{prefix}{spoken_metric(clean(str(key)))}"
        if isinstance(value, Mapping):
            _flatten(f"{name}/", value, found)
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            found[name] = float(value)


def lower_is_better(name: str) -> bool:
    """By whole words: a class may be called `glossy`."""
    return any(word in _LOWER for word in _NO_LETTER.split(name.lower()))


def change_text(name: str, value: float, before: float | None) -> tuple[str, str]:
    """(`▲ was 0.702`, style): better is green, worse red, whatever direction is better for that score."""
    if before is None:
        return "", ""
    if number(value) == number(before):
        return f"= was {number(before)}", "dim"
    arrow = "▲" if value > before else "▼"
    better = (value < before) if lower_is_better(name) else (value > before)
    return f"{arrow} was {number(before)}", "green" if better else "red"
