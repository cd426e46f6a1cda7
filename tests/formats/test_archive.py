from __future__ import annotations

import io
import stat
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from specrun.errors import FormatError
from specrun.formats.archive import Limits, extract_archive


def write_zip(path: Path, members: Sequence[tuple[str | zipfile.ZipInfo, bytes]]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


def test_files_and_folders_are_unpacked(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "a.zip", [("x/", b""), ("x/é.txt", b"1"), ("b.txt", b"")])
    done: list[tuple[int, int]] = []
    extract_archive(archive, tmp_path / "out", progress=lambda *numbers: done.append(numbers))
    found = {p.relative_to(tmp_path / "out").as_posix(): p.read_bytes() for p in (tmp_path / "out").rglob("*.txt")}
    assert found == {"x/é.txt": b"1", "b.txt": b""}
    assert done == [(1, 2), (2, 2)]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("../a.txt", b"")], "leaves its folder"),
        ([("x/../../a.txt", b"")], "leaves its folder"),
        ([("/etc/a.txt", b"")], "is an absolute path"),
        ([("C:/a.txt", b"")], "is an absolute path"),
        ([("x\\..\\a.txt", b"")], "is an absolute path"),
        ([(link("a"), b"/etc/passwd")], "is a link"),
        ([("a.txt", b""), ("A.TXT", b"")], "collides"),
        ([("é.txt", b""), ("e\u0301.txt", b"")], "collides"),
        ([("a", b""), ("a/b", b"")], "collides"),
        ([("a/b", b""), ("A", b"")], "collides"),
        ([("a\x1b[2J.txt", b"")], "control characters"),
    ],
)
def test_a_hostile_member_is_refused_before_anything_is_written(
    tmp_path: Path, members: list[tuple[str | zipfile.ZipInfo, bytes]], message: str
) -> None:
    archive = write_zip(tmp_path / "a.zip", [("first.txt", b"1"), *members])
    with pytest.raises(FormatError, match=rf"a\.zip: .*{message}"):
        extract_archive(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_equal_names_in_different_folders_do_not_collide(tmp_path: Path) -> None:
    extract_archive(write_zip(tmp_path / "a.zip", [("x/a", b""), ("y/a", b"")]), tmp_path / "out")
    assert (tmp_path / "out/y/a").is_file()


def test_an_implausible_ratio_is_refused(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "a.zip", [("zeros", bytes(1_000_000))])
    with pytest.raises(FormatError, match="times its size"):
        extract_archive(archive, tmp_path / "out", limits=Limits(ratio_from_bytes=1000))


@pytest.mark.parametrize("limits", [Limits(files=1), Limits(total_bytes=1)])
def test_more_than_a_data_set_has_is_refused(tmp_path: Path, limits: Limits) -> None:
    archive = write_zip(tmp_path / "a.zip", [("a", b"1"), ("b", b"2")])
    with pytest.raises(FormatError, match="more than specrun unpacks"):
        extract_archive(archive, tmp_path / "out", limits=limits)


def test_a_file_that_is_no_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"no zip")
    with pytest.raises(FormatError, match=r"a\.zip: not a readable zip"):
        extract_archive(tmp_path / "a.zip", tmp_path / "out")


def test_a_damaged_member_is_named(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a", b"content")
    (tmp_path / "a.zip").write_bytes(buffer.getvalue().replace(b"content", b"CONTENT", 1))
    with pytest.raises(FormatError, match=r"a\.zip: not a readable zip"):
        extract_archive(tmp_path / "a.zip", tmp_path / "out")


def test_a_member_larger_than_it_declares_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", bytes(5000))
    content = buffer.getvalue().replace((5000).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(FormatError, match=r"a\.zip: "):
        extract_archive(tmp_path / "a.zip", tmp_path / "out")
