from __future__ import annotations

import pytest

from specrun.errors import NodeError
from specrun.training.oom import Batch, is_out_of_memory, out_of_memory


@pytest.mark.parametrize("size", [2, 16, 128])
def test_half_the_batch_and_twice_the_accumulation_keep_the_effective_batch(size: int) -> None:
    before = Batch(size, 4)
    after = before.halved()
    assert after == Batch(size // 2, 8)
    assert after is not None
    assert after.effective == before.effective


def test_one_image_cannot_be_halved() -> None:
    assert Batch(1, 64).halved() is None


def test_every_gpu_keeps_at_least_one_image() -> None:
    assert Batch(8, 1).halved(gpus=4) == Batch(4, 2)
    assert Batch(4, 2).halved(gpus=4) is None


def test_an_odd_batch_keeps_the_effective_batch_as_nearly_as_it_can() -> None:
    assert Batch(5, 13).halved() == Batch(2, 32)


@pytest.mark.parametrize(
    ("error", "found"),
    [
        (RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB"), True),
        (RuntimeError("MPS backend out of memory"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory"), True),
        (MemoryError(), True),
        (RuntimeError("size mismatch"), False),
        (ValueError("out of memory"), False),
        (NodeError("no such file"), False),
    ],
)
def test_out_of_memory_is_told_from_other_errors(error: Exception, found: bool) -> None:
    assert is_out_of_memory(error) is found


def test_the_error_names_the_setting_and_the_way_on() -> None:
    error = out_of_memory("GPU 0", Batch(8, 8), setting="train.batch", others=["lower train.imgsz (640)"])
    assert str(error) == (
        "out of memory on GPU 0 with a batch of 8. "
        "Lower train.batch (8 → 4), or write on_oom: halve, or lower train.imgsz (640)."
    )


def test_with_one_image_something_else_must_change() -> None:
    error = out_of_memory("GPU 0", Batch(1, 64), setting="train.batch", others=["lower train.imgsz (640)"])
    assert error.hint == "Lower train.imgsz (640)."
