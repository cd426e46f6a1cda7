"""TensorBoard's event files, for numbers alone: what `tensorboard --logdir` draws, without its package.

A file is a row of records: length (uint64), its checksum, an Event message, its checksum. Written by hand since
the writers that exist come with tens of megabytes; an Event with one number needs three fields of protobuf.
Source: TFRecord in TensorFlow's documentation; event.proto and summary.proto.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Mapping
from pathlib import Path

_POLYNOMIAL = 0x82F63B78


def _crc_table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (_POLYNOMIAL if value & 1 else 0)
        table.append(value)
    return tuple(table)


_TABLE = _crc_table()


def masked_crc(data: bytes) -> int:
    """CRC-32C, rotated and shifted as TFRecord wants it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def record(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", masked_crc(length)) + data + struct.pack("<I", masked_crc(data))


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def _bytes_field(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def version_event(seconds: float) -> bytes:
    return b"\x09" + struct.pack("<d", seconds) + _bytes_field(3, b"brain.Event:2")


def scalar_event(seconds: float, step: int, values: Mapping[str, float]) -> bytes:
    summary = b"".join(
        _bytes_field(1, _bytes_field(1, name.encode()) + b"\x15" + struct.pack("<f", value))
        for name, value in values.items()
    )
    return b"\x09" + struct.pack("<d", seconds) + b"\x10" + _varint(step) + _bytes_field(5, summary)


class EventFile:
    """Appends; a record that a kill cut off is at the end, where readers stop."""

    def __init__(self, folder: Path, *, clock: object = time.time) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._clock = clock
        self._file = open(folder / "events.out.tfevents.0000000000.specrun", "wb")  # noqa: SIM115 (closed by close)
        self._file.write(record(version_event(self._now())))

    def _now(self) -> float:
        return float(self._clock())  # type: ignore[operator]

    def add(self, step: int, values: Mapping[str, float]) -> None:
        self._file.write(record(scalar_event(self._now(), step, values)))
        self._file.flush()

    def close(self) -> None:
        self._file.close()
