"""An evaluation as JSON and as one HTML page without scripts or outside files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from specrun.kinds.evaluation_scores import Evaluated, number
from specrun.model.digest import Json
from specrun.training.metrics.instances import InstanceScores

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: #1f2937 }
table { border-collapse: collapse; margin: .5rem 0 1.5rem } td, th { padding: .2rem .8rem; text-align: right }
th { border-bottom: 1px solid #9ca3af } td:first-child, th:first-child { text-align: left }
svg { background: #f9fafb } .legend { font-size: 13px } h2 { margin-top: 2.5rem }
@media (prefers-color-scheme: dark) { body { background: #111827; color: #e5e7eb } svg { background: #1f2937 } }
"""
_COLORS = ("#0891b2", "#dc2626", "#16a34a", "#d97706", "#7c3aed", "#db2777", "#65a30d", "#2563eb")
_PLOT = 300


def save_json(path: Path, found: Sequence[Evaluated]) -> None:
    content = {evaluated.name: _to_json(evaluated) for evaluated in found}
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def save_report(path: Path, title: str, found: Sequence[Evaluated]) -> None:
    body = "\n".join(part for evaluated in found for part in _section(evaluated))
    page = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head>\n<body><h1>{escape(title)}</h1>\n{body}\n</body></html>\n"
    )
    path.write_text(page, encoding="utf-8")


def _to_json(evaluated: Evaluated) -> dict[str, Json]:
    content = evaluated.facts(per_class=True)
    content["classes"] = list(evaluated.classes)
    content["curves"] = {
        kind: {evaluated.classes[i]: [number(p) for p in scores.by_class[i].curve] for i in scores.by_class}
        for kind, scores in (("box", evaluated.boxes), ("mask", evaluated.masks))
        if scores is not None
    }
    if evaluated.confusion is not None:
        content["confusion"] = evaluated.confusion.tolist()
    content["worst"] = [
        {"key": w.key, "name": w.name, "missed": w.missed, "invented": w.invented, "swapped": w.swapped}
        for w in evaluated.worst
    ]
    content["notes"] = list(evaluated.notes)
    return content


def _section(evaluated: Evaluated) -> Iterator[str]:
    yield f"<h2>{escape(evaluated.name)}</h2>"
    count, confidence = len(evaluated.images), f"{evaluated.confidence:.2f}"
    yield f"<p>{count} images. Mistakes are counted from a confidence of {confidence} on, where F1 is highest.</p>"
    for note in evaluated.notes:
        yield f"<p>Note: {escape(note)}.</p>"
    facts = evaluated.facts(per_class=False)
    rows = [(name.replace("_", " "), value) for name, value in facts.items() if name not in ("images", "confidence")]
    yield _table(("", "all classes"), rows)
    by_class = evaluated.by_class()
    columns = list(dict.fromkeys(key for values in by_class.values() for key in values))
    yield _table(("class", *columns), [(name, *(v.get(key) for key in columns)) for name, v in by_class.items() if v])
    if evaluated.main is not None:
        yield "<h3>Precision and recall (IoU 0.5)</h3>"
        yield _curves(evaluated.main, evaluated.classes)
    if evaluated.confusion is not None:
        yield "<h3>Confusion</h3><p>Rows: what people drew. Columns: what was predicted.</p>"
        names = [*evaluated.classes, "background"]
        yield _table(
            ("", *names), [(name, *row) for name, row in zip(names, evaluated.confusion.tolist(), strict=True)]
        )
    if evaluated.worst:
        yield "<h3>Images with most mistakes</h3>"
        rows_of = [(w.name, w.missed, w.invented, w.swapped) for w in evaluated.worst]
        yield _table(("image", "missed", "invented", "wrong class"), rows_of)


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    cells = "".join(f"<th>{escape(str(cell))}</th>" for cell in head)
    lines = ["".join(f"<td>{escape(_shown(cell))}</td>" for cell in row) for row in rows]
    return f"<table><tr>{cells}</tr>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def _shown(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _curves(scores: InstanceScores, classes: Sequence[str]) -> str:
    lines, legend = [], []
    for place, (index, of_class) in enumerate(scores.by_class.items()):
        color = _COLORS[place % len(_COLORS)]
        points = " ".join(
            f"{step / 100 * _PLOT:.1f},{(1 - value) * _PLOT:.1f}" for step, value in enumerate(of_class.curve)
        )
        lines.append(f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="2"/>')
        legend.append(f'<span style="color:{color}">■</span> {escape(classes[index])} {of_class.map50:.3f}')
    return (
        f'<svg width="{_PLOT}" height="{_PLOT}" role="img" aria-label="precision over recall">{"".join(lines)}</svg>'
        f'<p class="legend">{" &nbsp; ".join(legend)}</p>'
    )
