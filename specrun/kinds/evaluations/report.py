"""An evaluation as JSON and as one HTML page without scripts or outside files."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from specrun.kinds.evaluations.compare import Comparison
from specrun.kinds.evaluations.html import Html, confusion, curves, described, figure, page, spelled, table
from specrun.kinds.evaluations.scores import Evaluated, number
from specrun.kinds.evaluations.worst import picture, worst_images
from specrun.model.digest import Json
from specrun.training.metrics.bootstrap import Interval

_PICTURES = 12
_MEASURES = {"box": "boxes", "mask": "masks", "points": "keypoints"}


def save_json(path: Path, found: Sequence[Evaluated], comparison: Comparison | None = None) -> None:
    content = {evaluated.name: _to_json(evaluated) for evaluated in found}
    if comparison is not None:
        content["compare"] = comparison.to_json()
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def save_report(path: Path, title: str, found: Sequence[Evaluated], comparison: Comparison | None = None) -> None:
    parts = list(_side_by_side(comparison)) if comparison is not None else []
    parts += [part for evaluated in found for part in _section(evaluated)]
    path.write_text(page(title, parts), encoding="utf-8")


def _to_json(evaluated: Evaluated) -> dict[str, Json]:
    content: dict[str, Json] = {"task": evaluated.task, **evaluated.facts(per_class=True)}
    content["classes"] = list(evaluated.classes)
    if evaluated.objects:
        content["curves"] = {
            measure: {
                evaluated.classes[index]: [number(p) for p in of_class.curve]
                for index, of_class in found.scores.by_class.items()
            }
            for measure, found in evaluated.objects.items()
        }
    if evaluated.confusion is not None:
        content["confusion"] = evaluated.confusion.tolist()
        content["confusion_names"] = list(evaluated.confusion_names)
    content["worst"] = [{"key": w.key, "name": w.name, **w.values} for w in worst_images(evaluated)]
    content["notes"] = list(evaluated.notes)
    return content


def _section(evaluated: Evaluated) -> Iterator[str]:
    yield f"<h2>{escape(evaluated.name)}</h2>"
    count = f"{len(evaluated.pairs):,} images."
    if evaluated.images:
        count += f" Mistakes are counted from a confidence of {evaluated.confidence:.2f} on, where F1 is highest."
    yield f"<p>{count}</p>"
    for note in evaluated.notes:
        yield f'<p class="note">Note: {escape(note)}.</p>'
    facts = evaluated.facts(per_class=False)
    rows = [(spelled(name), value) for name, value in facts.items() if name not in ("images", "confidence")]
    yield table(("", "all classes"), rows)
    yield _class_table(evaluated)
    if evaluated.points is not None:
        shares = evaluated.facts(per_class=True)["pck_per_point"]
        assert isinstance(shares, dict)
        yield "<h3>Correct points (PCK, within a fifth of the object)</h3>"
        yield table(("point", "share"), list(shares.items()))
    for measure, found in evaluated.objects.items():
        yield f"<h3>Precision and recall of {_MEASURES[measure]} (at 0.5)</h3>"
        yield curves(found.scores, evaluated.classes)
    if evaluated.confusion is not None:
        yield "<h3>Confusion</h3><p>Rows: what people drew. Columns: what was predicted.</p>"
        if evaluated.objects:
            yield (
                '<p class="legend">Here an object has one partner, the one that overlaps it best, of whatever class. '
                "Precision and recall above pair within one class at a time, so that they also count a find of the "
                "right class where a wrong one overlaps better: the diagonal can be smaller than theirs.</p>"
            )
        yield confusion(evaluated.confusion_names, evaluated.confusion.tolist())
    yield from _worst(evaluated)


def _class_table(evaluated: Evaluated) -> str:
    by_class = evaluated.by_class()
    columns = list(dict.fromkeys(key for values in by_class.values() for key in values))
    rows: list[Sequence[object]] = []
    for name, values in by_class.items():
        absent = all(value in (None, 0) for value in values.values())
        rows.append([name, "no instances"] if absent else [name, *(values.get(key) for key in columns)])
    return table(("class", *map(spelled, columns)), rows)


def _worst(evaluated: Evaluated) -> Iterator[str]:
    worst = worst_images(evaluated)
    if not worst:
        return
    yield "<h3>Images with most mistakes</h3>"
    if evaluated.images:
        yield (
            '<p class="legend">Left what people drew, right what was predicted. Green: found. Red: missed, or '
            "invented. Amber: the wrong class.</p>"
        )
    figures = []
    for one in worst[:_PICTURES]:
        jpeg = picture(evaluated, one)
        if jpeg is not None:
            caption = f"{one.name}: {described(one.values)}"
            figures.append(figure(base64.b64encode(jpeg).decode("ascii"), caption))
    if figures:
        yield f'<div class="worst">{"".join(figures)}</div>'
    columns = list(worst[0].values)
    yield table(("image", *columns), [(w.name, *(w.values[key] for key in columns)) for w in worst])


def _side_by_side(comparison: Comparison) -> Iterator[str]:
    first = comparison.names[0]
    yield "<h2>Side by side</h2>"
    yield (
        f"<p>On the same {comparison.images:,} images. In brackets the middle 95% of the difference to "
        f"{escape(first)} when the images are drawn anew; bold where it does not hold zero.</p>"
    )
    for title, per_class in (("", False), ("By class", True)):
        rows = []
        for place, (of_class, metric) in enumerate(comparison.scores):
            if bool(of_class) != per_class:
                continue
            row: list[object] = [f"{of_class} {spelled(metric)}".strip()]
            for model, values in enumerate(comparison.values):
                value = values[place]
                row.append(value if math.isfinite(value) else None)
                if model:
                    row.append(_interval(comparison.differences[model - 1][place]))
            rows.append(row)
        if rows:
            head = ["", first]
            for name in comparison.names[1:]:
                head += [name, "difference"]
            yield (f"<h3>{title}</h3>" if title else "") + table(head, rows)


def _interval(interval: Interval) -> object:
    if not math.isfinite(interval.difference):
        return None
    text = f"{interval.difference:+.3f}"
    if math.isfinite(interval.low):
        text += f" [{interval.low:+.3f}, {interval.high:+.3f}]"
    return Html(f'<span class="sure">{text}</span>') if interval.sure else text
