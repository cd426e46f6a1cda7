from __future__ import annotations

import shutil
import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from specrun.errors import FormatError
from specrun.formats.video import apply_display_matrix, dated, read_frames, read_index, upper_field
from tests.support.films import number_of, write_film, write_interlaced_film


def read(path: Path, numbers: list[int]) -> list[tuple[int, int, float]]:
    """(number, number in the picture, seconds)."""
    return [(f.number, number_of(f.picture), float(f.time)) for f in read_frames(path, read_index(path), numbers)]


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.avi", "mpeg4"), ("a.webm", "libvpx-vp9")]
)
def test_frames_have_their_number_and_time(tmp_path: Path, name: str, codec: str) -> None:
    film = write_film(tmp_path / name, 40, rate=20, codec=codec)
    assert [(number, drawn) for number, drawn, _ in read(film, [0, 7, 12, 39])] == [(0, 0), (7, 7), (12, 12), (39, 39)]
    assert [time for _, _, time in read(film, [0, 7, 39])] == pytest.approx([0, 0.35, 1.95], abs=0.001)


def test_a_film_of_variable_rate_keeps_its_times(tmp_path: Path) -> None:
    ticks = [0, 40, 500, 520, 2000, 2033, 4000]
    film = write_film(tmp_path / "a.mkv", 7, ticks=ticks)
    assert [round(float(time) * 1000) for time in read_index(film).times] == ticks
    assert read(film, [2, 5]) == [(2, 2, 0.5), (5, 5, 2.033)]


def test_far_frames_are_sought_and_are_the_same_as_decoded_ones(tmp_path: Path) -> None:
    film = write_film(tmp_path / "a.mp4", 900, size_wh=(96, 48), options={"g": "30", "bf": "2"})
    wanted = [3, 295, 600, 601, 899]
    assert [(number, drawn) for number, drawn, _ in read(film, wanted)] == [(n, n) for n in wanted]
    index = read_index(film)
    sought = [frame.picture for frame in read_frames(film, index, [700])]
    decoded = [frame.picture for frame in read_frames(film, index, list(range(701)))][-1:]
    assert np.array_equal(sought, decoded)


def test_seeking_is_what_reads_the_end_of_a_long_film(tmp_path: Path) -> None:
    film = write_film(tmp_path / "a.mp4", 900, size_wh=(96, 48), options={"g": "30"})
    asked = 0

    def count() -> None:
        nonlocal asked
        asked += 1

    list(read_frames(film, read_index(film), [890], count))
    assert asked < 120


def test_frames_that_the_film_does_not_date_are_counted(tmp_path: Path) -> None:
    film = write_film(tmp_path / "a.h264", 30, rate=25)
    index = read_index(film)
    assert len(index.times) == 30
    assert [(number, drawn) for number, drawn, _ in read(film, [0, 11, 29])] == [(0, 0), (11, 11), (29, 29)]


def test_time_begins_where_a_player_begins(tmp_path: Path) -> None:
    film = write_film(tmp_path / "a.ts", 30, rate=25)
    times = read_index(film).times
    assert times[0] == 0
    assert times[10] == Fraction(2, 5)


@pytest.mark.parametrize(("turn", "shape"), [(90, (192, 96)), (180, (96, 192)), (270, (192, 96)), (0, (96, 192))])
def test_the_rotation_of_the_metadata_is_applied(tmp_path: Path, turn: int, shape: tuple[int, int]) -> None:
    film = write_film(tmp_path / "a.mp4", 4, turn=turn)
    stored = next(iter(read_frames(write_film(tmp_path / "b.mp4", 4), read_index(film), [2]))).picture
    shown = next(iter(read_frames(film, read_index(film), [2]))).picture
    assert shown.shape[:2] == shape
    assert np.array_equal(shown, np.rot90(stored, turn // 90))


def test_a_mirror_is_applied() -> None:
    picture = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    one = 1 << 16
    mirrored = apply_display_matrix(picture, np.array([-one, 0, 0, 0, one, 0, 0, 0, 1 << 30], np.int32))
    assert np.array_equal(mirrored, picture[:, ::-1])
    turned = apply_display_matrix(picture, np.array([0, one, 0, -one, 0, 0, 0, 0, 1 << 30], np.int32))
    assert np.array_equal(turned, np.rot90(picture, -1))  # clockwise: what stood left stands above


def test_a_broken_packet_costs_its_frame_and_no_more(tmp_path: Path) -> None:
    film = write_film(tmp_path / "a.mov", 40, codec="png", options={})
    data = bytearray(film.read_bytes())
    starts = [at for at in range(len(data)) if data.startswith(b"\x89PNG", at)]
    assert len(starts) == 40
    data[starts[20] : starts[20] + 8] = bytes(8)
    film.write_bytes(data)
    found = read(film, list(range(40)))
    assert [number for number, _, _ in found] == [number for number in range(40) if number != 20]
    assert all(number == drawn for number, drawn, _ in found)


def test_what_is_no_film_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"no film" * 99)
    with pytest.raises(FormatError, match=r"a\.mp4: not a readable film"):
        read_index(path)


def test_a_film_without_pictures_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(FormatError, match="has no video stream, only audio"):
        read_index(path)


def test_the_cover_of_a_song_is_no_film(tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    with av.open(str(path), "w") as container:
        song = container.add_stream("mp3", rate=44100)
        cover: Any = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 64, "yuvj420p"
        container.mux(cover.encode(av.VideoFrame.from_ndarray(np.full((64, 64, 3), 200, np.uint8))))
        container.mux(cover.encode(None))
        sound = av.AudioFrame.from_ndarray(np.zeros((2, 4410), np.float32), format="fltp", layout="stereo")
        sound.sample_rate = 44100
        container.mux(song.encode(sound))
        container.mux(song.encode(None))
    with pytest.raises(FormatError, match="has no video stream, only a cover picture, audio"):
        read_index(path)


def test_frames_without_a_time_at_the_beginning_come_before_the_first_one_that_has_one() -> None:
    step = Fraction(1, 10)
    assert dated([None, None, Fraction(1, 20), Fraction(1), None], step) == [
        Fraction(0),
        Fraction(1, 10),
        Fraction(1, 5),
        Fraction(23, 20),
        Fraction(5, 4),
    ]
    assert dated([None, None], step) == [Fraction(0), step]
    assert dated([Fraction(1), Fraction(1, 2), Fraction(2)], step) == [Fraction(1), Fraction(11, 10), Fraction(2)]
    assert dated([], step) == []


def test_a_playlist_cannot_make_it_ask_an_address(tmp_path: Path) -> None:
    path = tmp_path / "a.m3u8"
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/secret.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(FormatError, match=r"a\.m3u8"):
        read_index(path)


def field_by_field(path: Path) -> Any:
    """The first frame, each field converted as a picture of its own."""
    with av.open(str(path)) as film:
        frame: Any = next(film.decode(video=0))
        planes, rgb = frame.to_ndarray(), np.empty((frame.height, frame.width, 3), np.uint8)
        luma, chroma = planes[: frame.height], planes[frame.height :].reshape(2, frame.height // 2, frame.width // 2)
        for parity in (0, 1):
            parts = [luma[parity::2], chroma[0, parity::2], chroma[1, parity::2]]
            flat = np.concatenate([part.reshape(-1) for part in parts]).reshape(-1, frame.width)
            field = av.VideoFrame.from_ndarray(flat, format="yuv420p")
            field.colorspace, field.color_range = frame.colorspace, frame.color_range
            rgb[parity::2] = field.to_ndarray(format="rgb24")
    return rgb


def test_colours_of_interlaced_frames_are_enlarged_field_by_field(tmp_path: Path) -> None:
    film = write_interlaced_film(tmp_path / "a.mkv")
    (frame,) = read_frames(film, read_index(film), [0])
    assert frame.interlaced
    assert abs(frame.picture.astype(int) - field_by_field(film)).max() <= 1
    assert frame.picture[0::2].std(axis=(0, 1)).max() < 3 < abs(frame.picture[0].astype(int) - frame.picture[1]).max()


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="no ffmpeg")
def test_interlaced_frames_are_those_of_ffmpegs_interlaced_scaler(tmp_path: Path) -> None:
    film = write_interlaced_film(tmp_path / "a.mkv")
    raw = ["ffmpeg", "-v", "error", "-i", film, "-vf", "scale=interl=1,format=rgb24", "-f", "rawvideo", "-"]
    said = subprocess.run(raw, check=True, capture_output=True).stdout
    theirs = np.frombuffer(said, np.uint8).reshape(-1, 96, 192, 3).astype(int)
    ours = [frame.picture for frame in read_frames(film, read_index(film), range(len(theirs)))]
    assert abs(np.array(ours) - theirs).max() <= 1


def test_deinterlaced_frames_show_one_moment(tmp_path: Path) -> None:
    film = write_interlaced_film(tmp_path / "a.mkv")
    (whole,) = read_frames(film, read_index(film), [3])
    (upper,) = read_frames(film, read_index(film), [3], deinterlace=True)
    assert np.array_equal(upper.picture[0::2], whole.picture[0::2])
    assert np.ptp(upper.picture, axis=0).max() < 12
    plain = write_film(tmp_path / "b.mp4", 3)
    (same,) = read_frames(plain, read_index(plain), [1], deinterlace=True)
    (frame,) = read_frames(plain, read_index(plain), [1])
    assert not same.interlaced
    assert np.array_equal(same.picture, frame.picture)


@pytest.mark.parametrize("height", [1, 2, 5, 6])
def test_lines_of_one_field_lie_half_way_between_their_neighbours(height: int) -> None:
    picture = np.arange(height, dtype=np.uint8)[:, None, None].repeat(3, axis=2) * 10
    expected = [10 * y if y % 2 == 0 or y + 1 < height else 10 * (y - 1) for y in range(height)]
    assert upper_field(picture)[:, 0, 0].tolist() == expected
