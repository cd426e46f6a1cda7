"""`specrun compare` on records as a run of a matrix leaves them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from specrun.cli.main import main
from specrun.model.address import parse_address
from specrun.model.state import NodeRecord
from specrun.store.paths import ProjectPaths
from specrun.store.state import State

SPEC = """\
specrun: 1
project: {name: demo}
steps:
  unet:
    matrix: {encoder: [resnet18, mit_b0], seed: [1, 2, 3]}
    argv: [python, -c, "print('${matrix.encoder} ${matrix.seed}')"]
"""

Run = Callable[..., tuple[int, str, str]]


def _record(instance: str, facts: Mapping[str, Any]) -> NodeRecord:
    address = parse_address(f"steps.unet[{instance}]")
    return NodeRecord(
        address=address,
        kind="steps.step",
        kind_version=1,
        fingerprint="f",
        result_config={},
        inputs={},
        observation=None,
        digest="d",
        parts={},
        facts=facts,
        folder=address.folder,
        run="r",
        made_at="2026-01-01T00:00:00+00:00",
        duration_s=1.0,
    )


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    (tmp_path / "project.yaml").write_text(SPEC)
    monkeypatch.chdir(tmp_path)
    paths = ProjectPaths(tmp_path, tmp_path / "outputs")
    paths.create()
    scores = {"encoder=resnet18,seed=1": 0.5, "encoder=resnet18,seed=2": 0.7, "encoder=mit_b0,seed=1": 0.8}
    with State.open(paths.state_db) as state:
        for instance, score in scores.items():
            state.put_record(_record(instance, {"metrics": {"val/iou": score}, "epochs": 3}))

    def call(*words: str) -> tuple[int, str, str]:
        code = main(words)
        captured = capfd.readouterr()
        return int(code), captured.out, captured.err

    return call


def test_every_instance_of_the_matrix_has_its_line(run: Run) -> None:
    code, out, _ = run("compare", "steps.unet")
    lines = out.splitlines()
    assert code == 0
    assert lines[0].split() == ["val/iou"]
    assert lines[1].split() == ["steps.unet[encoder=resnet18,seed=1]", "0.5"]
    assert sum("not made" in line for line in lines) == 3


def test_seeds_are_taken_together_with_mean_and_spread(run: Run) -> None:
    _, out, _ = run("compare", "steps.unet")
    (line,) = (line for line in out.splitlines() if line.startswith("steps.unet[encoder=resnet18] "))
    assert line.split(maxsplit=1)[1] == "0.6 ± 0.1414"


def test_json_has_the_whole_numbers(run: Run) -> None:
    _, out, _ = run("compare", "steps.unet", "--json")
    found = json.loads(out)
    assert found["metrics"] == ["val/iou"]
    assert [row["scores"]["val/iou"] for row in found["instances"]] == [0.5, 0.7, None, 0.8, None, None]
    (group,) = found["over_seeds"]
    assert group["matrix"] == {"encoder": "resnet18"}
    assert group["scores"]["val/iou"]["mean"] == pytest.approx(0.6)
    assert group["scores"]["val/iou"]["spread"] == pytest.approx(0.02**0.5)
    assert group["scores"]["val/iou"]["seeds"] == 2


def test_a_metric_that_nothing_reports_is_named_with_those_there_are(run: Run) -> None:
    code, _, error = run("compare", "steps.unet", "--metric", "val/dice")
    assert code == 2
    assert "There are: val/iou." in error


def test_a_node_that_is_not_in_the_spec_is_an_error(run: Run) -> None:
    code, _, error = run("compare", "models.unet")
    assert code == 2
    assert "there is no such node" in error
