"""`specrun compare models.unet`: what the instances of a matrix scored, and how far seeds lie apart."""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import statistics
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeGuard

from specrun.cli.compare_table import difference_lines, table
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
from specrun.views.text import clean

SEED = "seed"
_NO_SCORES = frozenset({"metrics", "per_class", "compare", "pck_per_point"})


@dataclass(frozen=True)
class Instance:
    """scores: empty when it was never made. model: of an evaluation of several. compared: what its `compare` found."""

    address: Address
    scores: Mapping[str, float] = field(default_factory=dict)
    made: bool = False
    model: str = ""
    compared: Mapping[str, Json] | None = None

    @property
    def name(self) -> str:
        return f"{clean(str(self.address))}{' ' if self.model else ''}{self.model}"

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
    instances = [one for address in wanted for one in instances_of(address, records.get(address))]
    metrics = metrics_of(instances, arguments.metric)
    if arguments.json:
        sys.stdout.write(json.dumps(to_json(instances, metrics), indent=2, ensure_ascii=False) + "\n")
        return 0
    paint = Paint(sys.stdout.isatty() and not os.environ.get("NO_COLOR"))
    width = shutil.get_terminal_size().columns  # 80 where there is none
    sys.stdout.write(as_text("".join(f"{line}\n" for line in lines(instances, metrics, paint, width))))
    return 0


def instances_of(address: Address, record: NodeRecord | None) -> list[Instance]:
    """One, or of an evaluation of several models one for each."""
    if record is None:
        return [Instance(address)]
    models = [(clean(name), value) for name, value in record.facts.items() if _is_model(value, name)]
    if not models:
        return [Instance(address, scores(record.facts), made=True)]
    compared = record.facts.get("compare")
    found = compared if isinstance(compared, Mapping) else None
    return [Instance(address, scores(value), made=True, model=name, compared=found) for name, value in models]


def _is_model(value: Json, name: str) -> TypeGuard[Mapping[str, Json]]:
    return isinstance(value, Mapping) and name not in _NO_SCORES and "images" in value and bool(scores(value))


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
            name = f"{one.address.base}{' ' if one.model else ''}{one.model}"
            groups.setdefault((("", name), *one.group), []).append(one)
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
            **({"model": one.model} if one.model else {}),
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
    compared: dict[str, Json] = {str(one.address): dict(one.compared) for one in instances if one.compared is not None}
    found: dict[str, Json] = {"format": 1, "metrics": list(metrics), "instances": rows, "over_seeds": groups}
    return {**found, "compared": compared} if compared else found


def lines(instances: Sequence[Instance], metrics: Sequence[str], paint: Paint, width: int = 80) -> Iterator[str]:
    rows = []
    for one in instances:
        values = [_value(one.scores.get(name)) for name in metrics]
        rows.append([one.name, *(values if one.made else ["not made", *([""] * (len(metrics) - 1))])])
    yield from table(["", *metrics], rows, paint, width)
    for address, compared in {str(one.address): one.compared for one in instances if one.compared is not None}.items():
        yield ""
        yield from difference_lines(clean(address), compared, metrics, paint, width)
    groups = spreads(instances, metrics)
    if not groups:
        return
    yield ""
    rows = []
    for group, by_metric in groups.items():
        matrix = ",".join(f"{key}={value}" for key, value in group[1:])
        name = group[0][1] + (f"[{matrix}]" if matrix else "")
        rows.append([clean(name), *(_spread_text(by_metric.get(metric)) for metric in metrics)])
    yield from table(["mean ± spread over the seeds", *metrics], rows, paint, width)


def _value(value: float | None) -> str:
    return "–" if value is None else number(value)


def _spread_text(found: Spread | None) -> str:
    if found is None:
        return "–"
    return f"{number(found.mean)} ± {'?' if found.spread is None else number(found.spread)}"
