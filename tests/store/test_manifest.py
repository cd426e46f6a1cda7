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
    (folder / "image.jpg").symlink_to(tmp_path / "image.jpg")
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
    (folder / "link").symlink_to(tmp_path / "target")
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


def test_an_absolute_link_into_the_folder_is_made_relative(tmp_path: Path) -> None:
    folder = fill(tmp_path / "staging")
    (folder / "latest.txt").symlink_to(folder / "a.txt")
    (folder / "b" / "up").symlink_to(folder / "a.txt")
    (folder / "here").symlink_to(folder)
    (tmp_path / "other way").symlink_to(tmp_path)
    (folder / "b" / "folder").symlink_to(tmp_path / "other way" / "staging" / "b")
    found = collect_files(Path(tmp_path / "other way" / "staging"))
    moved = folder.rename(tmp_path / "output")
    links = {name: os.readlink(moved / name) for name in ("latest.txt", "b/up", "here", "b/folder")}
    assert links == {"latest.txt": "a.txt", "b/up": "../a.txt", "here": ".", "b/folder": "."}
    assert found == collect_files(moved)
    assert [(f.size, f.digest) for f in found if f.path == "b/up"] == [(2, bytes_digest(b"aa"))]


def test_a_link_beside_the_folder_is_no_link_into_it(tmp_path: Path) -> None:
    folder = fill(tmp_path / "out")
    (tmp_path / "out2").write_text("x")
    (folder / "link").symlink_to(tmp_path / "out2")
    collect_files(folder)
    assert os.readlink(folder / "link") == str(tmp_path / "out2")


@pytest.mark.parametrize("place", ["link", "b/link"])
def test_a_relative_link_that_leads_out_needs_a_known_digest(tmp_path: Path, place: str) -> None:
    folder = fill(tmp_path / "out")
    (tmp_path / "image.jpg").write_text("x")
    (folder / place).symlink_to(f"{'../' * (place.count('/') + 1)}image.jpg")
    with pytest.raises(NodeError, match=r"link: leads out of the output"):
        collect_files(folder)
    (link,) = [f for f in collect_files(folder, {place: "known"}) if f.path == place]
    assert (link.size, link.digest) == (0, "known")


def test_a_link_named_like_a_file_of_ours_is_left_alone(tmp_path: Path) -> None:
    folder = fill(tmp_path / "out")
    (folder / ".resume.json").symlink_to("../nowhere")
    assert [f.path for f in collect_files(folder)] == ["a.txt", "b/x.txt"]


def test_a_manifest_of_somebody_elses_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"mine": 1}')
    with pytest.raises(NodeError, match=r"manifest\.json: specrun keeps its own file under this name"):
        write_manifest(tmp_path, make_manifest(tmp_path, make_record()))
    assert (tmp_path / "manifest.json").read_text() == '{"mine": 1}'


def test_a_manifest_that_came_with_a_copied_output_is_replaced(tmp_path: Path) -> None:
    write_manifest(fill(tmp_path), make_manifest(tmp_path, make_record("steps.copied")))
    manifest = make_manifest(tmp_path, make_record())
    write_manifest(tmp_path, manifest)
    assert read_manifest(tmp_path) == manifest
