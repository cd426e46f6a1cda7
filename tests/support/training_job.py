"""Run as a program: trains a model on `FOLDER/export` and prints what came out as the last line, as JSON.

    python training_job.py FOLDER SPEC          SPEC: a JSON object, the fields of UltralyticsSpec

Any look-up of a name and any file that is opened for writing outside FOLDER ends the program with an error.
TRACK=1: it reports to a stand-in of Weights & Biases.
OOM_ABOVE=n: a batch of more than n images is out of memory, from the epoch OOM_EPOCH on.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from specrun.errors import SpecrunError
from specrun.kinds.models.ultralytics import Ultralytics
from specrun.kinds.models.ultralytics_spec import UltralyticsSpec
from specrun.model.address import parse_address
from specrun.model.event import LogLine, Metric, Progress
from specrun.model.work import Made
from tests.support.context import make_context
from tests.support.fake_wandb import FakeWandb


def watch_the_process(folder: Path) -> list[str]:
    """Places outside the folder that were opened for writing; a look-up of a name raises."""
    outside: list[str] = []
    allowed = (str(folder), tempfile.gettempdir() + "/pymp-", "/dev/", "/proc/")

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
            outside.append(f"look-up of {arguments[0]}")
            raise RuntimeError(f"a name was looked up: {arguments[0]}")
        if event == "open":
            path, _, flags = arguments
            writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            text = os.path.abspath(os.fsdecode(path)) if isinstance(path, (str, bytes)) else ""
            if writes and text and not text.startswith(allowed) and not text.endswith(".pyc") and ".pyc." not in text:
                outside.append(text)

    sys.addaudithook(audit)
    return outside


def short_of_memory(largest: int, first_epoch: int) -> None:
    from ultralytics.engine import trainer  # in the prepared environment
    from ultralytics.nn import tasks

    now = {"epoch": 0}
    begin = trainer.BaseTrainer._model_train
    loss = tasks.BaseModel.loss

    def note_epoch(self: Any) -> None:
        now["epoch"] = self.epoch + 1
        begin(self)

    def forward(self: Any, batch: Any, preds: Any = None) -> Any:
        if self.training and now["epoch"] >= first_epoch and len(batch["img"]) > largest:
            import torch

            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        return loss(self, batch, preds)

    trainer.BaseTrainer._model_train = note_epoch
    tasks.BaseModel.loss = forward


def main(folder: Path, fields: dict[str, Any]) -> dict[str, Any]:
    from specrun.training.ultralytics import environment

    described = json.loads((folder / "export" / "facts.json").read_text())
    export = Made(parse_address("exports.yolo"), "exports.yolo", folder / "export", "digest", described)
    previous = folder / "previous"
    trackers, settings = FakeWandb(), {}
    if "TRACK" in os.environ:
        sys.modules["wandb"] = trackers
        settings = {"tracking": {"wandb": {}}}
    earlier = previous if previous.is_dir() else None
    context = make_context(folder, "models.m", cpus=2, made={"data": [export]}, previous=earlier, settings=settings)
    outside = watch_the_process(folder)
    if "OOM_ABOVE" in os.environ:
        join = environment.join_ultralytics

        def join_short_of_memory(threads: int) -> Any:
            module = join(threads)
            short_of_memory(int(os.environ["OOM_ABOVE"]), int(os.environ.get("OOM_EPOCH", "1")))
            return module

        environment.join_ultralytics = join_short_of_memory
    events = context.events
    try:
        outputs = Ultralytics().run(UltralyticsSpec(**fields), context)
    except SpecrunError as error:
        told = [e.text for e in events if isinstance(e, LogLine)]
        return {"error": type(error).__name__, "message": str(error), "outside": outside, "told": told}
    return {
        "facts": outputs.facts,
        "artifacts": {artifact.name: artifact.place for artifact in outputs.artifacts},
        "metrics": [[e.name, e.step, e.value] for e in events if isinstance(e, Metric)],
        "told": [e.text for e in events if isinstance(e, LogLine)],
        "phases": sorted({e.phase for e in events if isinstance(e, Progress)}),
        "outside": outside,
        "tracked": [[run.fields["config"]["weights"], run.rows, run.ended] for run in trackers.runs],
    }


if __name__ == "__main__":
    print("RESULT " + json.dumps(main(Path(sys.argv[1]).resolve(), json.loads(sys.argv[2]))))
