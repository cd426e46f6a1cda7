from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from specrun.errors import LockedError, StateError
from specrun.store.locks import ProjectLock
from tests.support.unwritable import open_folder, unwritable

ROOT = Path(__file__).parents[2]
HOLD = (
    "import sys; from pathlib import Path; from specrun.store.locks import ProjectLock\n"
    "with ProjectLock(Path(sys.argv[1])).hold('watch'): print('held', flush=True); sys.stdin.read()\n"
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".specrun" / "lock"


def hold_elsewhere(path: Path) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, path], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    return process


def test_a_second_process_is_told_who_holds_the_lock(path: Path) -> None:
    other = hold_elsewhere(path)
    lock = ProjectLock(path, pause=lambda seconds: None)
    with pytest.raises(LockedError) as caught, lock.hold("apply"):
        pass
    assert f"watch by {lock.holder().who} (process {other.pid} on {socket.gethostname()})" in str(caught.value)  # type: ignore[union-attr]
    other.communicate()
    assert lock.holder() is None
    with lock.hold("apply"):
        pass


def test_a_killed_holder_is_no_obstacle(path: Path) -> None:
    other = hold_elsewhere(path)
    other.send_signal(signal.SIGKILL)
    other.communicate()
    lock = ProjectLock(path)
    assert lock.holder() is None
    leftover = lock.leftover()
    assert leftover is not None
    assert leftover.pid == other.pid
    with lock.hold("apply") as holder:
        assert holder.operation == "apply"
        assert lock.leftover() is None
    assert path.read_bytes() == b""


def test_clearing_takes_away_what_a_killed_process_left(path: Path) -> None:
    path.parent.mkdir()
    path.write_text('{"who": "ann", "pid": 1, "host": "h", "since": "s", "operation": "apply"}')
    lock = ProjectLock(path)
    assert str(lock.leftover()) == "apply by ann (process 1 on h) since s"
    lock.clear()
    assert lock.leftover() is None


def test_the_lock_is_free_after_an_error(path: Path) -> None:
    lock = ProjectLock(path)

    def fail() -> None:
        with lock.hold("apply"):
            assert lock.holder() == ProjectLock(path).holder()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert lock.holder() is None


def test_somebody_who_asks_for_the_holder_does_not_block(path: Path) -> None:
    """Asking takes a shared lock for a moment; whoever wants to hold tries again."""
    import fcntl  # not on every system

    path.parent.mkdir()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    with ProjectLock(path, pause=lambda seconds: os.close(descriptor)).hold("apply") as holder:
        assert holder.pid == os.getpid()


def test_nothing_is_held_where_there_is_no_file(path: Path) -> None:
    assert ProjectLock(path).holder() is None
    assert ProjectLock(path).leftover() is None


def test_a_file_system_without_locks_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", flock)
    with pytest.raises(StateError, match="cannot lock files"), ProjectLock(path).hold("apply"):
        pass


def test_the_holder_is_told_where_nothing_can_be_written() -> None:
    with open_folder() as folder:
        lock = ProjectLock(folder / "lock")
        with lock.hold("apply") as held, unwritable(folder):
            assert ProjectLock(folder / "lock").holder() == held
        with unwritable(folder):
            assert lock.holder() is None
