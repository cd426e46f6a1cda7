from __future__ import annotations

from pathlib import Path

import pytest

from specrun.model.address import parse_address
from specrun.store.kept import take_back_kept, unknown_kept
from specrun.store.paths import ProjectPaths
from specrun.store.publish import publish
from specrun.store.staging import open_staging
from specrun.store.state import State
from specrun.store.trash import collect_trash, discard_staging, empty_trash, leftover_staging, sweep_trash
from tests.support.outputs import NODE, content_of, fingerprint_of, project_paths, stage

NOW = "2025-01-01T00:00:00+00:00"


@pytest.fixture
def paths(tmp_path: Path) -> ProjectPaths:
    return project_paths(tmp_path)


@pytest.fixture
def state(paths: ProjectPaths) -> State:
    return State.open(paths.state_db)


def publish_all(state: State, paths: ProjectPaths, contents: str, keep: int) -> None:
    for content in contents:
        publish(state, paths, *stage(paths, content), keep=keep, now=NOW)


def test_collected_trash_is_deleted_without_the_state(state: State, paths: ProjectPaths) -> None:
    publish_all(state, paths, "abcd", keep=1)
    collected = collect_trash(state, paths)
    state.close()
    assert sorted(filter(None, map(content_of, collected))) == ["a", "b"]
    sweep_trash(collected)
    assert list(paths.trash.iterdir()) == []
    assert content_of(paths.output(NODE)) == "d"


def test_sweeping_spares_what_came_to_the_trash_later(state: State, paths: ProjectPaths) -> None:
    publish_all(state, paths, "ab", keep=0)
    collected = collect_trash(state, paths)
    publish_all(state, paths, "c", keep=0)
    sweep_trash(collected)
    assert [content_of(folder) for folder in paths.trash.iterdir()] == ["b"]


def test_a_kept_output_that_the_state_does_not_know_is_never_deleted(state: State, paths: ProjectPaths) -> None:
    publish_all(state, paths, "ab", keep=1)
    with State.open(paths.project_dir / "other.db") as other:
        empty_trash(other, paths)
        assert [content_of(folder) for folder in unknown_kept(other, paths)] == ["a"]
    assert unknown_kept(state, paths) == ()


def test_a_folder_kept_anew_in_the_place_of_a_given_up_one_stays(state: State, paths: ProjectPaths) -> None:
    publish_all(state, paths, "ab", keep=1)
    (earlier,) = state.earlier(NODE)
    state.give_up_earlier(NODE, earlier.folder)
    state.put_earlier(earlier)
    empty_trash(state, paths)
    assert state.earlier(NODE) == (earlier,)
    assert content_of(paths.output_root / earlier.folder) == "a"


def test_a_lost_state_takes_kept_outputs_back_newest_first(state: State, paths: ProjectPaths) -> None:
    publish_all(state, paths, "abc", keep=2)
    (damaged,) = [paths.output_root / e.folder for e in state.earlier(NODE) if e.record.run == "run-a"]
    (damaged / "log.txt").unlink()
    with State.open(paths.project_dir / "new.db") as new:
        take_back_kept(new, paths)
        assert [earlier.record.run for earlier in new.earlier(NODE)] == ["run-b"]
        assert unknown_kept(new, paths) == (damaged,)


def test_staging_of_nodes_that_are_no_longer_declared_is_found_and_discarded(paths: ProjectPaths) -> None:
    gone, instance, declared, base = map(
        parse_address, ("steps.gone", "steps.gone[e=x]", "steps.stays[e=x,f=y]", "steps.stays")
    )
    fingerprint = fingerprint_of("a")
    folders = {address: open_staging(paths, address, fingerprint, None)[0] for address in (gone, instance, declared)}
    stale, _ = open_staging(paths, base, fingerprint, None)
    left = leftover_staging(paths, {declared})
    assert set(left) == {folders[gone], folders[instance], stale}
    discard_staging(paths, left)
    assert [path for path in paths.staging_root.rglob("*") if path.name == fingerprint] == [folders[declared]]
    assert not (paths.staging_root / "steps" / "gone").exists()
    assert len(list(paths.trash.iterdir())) == 3


def test_no_staging_at_all_is_nothing_left_over(paths: ProjectPaths) -> None:
    assert leftover_staging(paths, ()) == ()
