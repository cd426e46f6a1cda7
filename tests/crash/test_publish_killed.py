"""Publishing is killed for real (SIGKILL) after each step; recovery leaves the old output or the new one, not half."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from specrun.model.address import parse_address
from specrun.store.manifest import collect_files, read_manifest
from specrun.store.moves import STEPS
from specrun.store.paths import ProjectPaths
from specrun.store.publish import publish
from specrun.store.recover import recover
from specrun.store.state import State
from specrun.store.trash import empty_trash
from tests.support.outputs import NODE, content_of, project_paths, stage

SCRIPT = Path(__file__).with_name("publish_and_die.py")
BEFORE = "2025-01-01T00:00:00+00:00"
AFTER_COMMIT = STEPS.index("committed") + 1


def run_and_die(project: Path, scenario: str, kill_at: int) -> None:
    done = subprocess.run([sys.executable, SCRIPT, project, scenario, str(kill_at)], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr


def prepare(paths: ProjectPaths, scenario: str) -> None:
    """What was there before: nothing, one output, or one output with an earlier one."""
    if scenario in ("first", "batch"):
        return
    with State.open(paths.state_db) as state:
        publish(state, paths, *stage(paths, "earlier", fingerprint="e" * 32), keep=1, now=BEFORE)
        publish(state, paths, *stage(paths, "old"), keep=1, now=BEFORE)


def assert_agrees(paths: ProjectPaths, state: State) -> None:
    """State, manifests and files tell the same story, and nothing is left to be done."""
    assert state.intents() == ()
    for address, record in state.records().items():
        folder = paths.output(address)
        manifest = read_manifest(folder)
        assert manifest is not None
        assert (manifest.fingerprint, manifest.run, manifest.digest) == (record.fingerprint, record.run, record.digest)
        assert manifest.files == collect_files(folder, {})
    for earlier in state.earlier():
        kept = read_manifest(paths.output_root / earlier.folder)
        assert kept is not None
        assert kept.run == earlier.record.run


def snapshot(paths: ProjectPaths) -> dict[str, bytes]:
    return {
        str(path.relative_to(paths.output_root)): path.read_bytes()
        for path in sorted(paths.output_root.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("kill_at", range(1, len(STEPS) + 1), ids=STEPS)
@pytest.mark.parametrize(
    ("scenario", "wanted", "earlier"),
    [
        ("first", "new", []),
        ("replace", "new", []),
        ("keep", "new", ["old"]),
        ("again", "old again", ["old"]),
        ("rollback", "earlier", ["old"]),
    ],
)
def test_killed_publish_is_finished_by_recovery(
    tmp_path: Path, scenario: str, wanted: str, earlier: list[str], kill_at: int
) -> None:
    paths = project_paths(tmp_path)
    prepare(paths, scenario)
    before = None if scenario == "first" else "old"
    run_and_die(tmp_path, scenario, kill_at)

    assert content_of(paths.output(NODE)) in {before, wanted, None}
    with State.open(paths.state_db) as state:
        if kill_at < AFTER_COMMIT:
            recorded = state.record(NODE)
            assert (recorded.run if recorded else None) == ("run-old" if before else None)
        recovered = recover(state, paths)
        assert [r.address for r in recovered] == ([NODE] if kill_at < AFTER_COMMIT else [])
        assert content_of(paths.output(NODE)) == wanted
        assert [content_of(paths.output_root / e.folder) for e in state.earlier(NODE)] == earlier
        assert_agrees(paths, state)

        after = snapshot(paths)
        assert recover(state, paths) == ()
        assert snapshot(paths) == after
        empty_trash(state, paths)
        assert_agrees(paths, state)
        assert content_of(paths.output(NODE)) == wanted
        assert [content_of(paths.output_root / e.folder) for e in state.earlier(NODE)] == earlier


@pytest.mark.parametrize("kill_at", range(1, 11))
def test_killed_batch_is_finished_by_recovery(tmp_path: Path, kill_at: int) -> None:
    paths = project_paths(tmp_path)
    run_and_die(tmp_path, "batch", kill_at)
    with State.open(paths.state_db) as state:
        recover(state, paths)
        assert [content_of(paths.output(parse_address(f"steps.n{i}"))) for i in range(3)] == ["new"] * 3
        assert len(state.records()) == 3
        assert_agrees(paths, state)


@pytest.mark.parametrize("kill_at", [1, 2, 3])
@pytest.mark.parametrize("recover_kill_at", [1, 2, 3, 4])
def test_recovery_may_be_killed_too(tmp_path: Path, kill_at: int, recover_kill_at: int) -> None:
    paths = project_paths(tmp_path)
    prepare(paths, "keep")
    run_and_die(tmp_path, "keep", kill_at)
    subprocess.run(
        [sys.executable, SCRIPT, tmp_path, "recover", str(recover_kill_at)], capture_output=True, check=False
    )
    with State.open(paths.state_db) as state:
        recover(state, paths)
        assert content_of(paths.output(NODE)) == "new"
        assert [content_of(paths.output_root / e.folder) for e in state.earlier(NODE)] == ["old"]
        assert_agrees(paths, state)
