from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from specrun.errors import StateError, UsageError
from specrun.store.owner import OWNER_NAME, claim_output_root
from specrun.store.paths import ProjectPaths
from specrun.store.publish import publish
from specrun.store.recover import recover
from specrun.store.state import State
from specrun.store.trash import empty_trash
from tests.support.outputs import NODE, content_of, stage

NOW = "2025-01-01T00:00:00+00:00"


def claim(paths: ProjectPaths) -> None:
    with State.open(paths.state_db) as state:
        claim_output_root(state, paths)


def owned(folder: Path, root: str = "outputs") -> ProjectPaths:
    paths = ProjectPaths(folder, (folder / root).resolve())
    claim(paths)
    return paths


def owner_of(paths: ProjectPaths) -> str:
    return (paths.output_root / OWNER_NAME).read_text()


def test_the_output_root_of_another_project_is_refused(tmp_path: Path) -> None:
    first = owned(tmp_path / "a", "../shared")
    second = ProjectPaths(tmp_path / "b", first.output_root)
    for _ in range(2):
        with pytest.raises(UsageError, match=f"belongs to the project in {tmp_path / 'a'}") as caught:
            claim(second)
        assert "project.output_root" in str(caught.value.hint)
    before = owner_of(first)
    claim(first)
    assert owner_of(first) == before


def test_recovery_touches_nothing_of_another_project(tmp_path: Path) -> None:
    first = owned(tmp_path / "a", "../shared")
    second = ProjectPaths(tmp_path / "b", first.output_root)
    with State.open(second.state_db) as state, pytest.raises(UsageError, match="belongs to"):
        recover(state, second)


def test_a_project_with_another_id_is_refused_even_when_the_owner_is_gone(tmp_path: Path) -> None:
    first = owned(tmp_path / "a", "../shared")
    second = owned(tmp_path / "b")
    shutil.rmtree(first.project_dir)
    with pytest.raises(UsageError, match=r"delete \.specrun-owner"):
        claim(ProjectPaths(second.project_dir, first.output_root))


@pytest.mark.parametrize("root", ["outputs", "../shared"])
def test_a_moved_project_keeps_its_output_root(tmp_path: Path, root: str) -> None:
    first = owned(tmp_path / "a", root)
    first.project_dir.rename(tmp_path / "moved")
    moved = owned(tmp_path / "moved", root)
    assert '"project": "' in owner_of(moved)
    owned(tmp_path / "moved", root)


def test_moved_outputs_stay_the_projects_own(tmp_path: Path) -> None:
    first = owned(tmp_path / "a")
    first.output_root.rename(tmp_path / "elsewhere")
    claim(ProjectPaths(first.project_dir, tmp_path / "elsewhere"))


def test_a_copy_owns_its_copied_outputs_but_not_a_shared_root(tmp_path: Path) -> None:
    for name, root in (("a", "outputs"), ("b", "../shared")):
        first = owned(tmp_path / name, root)
        shutil.copytree(first.project_dir, tmp_path / f"{name} copy")
    owned(tmp_path / "a copy")
    with pytest.raises(UsageError, match="belongs to"):
        owned(tmp_path / "b copy", "../shared")


def test_a_project_reached_through_a_link_is_the_same(tmp_path: Path) -> None:
    first = owned(tmp_path / "a", "../shared")
    (tmp_path / "link").symlink_to(first.project_dir)
    claim(ProjectPaths(tmp_path / "link", first.output_root))


def test_a_lost_state_takes_kept_outputs_back(tmp_path: Path) -> None:
    paths = owned(tmp_path / "a")
    with State.open(paths.state_db) as state:
        for content in "abc":
            publish(state, paths, *stage(paths, content), keep=2, now=NOW)
    before = owner_of(paths)
    shutil.rmtree(paths.state_dir)
    with State.open(paths.state_db) as state:
        recover(state, paths)
        empty_trash(state, paths)
        assert [content_of(paths.output_root / earlier.folder) for earlier in state.earlier(NODE)] == ["b", "a"]
    assert owner_of(paths) == before


def test_a_lost_state_in_a_moved_project_takes_on_the_owner_that_is_nowhere(tmp_path: Path) -> None:
    first = owned(tmp_path / "a", "../shared")
    before = owner_of(first)
    first.project_dir.rename(tmp_path / "moved")
    shutil.rmtree(tmp_path / "moved" / ".specrun")
    moved = owned(tmp_path / "moved", "../shared")
    assert owner_of(moved) == before.replace("../a", "../moved")


def test_a_deleted_output_root_is_claimed_again(tmp_path: Path) -> None:
    paths = owned(tmp_path / "a")
    before = owner_of(paths)
    shutil.rmtree(paths.output_root)
    claim(paths)
    assert owner_of(paths) == before


def test_an_owner_file_that_a_power_cut_left_empty_is_written_anew(tmp_path: Path) -> None:
    paths = owned(tmp_path / "a")
    (paths.output_root / OWNER_NAME).write_text("")
    claim(paths)
    assert "project" in owner_of(paths)


@pytest.mark.parametrize("content", ["{", "[]", '{"project": 1}'])
def test_a_damaged_owner_file_is_named(tmp_path: Path, content: str) -> None:
    paths = owned(tmp_path / "a")
    (paths.output_root / OWNER_NAME).write_text(content)
    with pytest.raises(StateError, match=OWNER_NAME):
        claim(paths)


def test_an_output_root_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UsageError, match="cannot be written"):
        claim(ProjectPaths(tmp_path / "a", tmp_path / "file"))
