"""Images to a CVAT server and back: in order, under their names, and going on after an interruption."""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from specrun.clients.cvat import catalogue, frames, transfer, uploads
from specrun.clients.cvat.api import Api
from specrun.errors import NodeError, StopRequested, TransientError
from tests.doubles.cvat.server import CvatDouble
from tests.support.cvat_server import api_of, make_images, make_project, make_task


def pulled(api: Api, task_id: int, folder: Path, numbers: list[int] | None = None) -> dict[int, Path]:
    index = catalogue.frames_of(api, task_id)
    task = catalogue.find_task(api, task_id)
    assert task is not None
    wanted = range(len(index.frames)) if numbers is None else numbers
    return transfer.fetch_frames(api, task, index, wanted, "original", folder)


def chunk_requests(server: CvatDouble) -> list[str]:
    return [q["type"] for _, path, q in server.requests_seen if path.endswith("/data/") and "type" in q]


def new_task(api: Api) -> int:
    return int(api.post("/api/tasks", {"name": "t", "project_id": make_project(api)})["id"])


def test_images_come_back_as_they_went_in_their_own_order(tmp_path: Path) -> None:
    with CvatDouble() as server, api_of(server) as api:
        files = make_images(tmp_path / "images", 5)[::-1]
        task = make_task(api, make_project(api), files, tmp_path / "links", chunk_size=2)
        got = pulled(api, task, tmp_path / "frames")
        assert [got[number].read_bytes() for number in range(5)] == [file.read_bytes() for file in files]
        assert got[3] == tmp_path / "frames" / "000003.png"
        assert chunk_requests(server) == ["chunk"] * 3
        assert sorted(path.suffix for path in (tmp_path / "frames").iterdir()) == [".png"] * 5


def test_only_chunks_that_hold_something_wanted_are_fetched(tmp_path: Path) -> None:
    with CvatDouble() as server, api_of(server) as api:
        files = make_images(tmp_path / "images", 9)
        task = make_task(api, make_project(api), files, tmp_path / "links", chunk_size=3)
        got = pulled(api, task, tmp_path / "frames", [4, 3])
        assert {number: got[number].read_bytes() for number in got} == {n: files[n].read_bytes() for n in (3, 4)}
        assert chunk_requests(server) == ["chunk"]


def test_frames_that_are_there_are_not_fetched_again(tmp_path: Path) -> None:
    with CvatDouble() as server, api_of(server) as api:
        task = make_task(api, make_project(api), make_images(tmp_path / "images", 4), tmp_path / "links", chunk_size=4)
        first = pulled(api, task, tmp_path / "frames")
        first[2].unlink()
        (tmp_path / "frames" / "000003.png.part").write_bytes(b"half")
        server.requests_seen.clear()
        assert pulled(api, task, tmp_path / "frames") == first
        assert chunk_requests(server) == ["frame"]


def test_a_stop_in_the_middle_keeps_what_came(tmp_path: Path) -> None:
    with CvatDouble() as server, api_of(server) as api:
        task_id = make_task(
            api, make_project(api), make_images(tmp_path / "images", 4), tmp_path / "links", chunk_size=1
        )
        index, task = catalogue.frames_of(api, task_id), catalogue.find_task(api, task_id)
        assert task is not None

        def stop_after_one(images: int, total: int, size: int) -> None:
            if images == 1:
                raise StopRequested("stopped")

        with pytest.raises(StopRequested):
            transfer.fetch_frames(api, task, index, range(4), "original", tmp_path / "frames", stop_after_one)
        held = frames.held_frames(tmp_path / "frames")
        assert held
        assert len(pulled(api, task_id, tmp_path / "frames")) == 4


def test_progress_counts_images_and_bytes(tmp_path: Path) -> None:
    with CvatDouble() as server, api_of(server) as api:
        files = make_images(tmp_path / "images", 3)
        told: list[tuple[int, int, int]] = []
        task_id = new_task(api)
        names = [file.name for file in files]
        transfer.upload_images(
            api, task_id, files, names, staging=tmp_path / "links", progress=lambda *now: told.append(now)
        )
        everything = sum(file.stat().st_size for file in files)
        assert (told[0], told[-1]) == ((0, 3, 0), (3, 3, everything))
        told.clear()
        index, task = catalogue.frames_of(api, task_id), catalogue.find_task(api, task_id)
        assert task is not None
        transfer.fetch_frames(
            api, task, index, range(3), "original", tmp_path / "frames", lambda *now: told.append(now)
        )
        assert told[-1] == (3, 3, everything)


def test_a_frame_that_the_task_has_not_is_refused(tmp_path: Path) -> None:
    with CvatDouble() as server, api_of(server) as api:
        task = make_task(api, make_project(api), make_images(tmp_path / "images", 2), tmp_path / "links")
        with pytest.raises(NodeError, match="has frames 0 to 1 only"):
            pulled(api, task, tmp_path / "frames", [2])


def archive(tmp_path: Path, *names: str) -> Path:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as opened:
        for name in names:
            opened.writestr(name, b"x")
    (tmp_path / "chunk.zip").write_bytes(content.getvalue())
    return tmp_path / "chunk.zip"


@pytest.mark.parametrize(
    "names",
    [
        ("000000.jpg",),
        ("000000.jpg", "000001.jpg", "000002.jpg"),
        ("000000.jpg", "../000001.jpg"),
        ("000001.jpg", "000002.jpg"),
        ("000000.jpg", "evil"),
        ("000000.jpg", "000000.png"),
    ],
)
def test_a_chunk_that_is_not_as_the_server_writes_them_is_not_used(tmp_path: Path, names: tuple[str, ...]) -> None:
    assert frames.images_in(archive(tmp_path, *names), 2) is None


def test_images_of_a_chunk_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    members = frames.images_in(archive(tmp_path, "000001.png", "000000.jpg"), 2)
    assert members is not None
    assert [member.filename for member in members] == ["000000.jpg", "000001.png"]


def test_what_is_no_archive_is_no_chunk_of_images(tmp_path: Path) -> None:
    (tmp_path / "chunk.zip").write_bytes(b"\x00\x00\x00 ftypisom")
    assert frames.images_in(tmp_path / "chunk.zip", 1) is None


def test_links_go_up_under_their_new_names(tmp_path: Path) -> None:
    with CvatDouble() as server, api_of(server) as api:
        (original,) = make_images(tmp_path / "images", 1)
        (tmp_path / "link.png").symlink_to(original)
        task = new_task(api)
        transfer.upload_images(api, task, [tmp_path / "link.png"], ["a~1.png"], staging=tmp_path / "links")
        assert [frame.name for frame in catalogue.frames_of(api, task).frames] == ["a~1.png"]


@pytest.mark.parametrize("names", [["a.png", "a.png"], ["x/a.png", "b.png"], ["..", "b.png"], ["a.png"]])
def test_names_that_would_be_mixed_up_are_refused_before_anything_is_sent(tmp_path: Path, names: list[str]) -> None:
    with pytest.raises(NodeError):
        uploads.check_names(make_images(tmp_path, 2), names)


def test_an_upload_that_broke_off_goes_on_without_sending_again_what_was_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "BATCH_FILES", 2)
    with CvatDouble() as server, api_of(server) as api:
        files = make_images(tmp_path / "images", 6)
        names = [file.name for file in files]
        task = new_task(api)
        data = f"/api/tasks/{task}/data/"

        def break_off(images: int, total: int, size: int) -> None:
            if images == 2:
                server.faults.add("POST", data, times=99, drop=True)

        with pytest.raises(TransientError, match=f"the upload to task {task} broke off"):
            transfer.upload_images(api, task, files, names, staging=tmp_path / "links", progress=break_off)
        assert not transfer.has_data(api, task)
        server.faults.clear()
        server.requests_seen.clear()
        transfer.upload_images(api, task, files, names, staging=tmp_path / "links")
        assert sum(path == data for _, path, _ in server.requests_seen) == 4  # start, two batches, finish
        assert [frame.name for frame in catalogue.frames_of(api, task).frames] == names


def test_a_batch_whose_answer_was_lost_is_not_taken_twice(tmp_path: Path) -> None:
    with CvatDouble() as server, api_of(server) as api:
        files = make_images(tmp_path / "images", 3)
        task = new_task(api)
        data = f"/api/tasks/{task}/data/"

        def lose_the_answer(images: int, total: int, size: int) -> None:
            server.faults.add("POST", data, drop=True, after=True)  # of the start, which may come twice
            server.faults.add("POST", data, drop=True, after=True)

        names = [file.name for file in files]
        once = iter([lose_the_answer])
        transfer.upload_images(
            api, task, files, names, staging=tmp_path / "links",
            progress=lambda *now: next(once, lambda *_: None)(*now),
        )  # fmt: skip
        got = pulled(api, task, tmp_path / "frames")
        assert [got[number].read_bytes() for number in range(3)] == [file.read_bytes() for file in files]


def test_a_lost_answer_to_the_end_of_an_upload_makes_no_second_one(tmp_path: Path) -> None:
    with CvatDouble() as server, api_of(server) as api:
        files = make_images(tmp_path / "images", 2)
        task = new_task(api)

        def lose_the_end(images: int, total: int, size: int) -> None:
            if images == total:
                server.faults.add("POST", f"/api/tasks/{task}/data/", drop=True, after=True)

        transfer.upload_images(
            api, task, files, [f.name for f in files], staging=tmp_path / "links", progress=lose_the_end
        )
        assert len(catalogue.frames_of(api, task).frames) == 2


def test_a_task_that_has_its_images_is_left_alone(tmp_path: Path) -> None:
    with CvatDouble() as server, api_of(server) as api:
        files = make_images(tmp_path / "images", 2)
        task = make_task(api, make_project(api), files, tmp_path / "links")
        server.requests_seen.clear()
        transfer.upload_images(api, task, files, ["x.png", "y.png"], staging=tmp_path / "other")
        assert [method for method, _, _ in server.requests_seen] == ["GET"]


def test_an_image_that_the_server_cannot_read_fails_with_its_words(tmp_path: Path) -> None:
    with CvatDouble() as server, api_of(server) as api:
        (tmp_path / "broken.jpg").write_bytes(b"no image")
        task = new_task(api)
        with pytest.raises(NodeError, match=r"failed: .*cannot identify image file.*broken\.jpg"):
            transfer.upload_images(api, task, [tmp_path / "broken.jpg"], ["broken.jpg"], staging=tmp_path / "links")


def test_a_large_file_goes_up_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "BATCH_BYTES", 10)
    with CvatDouble() as server, api_of(server) as api:
        files = make_images(tmp_path / "images", 2)
        task = make_task(api, make_project(api), files, tmp_path / "links")
        assert "PATCH" in {method for method, path, _ in server.requests_seen if f"/tasks/{task}/data/" in path}
        got = pulled(api, task, tmp_path / "frames")
        assert [got[number].read_bytes() for number in range(2)] == [file.read_bytes() for file in files]


def test_a_session_that_ends_in_the_middle_of_an_upload_is_renewed(tmp_path: Path) -> None:
    with CvatDouble() as server, api_of(server) as api:
        files = make_images(tmp_path / "images", 2)
        task = new_task(api)
        server.faults.add("POST", f"/api/tasks/{task}/data/", status=401)
        transfer.upload_images(api, task, files, [f.name for f in files], staging=tmp_path / "links")
        assert transfer.has_data(api, task)


def test_frames_of_a_video_come_one_by_one(tmp_path: Path) -> None:
    with CvatDouble() as server, api_of(server) as api:
        files = make_images(tmp_path / "images", 3)
        number = make_task(api, make_project(api), files, tmp_path / "links")
        index, task = catalogue.frames_of(api, number), catalogue.find_task(api, number)
        assert task is not None
        video = replace(task, original_chunks="video")
        got = transfer.fetch_frames(api, video, index, range(3), "original", tmp_path / "frames")
        assert [got[n].read_bytes() for n in range(3)] == [file.read_bytes() for file in files]
        assert chunk_requests(server) == ["frame"] * 3


def test_compressed_images_are_the_servers_jpegs(tmp_path: Path) -> None:
    with CvatDouble() as server, api_of(server) as api:
        number = make_task(api, make_project(api), make_images(tmp_path / "images", 2), tmp_path / "links")
        index, task = catalogue.frames_of(api, number), catalogue.find_task(api, number)
        assert task is not None
        got = transfer.fetch_frames(api, task, index, range(2), "compressed", tmp_path / "frames")
        assert [path.suffix for path in got.values()] == [".jpg", ".jpg"]
