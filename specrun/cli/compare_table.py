"""Tables of `specrun compare`: in blocks of columns where they are wider than the terminal, and differences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from specrun.model.digest import Json
from specrun.model.metric_names import spoken_metric
from specrun.views.paint import Paint
from specrun.views.quantities import number
from specrun.views.text import cells, clean

_GAP = 2


def table(head: Sequence[str], rows: Sequence[Sequence[str]], paint: Paint, width: int) -> Iterator[str]:
    """The first column is repeated before each block. width: of the terminal; names and numbers are never cut."""
    widths = [max(cells(row[column]) for row in (head, *rows)) for column in range(len(head))]
    for number_of_block, block in enumerate(_blocks(widths, width)):
        if number_of_block:
            yield ""
        chosen = [widths[column] for column in block]
        yield paint("  ".join(_aligned([head[column] for column in block], chosen)).rstrip(), "bold")
        for row in rows:
            yield "  ".join(_aligned([row[column] for column in block], chosen)).rstrip()


def _blocks(widths: Sequence[int], width: int) -> Iterator[list[int]]:
    block, taken = [0], widths[0]
    for column in range(1, len(widths)):
        if len(block) > 1 and taken + _GAP + widths[column] > width:
            yield block
            block, taken = [0], widths[0]
        block.append(column)
        taken += _GAP + widths[column]
    yield block


def _aligned(row: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    """Names to the left, numbers to the right."""
    for column, (text, width) in enumerate(zip(row, widths, strict=True)):
        gap = " " * (width - cells(text))
        yield gap + text if column else text + gap


def difference_lines(
    address: str, compared: Mapping[str, Json], metrics: Sequence[str], paint: Paint, width: int
) -> Iterator[str]:
    """What an evaluation's `compare` found, a table a model. compared: its facts. metrics: only these."""
    baseline = clean(str(compared["baseline"]))
    yield f"{address}: differences to {baseline} on {compared['images']} images, with the middle 95% of new draws"
    for name, found in compared.items():
        if not isinstance(found, Mapping):
            continue
        rows = [row for key, interval in found.items() if (row := _difference_row(key, interval, metrics)) is not None]
        if rows:
            yield ""
            yield from table([clean(name), "difference", "from", "to", ""], rows, paint, width)
    yield "* does not hold zero. Differences of single classes stand in report.html."


def _difference_row(key: str, interval: Json, metrics: Sequence[str]) -> list[str] | None:
    metric = spoken_metric(clean(key))
    if metric not in metrics or not isinstance(interval, Mapping) or "difference" not in interval:
        return None
    values = [interval["difference"], interval["low"], interval["high"]]
    low, high = values[1:]
    certain = isinstance(low, int | float) and isinstance(high, int | float) and (low > 0 or high < 0)
    return [metric, *map(_signed, values), "*" if certain else ""]


def _signed(value: Json) -> str:
    if not isinstance(value, int | float):
        return "–"
    return f"+{number(value)}" if value > 0 else number(value)
