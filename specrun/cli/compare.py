"""`specrun compare models.unet`: what the instances of a matrix scored, and how far seeds lie apart."""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from specrun.cli.github import as_text
from specrun.cli.project import expand
from specrun.cli.state import add_project, load_project_of, reading
from specrun.errors import UsageError
from specrun.model.address import Address
from specrun.model.digest import Json
from specrun.model.state import NodeRecord
from specrun.views.facts import scores
from specrun.views.paint import Paint
from specrun.views.quantities import number
from specrun.views.text import cells, clean

SEED = "seed"
_NO_SCORES = frozenset({"metrics", "per_class", "compare", "pck_per_point"})


@dataclass(frozen=True)
class Instance:
    """scores: empty when it was never made."""

    address: Address
    scores: Mapping[str, float] = field(default_factory=dict)
    made: bool = False

    @property
    def group(self) -> tuple[tuple[str, str], ...]:
        """Its matrix values without the seed."""
        return tuple(pair for pair in self.address.instance if pair[0] != SEED)


@dataclass(frozen=True)
class Spread:
    """Over the seeds of one group. spread: sample standard deviation, None with fewer than two."""

    mean: float
    spread: float | None
    count: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("addresses", nargs="+", metavar="ADDRESS", help="a matrix, for example models.unet, or nodes")
    parser.add_argument("--metric", action="append", default=[], metavar="NAME", help="only these, as the table says")
    parser.add_argument("--json", action="store_true", help="as JSON")
    add_project(parser)


def run(arguments: argparse.Namespace) -> int:
    project = load_project_of(arguments)
    with reading(project) as state:
        records = state.records()
    wanted = expand(arguments.addresses, [node.address for node in project.nodes], "")
    instances = [instance_of(address, records.get(address)) for address in wanted]
    metrics = metrics_of(instances, arguments.metric)
    if arguments.json:
        sys.stdout.write(json.dumps(to_json(instances, metrics), indent=2, ensure_ascii=False) + "\n")
        return 0
    paint = Paint(sys.stdout.isatty() and not os.environ.get("NO_COLOR"))
    sys.stdout.write(as_text("".join(f"{line}\n" for line in lines(instances, metrics, paint))))
    return 0


def instance_of(address: Address, record: NodeRecord | None) -> Instance:
    if record is None:
        return Instance(address)
    found = scores(record.facts)
    for name, value in record.facts.items():  # of several models, each under its name
        if isinstance(value, Mapping) and name not in _NO_SCORES:
            found |= {f"{clean(name)}/{key}": score for key, score in scores(value).items()}
    return Instance(address, found, made=True)


def metrics_of(instances: Sequence[Instance], chosen: Sequence[str]) -> list[str]:
    """Raises UsageError: nothing was measured, or not what was chosen."""
    known = list(dict.fromkeys(name for one in instances for name in one.scores))
    if not known:
        made = any(one.made for one in instances)
        hint = "These nodes measure nothing." if made else "Apply them first."
        raise UsageError("there are no scores to compare", hint=hint)
    for name in chosen:
        if name not in known:
            raise UsageError(f"--metric {name}: nothing reports it", hint=f"There are: {', '.join(known)}.")
    return list(chosen) or known


def spreads(
    instances: Iterable[Instance], metrics: Sequence[str]
) -> dict[tuple[tuple[str, str], ...], dict[str, Spread]]:
    """Group → metric → mean and spread, of the groups that have more than one seed."""
    groups: dict[tuple[tuple[str, str], ...], list[Instance]] = {}
    for one in instances:
        if one.made and one.group != one.address.instance:
            groups.setdefault((("", str(one.address.base)), *one.group), []).append(one)
    return {
        group: {
            name: found for name in metrics if (found := _spread([m.scores.get(name) for m in members])) is not None
        }
        for group, members in groups.items()
        if len(members) > 1
    }


def _spread(values: Iterable[float | None]) -> Spread | None:
    known = [value for value in values if value is not None and math.isfinite(value)]
    if not known:
        return None
    return Spread(statistics.fmean(known), statistics.stdev(known) if len(known) > 1 else None, len(known))


def to_json(instances: Sequence[Instance], metrics: Sequence[str]) -> Json:
    rows: list[Json] = [
        {
            "address": str(one.address),
            "matrix": dict(one.address.instance),
            "made": one.made,
            "scores": {name: one.scores.get(name) for name in metrics},
        }
        for one in instances
    ]
    groups: list[Json] = [
        {
            "node": group[0][1],
            "matrix": dict(group[1:]),
            "scores": {
                name: {"mean": found.mean, "spread": found.spread, "seeds": found.count}
                for name, found in by_metric.items()
            },
        }
        for group, by_metric in spreads(instances, metrics).items()
    ]
    return {"format": 1, "metrics": list(metrics), "instances": rows, "over_seeds": groups}


def lines(instances: Sequence[Instance], metrics: Sequence[str], paint: Paint) -> Iterator[str]:
    rows = []
    for one in instances:
        values = [_value(one.scores.get(name)) for name in metrics]
        rows.append([clean(str(one.address)), *(values if one.made else ["not made", *([""] * (len(metrics) - 1))])])
    yield from _table(["", *metrics], rows, paint)
    groups = spreads(instances, metrics)
    if not groups:
        return
    yield ""
    rows = []
    for group, by_metric in groups.items():
        matrix = ",".join(f"{key}={value}" for key, value in group[1:])
        name = group[0][1] + (f"[{matrix}]" if matrix else "")
        rows.append([clean(name), *(_spread_text(by_metric.get(metric)) for metric in metrics)])
    yield from _table(["mean ± spread over the seeds", *metrics], rows, paint)


def _value(value: float | None) -> str:
    return "–" if value is None else number(value)


def _spread_text(found: Spread | None) -> str:
    if found is None:
        return "–"
    return f"{number(found.mean)} ± {'?' if found.spread is None else number(found.spread)}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], paint: Paint) -> Iterator[str]:
    widths = [max(cells(row[column]) for row in (head, *rows)) for column in range(len(head))]
    yield paint("  ".join(_aligned(head, widths)).rstrip(), "bold")
    for row in rows:
        yield "  ".join(_aligned(row, widths)).rstrip()


def _aligned(row: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    """Names to the left, numbers to the right."""
    for column, (text, width) in enumerate(zip(row, widths, strict=True)):
        gap = " " * (width - cells(text))
        yield gap + text if column else text + gap
