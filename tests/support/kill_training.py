"""Run as a program: trains, and kills its own process at the moment asked for, as `kill -9` would.

python kill_training.py FOLDER EPOCHS MOMENT [TRAIN]

MOMENT: batch:<epoch> | save:<epoch> | strip | none. TRAIN: more training arguments, as JSON.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from specrun.kinds.models.ultralytics import Ultralytics
from specrun.kinds.models.ultralytics_spec import UltralyticsSpec
from specrun.model.address import parse_address
from specrun.model.work import Made
from tests.support.context import make_context


def spec(count: int, **more: Any) -> UltralyticsSpec:
    train = {"epochs": count, "imgsz": 64, "batch": 2, "plots": False, "close_mosaic": 0, **more}
    return UltralyticsSpec(weights="yolo11n-seg.yaml", data="yolo", train=train)


def context(folder: Path, **overrides: Any) -> Any:
    facts = {"task": "segment", "classes": ["small", "large"]}
    export = Made(parse_address("exports.yolo"), "yolo", folder / "export", "digest", facts)
    return make_context(folder, "models.coins", cpus=2, made={"data": [export]}, **overrides)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(moment: str) -> None:
    """Patch the library so that the process dies at that moment."""
    from specrun.training.ultralytics import epochs
    from specrun.training.ultralytics.checkpoints import DurableFile

    what, _, epoch = moment.partition(":")
    if what == "batch":
        after_batch = epochs.Watch.on_batch_end

        def on_batch_end(self: Any, source: Any) -> None:
            after_batch(self, source)
            if self.epoch + 1 == int(epoch) and self.batch == 2:
                die()

        epochs.Watch.on_batch_end = on_batch_end  # type: ignore[method-assign]
    elif what == "save":
        write = DurableFile.write_bytes
        writes = []

        def write_bytes(self: DurableFile, data: Any) -> int:
            writes.append(self.name)
            if writes.count("last.pt") == int(epoch):
                Path(f"{self}.part").write_bytes(data[: len(data) // 2])
                die()
            return write(self, data)

        DurableFile.write_bytes = write_bytes  # type: ignore[method-assign]
    elif what == "strip":
        import torch

        save = torch.save

        def die_while_saving(content: Any, place: Any, *arguments: Any, **options: Any) -> None:
            if str(place).endswith("last.pt"):
                Path(place).write_bytes(b"half")
                die()
            save(content, place, *arguments, **options)

        torch.save = die_while_saving


if __name__ == "__main__":
    arm(sys.argv[3])
    more = json.loads(sys.argv[4]) if len(sys.argv) > 4 else {}
    Ultralytics().run(spec(int(sys.argv[2]), **more), context(Path(sys.argv[1])))
