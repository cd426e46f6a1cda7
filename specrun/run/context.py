"""The Context that a kind's work gets in a worker: reports become events, memory is durable."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from specrun.errors import CredentialsError, StopRequested
from specrun.model.address import Address
from specrun.model.artifact import Artifact
from specrun.model.digest import Json, canonical_json
from specrun.model.event import ArtifactMade, Event, LogLine, Metric, Progress
from specrun.model.work import Made

PROGRESS_INTERVAL_S = 0.1
LONGEST_LINE = 1 << 12
"""Characters; a longer line of the log is broken."""


class Memory(Protocol):
    """What a node remembers across runs; durable before `remember` returns."""

    def remember(self, address: str, key: str, value: Json) -> None: ...
    def recall(self, address: str, key: str) -> Json: ...


@dataclass(kw_only=True)
class WorkerContext:
    """Implements model.work.Context. emit: where events go. stop: asked at every `stop_requested`."""

    address: Address
    staging: Path
    output: Path
    previous: Path | None
    project_dir: Path
    output_root: Path
    run_folder: Path
    cache_dir: Path
    memory: Memory
    emit: Callable[[Event], None]
    stop: Callable[[], bool] = lambda: False
    seed: int = 0
    gpus: tuple[int, ...] = ()
    cpus: int = 1
    settings: Mapping[str, Any] = field(default_factory=dict)
    declarations: Mapping[str, Any] = field(default_factory=dict)
    resumed: bool = False
    replaced: bool = False
    project_name: str = ""
    made: Mapping[str, Sequence[Made]] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    clock: Callable[[], float] = time.monotonic
    _last_progress: tuple[str, float] = ("", -math.inf)

    def inputs(self, role: str) -> Sequence[Made]:
        return self.made.get(role, ())

    def input(self, role: str) -> Made:
        found = self.inputs(role)
        if len(found) != 1:
            raise KeyError(f"{self.address} has {len(found)} inputs named {role}, expected one")
        return found[0]

    def progress(
        self, done: float, total: float | None = None, unit: str = "", phase: str = "", *, part: bool = False
    ) -> None:
        """At most ten a second reach the journal; the last one of a phase always does.

        What is not finite is not told: JSON has no NaN.
        """
        if not math.isfinite(done):
            return
        total = total if total is not None and math.isfinite(total) else None
        now = self.clock()
        phase_before, sent_at = self._last_progress
        finished = total is not None and done >= total
        if phase == phase_before and not finished and now - sent_at < PROGRESS_INTERVAL_S:
            return
        self._last_progress = (phase, now)
        self.emit(Progress(address=str(self.address), done=done, total=total, unit=unit, phase=phase, part=part))

    def metric(self, name: str, step: float, value: float) -> None:
        """A value or step that is not finite is logged instead: JSON has no NaN."""
        if not (math.isfinite(value) and math.isfinite(step)):
            self.log(f"{name} is {value} at step {step}")
            return
        self.emit(Metric(address=str(self.address), name=name, step=step, value=value))

    def log(self, text: str) -> None:
        for line in text.splitlines():
            for start in range(0, max(1, len(line)), LONGEST_LINE):
                self.emit(LogLine(address=str(self.address), text=line[start : start + LONGEST_LINE]))

    def artifact(self, artifact: Artifact) -> None:
        place = artifact.place if ":" in artifact.place else str(self.output / artifact.place)
        self.emit(ArtifactMade(address=str(self.address), name=artifact.name, artifact_type=artifact.type, place=place))

    def stop_requested(self) -> bool:
        return self.stop()

    def check_stop(self) -> None:
        if self.stop():
            raise StopRequested("stopped because the run was asked to stop")

    def remember(self, key: str, value: Json) -> None:
        self.memory.remember(str(self.address), key, value)

    def recall(self, key: str) -> Json:
        return self.memory.recall(str(self.address), key)

    def secret(self, reference: Json) -> str:
        """Secrets were resolved by the supervisor; raises CredentialsError when this one was not."""
        if isinstance(reference, dict):
            reference = {key: value for key, value in reference.items() if value is not None}
        try:
            return self.secrets[canonical_json(reference)]
        except KeyError:
            raise CredentialsError(f"{self.address}: a secret that it needs was not resolved") from None
