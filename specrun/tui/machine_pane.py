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
from specrun.views.text import clean, clip, pad

_MIB = 1 << 20
_COLUMN = 38
_VERY_WIDE = 170
_DISK_WARNING_BYTES = 20 << 30


class MachinePane(LinePane, can_focus=False):
    """One line a GPU and one for the machine; where that would take too much of the screen, GPUs stand
    in columns with less about each. What does not fit even so scrolls."""

    def show_run(self, view: RunView, max_height: int) -> None:
        gpus = [gpu for _, gpu in sorted(view.gpus.items())]
        lines = [self._gpu(gpu, view) for gpu in gpus] if len(gpus) < max_height else self._columns(gpus, view)
        machine = self._machine(view)
        if machine:
            lines.append(machine)
        self.show_items(lines)
        height = min(len(lines), max(1, max_height))
        if self.display != bool(lines):
            self.display = bool(lines)
        if self.styles.height is None or self.styles.height.value != height:
            self.styles.height = height

    @property
    def _width(self) -> int:
        """That of the screen as long as this is hidden and so has none: it appears with the first sample."""
        return self.inner_width or self.app.size.width

    def _gpu(self, gpu: GpuView, view: RunView) -> Line:
        palette, width, sample = self.palette, self._width, gpu.sample
        parts: list[Line] = [((f" GPU {gpu.index} ", palette.bold),)]
        if sample is None:
            return self._fitting([*parts, ((gpu.name, palette.dim),)])
        if width >= 110:
            parts.append(((pad(gpu.name.removeprefix("NVIDIA ").removeprefix("GeForce "), 16), palette.dim),))
        parts.append(self._load(gpu.utilisation, sample.utilisation))
        if sample.memory_used_mib is not None and sample.memory_total_mib:
            parts.append(self._memory(sample.memory_used_mib, sample.memory_total_mib))
            if width >= _VERY_WIDE:
                parts.append(((f" {sparkline(gpu.memory, 16)}", palette.spark),))
        if sample.temperature_c is not None:
            parts.append(((f"  {sample.temperature_c:.0f} °C", self._heat(sample.temperature_c)),))
        if sample.power_w is not None and width >= 96:
            parts.append(((f"  {sample.power_w:3.0f} W", palette.dim),))
        users = self._users(gpu.index, sample.processes, view)
        room = width - sum(line_width(part) for part in parts) - 3
        if users and room > 8:
            parts.append(((f"  {clip(users, room)}", palette.accent),))
        return self._fitting(parts)

    def _columns(self, gpus: Sequence[GpuView], view: RunView) -> list[Line]:
        """In the order of reading."""
        amount = max(1, self._width // _COLUMN)
        width = self._width // amount
        blocks = [self._short(gpu, view, width) for gpu in gpus]
        return [
            tuple(span for block in blocks[begin : begin + amount] for span in block)
            for begin in range(0, len(blocks), amount)
        ]

    def _short(self, gpu: GpuView, view: RunView, width: int) -> Line:
        """Exactly `width` cells: load, memory, temperature and, as far as there is room, the first user."""
        palette, sample = self.palette, gpu.sample
        line: list[tuple[str, Style]] = [(f" {gpu.index:>2} ", palette.bold)]
        if sample is not None and sample.utilisation is not None:
            line += [(sparkline(gpu.utilisation, 6), palette.spark), (f"{sample.utilisation:4.0f}% ", palette.text)]
        if sample is not None and sample.memory_used_mib is not None and sample.memory_total_mib:
            share = sample.memory_used_mib / sample.memory_total_mib
            done, rest = bar(share, 6)
            line += [(done, palette.load(share * 100)), (rest, palette.track)]
            line.append((f"{sample.memory_used_mib / 1024:4.0f}G", palette.text))
        if sample is not None and sample.temperature_c is not None:
            line.append((f"{sample.temperature_c:4.0f}°", self._heat(sample.temperature_c)))
        room = width - line_width(tuple(line)) - 1
        names = [node.address.text.partition(".")[2] for node in view.node_on_gpu(gpu.index)]
        users = ", ".join(names) or ("other" if sample is not None and sample.processes else "")
        line.append((f" {pad(users, room)}" if room > 0 else " " * max(0, room + 1), palette.accent))
        return tuple(line)

    def _heat(self, celsius: float) -> Style:
        palette = self.palette
        return palette.bad if celsius >= 88 else palette.warn if celsius >= 80 else palette.dim

    def _machine(self, view: RunView) -> Line:
        sample = view.machine.sample
        if sample is None:
            return ()
        palette = self.palette
        parts: list[Line] = [((" CPU   ", palette.bold),)]
        if self._width >= 110:
            parts.append(((pad(f"{sample.cores} cores", 16), palette.dim),))
        parts.append(self._load(view.machine.cpu, sample.cpu))
        if sample.memory_total_mib:
            parts.append(self._memory(sample.memory_used_mib, sample.memory_total_mib))
        low = sample.disk_free_bytes < _DISK_WARNING_BYTES
        parts.append(((f"  disk {size(sample.disk_free_bytes)} free", palette.warn if low else palette.dim),))
        return self._fitting(parts)

    def _fitting(self, parts: Sequence[Line]) -> Line:
        """The parts from the left as far as there is room; never half of one."""
        line: list[tuple[str, Style]] = []
        room = self._width
        for part in parts:
            room -= line_width(part)
            if room < 0:
                break
            line += part
        return tuple(line)

    def _load(self, history: Sequence[float], percent: float | None) -> Line:
        width = 24 if self._width >= 150 else 12 if self._width >= 100 else 8
        if percent is None:
            return ((" " * (width + 7), Style()),)
        return ((sparkline(history, width), self.palette.spark), (f" {percent:3.0f}%  ", self.palette.text))

    def _memory(self, used_mib: float, total_mib: float) -> Line:
        share = used_mib / total_mib
        done, rest = bar(share, 16 if self._width >= 130 else 8)
        amount = f" {used_mib / 1024:.1f}/{total_mib / 1024:.0f} GiB"
        palette = self.palette
        return (
            ("mem ", palette.dim),
            (done, palette.load(share * 100)),
            (rest, palette.track),
            (f"{amount:<15}", palette.text),
        )

    def _users(self, index: int, processes: Sequence[str], view: RunView) -> str:
        """Our nodes by name; without any, the processes that hold it. (The processes of a node are not told apart.)"""
        wide = self._width >= _VERY_WIDE
        ours = [
            f"{node.address.text} {node.progress.phase}".rstrip() if wide else node.address.text
            for node in view.node_on_gpu(index)
        ]
        return ", ".join(ours or [f"process {name}" if name.isdigit() else clean(name) for name in processes])
