"""Event files, read back by the definition of their format and by nothing of ours."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from specrun.training.smp.event_file import EventFile, masked_crc

Fields = dict[int, list[Any]]


def _crc32c(data: bytes) -> int:
    """By the bit: CRC with the reflected polynomial of Castagnoli."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def _unmask(value: int) -> int:
    rotated = (value - 0xA282EAD8) & 0xFFFFFFFF
    return (rotated >> 17 | rotated << 15) & 0xFFFFFFFF


def _records(content: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(content):
        length, of_length = struct.unpack_from("<QI", content, at)
        assert _unmask(of_length) == _crc32c(content[at : at + 8])
        data = content[at + 12 : at + 12 + length]
        (of_data,) = struct.unpack_from("<I", content, at + 12 + length)
        assert _unmask(of_data) == _crc32c(data)
        yield data
        at += 16 + length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _message(data: bytes) -> Fields:
    """Of protobuf's wire format: varints, doubles, floats, and bytes."""
    found: Fields = {}
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        value: Any
        match key & 7:
            case 0:
                value, at = _varint(data, at)
            case 1:
                (value,) = struct.unpack_from("<d", data, at)
                at += 8
            case 5:
                (value,) = struct.unpack_from("<f", data, at)
                at += 4
            case 2:
                length, at = _varint(data, at)
                value, at = data[at : at + length], at + length
            case other:
                raise AssertionError(f"wire type {other}")
        found.setdefault(key >> 3, []).append(value)
    return found


def test_the_checksum_is_that_of_castagnoli() -> None:
    assert _crc32c(b"123456789") == 0xE3069283
    assert _unmask(masked_crc(b"123456789")) == 0xE3069283


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    file = EventFile(tmp_path, clock=lambda: 12.5)
    file.add(1, {"val/iou": 0.25, "train/loss": 2.0})
    file.add(300, {"val/iou": 0.5})
    file.close()
    (path,) = tmp_path.iterdir()
    assert "tfevents" in path.name
    first, *events = (_message(data) for data in _records(path.read_bytes()))
    assert (first[1], first[3]) == ([12.5], [b"brain.Event:2"])
    told = [
        (event[2][0], fields[1][0].decode(), fields[2][0])
        for event in events
        for fields in map(_message, _message(event[5][0])[1])
    ]
    assert told == [(1, "val/iou", 0.25), (1, "train/loss", 2.0), (300, "val/iou", 0.5)]


def test_tensorboard_reads_it(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    file = EventFile(tmp_path)
    file.add(7, {"val/iou": 0.25})
    file.close()
    found = accumulator.EventAccumulator(str(tmp_path)).Reload()
    assert [(event.step, event.value) for event in found.Scalars("val/iou")] == [(7, 0.25)]
