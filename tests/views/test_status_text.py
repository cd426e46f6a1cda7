"""What is where, as a screen."""

import time

import pytest

from specrun.model.plan import Action
from specrun.views.run_text import PastRun
from specrun.views.status_text import DiskUse, NodeStatus, ProjectStatus, RunningNow, status_text
from tests.support.golden import check_golden

RUN = "20260131-120000-abcd"


@pytest.fixture(autouse=True)
def _clock_of_greenwich(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def model(seed: int, **fields: object) -> NodeStatus:
    values = {
        "address": f"models.unet[encoder=timm-mobilenetv3_small_minimal_100,seed={seed}]",
        "kind": "models.smp",
        "action": Action.NONE,
        "made_at": "2026-01-31T12:00:00+00:00",
        "run": RUN,
        "took_s": 276.0,
        "folder": f"outputs/models/unet/encoder=timm-mobilenetv3_small_minimal_100/seed={seed}",
        "size_bytes": 6 << 20,
        "facts": {
            "classes": ["round", "rough"],
            "epochs": 24,
            "metrics": {"train/loss": 1.339, "lr": 0.001, "images/s": 0.44, "val/loss": 0.9, "val/iou": 0.71},
        },
    }
    return NodeStatus(**{**values, **fields})  # type: ignore[arg-type]


STATUS = ProjectStatus(
    project="reef",
    spec="project.yaml",
    nodes=(
        NodeStatus(
            address="datasets.moss",
            kind="datasets.fiftyone",
            action=Action.NONE,
            made_at="2026-01-31T11:00:00+00:00",
            run=RUN,
            took_s=3.4,
            folder="outputs/datasets/moss",
            size_bytes=2100,
            facts={"images": 80, "labels": 412, "classes": ["round", "rough"]},
        ),
        model(1),
        model(2, action=Action.RESUME, running=True, reasons=("runs now, since 12:00",)),
    ),
    last_run=PastRun(RUN, "2026-01-31T12:00:00+00:00", "done", 0, 300.0, {"done": 2}),
    running=RunningNow("apply", "ann", 7, "box", "2026-01-31T12:00:00+00:00", RUN, 1, 2, ("models.unet 9%",)),
    disk=DiskUse(12 << 20, 0, 0, 1 << 20, 9 << 30),
)


@pytest.mark.parametrize("width", [80, 140, 0])
def test_the_whole_screen(width: int) -> None:
    check_golden(f"views/status_{width or 'pipe'}.txt", status_text(STATUS, width=width))


@pytest.mark.parametrize("width", [60, 80, 100, 120, 0])
def test_durations_are_whole_and_no_two_rows_look_alike(width: int) -> None:
    lines = status_text(STATUS, width=width).splitlines()
    text = " ".join(" ".join(lines).split())
    assert text.count("in 4 min 36 s") == 2
    rows = [line for line in lines if "models.unet[" in line or "models.un…" in line]
    assert len({row.partition("]")[0][4:] for row in rows}) == 2
