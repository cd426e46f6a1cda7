"""The example of ComfyUI, by the real command: planned without a server, and made at the double of one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.doubles.comfyui import comfy_double
from tests.support.remote_lora import comfy_weights

SPECS = Path(__file__).parents[2] / "specs"
NODES = ["sources.coins", "datasets.coins", "lora_jobs.coins", "generations.coins", "generations.changed"]


def example(tmp_path: Path) -> Path:
    for name in ("comfyui", "classification"):
        shutil.copytree(SPECS / name, tmp_path / name, ignore=shutil.ignore_patterns("outputs", ".specrun"))
    return tmp_path / "comfyui"


def specrun(folder: Path, *words: str, **environ: str) -> str:
    argv = [sys.executable, "-m", "specrun.cli.main", *words]
    env = {**os.environ, **environ}
    done = subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=400)
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def test_it_is_planned_without_a_server(tmp_path: Path) -> None:
    told = json.loads(specrun(example(tmp_path), "plan", "--json", COMFYUI_URL="http://127.0.0.1:9"))
    assert [(node["address"], node["action"]) for node in told["nodes"]] == [(name, "create") for name in NODES]


@pytest.mark.slow
def test_it_is_made_at_a_server_and_then_up_to_date(tmp_path: Path) -> None:
    folder = example(tmp_path)
    with comfy_double(weights=comfy_weights(8)) as server:
        words = ("--var", "checkpoint=tiny.safetensors")
        said = specrun(folder, "apply", "--yes", "--ui", "plain", *words, COMFYUI_URL=server.url)
        plan = specrun(folder, "plan", "--json", *words, COMFYUI_URL=server.url)
    assert "8 images" in said
    assert {node["action"] for node in json.loads(plan)["nodes"]} == {"none"}
    outputs = folder / "outputs"
    assert len(list((outputs / "generations/coins/images").glob("*.png"))) == 8
    assert (outputs / "generations/changed/video.mp4").is_file()
    assert (outputs / "lora_jobs/coins/lora_kohya.safetensors").is_file()
