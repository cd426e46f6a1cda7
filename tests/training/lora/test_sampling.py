from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from specrun.training import contact_sheet
from specrun.training.contact_sheet import Row
from specrun.training.lora.sampling import picture_name, save_sheet


def test_the_sheet_says_at_which_step_each_picture_was_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for step, number in ((0, 0), (0, 1), (1500, 0), (3000, 0), (3000, 1)):
        Image.new("RGB", (64, 64)).save(tmp_path / picture_name(step, number))
    drawn: list[Row] = []

    def record(target: Path, rows: Sequence[Row]) -> None:
        drawn.extend(rows)

    monkeypatch.setattr(contact_sheet, "save_sheet", record)
    save_sheet(tmp_path, ["reefx", "reefx at dusk"], last=3000)
    assert [row.label for row in drawn] == ["step 0, before training", "step 1,500", "step 3,000, trained"]
    assert [cell.caption for cell in drawn[0].cells] == ["reefx", "reefx at dusk"]
    assert drawn[1].cells[1].picture is None
