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
    assert all(re.search(r"does not exist|is not a folder", one["message"]) for one in found)


@pytest.mark.parametrize(("template", "script"), [("cvat-smp", "train_smp.py"), ("lora", "train_lora.py")])
def test_the_training_script_knows_every_option_of_the_spec(template: str, script: str, tmp_path: Path) -> None:
    main(["init", str(tmp_path), "--template", template])
    put_data(tmp_path)
    project = build(tmp_path / "project.yaml", REGISTRY, variables={}, sets={}, environ={}).project
    (step,) = (node for node in project.nodes if node.address.section == "steps")
    argv = [str(word) for word in step.config["argv"]]  # type: ignore[union-attr]
    assert argv[:2] == ["python", script]
    text = (tmp_path / script).read_text()
    compile(text, script, "exec")
    assert {word.partition("=")[0] for word in argv[2:]} <= set(re.findall(r'add_argument\("(--[a-z-]+)"', text))


def test_nothing_is_overwritten_and_nothing_half_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "train_smp.py").write_text("mine")
    assert main(["init", str(tmp_path), "--template", "cvat-smp"]) == 2
    assert "train_smp.py exists already." in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["train_smp.py"]
    assert (tmp_path / "train_smp.py").read_text() == "mine"


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
