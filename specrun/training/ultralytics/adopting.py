"""Takes in a checkpoint that was trained elsewhere: `python -m …adopting CHECKPOINT FOLDER`.

A process of its own, because loading a checkpoint needs torch and Ultralytics. Prints the facts as the
last line, as JSON, or {"refused": why}.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from specrun.errors import NodeError, SpecrunError


def adopt_checkpoint(checkpoint: Path, folder: Path) -> dict[str, Any]:
    """Copies it to `weights/best.pt`, writes model.json, returns {task, classes, imgsz}.

    Raises NodeError: it is no checkpoint that Ultralytics can load.
    """
    hint = "Give a .pt checkpoint of Ultralytics."
    if checkpoint.suffix != ".pt":
        raise NodeError(f"{checkpoint}: is no checkpoint.", hint=hint)
    done = subprocess.run(
        [sys.executable, "-m", "specrun.training.ultralytics.adopting", str(checkpoint), str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["it gave no reason"]
        raise NodeError(f"{checkpoint}: cannot be loaded: {lines[-1]}", hint=hint)
    told: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    if "refused" in told:
        raise NodeError(str(told["refused"]), hint=hint)
    return told


def main() -> None:
    from specrun.training.ultralytics.environment import load_ultralytics

    checkpoint, folder = Path(sys.argv[1]), Path(sys.argv[2])
    work = folder / "work"
    load_ultralytics(work, work / "cache", 1)
    # Ultralytics reads its environment at import, so this comes after it was prepared.
    from specrun.training.ultralytics import finishing

    try:
        task, classes, imgsz = finishing.checkpoint_facts(finishing.load_checkpoint(checkpoint))
    except SpecrunError as error:
        print(json.dumps({"refused": error.message}))
        return
    (folder / "weights").mkdir(parents=True, exist_ok=True)
    shutil.copyfile(checkpoint, folder / "weights" / "best.pt")
    finishing.ModelFacts(
        task=task, classes=classes, imgsz=imgsz, architecture=checkpoint.name, trained_on=None, exports={}
    ).save(folder)
    shutil.rmtree(work, ignore_errors=True)
    print(json.dumps({"task": task, "classes": list(classes), "imgsz": imgsz}))


if __name__ == "__main__":
    main()
