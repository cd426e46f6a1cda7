import json
import re
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest
from jsonschema import Draft7Validator

from specrun.cli.init import TEMPLATES
from specrun.cli.main import main
from specrun.kinds.registry import REGISTRY
from specrun.spec.build import build
from specrun.spec.loader import parse_tree
from specrun.spec.report import Report
from specrun.spec.schema import project_schema
from specrun.spec.tree import plain

by_template = pytest.mark.parametrize("template", TEMPLATES)


def put_data(folder: Path) -> None:
    """What the first lines of every template ask for."""
    (folder / "data" / "images").mkdir(parents=True)
    (folder / "data" / "annotations.xml").touch()
    (folder / "data" / "film.mp4").write_bytes(b"film")
    (folder / ".env").write_text("CVAT_ACCESS_TOKEN=token\n")


@by_template
def test_every_template_is_a_valid_spec(template: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", str(tmp_path), "--template", template]) == 0
    put_data(tmp_path)
    assert main(["validate", str(tmp_path)]) == 0
    assert capsys.readouterr().err == ""


@by_template
def test_editors_accept_every_template(template: str, tmp_path: Path) -> None:
    main(["init", str(tmp_path), "--template", template])
    tree = parse_tree((tmp_path / "project.yaml").read_text(), "project.yaml", Report())
    assert tree is not None
    assert list(Draft7Validator(project_schema(REGISTRY)).iter_errors(plain(tree))) == []


@by_template
def test_before_the_data_is_there_only_the_data_is_missing(template: str, tmp_path: Path) -> None:
    main(["init", str(tmp_path), "--template", template])
    done = subprocess.run(
        [sys.executable, "-m", "specrun.cli.main", "validate", "--json", str(tmp_path)], capture_output=True, text=True
    )
    found = json.loads(done.stdout)["diagnostics"]
    assert found
    assert all(
        re.search(r"does not exist|is not a folder|CVAT_ACCESS_TOKEN is not set", one["message"]) for one in found
    )


@pytest.mark.parametrize(
    ("template", "kinds"),
    [
        (
            "cvat-smp",
            "sources.cvat datasets.dataset exports.mmseg models.smp predictions.prediction evaluations.evaluation",
        ),
        ("lora", "sources.video datasets.dataset lora_jobs.lora generations.generation"),
    ],
)
def test_a_template_names_the_kinds_and_brings_no_program(template: str, kinds: str, tmp_path: Path) -> None:
    main(["init", str(tmp_path), "--template", template])
    assert [path.name for path in tmp_path.iterdir()] == ["project.yaml"]
    put_data(tmp_path)
    project = build(tmp_path / "project.yaml", REGISTRY, variables={}, sets={}, environ={}).project
    assert {node.kind for node in project.nodes} == set(kinds.split())


def test_the_prelabels_that_a_template_leaves_out_are_valid_where_it_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["init", str(tmp_path), "--template", "cvat-smp"])
    put_data(tmp_path)
    (tmp_path / "data" / "unlabelled").mkdir()
    spec = tmp_path / "project.yaml"
    text, _, left_out = spec.read_text().partition("# Prelabels: ")
    lines = [line.removeprefix("#").removeprefix(" ") for line in left_out.partition("#\n")[2].splitlines()]
    for section, entries in re.findall(r"(?ms)^(\w+):\n(.*?)(?=^\w|\Z)", "\n".join(lines) + "\n"):
        there = f"\n{section}:\n"
        text = text.replace(there, there + entries) if there in text else f"{text}{there}{entries}"
    spec.write_text(text)
    assert main(["validate", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert "is valid: 9 nodes" in out
    assert err == ""


def test_nothing_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "project.yaml").write_text("mine")
    assert main(["init", str(tmp_path), "--template", "cvat-smp"]) == 2
    assert "project.yaml exists already." in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["project.yaml"]
    assert (tmp_path / "project.yaml").read_text() == "mine"


def test_the_default_is_the_quickstart_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init"]) == 0
    assert "weights: yolo11n-seg.pt" in (tmp_path / "project.yaml").read_text()


@pytest.mark.parametrize(("folder", "name"), [("reef", "reef"), ("2024 survey", "quickstart")])
def test_the_project_is_called_as_its_folder_where_that_is_a_name(tmp_path: Path, folder: str, name: str) -> None:
    assert main(["init", str(tmp_path / folder)]) == 0
    assert f"\n  name: {name}\n" in (tmp_path / folder / "project.yaml").read_text()


def test_the_templates_are_listed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["init", "--list", str(tmp_path)]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(TEMPLATES)
    assert list(tmp_path.iterdir()) == []


def test_every_template_folder_is_offered() -> None:
    folders = {entry.name for entry in (resources.files("specrun.cli") / "templates").iterdir() if entry.is_dir()}
    assert folders - {"__pycache__"} == set(TEMPLATES)
