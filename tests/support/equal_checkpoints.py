"""Run as a program: compares two checkpoints of Ultralytics, `python equal_checkpoints.py A B`.

Prints the greatest difference between the weights, and whether all the rest of the training's results is equal.
"""

from __future__ import annotations

import sys
from pathlib import Path


def greatest_difference(first: Path, second: Path) -> float:
    import torch

    models = [torch.load(path, map_location="cpu", weights_only=False) for path in (first, second)]
    states = [(model.get("ema") or model["model"]).float().state_dict() for model in models]
    assert states[0].keys() == states[1].keys()
    return max(float((states[0][name].float() - states[1][name].float()).abs().max()) for name in states[0])


if __name__ == "__main__":
    print(greatest_difference(Path(sys.argv[1]), Path(sys.argv[2])))
