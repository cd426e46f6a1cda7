"""GPU leases on a fake NVML with several GPUs."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from specrun.run.gpu import MIB, Gpus


class FakeNvml:
    """used_mib: memory in use, one a GPU."""

    def __init__(self, *used_mib: float) -> None:
        self.used_mib = list(used_mib)

    def nvmlInit(self) -> None: ...

    def nvmlDeviceGetCount(self) -> int:
        return len(self.used_mib)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetUUID(self, handle: int) -> bytes:
        return f"GPU-{handle}".encode()

    def nvmlDeviceGetName(self, handle: int) -> str:
        return "Fake 80GB"

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:
        return SimpleNamespace(used=self.used_mib[handle] * MIB, total=80_000 * MIB)

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> Any:
        return SimpleNamespace(gpu=50)

    def nvmlDeviceGetTemperature(self, handle: int, sensor: int) -> int:
        raise RuntimeError("not supported")

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:
        return 250_000

    def nvmlDeviceGetComputeRunningProcesses(self, handle: int) -> Any:
        return [SimpleNamespace(pid=7)]


def test_leases_do_not_overlap_and_come_back(tmp_path: Path) -> None:
    gpus = Gpus(FakeNvml(0, 0, 0), lock_folder=tmp_path)
    first, second = gpus.lease(2), gpus.lease(1)
    assert first is not None
    assert second is not None
    assert (first.indices, second.indices) == ((0, 1), (2,))
    assert gpus.lease(1) is None
    first.release()
    again = gpus.lease(1)
    assert again is not None
    assert again.indices == (0,)


def test_another_project_on_the_machine_is_respected(tmp_path: Path) -> None:
    mine, theirs = Gpus(FakeNvml(0, 0), lock_folder=tmp_path), Gpus(FakeNvml(0, 0), lock_folder=tmp_path)
    held = theirs.lease(1)
    lease = mine.lease(1)
    assert held is not None
    assert lease is not None
    assert lease.indices == (1,)
    assert mine.lease(1) is None


def test_a_gpu_that_somebody_fills_without_a_lease_is_left_alone(tmp_path: Path) -> None:
    lease = Gpus(FakeNvml(60_000, 10), lock_folder=tmp_path).lease(1)
    assert lease is not None
    assert lease.indices == (1,)


def test_a_lease_that_cannot_be_whole_holds_nothing(tmp_path: Path) -> None:
    gpus = Gpus(FakeNvml(0, 60_000), lock_folder=tmp_path)
    assert gpus.lease(2) is None
    assert gpus.lease(1) is not None


def test_only_the_allowed_gpus_are_leased(tmp_path: Path) -> None:
    gpus = Gpus(FakeNvml(0, 0), allowed=[1], lock_folder=tmp_path)
    lease = gpus.lease(1)
    assert lease is not None
    assert lease.indices == (1,)
    assert len(gpus.samples()) == 2


def test_a_reading_that_the_card_does_not_support_is_unknown(tmp_path: Path) -> None:
    (sample,) = Gpus(FakeNvml(100), lock_folder=tmp_path).samples()
    assert (sample.temperature_c, sample.power_w, sample.processes) == (None, 250.0, ("7",))


def test_no_driver_means_no_gpus() -> None:
    gpus = Gpus(None)
    assert gpus.all == ()
    assert gpus.samples() == []
