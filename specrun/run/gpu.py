"""GPUs: what is there, how busy it is, and leases that other projects and people respect."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from specrun.model.event import GpuSample

BUSY_FRACTION = 0.25
"""A GPU whose memory is used beyond this by somebody else is not leased."""
MIB = 1 << 20


class Nvml(Protocol):
    """The part of pynvml that is used; tests hand in their own."""

    def nvmlInit(self) -> None: ...
    def nvmlDeviceGetCount(self) -> int: ...
    def nvmlDeviceGetHandleByIndex(self, index: int) -> Any: ...
    def nvmlDeviceGetUUID(self, handle: Any) -> Any: ...
    def nvmlDeviceGetName(self, handle: Any) -> Any: ...
    def nvmlDeviceGetMemoryInfo(self, handle: Any) -> Any: ...
    def nvmlDeviceGetUtilizationRates(self, handle: Any) -> Any: ...
    def nvmlDeviceGetTemperature(self, handle: Any, sensor: int) -> int: ...
    def nvmlDeviceGetPowerUsage(self, handle: Any) -> int: ...
    def nvmlDeviceGetComputeRunningProcesses(self, handle: Any) -> Sequence[Any]: ...


@dataclass(frozen=True, slots=True)
class Gpu:
    """index: NVML's, and CUDA's with CUDA_DEVICE_ORDER=PCI_BUS_ID."""

    index: int
    uuid: str
    name: str
    memory_total_mib: float


def load_nvml() -> Nvml | None:
    """None where there is no NVIDIA driver."""
    try:
        # Costs nothing to the commands that never run a node.
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # pynvml raises a class of its own per error code; any means: no GPUs to lease
        return None
    nvml: Nvml = pynvml
    return nvml


class Gpus:
    """The GPUs that may be leased. allowed: indices, None for all (`settings.executor.gpus: auto`)."""

    def __init__(
        self, nvml: Nvml | None, *, allowed: Sequence[int] | None = None, lock_folder: Path | None = None
    ) -> None:
        self._nvml = nvml
        self._folder = lock_folder or Path(tempfile.gettempdir()) / "specrun-gpus"
        self.all = tuple(self._describe(i) for i in range(nvml.nvmlDeviceGetCount())) if nvml else ()
        self.usable = tuple(g for g in self.all if allowed is None or g.index in allowed)
        self._leases: dict[int, Lease] = {}

    def _describe(self, index: int) -> Gpu:
        assert self._nvml is not None
        handle = self._nvml.nvmlDeviceGetHandleByIndex(index)
        memory = self._nvml.nvmlDeviceGetMemoryInfo(handle)
        return Gpu(
            index,
            _text(self._nvml.nvmlDeviceGetUUID(handle)),
            _text(self._nvml.nvmlDeviceGetName(handle)),
            memory.total / MIB,
        )

    def lease(self, count: int) -> Lease | None:
        """Locks on `count` GPUs that nobody holds and that are not busy; None when there are not enough."""
        files: dict[Gpu, int] = {}
        for gpu in self.usable:
            if len(files) == count:
                break
            if gpu.index in self._leases or self._busy(gpu):
                continue
            descriptor = self._lock(gpu)
            if descriptor is not None:
                files[gpu] = descriptor
        if len(files) < count:
            for descriptor in files.values():
                os.close(descriptor)
            return None
        lease = Lease(tuple(files), tuple(files.values()), self)
        self._leases.update({gpu.index: lease for gpu in files})
        return lease

    def _lock(self, gpu: Gpu) -> int | None:
        """A descriptor that holds the machine-wide lock on the GPU's UUID, or None when another has it."""
        self._folder.mkdir(mode=0o1777, parents=True, exist_ok=True)
        descriptor = os.open(self._folder / f"{gpu.uuid}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return None
        return descriptor

    def _busy(self, gpu: Gpu) -> bool:
        assert self._nvml is not None
        memory = self._nvml.nvmlDeviceGetMemoryInfo(self._nvml.nvmlDeviceGetHandleByIndex(gpu.index))
        return bool(memory.used > BUSY_FRACTION * memory.total)

    def release(self, lease: Lease) -> None:
        for gpu, descriptor in zip(lease.gpus, lease.descriptors, strict=True):
            self._leases.pop(gpu.index, None)
            os.close(descriptor)

    def samples(self) -> list[GpuSample]:
        return [self._sample(gpu) for gpu in self.all]

    def _sample(self, gpu: Gpu) -> GpuSample:
        nvml = self._nvml
        assert nvml is not None
        handle = nvml.nvmlDeviceGetHandleByIndex(gpu.index)
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        return GpuSample(
            index=gpu.index,
            name=gpu.name,
            utilisation=_asked(lambda: float(nvml.nvmlDeviceGetUtilizationRates(handle).gpu)),
            memory_used_mib=memory.used / MIB,
            memory_total_mib=memory.total / MIB,
            temperature_c=_asked(lambda: float(nvml.nvmlDeviceGetTemperature(handle, 0))),
            power_w=_asked(lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1000),
            processes=tuple(str(p.pid) for p in _asked_list(nvml, handle)),
        )


@dataclass(eq=False)
class Lease:
    """GPUs held until `release`."""

    gpus: tuple[Gpu, ...]
    descriptors: tuple[int, ...]
    owner: Gpus = field(repr=False)

    @property
    def indices(self) -> tuple[int, ...]:
        return tuple(gpu.index for gpu in self.gpus)

    def release(self) -> None:
        self.owner.release(self)


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _asked(ask: Any) -> float | None:
    """A reading, or None where the card does not support it (NVML raises one class per code)."""
    try:
        return float(ask())
    except Exception:
        return None


def _asked_list(nvml: Nvml, handle: Any) -> Sequence[Any]:
    try:
        return nvml.nvmlDeviceGetComputeRunningProcesses(handle)
    except Exception:  # not supported by every driver; who uses it is then not shown
        return ()
