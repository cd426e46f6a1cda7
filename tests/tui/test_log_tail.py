from pathlib import Path

from specrun.tui.log_tail import FIRST_BYTES, MAX_LINE, POLL_BYTES, LogTail, shown_line


def test_only_whole_new_lines_come(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_text("one\ntwo\nthr")
    tail = LogTail(log)
    assert tail.poll() == ["one", "two"]
    assert tail.poll() == []
    with log.open("a") as file:
        file.write("ee\nfour\n")
    assert tail.poll() == ["three", "four"]


def test_a_bar_without_a_line_end_is_seen_while_it_grows(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_text("begin\n")
    tail = LogTail(log)
    tail.poll()
    assert tail.pending == ""
    with log.open("a", newline="") as file:
        file.write("\rEpoch 1%\rEpoch 2%")
    assert tail.poll() == []
    assert tail.pending == "Epoch 2%"
    with log.open("a", newline="") as file:
        file.write("\rEpoch 3%\n")
    assert tail.poll() == ["Epoch 3%"]
    assert tail.pending == ""


def test_a_file_that_is_not_there_yet_has_no_lines(tmp_path: Path) -> None:
    tail = LogTail(tmp_path / "log.txt")
    assert tail.poll() == []
    (tmp_path / "log.txt").write_text("now\n")
    assert tail.poll() == ["now"]
    assert not tail.restarted


def test_a_file_written_anew_is_read_anew(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_text("a long first attempt\n")
    tail = LogTail(log)
    tail.poll()
    log.write_text("second\n")
    assert tail.poll() == ["second"]
    assert tail.restarted
    (tmp_path / "other").write_text("third attempt in another file\n")
    (tmp_path / "other").rename(log)
    assert tail.poll() == ["third attempt in another file"]
    assert tail.restarted
    assert tail.poll() == []
    assert not tail.restarted


def test_of_a_long_log_the_end_is_read_and_the_first_half_line_left_out(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_text("".join(f"line {i:08d}\n" for i in range(200_000)))
    tail = LogTail(log)
    lines = tail.poll()
    assert tail.skipped
    assert lines[-1] == "line 00199999"
    assert all(len(line) == 13 for line in lines)
    assert len(lines) * 14 <= FIRST_BYTES


def test_a_burst_beyond_the_bound_is_cut_at_its_beginning(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_text("first\n")
    tail = LogTail(log)
    tail.poll()
    with log.open("a") as file:
        file.write("x" * 99 + "\n")
        file.writelines(f"{i:099d}\n" for i in range(2 * POLL_BYTES // 100))
    lines = tail.poll()
    assert len(lines) <= POLL_BYTES // 100
    assert lines[-1] == f"{2 * POLL_BYTES // 100 - 1:099d}"
    assert tail.skipped


def test_a_progress_bar_that_overwrites_itself_leaves_its_last_state() -> None:
    assert shown_line(b"  0%|\r 50%|\r100%|####|\r") == "100%|####|"
    assert shown_line(b"windows line\r") == "windows line"


def test_bytes_that_are_no_text_and_escapes_are_harmless() -> None:
    assert shown_line(b"\xff\xfe ok \x1b[31mred\x1b[0m") == "\ufffd\ufffd ok red"


def test_an_endless_line_is_cut() -> None:
    assert len(shown_line(b"x" * 1_000_000)) == MAX_LINE + 2
