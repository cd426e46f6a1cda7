from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from itertools import count
from pathlib import Path

import pytest

from specrun.errors import StateError
from specrun.model.event import LogLine, Metric, NodeFinished, Notice
from specrun.store.journal import JournalReader, JournalWriter, read_journal

ROOT = Path(__file__).parents[2]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "run-7" / "events.jsonl"


def texts(events: object) -> list[str]:
    return [event.text for event in events]  # type: ignore[attr-defined]


def test_events_get_run_number_and_time(path: Path) -> None:
    with JournalWriter(path, clock=lambda: 12.5) as journal:
        for text in ("one", "two"):
            journal.append(Notice(text=text))
    assert list(read_journal(path)) == [
        Notice(run="run-7", seq=1, time=12.5, text="one"),
        Notice(run="run-7", seq=2, time=12.5, text="two"),
    ]
    assert json.loads(path.read_text().splitlines()[0]) == {"type": "Journal", "format": 1}


def test_values_of_every_type_come_back(path: Path) -> None:
    event = NodeFinished(address="a.b", duration_s=1.5, facts={"ü": [1, {"x": None}]}, notes=("line\nbreak", "\u2028"))
    with JournalWriter(path) as journal:
        journal.append(event)
    (found,) = read_journal(path)
    assert isinstance(found, NodeFinished)
    assert (found.facts, found.notes) == (event.facts, event.notes)


def test_what_is_no_json_is_written_as_the_nearest_that_is(path: Path) -> None:
    with JournalWriter(path) as journal:
        journal.append(Metric(address="a.b", name="loss", step=1, value=math.nan))
        journal.append(LogLine(address="a.b", text="caf\udce9.jpg"))
        journal.append(NodeFinished(address="a.b", duration_s=1, facts={"path": Path("x"), "set": {2, 1}}))  # type: ignore[dict-item]
    metric, log, finished = (event.to_json() for event in read_journal(path))
    assert metric["value"] is None
    assert log["text"] == "caf\udce9.jpg"
    assert finished["facts"] == {"path": "x", "set": [1, 2]}
    assert "NaN" not in path.read_text()


def test_lines_wait_a_tenth_of_a_second_or_for_a_flush(path: Path) -> None:
    now = 0.0
    journal = JournalWriter(path, clock=lambda: now)
    journal.append(Notice(text="waits"))
    assert list(read_journal(path)) == []
    now = 0.1
    journal.append(Notice(text="brings both"))
    assert texts(read_journal(path)) == ["waits", "brings both"]
    journal.append(Notice(text="flushed"))
    journal.flush()
    assert len(list(read_journal(path))) == 3


def test_many_lines_do_not_wait(path: Path) -> None:
    journal = JournalWriter(path, clock=lambda: 0.0)
    for _ in range(1000):
        journal.append(Notice(text="x" * 100))
    assert 0 < len(list(read_journal(path))) < 1000


def test_a_reader_follows_from_before_there_is_a_journal(path: Path) -> None:
    with JournalReader(path) as reader:
        assert reader.poll() == []
        with JournalWriter(path) as journal:
            journal.append(Notice(text="one"))
            journal.flush()
            assert texts(reader.poll()) == ["one"]
            assert reader.poll() == []
            journal.append(Notice(text="two"))
        assert texts(reader.poll()) == ["two"]


def test_half_a_line_is_read_when_its_end_arrives(path: Path) -> None:
    with JournalWriter(path) as journal:
        journal.append(Notice(text="größer"))
    content = path.read_bytes()
    for cut in range(len(content)):
        path.write_bytes(content[:cut])
        with JournalReader(path) as reader:
            before = reader.poll()
            with open(path, "ab") as file:
                file.write(content[cut:])
            assert texts(before + reader.poll()) == ["größer"]


def test_what_cannot_be_read_is_skipped(path: Path) -> None:
    with JournalWriter(path) as journal:
        journal.append(Notice(text="one"))
    with open(path, "ab") as file:
        file.write(b'{"type": "Tomorrow", "x": 1}\n\xff\xfe\n[]\n7\n\n{"type": "Notice"}\n{"type": []}\n{half\n')
    with JournalWriter(path) as journal:
        journal.append(Notice(text="two"))
    assert texts(read_journal(path)) == ["one", "two"]


def test_a_second_writer_goes_on_after_half_a_line(path: Path) -> None:
    with JournalWriter(path) as journal:
        journal.append(Notice(text="one"))
    with open(path, "ab") as file:
        file.write(b'{"type": "Notice", "te')
    with JournalWriter(path) as journal:
        journal.append(Notice(text="two"))
    assert [(e.seq, e.to_json()["text"]) for e in read_journal(path)] == [(1, "one"), (2, "two")]


def test_a_long_journal_is_read_in_pieces(path: Path) -> None:
    with JournalWriter(path) as journal:
        for _ in range(30_000):
            journal.append(LogLine(address="a.b", text="x" * 40))
    with JournalReader(path) as reader:
        sizes = [len(reader.poll(max_bytes=1 << 20)) for _ in range(6)]
    assert sum(sizes) == 30_000
    assert 0 < max(sizes) < 15_000


def test_a_line_longer_than_a_piece_arrives(path: Path) -> None:
    with JournalWriter(path) as journal:
        journal.append(Notice(text="x" * (3 << 20)))
        journal.append(Notice(text="short"))
    with JournalReader(path) as reader:
        events = reader.poll(max_bytes=1)
        events += reader.poll(max_bytes=1)
    assert [len(text) for text in texts(events)] == [3 << 20, 5]


def test_a_journal_of_a_newer_format_is_refused(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_text('{"type": "Journal", "format": 2}\n')
    with pytest.raises(StateError, match="newer specrun"):
        list(read_journal(path))


def test_a_full_disk_loses_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = JournalWriter(path, clock=lambda: 0.0)
    journal.append(Notice(text="one"))
    real = os.write
    monkeypatch.setattr(os, "write", _full_after(10, real))
    with pytest.raises(StateError, match="cannot be written"):
        journal.flush()
    monkeypatch.setattr(os, "write", real)
    journal.append(Notice(text="two"))
    journal.close()
    assert texts(read_journal(path)) == ["one", "two"]


def _full_after(size: int, real):  # type: ignore[no-untyped-def]
    calls = count()

    def write(descriptor: int, content: bytes) -> int:
        if next(calls):
            raise OSError(28, "No space left on device")
        return int(real(descriptor, content[:size]))

    return write


def test_flushed_lines_survive_a_kill(path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from specrun.model.event import Notice; from specrun.store.journal import JournalWriter\n"
        "journal = JournalWriter(Path(sys.argv[1]))\n"
        "for i in range(5000): journal.append(Notice(text=str(i)))\n"
        "journal.flush(); journal.append(Notice(text='lost'))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, path], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    assert texts(read_journal(path)) == [str(i) for i in range(5000)]
    assert path.read_bytes().endswith(b"\n")
