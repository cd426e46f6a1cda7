"""What a section and a kind are, for those who write kinds and for the loader that composes them.

`spec` stays generic: it never imports a kind, it is handed a Registry.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Protocol

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue

from specrun.errors import NodeError
from specrun.model.artifact import Outputs
from specrun.model.digest import Json
from specrun.model.node import Resources
from specrun.model.plan import Estimate
from specrun.model.state import NodeRecord, Observation
from specrun.model.work import Context, Look
from specrun.spec.quantities import duration_s, memory_mib
from specrun.spec.section import Registry, Section, kind_of

__all__ = [
    "NOT_RESULT",
    "Best",
    "Count",
    "Declaration",
    "Duration",
    "Kind",
    "Lookup",
    "Memory",
    "Need",
    "NodeSpec",
    "Problem",
    "Ref",
    "Registry",
    "ResourcesSpec",
    "Section",
    "Strict",
    "WorkerSort",
    "kind_of",
]

NOT_RESULT: dict[str, JsonValue] = {"x-part-of-result": False}
"""json_schema_extra of a field that cannot change the result, so that editing it makes nothing stale."""


class Strict(BaseModel):
    """Base of everything a user may write: frozen, and an unknown key is a mistake.

    The docstring under a field is its documentation, for the schema, the editor and the docs
    (extracted when the schema is made, not at import: it costs milliseconds a class).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, validate_default=False)


def _duration(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value} has no unit; write for example 30s, 90m or 12h")
    duration_s(value)
    return value


def _memory(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value} has no unit; write for example 512MB or 16GB")
    memory_mib(value)
    return value


Duration = Annotated[str, BeforeValidator(_duration)]
"""Text such as 90m or 1h30m; seconds by quantities.duration_s."""
Memory = Annotated[str, BeforeValidator(_memory)]
"""Text such as 16GB; MiB by quantities.memory_mib."""
Count = Annotated[int, Field(ge=0)]


@dataclass(frozen=True, slots=True)
class Ref:
    """Marks a field that names another entry: `dataset: Annotated[str, Ref("datasets")]`.

    One section: the bare name is written (the full address is accepted). Several: the address.
    The marked type is str, `str | None`, list[str], or a union with `Best`; nested models are searched too.
    """

    sections: tuple[str, ...]
    bare: bool
    """Of several sections: a name without one is of the first."""

    def __init__(self, *sections: str, bare: bool = False) -> None:
        object.__setattr__(self, "sections", sections)
        object.__setattr__(self, "bare", bare)

    def address(self, written: str) -> str:
        """The text of the address for what the user wrote (may still carry `[*]` or an instance)."""
        return written if "." in written.split("[")[0] else f"{self.sections[0]}.{written}"


class Best(Strict):
    """The best instance of a matrix, chosen when its instances are made: `{best: models.unet, metric: val/iou}`."""

    best: str
    """The node with the matrix."""
    metric: str
    """A metric that its instances report."""
    mode: Literal["max", "min"] = "max"
    """Whether higher or lower is better."""


class ResourcesSpec(Strict):
    """What a node may use of the machine."""

    gpus: Count | dict[Literal["min"], Count] | None = None
    """GPUs; `1` without a GPU runs on the CPU and says so, `{min: 1}` insists."""
    cpus: float | None = Field(default=None, ge=0)
    """Cores."""
    memory: Memory | None = None
    """For example 16GB."""

    @property
    def gpu_count(self) -> int | None:
        """None: the kind decides."""
        return self.gpus["min"] if isinstance(self.gpus, dict) else self.gpus


class NodeSpec(Strict):
    """Keys that every node has. None of them is part of the result."""

    matrix: dict[str, list[Any]] | None = Field(default=None, json_schema_extra=NOT_RESULT)
    """One node for each combination of values; `${matrix.key}` stands for the value."""
    resources: ResourcesSpec = Field(default=ResourcesSpec(), json_schema_extra=NOT_RESULT)
    """What the node may use of the machine."""
    retries: int = Field(default=0, ge=0, le=100, json_schema_extra=NOT_RESULT)
    """How often a failed node is tried again; never for out-of-memory, a bad spec or bad credentials."""
    timeout: Duration | None = Field(default=None, json_schema_extra=NOT_RESULT)
    """Longest duration, for example 90m or 12h; then the node is stopped and fails."""
    enabled: bool = Field(default=True, json_schema_extra=NOT_RESULT)
    """false: the node is left as it is; what needs it uses what exists."""
    after: list[str] = Field(default=[], json_schema_extra=NOT_RESULT)
    """Addresses that must be done first although no data comes from them."""
    keep: int | None = Field(default=None, ge=0, json_schema_extra=NOT_RESULT)
    """How many earlier outputs stay for `specrun rollback`; null: 2 of models and LoRA jobs, none of others."""
    description: str = Field(default="", json_schema_extra=NOT_RESULT)
    """For people."""


class SeededSpec(NodeSpec):
    """Keys of a node whose result is drawn at random."""

    seed: int | None = Field(default=None, ge=0, lt=2**32, json_schema_extra=NOT_RESULT)
    """Where its random numbers begin; null: the project's seed. `matrix: {seed: [1, 2, 3]}` and
    `seed: ${matrix.seed}` show how much of a score is chance."""


WorkerSort = Literal["light", "fiftyone", "process"]


class Kind:
    """One thing that a user may declare. Subclasses live one a file in `specrun.kinds`.

    Importing a kind's module must be cheap: no torch, fiftyone, ultralytics, cvat_sdk; numpy and
    PIL only inside functions. `run` executes in a worker process, everything else in the planner.
    """

    Spec: ClassVar[type[NodeSpec]]
    version: ClassVar[int] = 1
    """Raised when the output would differ for the same input."""
    worker: ClassVar[WorkerSort] = "light"
    uses_seed: ClassVar[bool] = False
    """The seed is part of the result: the project's, or the node's own where its spec is a SeededSpec."""
    keeps: ClassVar[int] = 0
    """Default of `keep`."""
    resources: ClassVar[Resources] = Resources()
    packages: ClassVar[tuple[str, ...]] = ()
    """Distributions whose versions are recorded with what it makes (never part of the fingerprint)."""

    def check(self, spec: Any, lookup: Lookup) -> Sequence[Problem]:
        """Mistakes that types cannot express, found at validation time."""
        return ()

    def reports(self, spec: Any) -> Sequence[str]:
        """Names of the metrics that `{best: …}` may choose by; one that ends in / begins other names.
        Empty: not known before it has run."""
        return ()

    def inputs(self, spec: Any) -> Sequence[Need]:
        """References, each with what it needs of it."""
        return ()

    def needs(self, spec: Any, lookup: Lookup) -> Sequence[Need]:
        """What the loader asks; a kind that must look at another entry to know what it reads overrides this
        (an evaluation reads the dataset that its predictions name)."""
        return self.inputs(spec)

    async def observe(self, spec: Any, look: Look) -> Observation:
        """What the world says now; raises NodeError when it cannot be asked."""
        return Observation()

    def estimate(self, spec: Any, last: NodeRecord | None) -> Estimate:
        if last is None:
            return Estimate()
        return Estimate(seconds=last.duration_s, source="last run")

    def result(self, config: dict[str, Json]) -> dict[str, Json]:
        """The part of the config that can change what it makes, where whole fields (NOT_RESULT, left out already) are
        too coarse."""
        return config

    def estimate_of_change(self, spec: Any, last: NodeRecord, changed: Sequence[str]) -> Estimate | None:
        """What it takes when only these fields changed (`export.onnx`), where that is less than making it anew."""
        return None

    def wants(self, spec: Any) -> Resources:
        """What it may use of the machine, where its `resources` do not say."""
        return self.resources

    def resume_key(self, spec: Any) -> Json:
        """Fields that must agree for an interrupted run's staging to be used again; None: never."""
        return None

    def goes_on(self, spec: Any, staging: Path) -> str:
        """How the next attempt takes up what an interrupted one left there, in words, quickly and without changing
        anything (`goes on after epoch 25`, `begins anew`); "": that is only seen when it begins."""
        return ""

    def external(self, spec: Any) -> bool:
        """It writes to a system outside the machine."""
        return False

    def exclusive(self, spec: Any) -> Sequence[str]:
        """Leases that one running node may hold at a time (`fiftyone:corals.reef`)."""
        return ()

    def adopt(self, spec: Any, place: Path, staging: Path) -> Outputs:
        """Lay what was made elsewhere into staging as `run` would have, for `specrun adopt`.

        Raises NodeError: this is not what the kind makes.
        """
        if not place.is_dir():
            raise NodeError(f"{place} is no folder", hint="Give a folder laid out as this kind makes it.")
        shutil.copytree(place, staging, dirs_exist_ok=True, symlinks=True)
        return Outputs()

    def run(self, spec: Any, ctx: Context) -> Outputs:
        raise TypeError(f"{type(self).__name__} has no work")


class Declaration:
    """An entry that is no node: taxonomies, skeletons, connections. Its resolved JSON goes into the
    config (and so into the fingerprint) of every node that names it."""

    Spec: ClassVar[type[Strict]]

    def check(self, spec: Any, lookup: Lookup) -> Sequence[Problem]:
        return ()

    def resolve(self, spec: Any, lookup: Lookup) -> dict[str, Json]:
        """The JSON that consumers get in `ctx.declarations`, references to others already followed."""
        return dict(spec.model_dump(mode="json", by_alias=True))

    def result(self, resolved: dict[str, Json]) -> Json:
        """The part of the resolved JSON that can change a result."""
        return resolved


@dataclass(frozen=True, slots=True)
class Need:
    """An input as the kind asks for it. ref: `datasets.reef`, perhaps with `[encoder=resnet34]` or `[*]`;
    or the mapping `{best: …, metric: …, mode: …}`. parts: see model.node.Input. An entry of a section without nodes
    (a connection that another entry names) comes with the declarations instead."""

    role: str
    ref: str | Mapping[str, Any]
    parts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Problem:
    """A mistake in one entry. path: dotted, relative to the entry (`train.epohcs`), "" for the entry."""

    path: str
    message: str
    hint: str | None = None
    warning: bool = False


class Lookup(Protocol):
    """The rest of the spec, for `check` and `resolve`."""

    project_dir: Any

    def spec(self, address: str) -> Any | None:
        """The validated model of another entry, or None (missing, or itself mistaken)."""
        ...

    def kind_of(self, address: str) -> str | None:
        """`exports.yolo` for an address, or None."""
        ...

    def addresses(self, section: str) -> Sequence[str]:
        """Every entry of a section, the instances of a matrix each."""
        ...
