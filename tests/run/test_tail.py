from __future__ import annotations

from pathlib import Path

from specrun.run.tail import LONGEST_LINE, Tail


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
