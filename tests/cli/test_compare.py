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
  versus: {argv: [python, -c, "print()"]}
"""
COMPARED = {
    "large": {"images": 40, "map50": 0.8123, "map": 0.6042, "box_map50": 0.83, "box_map": 0.61, "per_class": {}},
    "small": {"images": 40, "map50": 0.7904, "map": 0.5711, "box_map50": 0.81, "box_map": None, "per_class": {}},
    "compare": {
        "baseline": "large",
        "images": 40,
        "small": {
            "map50": {"difference": -0.0219, "low": -0.041, "high": -0.003},
            "map": {"difference": 0.0331, "low": -0.01, "high": 0.06},
            "box_map": {"difference": None, "low": None, "high": None},
            "per_class": {"coral": {"map50": {"difference": 0.5, "low": 0.4, "high": 0.6}}},
        },
    },
}

Run = Callable[..., tuple[int, str, str]]


def _record(name: str, facts: Mapping[str, Any]) -> NodeRecord:
    address = parse_address(f"steps.{name}")
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
    monkeypatch.setenv("COLUMNS", "80")
    paths = ProjectPaths(tmp_path, tmp_path / "outputs")
    paths.create()
    scores = {"encoder=resnet18,seed=1": 0.5, "encoder=resnet18,seed=2": 0.7, "encoder=mit_b0,seed=1": 0.8}
    with State.open(paths.state_db) as state:
        for instance, score in scores.items():
            state.put_record(_record(f"unet[{instance}]", {"metrics": {"val/iou": score}, "epochs": 3}))
        state.put_record(_record("versus", COMPARED))

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


def test_models_that_an_evaluation_compares_have_a_line_each_and_their_differences(run: Run) -> None:
    code, out, _ = run("compare", "steps.versus")
    assert code == 0
    assert (
        out
        == """\
                     mAP50  mAP50-95  boxes mAP50  boxes mAP50-95
steps.versus large  0.8123    0.6042         0.83            0.61
steps.versus small  0.7904    0.5711         0.81               –

steps.versus: differences to large on 40 images, with the middle 95% of new draws

small           difference    from      to
mAP50              -0.0219  -0.041  -0.003  *
mAP50-95           +0.0331   -0.01   +0.06
boxes mAP50-95           –       –       –
* does not hold zero. Differences of single classes stand in report.html.
"""
    )


def test_chosen_metrics_narrow_the_differences_and_json_has_them_all(run: Run) -> None:
    _, out, _ = run("compare", "steps.versus", "--metric", "mAP50")
    assert "mAP50 " in out
    assert "mAP50-95" not in out
    _, out, _ = run("compare", "steps.versus", "--json")
    found = json.loads(out)
    assert [(row["model"], row["scores"]["mAP50"]) for row in found["instances"]] == [
        ("large", 0.8123),
        ("small", 0.7904),
    ]
    assert found["compared"]["steps.versus"] == COMPARED["compare"]


def test_a_table_is_broken_into_blocks_that_fit_the_terminal(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    _, out, _ = run("compare", "steps.versus")
    blocks = out.split("\n\n")
    heads = [block.splitlines()[0].split("  ")[-1] for block in blocks[:2]]
    assert heads == ["boxes mAP50", "boxes mAP50-95"]
    assert all(len(line) <= 50 for block in blocks[:2] for line in block.splitlines())
    assert all("steps.versus large" in block for block in blocks[:2])
