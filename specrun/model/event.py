"""Events: the lines of a run's journal. Dashboard, plain text and JSON all read these and nothing else.

On disk and with `--ui json`, one JSON object a line:
    {"type": "NodeFinished", "run": …, "seq": …, "time": …, "address": "models.unet", …}
The first line of a journal is {"type": "Journal", "format": 1}. `time` is seconds since the epoch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from specrun.model.digest import Json

JOURNAL_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """run: the run's id. seq: counts from 1 within a run, without gaps. time: seconds since the epoch."""

    run: str = ""
    seq: int = 0
    time: float = 0.0

    def to_json(self) -> dict[str, Any]:
        data: dict[str, Any] = {"type": type(self).__name__}
        for name in _FIELDS[type(self)]:
            data[name] = getattr(self, name)
        return data


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted(Event):
    """plan: Plan.to_json(). history: address → seconds the node took last time. pid: the supervisor.
    output_root: absolute; folders in the plan are relative to it."""

    project: str
    spec: str
    plan: Mapping[str, Any]
    history: Mapping[str, float] = field(default_factory=dict)
    pid: int = 0
    host: str = ""
    output_root: str = ""
    gpus: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunAmended(Event):
    """The run goes on with another plan (`watch` found changes; people have finished).

    plan: Plan.to_json() of all that the run does and did; what it leaves alone stands there as before. history: as in
    RunStarted. queued: addresses that wait for their turn from here on; everything else is as its last event says,
    or, when it had none, as the plan says. A running node that is stopped is told of by events of its own.
    """

    plan: Mapping[str, Any]
    history: Mapping[str, float] = field(default_factory=dict)
    queued: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeEvent(Event):
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeQueued(NodeEvent):
    """waits_for: what keeps it from starting (`a GPU`, `a CPU`, `datasets.reef`)."""

    waits_for: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStarted(NodeEvent):
    """gpus: indices leased. log: path of the log, relative to the run folder. resumed: staging was kept."""

    attempt: int = 1
    worker: str = ""
    pid: int = 0
    gpus: tuple[int, ...] = ()
    log: str = ""
    resumed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress(NodeEvent):
    """done and total in `unit`; total None when unknown. phase: what it does now (`epoch 3/40`).
    part: done and total are of this phase alone, which is a part of the work."""

    done: float
    total: float | None = None
    unit: str = ""
    phase: str = ""
    part: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric(NodeEvent):
    name: str
    step: float
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine(NodeEvent):
    """text: control characters stripped; never markup."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSample(Event):
    """utilisation in percent, memory in MiB, temperature in °C, power in W; None: not known."""

    index: int
    name: str = ""
    utilisation: float | None = None
    memory_used_mib: float | None = None
    memory_total_mib: float | None = None
    temperature_c: float | None = None
    power_w: float | None = None
    processes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineSample(Event):
    """cpu in percent of all cores; memory in MiB; disk: free bytes where the outputs lie."""

    cpu: float
    cores: int
    memory_used_mib: float
    memory_total_mib: float
    disk_free_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactMade(NodeEvent):
    """place: absolute path or a URI."""

    name: str
    artifact_type: str
    place: str
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRetrying(NodeEvent):
    attempt: int
    delay_s: float
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeWaiting(NodeEvent):
    """missing: what people still owe, one line each. approval: it waits for --yes instead."""

    missing: tuple[str, ...] = ()
    approval: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFinished(NodeEvent):
    """duration_s: with earlier_s, the work that was done before an interruption and gone on with."""

    duration_s: float
    digest: str = ""
    facts: Mapping[str, Json] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    folder: str = ""
    earlier_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFailed(NodeEvent):
    """log: path relative to the run folder. last_lines: the end of the log."""

    cause: str
    hint: str = ""
    log: str = ""
    last_lines: tuple[str, ...] = ()
    exit_code: int = 1
    interrupted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSkipped(NodeEvent):
    """reason: `unchanged` (early cut-off), `needs models.unet, which failed`, `the run was stopped`."""

    reason: str
    unchanged: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice(Event):
    """A line about the run as a whole (`no GPU here: GPU nodes run on the CPU`)."""

    text: str
    level: str = "info"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPaused(Event):
    paused: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStopping(Event):
    """Nothing new starts, and what runs was asked to save its work; at_once: it is ended."""

    at_once: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinished(Event):
    """status: done | failed | waiting | interrupted; crashed is never written, readers put it in the place of an
    end that is missing. stopped: nodes that a person or the end of the run stopped."""

    status: str
    exit_code: int
    duration_s: float
    finished: int = 0
    failed: int = 0
    skipped: int = 0
    unchanged: int = 0
    waiting: int = 0
    stopped: int = 0


EVENT_TYPES: Mapping[str, type[Event]] = {
    cls.__name__: cls
    for cls in (
        RunStarted,
        RunAmended,
        NodeQueued,
        NodeStarted,
        Progress,
        Metric,
        LogLine,
        GpuSample,
        MachineSample,
        ArtifactMade,
        NodeRetrying,
        NodeWaiting,
        NodeFinished,
        NodeFailed,
        NodeSkipped,
        Notice,
        RunPaused,
        RunStopping,
        RunFinished,
    )
}
_FIELDS: Mapping[type[Event], tuple[str, ...]] = {
    cls: tuple(f.name for f in dataclasses.fields(cls)) for cls in EVENT_TYPES.values()
}
_TUPLE_FIELDS = frozenset({"gpus", "processes", "missing", "notes", "last_lines", "queued"})


def event_from_json(data: Mapping[str, Any]) -> Event | None:
    """None for a type this version does not know: a newer journal is read as far as possible."""
    cls = EVENT_TYPES.get(data.get("type", ""))
    if cls is None:
        return None
    names = _FIELDS[cls]
    values: dict[str, Any] = {k: tuple(v) if k in _TUPLE_FIELDS else v for k, v in data.items() if k in names}
    return cls(**values)
