"""Run as a program: trains on `FOLDER/export` with two ranks on the CPU, and prints what came out as JSON.

python train_in_ranks.py FOLDER ARGUMENTS ON_OOM [STOP_AFTER]     STOP_AFTER: epochs, then the run is asked to stop
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from specrun.errors import SpecrunError
from specrun.model.event import LogLine, Metric, Progress
from specrun.training.ultralytics.environment import load_ultralytics
from specrun.training.ultralytics.epochs import Training
from specrun.training.ultralytics.trainer import train
from specrun.training.ultralytics.view import make_view
from tests.support.context import make_context

PROGRAM = ("-m", "tests.support.gloo_rank")


def main(folder: Path, arguments: dict[str, Any], on_oom: Any, stop_after: int | None) -> dict[str, Any]:
    events: list[Any] = []

    def stop() -> bool:
        return stop_after is not None and any(isinstance(e, Metric) and e.step >= stop_after for e in events)

    context = make_context(folder, "models.m", cpus=2, emit=events.append, stop=stop)
    load_ultralytics(context.staging / ".work", context.cache_dir, 2)
    view = make_view(folder / "export", context.staging / ".work" / "view", task="detect")
    training = Training(
        weights="yolo11n.yaml",
        task="detect",
        data=view.data,
        arguments=arguments,
        folder=context.staging,
        device="0,1",
        key="k",
        resume=True,
        on_oom=on_oom,
    )
    result: dict[str, Any]
    try:
        result = {"state": asdict(train(training, context, program=PROGRAM))}
    except SpecrunError as error:
        result = {"error": type(error).__name__, "message": str(error)}
    ranks = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return {
        **result,
        "left": [line for line in ranks.splitlines() if "gloo_rank" in line and str(folder) in line],
        "metrics": [[e.name, e.step] for e in events if isinstance(e, Metric)],
        "phases": sorted({e.phase for e in events if isinstance(e, Progress)}),
        "told": [e.text for e in events if isinstance(e, LogLine)],
    }


if __name__ == "__main__":
    place, settings, policy, *rest = sys.argv[1:]
    print("RESULT " + json.dumps(main(Path(place), json.loads(settings), policy, int(rest[0]) if rest else None)))
