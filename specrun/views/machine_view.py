"""GPUs and the machine as the events sampled them, with a bounded history."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from specrun.model.event import GpuSample, MachineSample

HISTORY = 240


@dataclass(slots=True)
class GpuView:
    """Histories are in percent; memory relative to the whole of it."""

    index: int
    name: str = ""
    sample: GpuSample | None = None
    utilisation: deque[float] = field(default_factory=lambda: deque(maxlen=HISTORY))
    memory: deque[float] = field(default_factory=lambda: deque(maxlen=HISTORY))

    def add(self, sample: GpuSample) -> None:
        self.sample = sample
        if sample.utilisation is not None:
            self.utilisation.append(sample.utilisation)
        if sample.memory_used_mib is not None and sample.memory_total_mib:
            self.memory.append(100.0 * sample.memory_used_mib / sample.memory_total_mib)


@dataclass(slots=True)
class MachineView:
    sample: MachineSample | None = None
    cpu: deque[float] = field(default_factory=lambda: deque(maxlen=HISTORY))
    memory: deque[float] = field(default_factory=lambda: deque(maxlen=HISTORY))

    def add(self, sample: MachineSample) -> None:
        self.sample = sample
        self.cpu.append(sample.cpu)
        if sample.memory_total_mib:
            self.memory.append(100.0 * sample.memory_used_mib / sample.memory_total_mib)
