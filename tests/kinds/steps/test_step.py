from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from specrun.errors import NodeError
from specrun.kinds.steps.files import CHANGED, seen_while_running, watched
from specrun.kinds.steps.output import mend_links
from specrun.kinds.steps.step import Step, StepSpec
from specrun.spec.kind import Problem


def problems(project_dir: Path, **spec: Any) -> list[Problem]:
    return list(Step().check(StepSpec(**{"argv": ["sh"], **spec}), SimpleNamespace(project_dir=project_dir)))  # type: ignore[arg-type]


def write(path: Path, text: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def relative(paths: list[Path], root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in paths]


@pytest.mark.parametrize("place", ["manifest.json", "./manifest.json", "manifest.json/x", ".resume.json"])
def test_an_output_may_not_have_a_name_of_specruns_own(tmp_path: Path, place: str) -> None:
    (problem,) = problems(tmp_path, outputs={"m": place})
    assert problem.path == "outputs.m"
    assert "specrun uses itself" in problem.message


def test_a_manifest_in_a_folder_is_the_programs_own(tmp_path: Path) -> None:
    assert problems(tmp_path, outputs={"m": "web/manifest.json"}) == []


def test_a_bare_word_that_is_also_a_folder_gets_a_warning(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (problem,) = problems(tmp_path, argv=["ls", "data"])
    assert problem.warning
    assert problem.path == "argv.1"
    assert problem.hint == "Write data/ if the folder is meant."
    assert problems(tmp_path, argv=["ls", "data/"]) == []
    assert problems(tmp_path, argv=["python", "-m", "data"]) == []
    assert problems(tmp_path, argv=["ls", "data"], outputs={"d": "data"}) == []


def test_a_pattern_leaves_out_what_specrun_git_and_python_write(tmp_path: Path) -> None:
    for name in ("a.py", "src/b.py", "out/steps/a/c.py", ".specrun/d.py", ".git/e.py", "src/__pycache__/f.py"):
        write(tmp_path / name)
    patterns = ["**/*", ".*/**", "out/**"]
    files, folders = watched([], patterns, tmp_path, tmp_path / "out")
    assert relative(files, tmp_path) == ["a.py", "src/b.py"]
    assert folders == []


def test_a_folder_named_outright_is_watched_whole(tmp_path: Path) -> None:
    write(tmp_path / "data/x")
    write(tmp_path / "src/y")
    (tmp_path / "out").mkdir()
    files, folders = watched(["ls", "data/", "./", "../", "out/", "src"], ["src"], tmp_path, tmp_path / "out")
    assert files == []
    assert relative(folders, tmp_path) == ["data", "src"]


def test_what_changed_meanwhile_is_recorded_as_that() -> None:
    before = {"same": "1", "edited": "1", "gone": "1"}
    seen, changed = seen_while_running(before, {"same": "1", "edited": "2", "new": "1"})
    assert changed == ["edited", "gone", "new"]
    assert seen == {"same": "1", "edited": CHANGED, "gone": CHANGED, "new": CHANGED}


def test_absolute_links_into_the_staging_become_relative(tmp_path: Path) -> None:
    staging = tmp_path / "staging"
    write(staging / "weights/best.pt", "w")
    (staging / "deep/er").mkdir(parents=True)
    (staging / "deep/er/latest.pt").symlink_to(staging / "weights/best.pt")
    (staging / "all").symlink_to(staging / "weights")
    mend_links(staging)
    staging.rename(tmp_path / "published")
    assert (tmp_path / "published/deep/er/latest.pt").read_text() == "w"
    assert (tmp_path / "published/all/best.pt").read_text() == "w"


def test_other_links_are_left_as_they_are(tmp_path: Path) -> None:
    outside = write(tmp_path / "data/x")
    staging = tmp_path / "staging"
    write(staging / "y")
    (staging / "out").symlink_to(outside)
    (staging / "near").symlink_to("y")
    mend_links(staging)
    assert (staging / "out").readlink() == outside
    assert (staging / "near").readlink() == Path("y")


def test_a_relative_link_that_leads_out_is_an_error(tmp_path: Path) -> None:
    staging = tmp_path / "staging"
    write(tmp_path / "project.yaml")
    staging.mkdir()
    (staging / "rel").symlink_to("../project.yaml")
    with pytest.raises(NodeError, match=r"the link rel leads out of the output folder \(\.\./project\.yaml\)"):
        mend_links(staging)
