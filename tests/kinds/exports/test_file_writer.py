import os

import pytest

from specrun.kinds.exports.file_writer import FileWriter, perform


def add_many(writer, folder, count):
    for i in range(count):
        writer.add(("write", f"{folder}/{i}", str(i).encode(), ""))


@pytest.mark.parametrize("processes", [1, 2])
def test_everything_lies_there_after_waiting(tmp_path, processes):
    writer = FileWriter(processes)
    add_many(writer, tmp_path, 2600)
    writer.wait()
    assert len(list(tmp_path.iterdir())) == 2600
    assert (tmp_path / "2599").read_bytes() == b"2599"


def test_it_goes_on_after_waiting(tmp_path):
    writer = FileWriter(2)
    add_many(writer, tmp_path, 2300)
    writer.wait()
    writer.add(("write", f"{tmp_path}/last", b"x", ""))
    writer.wait()
    assert (tmp_path / "last").exists()


def test_a_failure_in_the_other_process_is_an_error_here(tmp_path):
    writer = FileWriter(2)
    add_many(writer, tmp_path, 2000)
    add_many(writer, tmp_path / "missing", 10)
    with pytest.raises(OSError, match=r"No such file or directory: .*missing/0"):
        writer.wait()


def test_abandoning_ends_the_other_process(tmp_path):
    writer = FileWriter(2)
    add_many(writer, tmp_path, 2500)
    writer.abandon()
    writer.wait()
    assert len(list(tmp_path.iterdir())) >= 2000


def test_a_hard_link_that_fails_is_written(tmp_path):
    perform(("link", f"{tmp_path}/a", b"text", f"{tmp_path}/nowhere"))
    assert (tmp_path / "a").read_bytes() == b"text"
    perform(("link", f"{tmp_path}/b", b"text", f"{tmp_path}/a"))
    assert os.path.samefile(tmp_path / "a", tmp_path / "b")
