from __future__ import annotations

import os
import sqlite3
import threading
from pathlib import Path

import pytest

from specrun.errors import NodeError
from specrun.model.digest import bytes_digest, file_digest, files_digest
from specrun.store.listing import ListingCache

S = 1_000_000_000
WRITTEN = 1_000 * S
LATER = 2_000 * S


class Reads:
    """Reads files and remembers which."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __call__(self, path: str) -> str:
        self.names.append(os.path.basename(path))
        return file_digest(path)

    def taken(self) -> list[str]:
        names, self.names = sorted(self.names), []
        return names


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "images"


@pytest.fixture
def reads() -> Reads:
    return Reads()


@pytest.fixture
def cache(tmp_path: Path, reads: Reads) -> ListingCache:
    return ListingCache(tmp_path / ".specrun" / "cache.db", hash_file=reads, clock_ns=lambda: LATER)


def write(path: Path, content: str, at: int = WRITTEN) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    os.utime(path, ns=(at, at))


def test_a_listing_names_sizes_and_contents(cache: ListingCache, folder: Path) -> None:
    write(folder / "b.jpg", "bb")
    write(folder / "a" / "x.jpg", "x")
    listing = cache.listing(folder)
    assert listing.files == (("a/x.jpg", 1, bytes_digest(b"x")), ("b.jpg", 2, bytes_digest(b"bb")))
    assert (listing.count, listing.size_bytes) == (2, 3)
    assert listing.digest == files_digest([("a/x.jpg", bytes_digest(b"x")), ("b.jpg", bytes_digest(b"bb"))])


def test_unchanged_files_are_not_read_again(cache: ListingCache, folder: Path, reads: Reads) -> None:
    write(folder / "a.jpg", "a")
    first = cache.listing(folder)
    assert reads.taken() == ["a.jpg"]
    assert cache.listing(folder) == first
    assert reads.taken() == []


def test_only_what_changed_is_read(cache: ListingCache, folder: Path, reads: Reads) -> None:
    for name in "abc":
        write(folder / name, name)
    first = cache.listing(folder)
    reads.taken()
    write(folder / "b", "B", at=WRITTEN + 1)
    (folder / "c").unlink()
    write(folder / "d", "d")
    second = cache.listing(folder, since=[first.digest])
    assert reads.taken() == ["b", "d"]
    assert (second.added, second.removed, second.changed) == (("d",), ("c",), ("b",))


def test_differences_are_told_again_by_a_later_listing(cache: ListingCache, folder: Path) -> None:
    write(folder / "a", "a")
    first = cache.listing(folder)
    write(folder / "b", "b")
    cache.listing(folder)
    third = cache.listing(folder, with_files=False, since=["something else", first.digest])
    assert (third.added, third.files) == (("b",), ())
    assert cache.listing(folder, since=["never seen"]).added == ()


def test_differences_to_an_empty_folder_are_told(cache: ListingCache, folder: Path) -> None:
    folder.mkdir()
    empty = cache.listing(folder)
    assert (empty.count, empty.files) == (0, ())
    write(folder / "a", "a")
    assert cache.listing(folder, since=[empty.digest]).added == ("a",)


def test_touched_but_equal_content_keeps_the_digest(cache: ListingCache, folder: Path, reads: Reads) -> None:
    write(folder / "a", "a")
    first = cache.listing(folder)
    write(folder / "a", "a", at=WRITTEN + 5)
    assert cache.listing(folder).digest == first.digest
    assert reads.taken() == ["a", "a"]


def test_files_of_a_renamed_folder_are_not_read_again(cache: ListingCache, folder: Path, reads: Reads) -> None:
    write(folder / "a", "a")
    first = cache.listing(folder)
    folder.rename(folder.with_name("pictures"))
    assert cache.listing(folder.with_name("pictures")).digest == first.digest
    assert reads.taken() == ["a"]


def test_an_archive_extracted_again_is_read_though_times_and_sizes_are_the_same(
    cache: ListingCache, folder: Path, reads: Reads
) -> None:
    for content in ("one", "two"):
        write(folder / "mask.bmp", content)
        assert cache.listing(folder).files[0][2] == bytes_digest(content.encode())
        assert cache.file_digest(folder / "mask.bmp") == bytes_digest(content.encode())
        (folder / "mask.bmp").unlink()
    assert reads.taken() == ["mask.bmp", "mask.bmp"]


def test_listings_of_overlapping_folders_share_what_was_read(cache: ListingCache, folder: Path, reads: Reads) -> None:
    write(folder / "sub" / "a.jpg", "a")
    cache.listing(folder)
    cache.listing(folder / "sub", ["*.jpg"])
    assert cache.file_digest(folder / "sub" / "a.jpg") == bytes_digest(b"a")
    assert reads.taken() == ["a.jpg"]


@pytest.mark.parametrize("age", [0, S, 2 * S - 1])
def test_a_file_just_written_is_read_again(cache: ListingCache, folder: Path, reads: Reads, age: int) -> None:
    write(folder / "old", "old")
    write(folder / "new", "a", at=LATER - age)
    first = cache.listing(folder)
    reads.taken()
    write(folder / "new", "b", at=LATER - age)
    assert cache.listing(folder).digest != first.digest
    assert reads.taken() == ["new"]
    assert cache.file_digest(folder / "new") == bytes_digest(b"b")
    write(folder / "new", "c", at=LATER - age)
    assert cache.file_digest(folder / "new") == bytes_digest(b"c")


def test_a_file_from_the_future_is_believed(cache: ListingCache, folder: Path, reads: Reads) -> None:
    write(folder / "a", "a", at=LATER + 1000 * S)
    cache.listing(folder)
    cache.listing(folder)
    assert reads.taken() == ["a"]


def test_include_and_exclude_choose_files(cache: ListingCache, folder: Path) -> None:
    for name in ("a.jpg", "b.png", "raw/c.jpg", ".hidden.jpg", ".git/d.jpg"):
        write(folder / name, name)

    def names(*arguments: list[str]) -> list[str]:
        return [path for path, _, _ in cache.listing(folder, *arguments).files]

    assert names() == ["a.jpg", "b.png", "raw/c.jpg"]
    assert names(["**/*.jpg"]) == ["a.jpg", "raw/c.jpg"]
    assert names(["**/*.jpg"], ["raw/**"]) == ["a.jpg"]
    assert names([".git/*", "*.png"]) == [".git/d.jpg", "b.png"]


def test_links_are_followed_and_loops_end(cache: ListingCache, folder: Path, tmp_path: Path) -> None:
    write(folder / "a" / "x", "x")
    write(tmp_path / "elsewhere" / "y", "y")
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    (folder / "a" / "up").symlink_to(folder)
    (folder / "a" / "self").symlink_to(folder / "a")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "elsewhere")
    (folder / "z").symlink_to(folder / "a" / "x")
    assert [path for path, _, _ in cache.listing(folder).files] == ["a/x", "link/y", "z"]


def test_folders_that_link_to_each_other_end(cache: ListingCache, folder: Path) -> None:
    write(folder / "a" / "x", "x")
    write(folder / "b" / "y", "y")
    (folder / "a" / "to_b").symlink_to(folder / "b")
    (folder / "b" / "to_a").symlink_to(folder / "a")
    assert {"a/x", "b/y", "a/to_b/y", "b/to_a/x"} <= {path for path, _, _ in cache.listing(folder).files}


def test_a_linked_file_changes_with_its_target(cache: ListingCache, folder: Path, tmp_path: Path) -> None:
    write(tmp_path / "target", "one")
    folder.mkdir()
    (folder / "a").symlink_to(tmp_path / "target")
    first = cache.listing(folder)
    write(tmp_path / "target", "two", at=WRITTEN + 1)
    assert cache.listing(folder).digest != first.digest


def test_what_cannot_be_listed_is_named(cache: ListingCache, folder: Path) -> None:
    with pytest.raises(NodeError, match="images: no such folder"):
        cache.listing(folder)
    write(folder / "a", "a")
    with pytest.raises(NodeError, match="a file, not a folder"):
        cache.listing(folder / "a")
    (folder / "gone").symlink_to("nowhere")
    with pytest.raises(NodeError, match="gone: a link to nothing"):
        cache.listing(folder)


def test_an_unreadable_file_is_named(folder: Path, tmp_path: Path) -> None:
    def refuse(path: str) -> str:
        raise PermissionError(13, "Permission denied", path)

    write(folder / "secret.jpg", "x")
    cache = ListingCache(tmp_path / "cache.db", hash_file=refuse)
    with pytest.raises(NodeError, match=r"secret\.jpg: cannot be read \(Permission denied\)"):
        cache.listing(folder)


def test_a_file_that_vanishes_while_listing_was_not_there(folder: Path, tmp_path: Path) -> None:
    def vanish(path: str) -> str:
        os.unlink(path)
        return file_digest(path)

    write(folder / "a", "a")
    cache = ListingCache(tmp_path / "cache.db", hash_file=vanish, clock_ns=lambda: LATER)
    assert cache.listing(folder).count == 0


def test_a_missing_file_has_no_digest(cache: ListingCache, folder: Path) -> None:
    assert cache.file_digest(folder / "a") is None
    write(folder / "a", "a")
    assert cache.file_digest(folder / "a") == bytes_digest(b"a")
    assert cache.file_digest(folder / "a" / "b") is None


def test_names_of_any_bytes_are_listed(cache: ListingCache, folder: Path) -> None:
    folder.mkdir()
    for name in (b"caf\xe9", b"new\nline", "größe".encode()):
        with open(os.path.join(os.fsencode(folder), name), "w") as file:
            file.write("x")
        os.utime(os.path.join(os.fsencode(folder), name), ns=(WRITTEN, WRITTEN))
    assert [path for path, _, _ in cache.listing(folder).files] == ["caf\udce9", "größe", "new\nline"]


def test_many_files_are_read_in_threads(cache: ListingCache, folder: Path, reads: Reads) -> None:
    for number in range(300):
        write(folder / str(number % 7) / f"{number}", str(number))
    listing = cache.listing(folder)
    assert listing.count == len(reads.taken()) == 300
    assert all(digest == bytes_digest(path.split("/")[1].encode()) for path, _, digest in listing.files)


@pytest.mark.parametrize("damage", [b"no database" * 100, b""])
def test_a_damaged_cache_is_made_anew(folder: Path, tmp_path: Path, damage: bytes) -> None:
    write(folder / "a", "a")
    path = tmp_path / ".specrun" / "cache.db"
    ListingCache(path).close()
    path.write_bytes(damage)
    assert ListingCache(path).listing(folder).count == 1
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM listings").fetchone() == (1,)


def test_a_cache_of_another_version_is_made_anew(folder: Path, tmp_path: Path) -> None:
    write(folder / "a", "a")
    path = tmp_path / "cache.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE listings (other TEXT)")
        connection.execute("PRAGMA user_version=99")
    connection.close()
    assert ListingCache(path).listing(folder).count == 1


def test_a_cache_deleted_meanwhile_costs_a_reading_only(cache: ListingCache, folder: Path, tmp_path: Path) -> None:
    write(folder / "a", "a")
    first = cache.listing(folder)
    for file in (tmp_path / ".specrun").glob("cache.db*"):
        file.unlink()
    assert cache.listing(folder) == first
    assert ListingCache(tmp_path / ".specrun" / "cache.db").listing(folder) == first


def test_where_no_cache_can_be_written_listing_works(folder: Path, tmp_path: Path) -> None:
    write(folder / "a", "a")
    (tmp_path / "file").write_text("in the way")
    assert ListingCache(tmp_path / "file" / "cache.db").listing(folder).count == 1


def test_several_threads_list_at_once(cache: ListingCache, folder: Path) -> None:
    for number in range(100):
        write(folder / str(number), str(number))
    digests: list[str] = []
    threads = [threading.Thread(target=lambda: digests.append(cache.listing(folder).digest)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(digests) == 4
    assert len(set(digests)) == 1
