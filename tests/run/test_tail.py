from __future__ import annotations

from pathlib import Path

from specrun.model.address import parse_address
from specrun.model.event import Event, LogLine
from specrun.run.attempt import Follower
from specrun.run.request import LOG_NAME
from specrun.run.tail import LONGEST_LINE, Tail, last_lines


def test_only_whole_lines_are_given(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"one\ntw")
    tail = Tail(path)
    assert tail.poll() == ["one"]
    with open(path, "ab") as file:
        file.write(b"o\n")
    assert tail.poll() == ["two"]
    tail.close()


def test_a_line_without_an_end_comes_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"x" * (2 * LONGEST_LINE + 3))
    tail = Tail(path)
    assert [len(line) for line in tail.poll()] == [LONGEST_LINE, LONGEST_LINE]
    assert tail.poll(final=True) == ["xxx"]
    tail.close()


def test_of_lines_that_overwrite_themselves_the_last_state_counts(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"begin\n" + b"".join(b"\rEpoch %d%%" % done for done in range(101)) + b"\nend\r\n")
    assert last_lines(path, 3) == ("begin", "Epoch 100%", "end")


def test_a_progress_bar_is_told_as_one_line_in_its_last_state(tmp_path: Path) -> None:
    told: list[Event] = []
    follower = Follower(parse_address("models.unet"), tmp_path, told.append)
    (tmp_path / LOG_NAME).write_bytes(b"begin\r\n\rEpoch 1%\rEpoch 2%\n")
    follower.finish()
    assert [event.text for event in told if isinstance(event, LogLine)] == ["begin", "Epoch 2%"]
