"""Does one movement of outputs and kills itself at the n-th step: `publish_and_die.py PROJECT SCENARIO N`."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from specrun.store.publish import Publication, publish, publish_many
from specrun.store.recover import recover
from specrun.store.rollback import rollback
from specrun.store.state import State
from tests.support.outputs import NODE, project_paths, stage

NOW = "2025-01-02T00:00:00+00:00"


def main(project: Path, scenario: str, kill_at: int) -> None:
    paths = project_paths(project)
    steps = 0

    def step(name: str) -> None:
        nonlocal steps
        steps += 1
        if steps == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    with State.open(paths.state_db) as state:
        match scenario:
            case "first" | "replace":
                publish(state, paths, *stage(paths, "new"), keep=0, now=NOW, step=step)
            case "keep":
                publish(state, paths, *stage(paths, "new"), keep=1, now=NOW, step=step)
            case "again":
                publish(state, paths, *stage(paths, "old again", run="run-again"), keep=1, now=NOW, step=step)
            case "rollback":
                rollback(state, paths, NODE, now=NOW, step=step)
            case "batch":
                batch = [Publication(*stage(paths, "new", address=f"steps.n{i}")) for i in range(3)]
                publish_many(state, paths, batch, now=NOW, step=step)
            case "recover":
                recover(state, paths, step=step)
    print(steps)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
