"""Media into and out of the CVAT double, through its real HTTP server."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import av
import numpy as np
import pytest
import urllib3
from PIL import Image, ImageFile

from tests.doubles.cvat import exports
from tests.doubles.cvat.server import CvatDouble
from tests.doubles.cvat.state import Task
from tests.support.recorded_cvat import unzipped

ORIENTATION = 274


@pytest.fixture
def server() -> Iterator[CvatDouble]:
    with CvatDouble() as running:
        yield running


class Client:
    """Plain HTTP with the administrator's name and password."""

    def __init__(self, server: CvatDouble) -> None:
        self.server = server
        self.pool = urllib3.PoolManager()
        self.headers = urllib3.make_headers(basic_auth=f"{server.user}:{server.password}")

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> urllib3.BaseHTTPResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if isinstance(body, dict):
            body, named["Content-Type"] = json.dumps(body).encode(), "application/json"
        url = path if path.startswith("http") else f"{self.server.url}/api/{path}"
        return self.pool.request(method, url, body=body, headers={**self.headers, **named}, retries=False)

    def new_task(self, **fields: Any) -> int:
        answer = self.call("POST", "tasks", {"name": "t", "labels": [{"name": "cell"}], **fields})
        return int(answer.json()["id"])

    def send(self, task: int, files: list[tuple[str, bytes]]) -> urllib3.BaseHTTPResponse:
        fields = {f"client_files[{number}]": file for number, file in enumerate(files)}
        body, content_type = urllib3.encode_multipart_formdata({"image_quality": "70", **fields})
        return self.call("POST", f"tasks/{task}/data/", body, Upload_Multiple="", Content_Type=content_type)

    def finish(self, task: int, **settings: Any) -> dict[str, Any]:
        """The request after the upload."""
        body = {"image_quality": 70, **settings}
        answer = self.call("POST", f"tasks/{task}/data/", body, Upload_Finish="")
        assert answer.status == 202, answer.data
        number = urllib3.util.parse_url("/?" + answer.json()["rq_id"]).query
        return dict(self.call("GET", f"requests/{number.replace('=', '%3D').replace('&', '%26')}").json())

    def upload(self, files: list[tuple[str, bytes]], *, task: dict[str, Any] | None = None, **settings: Any) -> int:
        number = self.new_task(**(task or {}))
        assert self.call("POST", f"tasks/{number}/data/", Upload_Start="").status == 202
        assert self.send(number, files).status == 200
        assert self.finish(number, **settings)["status"] == "finished"
        return number

    def meta(self, path: str) -> dict[str, Any]:
        return dict(self.call("GET", f"{path}/data/meta").json())

    def names(self, task: int) -> list[str]:
        return [frame["name"] for frame in self.meta(f"tasks/{task}")["frames"]]

    def chunk(self, path: str, **query: str) -> dict[str, bytes]:
        asked = "&".join(f"{name}={value}" for name, value in query.items())
        answer = self.call("GET", f"{path}/data/?type=chunk&{asked}")
        assert answer.status == 200, answer.data
        with zipfile.ZipFile(io.BytesIO(answer.data)) as archive:
            return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture
def client(server: CvatDouble) -> Client:
    return Client(server)


def picture(size: tuple[int, int] = (40, 30), *, red: int = 0, orientation: int | None = None) -> bytes:
    image = Image.new("RGB", size, (red, 0, 0))
    exif = image.getexif()
    if orientation is not None:
        exif[ORIENTATION] = orientation
    target = io.BytesIO()
    image.save(target, format="JPEG", exif=exif)
    return target.getvalue()


def pictures(*names: str) -> list[tuple[str, bytes]]:
    return [(name, picture(red=number)) for number, name in enumerate(names)]


def test_upload_through_the_sdk_gives_the_original_bytes_back(server: CvatDouble, tmp_path: Path) -> None:
    from cvat_sdk.core.client import Client as SdkClient
    from cvat_sdk.core.client import Config

    files = [tmp_path / name for name in ("b.jpg", "a.jpg")]
    for number, file in enumerate(files):
        file.write_bytes(picture(red=number))
    with SdkClient(server.url, config=Config(status_check_period=0)) as sdk:
        sdk.login((server.user, server.password))
        spec: Any = {"name": "t", "labels": [{"name": "cell"}]}
        settings = {"image_quality": 80, "sorting_method": "predefined"}
        task = sdk.tasks.create_from_data(spec=spec, resources=files, data_params=settings)

        assert [frame.name for frame in task.get_meta().frames] == ["b.jpg", "a.jpg"]
        assert task.get_frame(1, quality="original").read() == files[1].read_bytes()


def test_folders_of_uploaded_files_are_dropped_and_those_of_a_zip_kept(client: Client) -> None:
    assert client.names(client.upload(pictures("/home/x/a.jpg", "célula ñ.jpg"))) == ["a.jpg", "célula ñ.jpg"]

    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as target:
        target.writestr("sub/b.jpg", picture())
        target.writestr("a.jpg", picture())
        target.writestr("__MACOSX/a.jpg", b"")
        target.writestr("note.txt", b"hello")

    assert client.names(client.upload([("images.zip", archive.getvalue())])) == ["a.jpg", "sub/b.jpg"]


def test_context_images_of_a_zip_are_no_frames(client: Client) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as target:
        target.writestr("a.jpg", picture())
        target.writestr("b.jpg", picture())
        target.writestr("related_images/b_jpg/depth.jpg", picture(red=9))

    task = client.upload([("images.zip", archive.getvalue())])

    frames = client.meta(f"tasks/{task}")["frames"]
    told = [(frame["name"], frame["related_files"], frame["has_related_context"]) for frame in frames]
    assert told == [("a.jpg", 0, False), ("b.jpg", 1, True)]
    answer = client.call("GET", f"tasks/{task}/data/?type=context_image&number=1")
    with zipfile.ZipFile(io.BytesIO(answer.data)) as chunk:
        assert [chunk.read(name) for name in chunk.namelist()] == [picture(red=9)]


def test_image_that_ends_too_early_is_taken_and_its_bytes_kept(client: Client) -> None:
    whole = picture((200, 150), red=100)
    cut = whole[: len(whole) - 40]

    task = client.upload([("cut.jpg", cut)])

    assert client.chunk(f"tasks/{task}", number="0", quality="original") == {"000000.jpg": cut}
    seen = client.chunk(f"tasks/{task}", number="0", quality="compressed")["000000.jpeg"]
    with Image.open(io.BytesIO(seen)) as image:
        image.load()
        assert image.size == (200, 150)
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


def test_equal_base_names_are_a_server_error_also_when_sent_again(client: Client) -> None:
    task = client.new_task()

    assert client.send(task, pictures("/a/same.jpg", "/b/same.jpg")).status == 500
    assert client.send(task, pictures("one.jpg")).status == 200
    assert client.send(task, pictures("one.jpg")).status == 500


def test_one_request_can_bring_the_files_and_finish(client: Client) -> None:
    task = client.new_task()
    fields = {"image_quality": "70", "sorting_method": "natural", "client_files[0]": ("a.jpg", picture())}
    body, content_type = urllib3.encode_multipart_formdata(fields)

    headers = {"Upload_Start": "", "Upload_Finish": "", "Content_Type": content_type}
    answer = client.call("POST", f"tasks/{task}/data/", body, **headers)

    assert answer.status == 202
    assert client.names(task) == ["a.jpg"]


def test_second_upload_to_a_task_is_refused(client: Client) -> None:
    task = client.upload(pictures("a.jpg"))

    answer = client.call("POST", f"tasks/{task}/data/", Upload_Start="")

    assert (answer.status, answer.json()) == (400, ["Adding more data is not supported"])


def test_one_broken_image_fails_the_request(client: Client) -> None:
    task = client.new_task()
    client.send(task, [*pictures("a.jpg"), ("broken.jpg", b"no image")])

    request = client.finish(task)

    assert request["status"] == "failed"
    assert "PIL.UnidentifiedImageError: cannot identify image file '/home/django/data/data/" in request["message"]
    assert "/raw/broken.jpg'" in request["message"]


def test_upload_without_media_fails_the_request(client: Client) -> None:
    task = client.new_task()
    client.send(task, [("note.txt", b"hello")])

    assert client.finish(task)["message"] == "ValueError: No media data found\n"


@pytest.mark.parametrize(
    ("sorting", "expected"),
    [
        ("lexicographical", ["a10.jpg", "a9.jpg", "b1.jpg"]),
        ("natural", ["a9.jpg", "a10.jpg", "b1.jpg"]),
        ("predefined", ["b1.jpg", "a9.jpg", "a10.jpg"]),
    ],
)
def test_frames_are_sorted_as_asked(client: Client, sorting: str, expected: list[str]) -> None:
    assert client.names(client.upload(pictures("b1.jpg", "a9.jpg", "a10.jpg"), sorting_method=sorting)) == expected


def test_random_order_has_every_frame_once(client: Client) -> None:
    given = [f"{number}.jpg" for number in range(12)]

    made = client.names(client.upload(pictures(*given), sorting_method="random"))

    assert sorted(made) == sorted(given)
    assert made != sorted(given)


def test_upload_file_order_decides_a_predefined_order(client: Client) -> None:
    order = ["c.jpg", "a.jpg", "b.jpg"]

    task = client.upload(pictures("a.jpg", "b.jpg", "c.jpg"), sorting_method="predefined", upload_file_order=order)

    assert client.names(task) == order


def test_upload_file_order_that_misses_a_file_is_refused(client: Client) -> None:
    task = client.new_task()
    client.send(task, pictures("a.jpg", "b.jpg"))

    settings = {"image_quality": 70, "sorting_method": "predefined", "upload_file_order": ["a.jpg"]}
    answer = client.call("POST", f"tasks/{task}/data/", settings, Upload_Finish="")

    assert answer.status == 400
    assert "b.jpg" in answer.json()[0]


def test_start_stop_and_step_pick_the_frames(client: Client) -> None:
    files = pictures(*(f"{number}.jpg" for number in range(10)))

    task = client.upload(files, start_frame=1, stop_frame=8, frame_filter="step=3")

    meta = client.meta(f"tasks/{task}")
    assert client.names(task) == ["1.jpg", "4.jpg", "7.jpg"]
    told = {key: meta[key] for key in ("size", "start_frame", "stop_frame", "frame_filter")}
    assert told == {"size": 3, "start_frame": 1, "stop_frame": 7, "frame_filter": "step=3"}


def test_jobs_follow_segment_size_and_overlap(server: CvatDouble, client: Client) -> None:
    files = pictures(*(f"{number}.jpg" for number in range(7)))

    task = client.upload(files, task={"segment_size": 4, "overlap": 1})

    jobs = server.state.jobs_of(task)
    assert [(job.start_frame, job.stop_frame) for job in jobs] == [(0, 3), (3, 6)]


def test_chunks_count_their_images_from_zero(client: Client) -> None:
    files = pictures("0.png.jpg", "1.jpg", "2.jpg")

    task = client.upload(files, chunk_size=2)

    assert client.chunk(f"tasks/{task}", number="0", quality="original") == {
        "000000.jpg": files[0][1],
        "000001.jpg": files[1][1],
    }
    assert list(client.chunk(f"tasks/{task}", number="1", quality="compressed")) == ["000000.jpeg"]


def test_chunk_out_of_range_is_refused(client: Client) -> None:
    task = client.upload(pictures("a.jpg"))

    answer = client.call("GET", f"tasks/{task}/data/?type=chunk&number=3")

    expected = "Invalid chunk number '3'. The chunk number should be in the [0, 0] range"
    assert (answer.status, answer.json()) == (400, expected)


def test_chunks_of_a_job_by_number_of_the_task_or_index_of_its_own(server: CvatDouble, client: Client) -> None:
    files = pictures(*(f"{number}.jpg" for number in range(6)))
    task = client.upload(files, task={"segment_size": 3}, chunk_size=2)
    job = server.state.jobs_of(task)[1]

    by_number = client.chunk(f"jobs/{job.id}", number="1", quality="original")
    by_index = client.chunk(f"jobs/{job.id}", index="0", quality="original")

    assert list(by_number.values()) == [files[3][1]]
    assert list(by_index.values()) == [files[3][1], files[4][1]]


def test_number_and_index_together_are_refused(server: CvatDouble, client: Client) -> None:
    task = client.upload(pictures("a.jpg"))
    job = server.state.jobs_of(task)[0]

    answer = client.call("GET", f"jobs/{job.id}/data/?type=chunk&number=0&index=0")

    assert (answer.status, answer.json()) == (400, ["Number and Index cannot be used together"])


def test_meta_of_a_job_tells_its_own_frames(server: CvatDouble, client: Client) -> None:
    task = client.upload(pictures("0.jpg", "1.jpg", "2.jpg"), task={"segment_size": 2})

    meta = client.meta(f"jobs/{server.state.jobs_of(task)[1].id}")

    assert (meta["size"], meta["start_frame"], meta["stop_frame"]) == (1, 2, 2)
    assert [frame["name"] for frame in meta["frames"]] == ["2.jpg"]


def test_turned_images_are_served_upright(client: Client) -> None:
    stored = picture((40, 30), orientation=6)

    task = client.upload([("turned.jpg", stored), ("plain.jpg", picture())], sorting_method="predefined")

    frames = client.meta(f"tasks/{task}")["frames"]
    assert [(frame["width"], frame["height"]) for frame in frames] == [(30, 40), (40, 30)]
    for quality in ("original", "compressed"):
        served = next(iter(client.chunk(f"tasks/{task}", number="0", quality=quality).values()))
        with Image.open(io.BytesIO(served)) as image:
            assert image.size == (30, 40)
            assert image.getexif().get(ORIENTATION, 1) == 1


def test_quality_decides_the_size_of_compressed_frames(client: Client) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)
    target = io.BytesIO()
    Image.fromarray(noise).save(target, format="PNG")

    sizes = []
    for quality in (10, 95):
        task = client.upload([("noise.png", target.getvalue())], image_quality=quality)
        sizes.append(len(client.call("GET", f"tasks/{task}/data/?type=frame&number=0&quality=compressed").data))
        original = client.call("GET", f"tasks/{task}/data/?type=frame&number=0&quality=original")
        assert (original.data, original.headers["Content-Type"]) == (target.getvalue(), "image/png")

    assert sizes[0] < sizes[1]


def test_frame_out_of_range_is_refused_in_the_servers_words(client: Client) -> None:
    task = client.upload(pictures("a.jpg"))

    answer = client.call("GET", f"tasks/{task}/data/?type=frame&number=999")

    expected = "Invalid frame '999'. The frame number should be in the [0, 1] range"
    assert (answer.status, answer.json()) == (400, expected)


def test_preview_is_a_small_jpeg(client: Client) -> None:
    task = client.upload([("large.jpg", picture((800, 400)))])

    answer = client.call("GET", f"tasks/{task}/preview")

    with Image.open(io.BytesIO(answer.data)) as image:
        assert (image.format, image.size) == ("JPEG", (256, 128))


def test_deleted_frames_are_told_and_move_the_date_of_the_task(server: CvatDouble, client: Client) -> None:
    task = client.upload(pictures("0.jpg", "1.jpg", "2.jpg"), task={"segment_size": 2})
    before = server.state.tasks[task].updated_date

    answer = client.call("PATCH", f"tasks/{task}/data/meta", {"deleted_frames": [2]})

    assert answer.json()["deleted_frames"] == [2]
    assert client.meta(f"jobs/{server.state.jobs_of(task)[0].id}")["deleted_frames"] == []
    assert server.state.tasks[task].updated_date > before


def tus_start(client: Client, task: int, name: str, length: int) -> str:
    metadata = f"filename {base64.b64encode(name.encode()).decode()}"
    answer = client.call(
        "POST",
        f"tasks/{task}/data/",
        Tus_Resumable="1.0.0",
        Upload_Length=str(length),
        Upload_Metadata=metadata,
    )
    assert (answer.status, answer.headers["Upload-Filename"]) == (201, name)
    return answer.headers["Location"]


def test_upload_in_pieces_goes_on_at_the_offset_that_the_server_tells(client: Client) -> None:
    task, content = client.new_task(), picture()
    address = tus_start(client, task, "a.jpg", len(content))

    assert client.call("PATCH", address, content[:100], Upload_Offset="0").status == 204
    assert client.call("PATCH", address, content[:100], Upload_Offset="0").status == 409
    assert client.call("HEAD", address).headers["Upload-Offset"] == "100"
    assert client.call("PATCH", address, content[100:], Upload_Offset="100").status == 204
    assert client.call("HEAD", address).status == 404

    assert client.finish(task)["status"] == "finished"
    assert client.call("GET", f"tasks/{task}/data/?type=frame&number=0&quality=original").data == content


def test_piecewise_upload_of_a_name_that_is_there_is_refused(client: Client) -> None:
    task = client.new_task()
    client.send(task, pictures("a.jpg"))

    metadata = f"filename {base64.b64encode(b'a.jpg').decode()}"
    answer = client.call("POST", f"tasks/{task}/data/", Upload_Length="10", Upload_Metadata=metadata)

    assert (answer.status, answer.json()) == (409, "File with same name already exists")


def video(count: int) -> bytes:
    target = io.BytesIO()
    with av.open(target, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(count):
            grey = np.full((48, 64, 3), number * 40, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        container.mux(stream.encode())
    return target.getvalue()


def grey_of(content: bytes) -> int:
    with Image.open(io.BytesIO(content)) as image:
        return round(float(np.asarray(image.convert("L")).mean()))


def test_video_is_one_file_of_many_frames(server: CvatDouble, client: Client) -> None:
    task = client.upload([("clip.mp4", video(6))], frame_filter="step=2")

    meta = client.meta(f"tasks/{task}")
    assert [frame["name"] for frame in meta["frames"]] == ["clip.mp4"]
    assert (meta["size"], meta["stop_frame"]) == (3, 4)
    assert client.call("GET", f"tasks/{task}").json()["mode"] == "interpolation"
    frame = client.call("GET", f"tasks/{task}/data/?type=frame&number=2&quality=original")
    assert frame.headers["Content-Type"] == "image/png"
    assert abs(grey_of(frame.data) - 160) < 8


def test_chunks_of_a_video_are_mp4_unless_zip_chunks_are_asked_for(client: Client) -> None:
    as_video = client.upload([("clip.mp4", video(4))])
    as_images = client.upload([("clip.mp4", video(4))], use_zip_chunks=True)

    answer = client.call("GET", f"tasks/{as_video}/data/?type=chunk&number=0&quality=compressed")

    assert answer.headers["Content-Type"] == "video/mp4"
    with av.open(io.BytesIO(answer.data)) as container:
        assert len(list(container.decode(video=0))) == 4
    zipped = client.chunk(f"tasks/{as_images}", number="0", quality="compressed")
    assert [abs(grey_of(one) - 40 * number) < 8 for number, one in enumerate(zipped.values())] == [True] * 4


def test_video_next_to_an_image_is_refused(client: Client) -> None:
    task = client.new_task()
    client.send(task, [("clip.mp4", video(2)), *pictures("a.jpg")])

    assert "can be used simultaneously" in client.finish(task)["message"]


def test_broken_video_fails_the_request(client: Client) -> None:
    task = client.new_task()
    client.send(task, [("clip.mp4", b"no video")])

    assert client.finish(task)["status"] == "failed"


def test_upload_that_is_still_unpacked_is_not_started_again(server: CvatDouble, client: Client) -> None:
    task = client.new_task()
    client.send(task, pictures("a.jpg"))
    server.worker.hold("create")
    assert client.finish(task)["status"] == "queued"

    again = client.call("POST", f"tasks/{task}/data/", {"image_quality": 70}, Upload_Finish="")

    assert again.status == 409
    server.worker.release()
    assert client.names(task) == ["a.jpg"]


@pytest.fixture
def video_task(server: CvatDouble, client: Client) -> Task:
    number = client.upload([("clip.mp4", video(5))], frame_filter="step=2", start_frame=1)
    return server.state.tasks[number]


def test_frames_of_a_video_are_exported_as_pictures_named_by_their_number(server: CvatDouble, video_task: Task) -> None:
    content = exports.make_archive(server.state, video_task, "CVAT for images 1.1", save_images=True)

    files = unzipped(content)
    xml = ElementTree.fromstring(files["annotations.xml"])
    assert [(image.get("id"), image.get("name")) for image in xml.iter("image")] == [
        ("1", "frame_000001"),
        ("3", "frame_000003"),
    ]
    assert {"images/frame_000001.PNG", "images/frame_000003.PNG"} <= files.keys()
    assert xml.findtext("meta/source") == "clip.mp4"
    assert xml.findtext("meta/task/original_size/width") == "64"


def test_backup_of_a_video_holds_the_video_and_brings_the_same_frames_back(
    server: CvatDouble, video_task: Task
) -> None:
    content = exports.make_backup(server.state, video_task)

    number = exports.import_backup(server.state, "task", content, owner_id=1, organization_id=None)

    assert unzipped(content)["data/clip.mp4"] == video(5)
    again, first = server.state.tasks[number].media, video_task.media
    assert again is not None
    assert first is not None
    assert (again.mode, again.start_frame, again.stop_frame) == ("interpolation", 1, 3)
    assert [frame.original for frame in again.frames] == [frame.original for frame in first.frames]
