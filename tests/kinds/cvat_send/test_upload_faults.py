"""A server in trouble while images are sent: no task stays wedged, and what may be damaged is looked at."""

import io

import pytest
from PIL import Image, ImageDraw

from specrun.clients.cvat.sdk import SdkUpload
from specrun.errors import NodeError
from specrun.kinds.cvat_send.images import looks_alike
from tests.doubles.cvat import media
from tests.doubles.cvat.server import CvatDouble
from tests.support.cvat_sending import Round, spec_of

NAMES = ("a.png", "b.png", "c.png")
DATA = r"/api/tasks/\d+/data"


@pytest.fixture
def server():
    with CvatDouble(anonymous_per_minute=None) as double:
        yield double
        assert not double.errors


@pytest.fixture
def work(tmp_path, server):
    round_ = Round(tmp_path, server)
    for name in NAMES:
        round_.add_image(name)
    return round_


def spec():
    return spec_of(tasks={"from": "sources.photos", "size": 9})


def run_until_done(work, most=4):
    for _ in range(most):
        try:
            return work.run(spec())
        except NodeError:
            work.server.faults.clear()
    raise AssertionError("still failing")


@pytest.mark.parametrize("times", range(1, 9))
def test_errors_in_a_row_after_the_start_wedge_no_upload(work, server, monkeypatch, times):
    start = SdkUpload.start

    def then_trouble(self):
        start(self)
        monkeypatch.setattr(SdkUpload, "start", start)
        server.faults.add("POST", DATA, times=times, status=500)

    monkeypatch.setattr(SdkUpload, "start", then_trouble)
    run_until_done(work)
    (task,) = work.tasks
    assert work.frames(task) == list(NAMES)


def test_names_that_were_noted_and_never_came_are_sent_again(work, server, monkeypatch):
    send = SdkUpload.send
    monkeypatch.setattr(SdkUpload, "send", lambda self, files: 200 if files[0].name == "a.png" else send(self, files))
    lying = SdkUpload.finish

    def finish(self, fields):
        monkeypatch.setattr(SdkUpload, "send", send)
        return lying(self, fields)

    monkeypatch.setattr(SdkUpload, "finish", finish)
    work.run(spec())
    assert work.frames(work.tasks[0]) == list(NAMES)


class Worker:
    """Fails the first `times` creations of frames."""

    def __init__(self, monkeypatch, times):
        self.times, self._unpack = times, media.unpack
        monkeypatch.setattr(media, "unpack", self.unpack)

    def unpack(self, *arguments):
        self.times -= 1
        if self.times >= 0:
            raise OSError("the worker died")
        return self._unpack(*arguments)


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_creation_that_failed_is_tried_again(work, monkeypatch, times):
    Worker(monkeypatch, times)
    for attempt in range(-(-times // 2)):
        if times - 2 * attempt >= 2:
            with pytest.raises(NodeError, match="the worker died") as failed:
                work.run(spec())
            assert "Mend or exclude that image" in failed.value.hint
    work.run(spec())
    assert work.frames(work.tasks[0]) == list(NAMES)


def test_an_image_that_the_server_has_in_pieces_after_a_kill_is_told(work, server):
    server.faults.add("POST", DATA, times=9, status=503)
    with pytest.raises(NodeError):
        work.run(spec())
    server.faults.clear()
    pieces = io.BytesIO()
    Image.new("RGB", work.samples[0].size_wh, (255, 255, 255)).save(pieces, "PNG")
    work.tasks[0].uploads.append(("a.png", pieces.getvalue()))
    outputs = work.run(spec())
    assert [one["name"] for one in outputs.facts["failed"]] == ["a.png"]
    assert "damaged" in outputs.facts["failed"][0]["reason"]


def test_an_image_that_was_encoded_anew_looks_alike_and_another_does_not(tmp_path):
    picture = Image.new("RGB", (300, 200), (20, 90, 160))
    ImageDraw.Draw(picture).ellipse((40, 40, 160, 160), fill=(255, 255, 255))
    picture.save(tmp_path / "a.png")
    picture.save(tmp_path / "a.jpg", quality=70)
    picture.rotate(180).save(tmp_path / "b.jpg")
    assert looks_alike((tmp_path / "a.jpg").read_bytes(), tmp_path / "a.png")
    assert not looks_alike((tmp_path / "b.jpg").read_bytes(), tmp_path / "a.png")
    assert not looks_alike((tmp_path / "a.png").read_bytes()[:-200], tmp_path / "a.png")
