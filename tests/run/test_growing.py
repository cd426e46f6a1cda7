from __future__ import annotations

import os
from pathlib import Path

import pytest

from specrun.run.growing import GrowingFile


def test_what_was_appended_is_read_once(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    growing = GrowingFile(log)
    assert growing.read() == b""
    log.write_bytes(b"one\n")
    assert growing.read() == b"one\n"
    with open(log, "ab") as file:
        file.write(b"two")
    assert growing.read() == b"two"
    assert growing.read() == b""


def test_a_truncated_file_is_read_from_its_beginning(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_bytes(b"a long first line\n")
    growing = GrowingFile(log)
    growing.read()
    log.write_bytes(b"new\n")
    assert growing.read() == b"new\n"


def test_a_replaced_file_is_read_after_the_end_of_the_old_one(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_bytes(b"one\n")
    growing = GrowingFile(log)
    growing.read()
    with open(log, "ab") as file:
        file.write(b"last\n")
    (tmp_path / "next").write_bytes(b"another, longer\n")
    os.replace(tmp_path / "next", log)
    assert growing.read() == b"last\n"
    assert growing.read() == b"another, longer\n"


@pytest.mark.parametrize(
    ("content", "lines", "expected"),
    [
        (b"a\nb\nc\n", 2, b"b\nc\n"),
        (b"a\nb\nc", 2, b"b\nc"),
        (b"a\nb\n", 5, b"a\nb\n"),
        (b"a\nb\n", 0, b""),
        (b"\n\n\n", 1, b"\n"),
        (b"", 3, b""),
        (b"x" * 200_000 + b"\nlast\n", 1, b"last\n"),
        (b"head\n" + b"x" * 200_000 + b"\n", 1, b"x" * 200_000 + b"\n"),
    ],
)
def test_it_may_begin_with_the_last_lines(tmp_path: Path, content: bytes, lines: int, expected: bytes) -> None:
    log = tmp_path / "log.txt"
    log.write_bytes(content)
    assert GrowingFile(log, last_lines=lines).read() == expected
