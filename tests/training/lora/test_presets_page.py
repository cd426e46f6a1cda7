"""The table of presets in the documentation."""

from pathlib import Path

from specrun.training.lora.presets import PRESETS

PAGE = Path(__file__).parents[3] / "docs" / "lora.md"


def test_the_page_shows_every_value_of_every_preset() -> None:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.read_text().splitlines()]
    head = next(row for row in rows if row[1:] == [f"`{name}`" for name in PRESETS])
    shown = {row[0].strip("`"): row[1:] for row in rows[rows.index(head) + 2 :] if len(row) == len(head)}
    for column, preset in enumerate(PRESETS.values()):
        for key, value in preset.items():
            assert shown[key][column] == str(value).replace("True", "true").replace("False", "false"), key
