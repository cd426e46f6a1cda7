from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from specrun.errors import NodeError, StateError, UsageError
from specrun.model.address import parse_address
from specrun.store.paths import ProjectPaths
from specrun.store.publish import Publication, publish, publish_many
from specrun.store.recover import Ending, recover
from specrun.store.rollback import rollback
from specrun.store.staging import open_staging, staging_folders, write_staging_note
from specrun.store.state import State
from specrun.store.trash import discard, empty_trash
from tests.support.outputs import NODE, content_of, fingerprint_of, make_record, project_paths, stage

NOW = "2025-01-01T00:00:00+00:00"


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


def killing(at: str):  # type: ignore[no-untyped-def]
    def step(name: str) -> None:
        if name == at:
            raise Killed

    return step


@pytest.fixture
def paths(tmp_path: Path) -> ProjectPaths:
    return project_paths(tmp_path)


@pytest.fixture
def state(paths: ProjectPaths) -> State:
    return State.open(paths.state_db)


def kept(state: State, paths: ProjectPaths) -> list[str | None]:
    return [content_of(paths.output_root / earlier.folder) for earlier in state.earlier(NODE)]


def test_a_first_publish_leaves_nothing_but_the_output(state: State, paths: ProjectPaths) -> None:
    staging, record = stage(paths, "a")
    publish(state, paths, staging, record, now=NOW)
    assert content_of(paths.output(NODE)) == "a"
    assert state.records() == {NODE: record}
    assert state.intents() == ()
    assert not staging.parent.exists()
    assert not paths.trash.exists()


def test_the_old_output_goes_to_the_trash_until_that_is_emptied(state: State, paths: ProjectPaths) -> None:
    for content in "ab":
        publish(state, paths, *stage(paths, content), now=NOW)
    assert [content_of(folder) for folder in paths.trash.iterdir()] == ["a"]
    empty_trash(state, paths)
    assert list(paths.trash.iterdir()) == []
    assert content_of(paths.output(NODE)) == "b"


def test_earlier_outputs_are_kept_up_to_the_number(state: State, paths: ProjectPaths) -> None:
    for content in "abcd":
        publish(state, paths, *stage(paths, content), keep=2, now=NOW)
    assert kept(state, paths) == ["c", "b"]
    empty_trash(state, paths)
    assert kept(state, paths) == ["c", "b"]
    assert len(list(paths.kept(NODE).iterdir())) == 2
    publish(state, paths, *stage(paths, "e"), keep=0, now=NOW)
    empty_trash(state, paths)
    assert list(paths.kept(NODE).iterdir()) == []


def test_the_same_fingerprint_made_again_is_kept_beside_the_first(state: State, paths: ProjectPaths) -> None:
    for run in ("one", "two", "three"):
        publish(state, paths, *stage(paths, f"a {run}", run=run), keep=2, now=NOW)
    assert kept(state, paths) == ["a two", "a one"]


def test_staging_of_other_fingerprints_is_swept(state: State, paths: ProjectPaths) -> None:
    old, _ = open_staging(paths, NODE, fingerprint_of("f"), None)
    instance, _ = open_staging(paths, parse_address("models.unet[a=1]"), fingerprint_of("f"), None)
    publish(state, paths, *stage(paths, "a"), now=NOW)
    assert not old.exists()
    assert instance.exists()


def test_minutes_of_work_for_other_settings_outlive_a_trial(state: State, paths: ProjectPaths) -> None:
    for name, spent_s in (("long", 7_200.0), ("old", 90.0), ("short", 20.0)):
        other, _ = open_staging(paths, NODE, fingerprint_of(name), {"lr": name})
        (other / "last.ckpt").write_text(name)
        write_staging_note(other, fingerprint_of(name), {"lr": name}, spent_s=spent_s)
        os.utime(other, (1_000 if name == "old" else 2_000,) * 2)
    staging, record = stage(paths, "a")

    publish(state, paths, staging, record, now=NOW)

    assert [folder.name for folder in staging_folders(paths, NODE)] == [
        paths.staging(NODE, fingerprint_of("long")).name
    ]
    again, resumed = open_staging(paths, NODE, fingerprint_of("long"), {"lr": "long"})
    assert resumed
    assert (again / "last.ckpt").read_text() == "long"


def test_a_folder_that_specrun_did_not_make_is_left_alone(state: State, paths: ProjectPaths) -> None:
    mine = paths.output(NODE)
    mine.mkdir(parents=True)
    (mine / "thesis.tex").write_text("years of work")
    staging, record = stage(paths, "a")
    with pytest.raises(NodeError, match="was not made by specrun"):
        publish(state, paths, staging, record, now=NOW)
    assert (mine / "thesis.tex").exists()
    assert content_of(staging) == "a"
    assert state.intents() == ()


def test_empty_folders_in_the_way_are_no_obstacle(state: State, paths: ProjectPaths) -> None:
    (paths.output(NODE) / "empty" / "inside").mkdir(parents=True)
    publish(state, paths, *stage(paths, "a"), now=NOW)
    assert content_of(paths.output(NODE)) == "a"


@pytest.mark.parametrize(
    ("first", "second"), [("models.unet", "models.unet[a=1]"), ("models.unet[a=1]", "models.unet")]
)
def test_outputs_never_move_into_or_with_each_other(state: State, paths: ProjectPaths, first: str, second: str) -> None:
    publish(state, paths, *stage(paths, "a", address=first), now=NOW)
    later = Publication(*stage(paths, "b", address=second))
    failures = publish_many(state, paths, [later], now=NOW)
    assert f"specrun prune {first}" in str(failures[parse_address(second)].hint)
    assert content_of(paths.output(parse_address(first))) == "a"
    discard(state, paths, parse_address(first))
    assert publish_many(state, paths, [later], now=NOW) == {}


def test_staging_without_a_fitting_manifest_is_refused(state: State, paths: ProjectPaths) -> None:
    staging, _ = stage(paths, "a")
    with pytest.raises(StateError, match="no manifest of fingerprint"):
        publish(state, paths, staging, make_record(fingerprint="b" * 32), now=NOW)
    assert state.intents() == ()


def test_one_failure_in_a_batch_leaves_the_others_published(state: State, paths: ProjectPaths) -> None:
    addresses = [parse_address(f"steps.n{i}") for i in range(3)]
    batch = [Publication(*stage(paths, "a", address=address)) for address in addresses]
    (paths.output(addresses[1])).mkdir(parents=True)
    (paths.output(addresses[1]) / "mine").write_text("x")
    failures = publish_many(state, paths, batch, now=NOW)
    assert list(failures) == [addresses[1]]
    assert set(state.records()) == {addresses[0], addresses[2]}


def test_a_failing_rename_puts_the_old_output_back(
    state: State, paths: ProjectPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(state, paths, *stage(paths, "a"), now=NOW)
    staging, record = stage(paths, "b")
    real = os.rename

    def rename(source: Path, target: Path) -> None:
        if Path(source) == staging:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        real(source, target)

    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(NodeError, match="cannot be published") as caught:
        publish(state, paths, staging, record, now=NOW)
    assert "one file system" in str(caught.value.hint)
    assert content_of(paths.output(NODE)) == "a"
    assert content_of(staging) == "b"
    assert state.intents() == ()
    assert state.records()[NODE].run == "run-a"


def test_an_output_that_is_a_link_is_replaced_and_its_target_left(state: State, paths: ProjectPaths) -> None:
    publish(state, paths, *stage(paths, "a"), now=NOW)
    elsewhere = paths.project_dir / "elsewhere"
    paths.output(NODE).rename(elsewhere)
    paths.output(NODE).symlink_to(elsewhere)
    publish(state, paths, *stage(paths, "b"), now=NOW)
    empty_trash(state, paths)
    assert content_of(paths.output(NODE)) == "b"
    assert content_of(elsewhere) == "a"


def test_rollback_swaps_and_swaps_back(state: State, paths: ProjectPaths) -> None:
    for content in "abc":
        publish(state, paths, *stage(paths, content), keep=2, now=NOW)
    assert rollback(state, paths, NODE, now=NOW).run == "run-b"
    assert content_of(paths.output(NODE)) == "b"
    assert state.records()[NODE].run == "run-b"
    assert kept(state, paths) == ["c", "a"]
    rollback(state, paths, NODE, now=NOW)
    assert content_of(paths.output(NODE)) == "c"
    assert kept(state, paths) == ["b", "a"]


@pytest.mark.parametrize("to", ["run-a", fingerprint_of("a"), fingerprint_of("a")[:6]])
def test_rollback_goes_to_a_run_or_a_fingerprint(state: State, paths: ProjectPaths, to: str) -> None:
    for content in "abc":
        publish(state, paths, *stage(paths, content), keep=2, now=NOW)
    rollback(state, paths, NODE, to=to, now=NOW)
    assert content_of(paths.output(NODE)) == "a"


def test_rollback_works_when_the_output_is_gone(state: State, paths: ProjectPaths) -> None:
    for content in "ab":
        publish(state, paths, *stage(paths, content), keep=2, now=NOW)
    paths.output(NODE).rename(paths.project_dir / "moved away")
    rollback(state, paths, NODE, now=NOW)
    assert content_of(paths.output(NODE)) == "a"
    assert kept(state, paths) == []


def test_rollback_without_an_earlier_output_says_so(state: State, paths: ProjectPaths) -> None:
    publish(state, paths, *stage(paths, "a"), now=NOW)
    with pytest.raises(UsageError, match="no earlier output was kept"):
        rollback(state, paths, NODE, now=NOW)
    publish(state, paths, *stage(paths, "b"), keep=1, now=NOW)
    with pytest.raises(UsageError, match=r"no earlier output nonsense") as caught:
        rollback(state, paths, NODE, to="nonsense", now=NOW)
    assert "run-a" in str(caught.value.hint)


def test_rollback_refuses_a_damaged_output(state: State, paths: ProjectPaths) -> None:
    for content in "ab":
        publish(state, paths, *stage(paths, content), keep=1, now=NOW)
    (paths.output_root / state.earlier(NODE)[0].folder / "log.txt").unlink()
    with pytest.raises(NodeError, match="no longer whole"):
        rollback(state, paths, NODE, now=NOW)
    assert content_of(paths.output(NODE)) == "b"


@pytest.mark.parametrize("at", ["intent", "aside", "renamed"])
def test_new_files_cut_short_by_a_power_cut_bring_the_old_output_back(
    state: State, paths: ProjectPaths, at: str
) -> None:
    publish(state, paths, *stage(paths, "a"), now=NOW)
    staging, record = stage(paths, "b")
    with pytest.raises(Killed):
        publish(state, paths, staging, record, now=NOW, step=killing(at))
    for folder in (staging, paths.output(NODE)):
        if folder.exists() and (folder / "weights" / "best.pt").read_text() == "b":
            (folder / "weights" / "best.pt").write_text("")
    assert [r.ending for r in recover(state, paths)] == [Ending.RESTORED]
    assert content_of(paths.output(NODE)) == "a"
    assert state.records()[NODE].run == "run-a"
    assert not (staging / "manifest.json").exists()
    assert recover(state, paths) == ()


@pytest.mark.parametrize("at", ["intent", "aside"])
def test_staging_that_vanished_brings_the_old_output_back(state: State, paths: ProjectPaths, at: str) -> None:
    publish(state, paths, *stage(paths, "a"), now=NOW)
    staging, record = stage(paths, "b")
    with pytest.raises(Killed):
        publish(state, paths, staging, record, now=NOW, step=killing(at))
    staging.rename(paths.project_dir / "moved away")
    assert [r.ending for r in recover(state, paths)] == [Ending.RESTORED]
    assert content_of(paths.output(NODE)) == "a"


def test_emptying_the_trash_spares_what_an_unfinished_publish_needs(state: State, paths: ProjectPaths) -> None:
    publish(state, paths, *stage(paths, "a"), now=NOW)
    staging, record = stage(paths, "b")
    with pytest.raises(Killed):
        publish(state, paths, staging, record, now=NOW, step=killing("aside"))
    empty_trash(state, paths)
    staging.rename(paths.project_dir / "moved away")
    recover(state, paths)
    assert content_of(paths.output(NODE)) == "a"


def test_discarding_takes_everything_of_one_node_only(state: State, paths: ProjectPaths) -> None:
    for content in "ab":
        publish(state, paths, *stage(paths, content), keep=1, now=NOW)
    publish(state, paths, *stage(paths, "a", address="models.other"), now=NOW)
    open_staging(paths, NODE, fingerprint_of("f"), None)
    discard(state, paths, NODE)
    empty_trash(state, paths)
    left = sorted(str(p.relative_to(paths.output_root)) for p in paths.output_root.rglob("*") if p.is_file())
    assert left == ["models/other/log.txt", "models/other/manifest.json", "models/other/weights/best.pt"]
    assert [str(address) for address in state.records()] == ["models.other"]
    assert state.earlier() == ()


MOVES = st.tuples(
    st.sampled_from(["publish", "rollback"]),
    st.integers(0, 2),
    st.sampled_from([None, "intent", "aside", "renamed", "synced", "committed", "swept"]),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(moves=st.lists(MOVES, min_size=1, max_size=6))
def test_any_history_of_kills_loses_nothing(tmp_path_factory: pytest.TempPathFactory, moves: list) -> None:  # type: ignore[type-arg]
    """Output and earlier outputs follow a model that knows no kills: what was begun is finished by recovery."""
    paths = project_paths(tmp_path_factory.mktemp("history"))
    current: str | None = None
    earlier: list[str] = []
    with State.open(paths.state_db) as state:
        for number, (move, keep, kill) in enumerate(moves):
            step = killing(kill) if kill else lambda name: None
            try:
                if move == "publish":
                    content = f"{'ab'[number % 2]} of run {number}"
                    earlier = ([current] if current and keep else []) + earlier
                    earlier, current = earlier[:keep], content
                    publish(state, paths, *stage(paths, content), keep=keep, now=NOW, step=step)
                elif earlier:
                    current, earlier = earlier[0], [*([current] if current else []), *earlier[1:]]
                    rollback(state, paths, NODE, now=NOW, step=step)
            except Killed:
                recover(state, paths)
            assert content_of(paths.output(NODE)) == current
            assert kept(state, paths) == earlier
            record = state.record(NODE)
            assert (record.run if record else None) == (f"run-{current}" if current else None)
            empty_trash(state, paths)
        assert kept(state, paths) == earlier


BASE, INSTANCE, OTHER_INSTANCE = (parse_address(text) for text in ("steps.u", "steps.u[e=x]", "steps.u[e=y]"))


def test_a_node_whose_output_is_gone_is_no_obstacle_to_its_instances(state: State, paths: ProjectPaths) -> None:
    publish(state, paths, *stage(paths, "a", address=BASE), now=NOW)
    shutil.rmtree(paths.output(BASE))
    for address in (INSTANCE, OTHER_INSTANCE):
        publish(state, paths, *stage(paths, "b", address=address), now=NOW)
    assert [content_of(paths.output(address)) for address in (INSTANCE, OTHER_INSTANCE)] == ["b", "b"]


def test_discarding_a_node_whose_output_is_gone_leaves_the_instances_in_its_folder(
    state: State, paths: ProjectPaths
) -> None:
    publish(state, paths, *stage(paths, "a", address=BASE), now=NOW)
    shutil.rmtree(paths.output(BASE))
    publish(state, paths, *stage(paths, "b", address=INSTANCE), now=NOW)
    assert discard(state, paths, BASE) == (paths.output(BASE),)
    empty_trash(state, paths)
    assert content_of(paths.output(INSTANCE)) == "b"
    assert list(state.records()) == [INSTANCE]


def test_discarding_leaves_what_the_node_did_not_make(state: State, paths: ProjectPaths) -> None:
    publish(state, paths, *stage(paths, "a"), now=NOW)
    shutil.rmtree(paths.output(NODE))
    paths.output(NODE).mkdir()
    (paths.output(NODE) / "thesis.tex").write_text("years of work")
    assert discard(state, paths, NODE) == (paths.output(NODE),)
    assert (paths.output(NODE) / "thesis.tex").exists()
    assert state.records() == {}


def test_an_output_is_never_discarded_with_another_one_inside(state: State, paths: ProjectPaths) -> None:
    publish(state, paths, *stage(paths, "a", address=INSTANCE), now=NOW)
    inside, record = stage(paths, "b", address=BASE)
    for entry in inside.iterdir():
        entry.rename(paths.output(BASE) / entry.name)
    state.put_record(record)
    with pytest.raises(NodeError, match=r"the output of steps.u\[e=x\] lies inside"):
        discard(state, paths, BASE)
    assert content_of(paths.output(INSTANCE)) == "a"
    assert BASE in state.records()


@pytest.mark.parametrize("recorded", [True, False])
def test_what_was_put_in_the_place_of_a_vanished_output_is_left_alone(
    state: State, paths: ProjectPaths, recorded: bool
) -> None:
    """Also when it is the output of another node."""
    if recorded:
        publish(state, paths, *stage(paths, "a"), now=NOW)
        shutil.rmtree(paths.output(NODE))
    other, _ = stage(paths, "b", address="models.other")
    paths.output(NODE).parent.mkdir(parents=True, exist_ok=True)
    other.rename(paths.output(NODE))
    staging, record = stage(paths, "c")
    with pytest.raises(NodeError, match="was not made by"):
        publish(state, paths, staging, record, now=NOW)
    assert content_of(paths.output(NODE)) == "b"
    (paths.output(NODE) / "manifest.json").unlink()
    with pytest.raises(NodeError, match="was not made by"):
        publish(state, paths, staging, record, now=NOW)
    assert (paths.output(NODE) / "weights" / "best.pt").exists()


def test_an_output_that_the_state_lost_is_kept_like_any_other(state: State, paths: ProjectPaths) -> None:
    publish(state, paths, *stage(paths, "a"), now=NOW)
    state.forget(NODE)
    publish(state, paths, *stage(paths, "b"), keep=1, now=NOW)
    assert kept(state, paths) == ["a"]
    assert rollback(state, paths, NODE, now=NOW).run == "run-a"
