"""The embedded server, with real processes; skipped where no mongod starts."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from specrun.clients.mongod import answers, ended, running, shared_server, wait_until
from specrun.clients.mongod_binary import find_mongod
from specrun.clients.mongod_folder import ServerFolder, clean_stop, socket_folder
from specrun.errors import MissingDependency, NodeError

HOLDER = """
import sys
from pathlib import Path
from specrun.clients.mongod import shared_server
with shared_server(Path(sys.argv[1])) as uri:
    print(uri, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _need_mongod(tmp_path: Path) -> None:
    try:
        find_mongod(tmp_path / "mongod.json")
    except MissingDependency as missing:
        pytest.skip(str(missing))


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """`.specrun/fiftyone`; whatever a failing test left running ends with it."""
    root = tmp_path / ".specrun" / "fiftyone"
    yield root
    server = running(ServerFolder(root))
    if server:
        with contextlib.suppress(psutil.Error):
            psutil.Process(server.pid).kill()


@contextlib.contextmanager
def holder(root: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that uses the server until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin
    assert process.stdout
    assert process.stdout.readline().startswith("mongodb://")
    try:
        yield process
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait(60)


def server_process(root: Path) -> psutil.Process:
    server = running(ServerFolder(root))
    assert server is not None
    return psutil.Process(server.pid)


def guard_process(root: Path) -> psutil.Process:
    guards = [p for p in psutil.process_iter(["cmdline"]) if str(root) in (p.info["cmdline"] or [])]
    return next(p for p in guards if "specrun.clients.mongod" in (p.info["cmdline"] or []))


def await_end(process: psutil.Process) -> None:
    assert wait_until(lambda: ended(process))


def insert_and_count(uri: str) -> int:
    from pymongo import MongoClient

    with MongoClient(uri, journal=True) as client:
        client["test"]["things"].insert_one({})
        return int(client["test"]["things"].count_documents({}))


def test_the_server_runs_while_it_is_used_and_no_longer(root: Path) -> None:
    with shared_server(root) as uri:
        process = server_process(root)
        assert insert_and_count(uri) == 1
    assert ended(process)
    assert running(ServerFolder(root)) is None


def test_it_listens_on_a_private_socket_alone(root: Path) -> None:
    with shared_server(root):
        process = server_process(root)
        assert process.net_connections("tcp") == []
        server = running(ServerFolder(root))
        assert server is not None
        assert server.socket.parent.stat().st_mode & 0o777 == 0o700
        assert [Path(c.laddr) for c in process.net_connections("unix") if c.laddr] == [server.socket]
    assert not server.socket.parent.exists()


def test_processes_share_one_server_and_the_last_one_stops_it(root: Path) -> None:
    with holder(root) as other:
        with shared_server(root):
            process = server_process(root)
        assert not ended(process)
        assert other.poll() is None
    assert ended(process)


def test_a_killed_user_leaves_nothing_behind(root: Path) -> None:
    with holder(root) as user:
        process, guard = server_process(root), guard_process(root)
        user.kill()
        await_end(process)
        await_end(guard)
    with shared_server(root) as uri:
        assert insert_and_count(uri) == 1


def test_a_killed_user_does_not_take_the_server_from_others(root: Path) -> None:
    with shared_server(root) as uri:
        with holder(root) as user:
            user.kill()
            user.wait(60)
        assert insert_and_count(uri) == 1


def test_a_killed_guard_is_replaced_by_the_next_user(root: Path) -> None:
    with holder(root) as user:
        server, guard = server_process(root), guard_process(root)
        guard.kill()
        await_end(guard)
        with holder(root) as second:
            assert server_process(root) == server
            assert guard_process(root) != guard
            user.kill()
            user.wait(60)
            second.kill()
            await_end(server)


def test_data_outlives_a_killed_server(root: Path) -> None:
    with shared_server(root) as uri:
        insert_and_count(uri)
        process, guard = server_process(root), guard_process(root)
        process.kill()
        await_end(process)
        await_end(guard)
    assert clean_stop(root) is None
    with shared_server(root) as uri:
        assert insert_and_count(uri) == 2


def test_a_record_of_another_process_is_not_believed(root: Path) -> None:
    folder = ServerFolder(root)
    with shared_server(root):
        pass
    created = psutil.Process().create_time() - 100
    folder.record.write_text(json.dumps({"pid": os.getpid(), "created": created, "socket": "/tmp/none"}))
    assert running(folder) is None
    with shared_server(root) as uri:
        assert insert_and_count(uri) == 1


def test_a_clean_stop_remembers_what_was_seen(root: Path) -> None:
    with shared_server(root, look=lambda uri: {"seen": True}):
        assert clean_stop(root) is None
    assert clean_stop(root) == {"seen": True}


def test_data_that_moved_after_the_stop_is_not_trusted(root: Path) -> None:
    with shared_server(root, look=lambda uri: {"seen": True}):
        pass
    data = next(ServerFolder(root).data.glob("collection-*.wt"))
    os.utime(data, ns=(0, 0))
    assert clean_stop(root) is None


def test_a_look_that_fails_does_not_keep_the_server(root: Path) -> None:
    def fail(uri: str) -> None:
        raise RuntimeError

    with shared_server(root, look=fail):
        process = server_process(root)
    assert ended(process)
    assert clean_stop(root) is None


def test_ctrl_c_at_the_terminal_does_not_reach_the_server(root: Path) -> None:
    with holder(root) as user:
        process = server_process(root)
        assert os.getsid(process.pid) != os.getsid(user.pid)
        user.send_signal(signal.SIGINT)
        await_end(process)


def test_a_server_that_died_leaves_no_socket(root: Path) -> None:
    with shared_server(root):
        server = running(ServerFolder(root))
        assert server is not None
        process = psutil.Process(server.pid)
        process.kill()
        await_end(process)
        assert server.socket.exists()
    assert not server.socket.parent.exists()


def test_a_server_that_does_not_start_says_why(root: Path) -> None:
    folder = ServerFolder(root)
    with shared_server(root):
        pass
    (folder.data / "WiredTiger.turtle").write_bytes(b"not what it was")
    (folder.data / "WiredTiger.wt").write_bytes(b"not a table")
    with pytest.raises(NodeError, match=r"did not start .*move .*/db away"), shared_server(root):
        pass
    assert running(folder) is None


def test_a_network_file_system_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("specrun.clients.mongod_folder.on_network", lambda path: True)
    with pytest.raises(NodeError, match=r"network file system.*settings\.fiftyone\.database"), shared_server(root):
        pass


def test_a_long_runtime_folder_gives_way_to_a_short_one(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 90)
    long.mkdir()
    folder = socket_folder(tmp_path, {"XDG_RUNTIME_DIR": str(long)})
    try:
        assert len(os.fsencode(folder / "m.sock")) < 107
    finally:
        folder.rmdir()


def test_somebody_elses_socket_folder_is_refused(tmp_path: Path) -> None:
    mine = socket_folder(tmp_path, {"XDG_RUNTIME_DIR": str(tmp_path)})
    mine.rmdir()
    mine.symlink_to(tmp_path)
    with pytest.raises(NodeError, match="belongs to somebody else"):
        socket_folder(tmp_path, {"XDG_RUNTIME_DIR": str(tmp_path)})


def test_nothing_answers_where_nothing_listens(tmp_path: Path) -> None:
    assert not answers(tmp_path / "m.sock")
