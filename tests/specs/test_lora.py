"""The example of LoRA jobs, by the real command: killed in the middle, it goes on and is then up to date."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SPECS = Path(__file__).parents[2] / "specs"
DEADLINE_S = 240


def specrun(folder: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "specrun.cli.main", *words]


@pytest.mark.slow
def test_a_killed_example_goes_on_and_ends_up_to_date(tmp_path: Path) -> None:
    for name in ("lora", "classification"):
        shutil.copytree(SPECS / name, tmp_path / name, ignore=shutil.ignore_patterns("outputs", ".specrun"))
    folder = tmp_path / "lora"
    spec = folder / "project.yaml"
    spec.write_text(spec.read_text().replace("save_every: 20", "save_every: 1"))
    arguments = specrun(folder, "apply", "--yes", "--ui", "quiet")
    first = subprocess.Popen(arguments, cwd=folder, start_new_session=True)
    ends = time.monotonic() + DEADLINE_S
    while not list((folder / "outputs").rglob("last.ckpt")):
        assert time.monotonic() < ends
        assert first.poll() is None
        time.sleep(0.05)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait(DEADLINE_S)
    subprocess.run(arguments, cwd=folder, check=True, timeout=DEADLINE_S)
    made = folder / "outputs" / "lora_jobs" / "coins"
    described = json.loads((made / "lora.json").read_text())
    assert described["steps"] == 40
    assert described["trigger"] == "coinx"
    log = "".join(path.read_text() for path in folder.glob(".specrun/runs/*/lora_jobs/coins/log.txt"))
    assert "going on from step" in log
    steps = [line.split(",")[0] for line in (made / "metrics.csv").read_text().splitlines()[1:]]
    assert steps == sorted(steps, key=int)
    plan = subprocess.run(specrun(folder, "plan", "--json"), cwd=folder, check=True, capture_output=True, text=True)
    assert {node["action"] for node in json.loads(plan.stdout)["nodes"]} == {"none"}
