"""The bottom: every GPU and who uses it, then CPU, memory and disk."""

from __future__ import annotations

from collections.abc import Sequence

from rich.style import Style

from specrun.tui.gauges import bar, sparkline
from specrun.tui.line_pane import LinePane, line_width
from specrun.tui.palette import Line
from specrun.views.machine_view import GpuView
from specrun.views.quantities import size
from specrun.views.run_view import RunView
from specrun.views.text import clip, pad

_MIB = 1 << 20
_DISK_WARNING_BYTES = 20 << 30


class MachinePane(LinePane, can_focus=False):
    """One line a GPU and one for the machine; as many as the screen's height allows, the rest scrolls."""

    def show_run(self, view: RunView, max_height: int) -> None:
        lines = [self._gpu(gpu, view) for _, gpu in sorted(view.gpus.items())]
        machine = self._machine(view)
        if machine:
            lines.append(machine)
        self.show_items(lines)
        height = min(len(lines), max(1, max_height))
        self.display = height > 0 and bool(lines)
        if self.styles.height is None or self.styles.height.value != height:
            self.styles.height = height

    def _gpu(self, gpu: GpuView, view: RunView) -> Line:
        palette, width, sample = self.palette, self.size.width, gpu.sample
        line: list[tuple[str, Style]] = [(f" GPU {gpu.index} ", palette.bold)]
        if sample is None:
            return (*line, (clip(gpu.name, 30), palette.dim))
        if width >= 110:
            line.append((pad(gpu.name.removeprefix("NVIDIA ").removeprefix("GeForce "), 16), palette.dim))
        line += self._load(gpu.utilisation, sample.utilisation, 24 if width >= 150 else 12 if width >= 100 else 8)
        if sample.memory_used_mib is not None and sample.memory_total_mib:
            share = sample.memory_used_mib / sample.memory_total_mib
            amount = f" {sample.memory_used_mib / 1024:.1f}/{sample.memory_total_mib / 1024:.0f} GiB"
            line += self._gauge("mem", share, amount, 16 if width >= 130 else 8)
        if sample.temperature_c is not None:
            hot = (
                palette.bad
                if sample.temperature_c >= 88
                else palette.warn
                if sample.temperature_c >= 80
                else palette.dim
            )
            line.append((f"  {sample.temperature_c:.0f} °C", hot))
        if sample.power_w is not None and width >= 96:
            line.append((f"  {sample.power_w:3.0f} W", palette.dim))
        users = self._users(gpu.index, sample.processes, view)
        room = width - line_width(tuple(line)) - 3
        if users and room > 8:
            line.append((f"  {clip(users, room)}", palette.accent))
        return tuple(line)

    def _machine(self, view: RunView) -> Line:
        sample = view.machine.sample
        if sample is None:
            return ()
        palette, width = self.palette, self.size.width
        line: list[tuple[str, Style]] = [(" CPU   ", palette.bold)]
        if width >= 110:
            line.append((pad(f"{sample.cores} cores", 16) if view.gpus else f"{sample.cores} cores  ", palette.dim))
        line += self._load(view.machine.cpu, sample.cpu, 24 if width >= 150 else 12 if width >= 100 else 8)
        if sample.memory_total_mib:
            share = sample.memory_used_mib / sample.memory_total_mib
            amount = f" {sample.memory_used_mib / 1024:.1f}/{sample.memory_total_mib / 1024:.0f} GiB"
            line += self._gauge("mem", share, amount, 16 if width >= 130 else 8)
        low = sample.disk_free_bytes < _DISK_WARNING_BYTES
        line.append((f"  disk {size(sample.disk_free_bytes)} free", palette.warn if low else palette.dim))
        return tuple(line)

    def _load(self, history: Sequence[float], percent: float | None, width: int) -> Line:
        if percent is None:
            return ((" " * (width + 6), Style()),)
        return ((sparkline(history, width), self.palette.spark), (f" {percent:3.0f}%  ", self.palette.text))

    def _gauge(self, name: str, share: float, amount: str, width: int) -> Line:
        done, rest = bar(share, width)
        style = self.palette.load(share * 100)
        return (
            (f"{name} ", self.palette.dim),
            (done, style),
            (rest, self.palette.track),
            (f"{amount:<15}", self.palette.text),
        )

    def _users(self, index: int, processes: Sequence[str], view: RunView) -> str:
        ours = [node.address.text for node in view.node_on_gpu(index)]
        others = [name for name in processes if name not in ours]
        return ", ".join([*ours, *others])
