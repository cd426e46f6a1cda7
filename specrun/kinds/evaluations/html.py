"""Pieces of the report's page: tables, curves, confusion. One file, no scripts, nothing from outside."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from specrun.training.metrics.instances import InstanceScores

_STYLE = """
:root { color-scheme: light dark; --text: #1f2937; --page: #ffffff; --plot: #f3f4f6; --line: #9ca3af; --soft: #6b7280 }
@media (prefers-color-scheme: dark) {
  :root { --text: #e5e7eb; --page: #111827; --plot: #1f2937; --line: #6b7280; --soft: #9ca3af } }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 66rem; padding: 0 1rem;
  color: var(--text); background: var(--page) }
.wide { overflow-x: auto } table { border-collapse: collapse; margin: .5rem 0 1.5rem }
td, th { padding: .2rem .8rem; text-align: right; white-space: nowrap } th { border-bottom: 1px solid var(--line) }
td:first-child, th:first-child { text-align: left } h2 { margin-top: 2.5rem }
svg { background: var(--plot); border-radius: 4px } svg text { fill: var(--soft); font-size: 11px }
.legend, .note, figcaption { font-size: 13px; color: var(--soft) } .sure { font-weight: 600 }
.worst { display: flex; flex-wrap: wrap; gap: 1rem } figure { margin: 0; max-width: 100% }
figure img { max-width: 100%; border-radius: 4px; display: block }
"""
_COLORS = ("#0891b2", "#dc2626", "#16a34a", "#d97706", "#7c3aed", "#db2777", "#65a30d", "#2563eb")
_PLOT, _LEFT, _BELOW = 300, 34, 24
_CURVES_SHOWN = 16


_NAMES = {
    "map50": "mAP50",
    "map": "mAP50-95",
    "miou": "mIoU",
    "iou": "IoU",
    "dice": "Dice",
    "pck": "PCK",
    "f1": "F1",
    "top5": "top-5",
    "oks": "OKS",
}


class Html(str):
    """Text that is markup already."""


def page(title: str, body: Iterable[str]) -> str:
    content = "\n".join(body)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head>\n'
        f"<body><h1>{escape(title)}</h1>\n{content}\n</body></html>\n"
    )


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    cells = "".join(f"<th>{escape(str(cell))}</th>" for cell in head)
    lines = ["".join(f"<td>{shown(cell)}</td>" for cell in row) for row in rows]
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="wide"><table><tr>{cells}</tr>{body}</table></div>'


def shown(value: object) -> str:
    match value:
        case Html():
            return value
        case None:
            return "–"
        case float():
            return f"{value:.3f}"
        case int():
            return f"{value:,}"
        case _:
            return escape(str(value))


def curves(scores: InstanceScores, classes: Sequence[str]) -> str:
    """Precision over recall, a line a class; with many classes, those with most labels."""
    chosen = sorted(scores.by_class, key=lambda index: -scores.by_class[index].truths)[:_CURVES_SHOWN]
    lines, legend = [], []
    for place, index in enumerate(chosen):
        of_class, color = scores.by_class[index], _COLORS[place % len(_COLORS)]
        dashes = ' stroke-dasharray="6 3"' if place >= len(_COLORS) else ""
        points = " ".join(
            f"{_LEFT + step / 100 * _PLOT:.1f},{4 + (1 - value) * _PLOT:.1f}"
            for step, value in enumerate(of_class.curve)
        )
        lines.append(f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="2"{dashes}/>')
        legend.append(f'<span style="color:{color}">■</span> {escape(classes[index])} {of_class.map50:.3f}')
    more = len(scores.by_class) - len(chosen)
    rest = f" &nbsp; and {more} classes with fewer labels" if more else ""
    return (
        f'<svg width="{_LEFT + _PLOT + 8}" height="{_PLOT + _BELOW + 8}" role="img" '
        f'aria-label="precision over recall">{_axes()}{"".join(lines)}</svg>'
        f'<p class="legend">{" &nbsp; ".join(legend)}{rest}</p>'
    )


def _axes() -> str:
    parts = []
    for step in range(6):
        value, offset = step / 5, step / 5 * _PLOT
        x, y = _LEFT + offset, 4 + _PLOT - offset
        parts.append(f'<path d="M{_LEFT} {y:.0f}h{_PLOT}M{x:.0f} 4v{_PLOT}" stroke="var(--line)" stroke-width=".3"/>')
        parts.append(f'<text x="{_LEFT - 5}" y="{y + 4:.0f}" text-anchor="end">{value:.1f}</text>')
        parts.append(f'<text x="{x:.0f}" y="{_PLOT + 18}" text-anchor="middle">{value:.1f}</text>')
    return "".join(parts)


def confusion(names: Sequence[str], rows: Sequence[Sequence[int]]) -> str:
    """Shaded by the share of its row."""
    lines = []
    for name, row in zip(names, rows, strict=True):
        total = sum(row)
        if not total and not any(other[names.index(name)] for other in rows):
            continue
        cells = "".join(_cell(value, total) for value in row)
        lines.append(f"<tr><td>{escape(name)}</td>{cells}</tr>")
    head = "".join(f"<th>{escape(name)}</th>" for name in ("", *names))
    return f'<div class="wide"><table><tr>{head}</tr>{"".join(lines)}</table></div>'


def _cell(value: int, total: int) -> str:
    share = value / total if total else 0.0
    return f'<td style="background:rgba(8,145,178,{share * 0.6:.3f})" title="{share:.1%}">{value:,}</td>'


def figure(picture_base64: str, caption: str) -> str:
    return (
        f'<figure><img alt="truth and predictions" src="data:image/jpeg;base64,{picture_base64}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def spelled(metric: str) -> str:
    """`box_map50` as people write it: `box mAP50`."""
    return " ".join(_NAMES.get(word, word) for word in metric.split("_"))


def described(values: Mapping[str, object]) -> str:
    """`missed 1, invented 2`."""
    return ", ".join(f"{name} {value}" for name, value in values.items() if value not in (None, 0))
