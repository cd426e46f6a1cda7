"""What `pyproject.toml`, the README and the one command that checks all promise."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
EXTRAS = {"cvat", "fiftyone", "mongod", "onnx", "yolo", "smp", "lora", "hub", "wandb", "mlflow", "ray", "all"}
HEAVY = {"torch", "fiftyone", "ultralytics", "opencv-python-headless", "lightning", "ray", "cvat-sdk", "diffusers"}


def name_of(requirement: str) -> str:
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert match, requirement
    return match[0].lower().replace("_", "-").replace(".", "-")


def requirements() -> set[str]:
    """Every direct dependency of the core, the extras and the tests."""
    lists = [
        PROJECT["dependencies"],
        *PROJECT["optional-dependencies"].values(),
        *PYPROJECT["dependency-groups"].values(),
    ]
    return {name_of(requirement) for found in lists for requirement in found} - {"specrun"}


def test_the_package_is_apache_and_runs_from_python_3_11() -> None:
    assert PROJECT["license"] == "Apache-2.0"
    assert PROJECT["requires-python"] == ">=3.11"
    assert PROJECT["scripts"] == {"specrun": "specrun.cli.main:main"}


def test_the_core_install_is_light() -> None:
    assert not HEAVY & {name_of(requirement) for requirement in PROJECT["dependencies"]}


def test_extras_bring_the_rest() -> None:
    assert set(PROJECT["optional-dependencies"]) == EXTRAS


def test_the_dev_group_holds_everything() -> None:
    assert "specrun[all]" in PYPROJECT["dependency-groups"]["dev"]


def test_only_the_headless_opencv_is_installed() -> None:
    assert PYPROJECT["tool"]["uv"]["override-dependencies"] == ["opencv-python ; sys_platform == 'never'"]


def test_every_direct_dependency_is_pinned() -> None:
    pins = {name_of(pin): pin for pin in PYPROJECT["tool"]["uv"]["constraint-dependencies"]}
    assert requirements() <= set(pins)
    assert all("==" in pin for pin in pins.values())


@pytest.mark.parametrize("name", ["numpy", "pymongo", "mongoengine", "motor", "pydantic-core", "pillow"])
def test_sensitive_dependencies_of_dependencies_are_pinned(name: str) -> None:
    pinned = {name_of(pin) for pin in PYPROJECT["tool"]["uv"]["constraint-dependencies"]}
    assert name in pinned


def test_no_pin_names_a_package_of_one_platform_alone() -> None:
    """torch pins its CUDA packages itself, and asks for them on Linux only."""
    pinned = {name_of(pin) for pin in PYPROJECT["tool"]["uv"]["constraint-dependencies"]}
    assert not {name for name in pinned if name.startswith(("nvidia-", "cuda-", "triton"))} - {"nvidia-ml-py"}


def test_the_lock_file_is_not_part_of_the_repository() -> None:
    assert "uv.lock" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()


TESTS = "pytest -n auto --dist loadfile"


@pytest.mark.parametrize(
    "command",
    ["pip install uv && uv run specrun apply specs/quickstart/project.yaml", f"pip install uv && uv run {TESTS}"],
)
def test_the_readme_has_the_two_commands(command: str) -> None:
    assert command in (ROOT / "README.md").read_text(encoding="utf-8").splitlines()


def test_the_gate_runs_the_tests_as_the_readme_does() -> None:
    assert f" run {TESTS} " in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


@pytest.mark.parametrize("extra", sorted(EXTRAS))
def test_the_readme_names_every_extra(extra: str) -> None:
    assert f"| `{extra}` |" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "check", ["ruff check", "ruff format --check", "mypy", "lint-imports", "specrun schema --check"]
)
def test_the_one_command_runs_every_check(check: str) -> None:
    assert f"check {check}\n" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_the_one_command_ends_with_the_tests_and_can_be_run() -> None:
    script = ROOT / ".ci" / "run"
    text = script.read_text(encoding="utf-8")
    assert text.index(" run pytest") > text.index("check specrun schema")
    assert script.stat().st_mode & 0o111
    subprocess.run(["bash", "-n", str(script)], check=True)
