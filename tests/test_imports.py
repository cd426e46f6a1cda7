"""What a command loads, seen in a process of its own: heavy libraries belong in workers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HEAVY = {
    "cv2",
    "cvat_sdk",
    "datasets",
    "diffusers",
    "fiftyone",
    "lightning",
    "ray",
    "skimage",
    "textual",
    "torch",
    "torchvision",
    "transformers",
    "ultralytics",
    "urllib3",
}
_RUN = """
import json, sys
from specrun.cli.main import main
code = 0
try:
    code = main(sys.argv[1:])
except SystemExit as stop:
    code = stop.code
print("\\n" + json.dumps({"code": code or 0, "modules": sorted({name.partition(".")[0] for name in sys.modules})}))
"""


def modules_loaded_by(*arguments: str) -> set[str]:
    done = subprocess.run([sys.executable, "-c", _RUN, *arguments], capture_output=True, text=True, check=True)
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["code"] == 0, done.stdout + done.stderr
    return set(report["modules"])


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy, so that no cache is written into the checkout."""
    folder = tmp_path_factory.mktemp("quickstart")
    for path in (ROOT / "specs" / "quickstart").rglob("*"):
        if path.is_file() and not {".specrun", "outputs"} & set(path.parts):
            copy = folder / path.relative_to(ROOT / "specs" / "quickstart")
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    return folder / "project.yaml"


def test_help_loads_neither_heavy_libraries_nor_pydantic() -> None:
    loaded = modules_loaded_by("--help")
    assert not loaded & (HEAVY | {"pydantic", "numpy", "PIL", "ruamel", "rich", "anyio", "asyncio"})


def test_help_of_a_command_loads_no_heavy_library() -> None:
    assert not modules_loaded_by("apply", "--help") & HEAVY


def test_validate_loads_no_heavy_library(quickstart: Path) -> None:
    assert not modules_loaded_by("validate", str(quickstart)) & HEAVY


def test_plan_loads_no_heavy_library(quickstart: Path) -> None:
    assert not modules_loaded_by("plan", str(quickstart)) & HEAVY


def test_a_second_plan_does_not_parse_the_spec_again(quickstart: Path) -> None:
    modules_loaded_by("plan", str(quickstart))
    assert not modules_loaded_by("plan", str(quickstart)) & (HEAVY | {"ruamel"})
