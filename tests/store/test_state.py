from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from datetime import datetime
from pathlib import Path

import pytest

from specrun.errors import StateError
from specrun.model.address import parse_address
from specrun.model.state import Attempt, Outcome, RunRecord
from specrun.store import schema
from specrun.store.rows import Earlier, Intent
from specrun.store.state import State
from tests.support.outputs import NODE, make_record
from tests.support.unwritable import open_folder, unwritable

ROOT = Path(__file__).parents[2]


def make_attempt() -> Attempt:
    return Attempt(NODE, Outcome.INTERRUPTED, "a" * 32, "run-1", "2025-01-01", "stopped", {"epochs": 3})


def make_intent() -> Intent:
    return Intent(make_record(), ".staging/x", "models/unet", ".trash/x", "m" * 32, make_record(), 1, "", "2025")


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State.open(tmp_path / ".specrun" / "state.db")


def test_a_record_comes_back_as_it_was(state: State) -> None:
    record = make_record("models.unet[encoder=resnet34,seed=1]")
    state.put_record(record)
    assert state.records() == {record.address: record}
    assert state.record(record.address) == record


def test_what_was_put_is_there_after_opening_again(tmp_path: Path) -> None:
    path = tmp_path / ".specrun" / "state.db"
    with State.open(path) as state:
        state.put_record(make_record())
        state.put_attempt(make_attempt())
        state.put_run(RunRecord("r1", "2025-01-01", None, "running", None, 12))
        state.put_intent(make_intent())
        state.put_earlier(Earlier(make_record(fingerprint="e" * 32), ".kept/x", "2025"))
    with State.open(path, read_only=True) as state:
        assert state.records() == {NODE: make_record()}
        assert state.attempts() == {NODE: make_attempt()}
        assert state.runs() == (RunRecord("r1", "2025-01-01", None, "running", None, 12),)
        assert state.intents() == (make_intent(),)
        assert [e.folder for e in state.earlier(NODE)] == [".kept/x"]


def test_a_record_clears_attempt_and_intent(state: State) -> None:
    state.put_attempt(make_attempt())
    state.put_intent(make_intent())
    state.put_record(make_record())
    assert state.attempts() == {}
    assert state.intents() == ()


def test_forgetting_a_node_keeps_what_it_remembers(state: State) -> None:
    state.put_record(make_record())
    state.put_attempt(make_attempt())
    state.remember(NODE, "project_id", 17)
    state.forget(NODE)
    assert state.records() == {}
    assert state.attempts() == {}
    assert state.recall(NODE, "project_id") == 17


def test_a_transaction_is_all_or_nothing(state: State) -> None:
    def half() -> None:
        with state.transaction():
            state.put_record(make_record())
            raise KeyError("a mistake of the caller")

    with pytest.raises(KeyError):
        half()
    assert state.records() == {}


def test_digest_changes_with_records_and_attempts_only(state: State) -> None:
    seen = {state.digest()}
    state.put_record(make_record())
    seen.add(state.digest())
    state.put_attempt(make_attempt())
    seen.add(state.digest())
    assert len(seen) == 3
    state.remember(NODE, "key", "value")
    state.put_run(RunRecord("r1", "2025-01-01", None, "running", None, 12))
    assert state.digest() in seen


def test_memory_holds_any_json_by_address_and_key(state: State) -> None:
    state.remember(NODE, "tasks", {"a": [1, None, "ü"]})
    state.remember("models.other", "tasks", 2)
    assert state.recall(NODE, "tasks") == {"a": [1, None, "ü"]}
    assert state.recall(NODE, "nothing") is None
    assert state.recall_all("models.unet") == {"tasks": {"a": [1, None, "ü"]}}


def test_file_names_that_are_no_utf8_are_remembered(state: State) -> None:
    state.remember(NODE, "path", "caf\udce9.jpg")
    assert state.recall(NODE, "path") == "caf\udce9.jpg"


def test_runs_and_earlier_outputs_come_newest_first(state: State) -> None:
    for number in (1, 3, 2):
        state.put_run(RunRecord(f"r{number}", f"2025-01-0{number}", None, "done", 0, None))
    assert [run.id for run in state.runs()] == ["r3", "r2", "r1"]
    for number in (1, 2, 3):
        state.put_earlier(Earlier(make_record(), f".kept/{number}", "2025"))
    assert [earlier.folder for earlier in state.earlier(NODE)] == [".kept/3", ".kept/2", ".kept/1"]


@pytest.mark.parametrize(
    ("recorded", "asked", "nested"),
    [
        ("models.unet", "models.unet[a=1]", True),
        ("models.unet[a=1]", "models.unet", True),
        ("models.unet[a=1]", "models.unet[a=1,b=2]", True),
        ("models.unet[a=1,b=2]", "models.unet[a=1]", True),
        ("models.unet[a=1]", "models.unet[a=2]", False),
        ("models.unet[a=1]", "models.unet[a=1]", False),
        ("models.unet2", "models.unet", False),
        ("models.unet[a=12]", "models.unet[a=1]", False),
    ],
)
def test_nodes_whose_folders_lie_in_each_other_are_found(state: State, recorded: str, asked: str, nested: bool) -> None:
    state.put_record(make_record(recorded))
    assert state.nested(parse_address(asked)) == ((parse_address(recorded),) if nested else ())


def test_reading_a_state_that_does_not_exist_creates_nothing(tmp_path: Path) -> None:
    with State.open(tmp_path / ".specrun" / "state.db", read_only=True) as state:
        assert state.records() == {}
    assert list(tmp_path.iterdir()) == []


def test_a_read_only_state_refuses_writes(tmp_path: Path) -> None:
    path = tmp_path / ".specrun" / "state.db"
    State.open(path).close()
    with State.open(path, read_only=True) as state, pytest.raises(StateError, match=r"state\.db"):
        state.put_record(make_record())


def test_a_state_of_a_newer_specrun_is_refused(tmp_path: Path) -> None:
    path = tmp_path / ".specrun" / "state.db"
    State.open(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO migrations (version) VALUES (?)", (schema.VERSION + 1,))
    connection.close()
    for read_only in (False, True):
        with pytest.raises(StateError, match="newer specrun"):
            State.open(path, read_only=read_only)


@pytest.mark.parametrize("read_only", [False, True])
def test_a_damaged_state_is_named_and_left_alone(tmp_path: Path, read_only: bool) -> None:
    path = tmp_path / ".specrun" / "state.db"
    path.parent.mkdir()
    path.write_bytes(b"this is no database at all" * 100)
    with pytest.raises(StateError, match=r"state\.db: damaged") as caught:
        State.open(path, read_only=read_only)
    assert "Nothing was deleted" in str(caught.value.hint)
    assert path.read_bytes() == b"this is no database at all" * 100


def test_pages_overwritten_later_are_reported_as_damage(tmp_path: Path) -> None:
    path = tmp_path / ".specrun" / "state.db"
    with State.open(path) as state:
        state.put_records(make_record(f"steps.n{i}") for i in range(200))
    content = bytearray(path.read_bytes())
    content[8192:] = b"\xff" * (len(content) - 8192)
    path.write_bytes(content)
    with pytest.raises(StateError, match="damaged"), State.open(path, read_only=True) as state:
        state.records()


def test_waiting_too_long_for_another_writer_is_explained(tmp_path: Path) -> None:
    path = tmp_path / ".specrun" / "state.db"
    with State.open(path) as first, State.open(path, busy_timeout_s=0) as second:
        with first.transaction(), pytest.raises(StateError, match="another process"):
            second.remember(NODE, "key", 1)
        second.remember(NODE, "key", 2)


def test_several_processes_remember_at_once(tmp_path: Path) -> None:
    path = tmp_path / ".specrun" / "state.db"
    code = (
        "import sys; from pathlib import Path; from specrun.store.state import State\n"
        "with State.open(Path(sys.argv[1])) as state:\n"
        "    for i in range(20): state.remember('steps.n', f'{sys.argv[2]}-{i}', i)\n"
    )
    workers = [subprocess.Popen([sys.executable, "-c", code, path, str(n)], cwd=ROOT) for n in range(4)]
    assert [worker.wait() for worker in workers] == [0] * 4
    with State.open(path) as state:
        assert len(state.recall_all("steps.n")) == 80


def test_threads_share_one_state(state: State) -> None:
    def write(number: int) -> None:
        with state.transaction():
            for i in range(20):
                state.put_record(make_record(f"steps.n{number}-{i}"))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(state.records()) == 80


def test_the_state_folder_hides_itself_from_git(tmp_path: Path) -> None:
    State.open(tmp_path / ".specrun" / "state.db").close()
    assert (tmp_path / ".specrun" / ".gitignore").read_text() == "*\n"


def test_commits_are_synced_and_logged_ahead(state: State) -> None:
    pragma = state._connection.execute
    assert pragma("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert pragma("PRAGMA synchronous").fetchone()[0] == 2


def test_a_state_in_a_folder_that_cannot_be_written_is_read() -> None:
    with open_folder() as folder:
        path = folder / "state.db"
        with State.open(path) as state:
            state.put_record(make_record())
        with unwritable(folder), State.open(path, read_only=True) as state:
            assert list(state.records()) == [NODE]


def test_runs_that_never_ended_are_marked_as_interrupted(state: State) -> None:
    ended = RunRecord("r1", "2025-01-01", "2025-01-02", "done", 0, 1)
    state.put_run(ended)
    state.put_run(RunRecord("r2", "2025-01-03", None, "running", None, 4711, done=1, total=3))
    assert state.mark_crashed_runs(now="2025-01-04") == ("r2",)
    assert state.runs() == (
        RunRecord("r2", "2025-01-03", "2025-01-04", "interrupted", None, 4711, done=1, total=3),
        ended,
    )
    assert state.mark_crashed_runs() == ()


def test_a_run_marked_as_interrupted_ends_now(state: State) -> None:
    state.put_run(RunRecord("r1", "2025-01-01T00:00:00+00:00", None, "running", None, None))
    state.mark_crashed_runs()
    ended_at = state.runs()[0].ended_at
    assert ended_at is not None
    assert datetime.fromisoformat(ended_at).tzinfo is not None
