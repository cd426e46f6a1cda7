"""A small registry of kinds that import nothing heavy, for testing the spec layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from specrun.model.digest import Json
from specrun.spec.kind import (
    NOT_RESULT,
    Best,
    Declaration,
    Kind,
    Lookup,
    Need,
    NodeSpec,
    Problem,
    Ref,
    Registry,
    Section,
    SeededSpec,
    Strict,
)
from specrun.spec.secrets import SecretRef


class Colours(Declaration):
    class Spec(Strict):
        names: list[str]
        """The colours."""
        extends: Annotated[str, Ref("palettes")] | None = None
        """Another palette, whose colours come first."""

    def resolve(self, spec: Any, lookup: Lookup) -> dict[str, Json]:
        parent = lookup.spec(f"palettes.{spec.extends}") if spec.extends else None
        return {"names": [*(self.resolve(parent, lookup)["names"] if parent else ()), *spec.names], "note": "shown"}

    def result(self, resolved: dict[str, Json]) -> Json:
        return {"names": resolved["names"]}


class Server(Declaration):
    class Spec(Strict):
        url: str
        """Where it answers."""
        password: SecretRef | None = None
        """Of the user."""


class Folder(Kind):
    class Spec(NodeSpec):
        path: str
        """The folder."""
        include: list[str] = ["**/*"]
        """Patterns of the files."""
        server: Annotated[str, Ref("servers")] | None = None
        """Where it comes from."""

    uses_seed = False


class Numbers(Kind):
    class Spec(SeededSpec):
        count: int = Field(ge=1)
        """How many numbers."""
        scale: float = 1.0
        """Their size."""

    uses_seed = True


class Train(Strict):
    """How it is trained."""

    epochs: int = Field(default=10, ge=1)
    """Rounds."""
    lr: float = 1e-3
    """Step size."""
    workers: int = Field(default=2, json_schema_extra=NOT_RESULT)
    """Processes that read."""
    shuffle: bool = True
    """In another order each round."""
    size: tuple[int, int] = (8, 8)
    """Width and height."""


class Network(Kind):
    class Spec(NodeSpec):
        data: Annotated[str, Ref("sources")]
        """What it learns from."""
        palette: Annotated[str, Ref("palettes")] | None = None
        """Its colours."""
        start_from: Literal["previous"] | Annotated[str, Ref("models")] | None = None
        """A warm start."""
        train: Train = Train()
        """How it is trained."""
        mode: Literal["fast", "slow"] = "fast"
        """How carefully."""
        unmapped: Literal["error", "keep"] | dict[Literal["to"], str] = "error"
        """What happens to the rest."""
        token: SecretRef | None = None
        """For the download."""
        from_: Annotated[list[str], Ref("sources", "models")] = Field(default=[], alias="from")
        """More of the same."""

    keeps = 2

    def check(self, spec: Any, lookup: Lookup) -> Sequence[Problem]:
        if spec.train.epochs == 13:
            return [Problem("train.epochs", "brings bad luck", "Take 12.")]
        return ()

    def reports(self, spec: Any) -> Sequence[str]:
        return ("iou", "iou/") if spec.mode == "fast" else ()

    def inputs(self, spec: Any) -> Sequence[Need]:
        needs = [Need("data", f"sources.{spec.data}", parts=("media",))]
        if spec.start_from not in (None, "previous"):
            needs.append(Need("start", f"models.{spec.start_from}"))
        return [*needs, *(Need("more", address) for address in spec.from_)]

    def resume_key(self, spec: Any) -> Json:
        return {"mode": spec.mode}


class Score(Kind):
    class Spec(NodeSpec):
        model: Annotated[str | Best, Ref("models")]
        """The model, or the best of a matrix."""

    def inputs(self, spec: Any) -> Sequence[Need]:
        if isinstance(spec.model, Best):
            return [Need("model", spec.model.model_dump())]
        return [Need("model", Ref("models").address(spec.model))]


class Command(Kind):
    class Spec(NodeSpec):
        argv: list[str]
        """The program and its arguments."""
        inputs: dict[str, Annotated[str, Ref("sources", "models")]] = {}
        """Role → address."""
        env: dict[str, str] = {}
        """More environment variables."""

    worker = "process"

    def inputs(self, spec: Any) -> Sequence[Need]:
        return [Need(role, address) for role, address in spec.inputs.items()]


_HERE = f"{__name__}:"
TOY_REGISTRY: Registry = {
    section.name: section
    for section in (
        Section("palettes", {"colours": f"{_HERE}Colours"}, default="colours", nodes=False),
        Section("servers", {"server": f"{_HERE}Server"}, default="server", nodes=False),
        Section("sources", {"folder": f"{_HERE}Folder", "numbers": f"{_HERE}Numbers"}),
        Section("models", {"network": f"{_HERE}Network"}, default="network"),
        Section("scores", {"score": f"{_HERE}Score"}, default="score"),
        Section("steps", {"command": f"{_HERE}Command"}, default="command", late=frozenset({"inputs", "staging"})),
    )
}
