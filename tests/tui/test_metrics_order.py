"""Which metrics get a chart, and in which order."""

from __future__ import annotations

from specrun.tui.metrics_pane import moving_first
from specrun.views.series import Series


def series(*values: float) -> Series:
    found = Series()
    for step, value in enumerate(values):
        found.append(step, value)
    return found


def test_what_moves_has_a_chart_and_what_stands_still_a_line() -> None:
    metrics = {"mAP50": series(0.0, 0.0), "train/box_loss": series(3.0, 2.5), "lr/pg0": series(0.1)}
    moving, still = moving_first(metrics)
    assert moving == ["train/box_loss"]
    assert still == ["mAP50", "lr/pg0"]
