"""As much of the client of Weights & Biases as is used, in place of the package; every run keeps what it was told."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace
from typing import Any


class FakeWandb(ModuleType):
    """failure: raised by every `log`."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.runs: list[SimpleNamespace] = []
        self.failure: Exception | None = None
        self.teardown = lambda: None
        self.Settings = lambda **fields: SimpleNamespace(**fields)

    def init(self, **fields: Any) -> SimpleNamespace:
        rows: list[tuple[int, dict[str, float]]] = []
        run = SimpleNamespace(id=fields["id"], fields=fields, rows=rows, ended=None, offline=False)

        def log(values: dict[str, float], step: int) -> None:
            if self.failure is not None:
                raise self.failure
            rows.append((step, values))

        run.log, run.finish = log, lambda exit_code: setattr(run, "ended", exit_code)
        self.runs.append(run)
        return run
