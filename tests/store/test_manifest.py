from __future__ import annotations

import os
from pathlib import Path

import pytest

from specrun.errors import NodeError
from specrun.model.digest import bytes_digest
from specrun.store.manifest import collect_files, is_whole, manifest_digest, read_manifest, write_manifest
from tests.support.outputs import make_manifest, make_record


def fill(folder: Path) -> Path:
    (folder / "b").mkdir(parents=True)
    (folder / "b" / "x.txt").write_text("x")
    (folder / "a.txt").write_text("aa")
    return folder


def test_files_come_sorted_with_size_and_digest(tmp_path: Path) -> None:
    found = collect_files(fill(tmp_path))
    assert [(f.path, f.size, f.digest) for f in found] == [
        ("a.txt", 2, bytes_digest(b"aa")),
        ("b/x.txt", 1, bytes_digest(b"x")),
    ]


def test_a_known_digest_is_believed_without_reading(tmp_path: Path) -> None:
    found = collect_files(fill(tmp_path), {"a.txt": "known"})
    assert found[0].digest == "known"


def test_a_link_counts_as_the_content_of_its_target(tmp_path: Path) -> None:
    folder = fill(tmp_path / "out")
    (tmp_path / "image.jpg").write_bytes(b"pixels")
    (folder / "image.jpg").symlink_to("../image.jpg")
    (link,) = [f for f in collect_files(folder) if f.path == "image.jpg"]
    assert (link.size, link.digest) == (6, bytes_digest(b"pixels"))


def test_a_linked_folder_is_not_entered(tmp_path: Path) -> None:
    folder = fill(tmp_path / "out")
    (folder / "loop").symlink_to(folder)
    assert [f.path for f in collect_files(folder)] == ["a.txt", "b/x.txt", "loop"]


def test_a_link_to_nothing_is_named(tmp_path: Path) -> None:
    (fill(tmp_path) / "gone.jpg").symlink_to("nowhere")
    with pytest.raises(NodeError, match=r"gone\.jpg"):
        collect_files(tmp_path)


def test_a_pipe_is_no_output(tmp_path: Path) -> None:
    os.mkfifo(fill(tmp_path) / "pipe")
    with pytest.raises(NodeError, match="pipe: is neither"):
        collect_files(tmp_path)


def test_own_files_are_no_content_at_the_top_only(tmp_path: Path) -> None:
    for place in (fill(tmp_path), tmp_path / "b"):
        (place / "manifest.json").write_text("{}")
        (place / ".resume.json").write_text("{}")
    assert [f.path for f in collect_files(tmp_path)] == ["a.txt", "b/.resume.json", "b/manifest.json", "b/x.txt"]


@pytest.mark.parametrize("sync", [False, True])
def test_a_manifest_comes_back_and_takes_the_note_away(tmp_path: Path, sync: bool) -> None:
    (fill(tmp_path) / ".resume.json").write_text("{}")
    manifest = make_manifest(tmp_path, make_record())
    write_manifest(tmp_path, manifest, sync=sync)
    assert read_manifest(tmp_path) == manifest
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.txt", "b", "manifest.json"]


def test_file_names_that_are_no_utf8_survive(tmp_path: Path) -> None:
    with open(os.fsencode(tmp_path) + b"/caf\xe9.txt", "w") as file:
        file.write("x")
    manifest = make_manifest(tmp_path, make_record())
    write_manifest(tmp_path, manifest)
    found = read_manifest(tmp_path)
    assert found == manifest
    assert is_whole(tmp_path, manifest)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 99}', '{"format": 1}'])
def test_what_is_no_manifest_reads_as_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "manifest.json").write_text(content)
    assert read_manifest(tmp_path) is None


def test_a_folder_is_whole_with_every_file_in_its_size(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("long content")
    folder = fill(tmp_path / "out")
    (folder / "link").symlink_to("../target")
    manifest = make_manifest(folder, make_record())
    assert is_whole(folder, manifest)
    (tmp_path / "target").write_text("x")
    assert is_whole(folder, manifest)
    (folder / "a.txt").write_text("")
    assert not is_whole(folder, manifest)
    (folder / "a.txt").unlink()
    assert not is_whole(folder, manifest)


def test_a_folder_is_known_by_its_manifest(tmp_path: Path) -> None:
    assert manifest_digest(tmp_path) is None
    write_manifest(fill(tmp_path), make_manifest(tmp_path, make_record(run="one")))
    first = manifest_digest(tmp_path)
    write_manifest(tmp_path, make_manifest(tmp_path, make_record(run="two")))
    assert manifest_digest(tmp_path) != first
