"""What specrun adds to a training with Ultralytics: the same settings, data and threads, with and without it.

    python -m tests.bench.bench_ultralytics [RUNS [EPOCHS [THREADS [SIZE]]]]

Runs alternate, each in a process of its own; imports are not counted, everything else is: linking the data, training,
validating, what is done to the checkpoints. Prints every time, the medians and their ratio, which falls with the
length of the training: a second or so is for the beginning and the end. On a busy machine, one thread tells more
than two, which wait for one another.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support.yolo_squares import write_squares

_ROOT = Path(__file__).parents[2]
_SETTINGS = {"batch": 8, "plots": False, "seed": 0}
_PLAIN = """
import json, sys, time
from pathlib import Path
from specrun.training.ultralytics.environment import load_ultralytics
folder, settings, threads = Path(sys.argv[1]), json.loads(sys.argv[2]), int(sys.argv[3])
library = load_ultralytics(folder / "plain", folder / "cache", threads)
from ultralytics import YOLO
from ultralytics.engine import trainer
began, worked = time.perf_counter(), time.process_time()
YOLO("yolo11n.yaml").train(data=str(folder / "export" / "data.yaml"), device="cpu", save_dir=str(folder / "out"),
                           **settings)
print("SECONDS", time.perf_counter() - began, time.process_time() - worked)
"""
_SPECRUN = """
import json, sys, time
from pathlib import Path
from specrun.kinds.models.ultralytics import Ultralytics
from specrun.kinds.models.ultralytics_spec import UltralyticsSpec
from specrun.model.address import parse_address
from specrun.model.work import Made
from specrun.training.ultralytics.environment import load_ultralytics
from tests.support.context import make_context
folder, settings, threads = Path(sys.argv[1]), json.loads(sys.argv[2]), int(sys.argv[3])
export = Made(parse_address("exports.e"), "exports.yolo", folder / "export", "d", {"task": "detect"})
context = make_context(folder, "models.m", cpus=threads, made={"data": [export]})
load_ultralytics(context.staging / ".work", context.cache_dir, threads)
from ultralytics import YOLO
from ultralytics.engine import trainer
began, worked = time.perf_counter(), time.process_time()
Ultralytics().run(UltralyticsSpec(weights="yolo11n.yaml", data="e", train=settings), context)
print("SECONDS", time.perf_counter() - began, time.process_time() - worked)
"""


def _seconds(program: str, epochs: int, threads: int, size: int) -> tuple[float, float]:
    """Wall time and the processor time of all threads."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_squares(folder / "export", "detect", train=64, val=16, size=size)
        settings = {**_SETTINGS, "epochs": epochs, "imgsz": size}
        arguments = [sys.executable, "-c", program, name, json.dumps(settings), str(threads)]
        environ = {**os.environ, "PYTHONPATH": str(_ROOT)}
        done = subprocess.run(arguments, env=environ, cwd=name, capture_output=True, text=True, check=True)
        _, wall, worked = next(line for line in done.stdout.splitlines() if line.startswith("SECONDS")).split()
        return float(wall), float(worked)


def main(runs: int = 5, epochs: int = 4, threads: int = 2, size: int = 160) -> None:
    found: dict[str, list[tuple[float, float]]] = {"plain": [], "specrun": []}
    for _ in range(runs):
        for name, program in (("plain", _PLAIN), ("specrun", _SPECRUN)):
            found[name].append(_seconds(program, epochs, threads, size))
    for index, sort in enumerate(("wall", "processor")):
        medians = {}
        for name, times in found.items():
            seconds = [pair[index] for pair in times]
            medians[name] = statistics.median(seconds)
            print(f"{sort}, {name}: {', '.join(f'{s:.2f}' for s in seconds)}; median {medians[name]:.2f} s")
        print(f"{sort}, specrun / plain: {medians['specrun'] / medians['plain']:.4f}")


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
