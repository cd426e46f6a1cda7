"""Every spec under `specs/` is one that a newcomer can run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from ruamel.yaml import YAML

from specrun.kinds.registry import REGISTRY
from specrun.model.address import parse_address
from specrun.spec.project import load_project

ROOT = Path(__file__).parent.parent.parent
SPECS = sorted((ROOT / "specs").glob("*/project.yaml"))
by_folder = pytest.mark.parametrize("spec", SPECS, ids=[spec.parent.name for spec in SPECS])


@by_folder
def test_the_example_has_no_mistakes_and_no_warnings(spec: Path) -> None:
    assert load_project(spec, REGISTRY).warnings == ()


@by_folder
def test_an_independent_validator_accepts_the_example(spec: Path) -> None:
    schema = json.loads((ROOT / "schemas" / "project.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft7Validator(schema).validate(YAML(typ="safe").load(spec.read_text(encoding="utf-8")))


@by_folder
def test_the_example_tells_the_editor_where_its_schema_lies(spec: Path) -> None:
    first = spec.read_text(encoding="utf-8").splitlines()[0]
    prefix = "# yaml-language-server: $schema="
    assert first.startswith(prefix)
    assert (spec.parent / first.removeprefix(prefix)).resolve() == ROOT / "schemas" / "project.schema.json"


def test_every_section_has_an_example() -> None:
    used = {key for spec in SPECS for key in YAML(typ="safe").load(spec.read_text(encoding="utf-8"))}
    included = {key for path in (ROOT / "specs").glob("*/classes.yaml") for key in YAML(typ="safe").load(path)}
    assert set(REGISTRY) <= used | included


def test_the_example_of_steps_runs(tmp_path: Path) -> None:
    for path in (ROOT / "specs" / "steps").iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    command = [sys.executable, "-m", "specrun.cli.main", "apply", str(tmp_path), "--ui", "quiet"]
    subprocess.run(command, check=True, cwd=ROOT, timeout=60)
    table = tmp_path / "outputs" / parse_address("steps.summary").folder / "summary.md"
    assert "| all | 24 | 29 |" in table.read_text(encoding="utf-8")
