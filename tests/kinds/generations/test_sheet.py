from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import pytest
from PIL import Image

from specrun.kinds.generations.films import films, save_film
from specrun.kinds.generations.sheet import save_sheet, sheet_rows
from specrun.kinds.generations.wishes import Wish
from specrun.model.labels import Sample
from specrun.training.contact_sheet import Row
from tests.support.golden import check_golden


def frame(number: int, clip: str = "dive", media: Path = Path("frame.png")) -> Sample:
    fields: dict[str, str | float | int | bool | None] = {"clip": clip, "frame": number, "time_s": number / 25}
    name = f"{clip}/{number:06d}.jpg"
    return Sample(key=f"dive/{name}", media=media, name=name, digest="d", size_wh=(64, 48), fields=fields)


def wishes(prompts: Sequence[str], seeds: Sequence[int], samples: Sequence[Sample | None] = (None,)) -> list[Wish]:
    asked = [(prompt, seed, sample) for prompt in prompts for seed in seeds for sample in samples]
    return [Wish(number, *one, key=f"{number:064x}") for number, one in enumerate(asked)]


def text(rows: Sequence[Row]) -> str:
    """What a sheet says, for a file that people read."""
    lines = []
    for row in rows:
        lines += [f"# {row.heading}"] if row.heading else []
        lines.append(" | ".join(f"[{'' if cell.picture is None else 'picture'}] {cell.caption}" for cell in row.cells))
    return "\n".join(lines)


def test_each_picture_says_what_it_was_made_of() -> None:
    made, prompts = Path("made"), ["coinx on a table", "coinx at dusk"]
    told = {
        "prompts and seeds": list(sheet_rows(made, wishes(prompts, [42, 43, 7]), {4})),
        "one seed": list(sheet_rows(made, wishes(prompts, [42]), ())),
        "frames of a film": list(sheet_rows(made, wishes(prompts, [42, 43], [frame(0), frame(10), frame(20)]), ())),
        "one frame, many seeds": list(sheet_rows(made, wishes(["a"], list(range(10)), [frame(120)]), ())),
    }
    check_golden("generations/sheet.txt", "\n\n".join(f"== {name}\n{text(rows)}" for name, rows in told.items()) + "\n")


def test_a_picture_that_is_no_frame_is_called_by_its_name() -> None:
    sample = Sample(key="k", media=Path("a.png"), name="reef/a.png", digest="d", size_wh=(64, 48))
    (row,) = sheet_rows(Path("made"), wishes(["a"], [1], [sample]), ())
    assert row.cells[0].caption == "reef/a.png"


def test_the_picture_that_was_changed_stands_beside_what_became_of_it(tmp_path: Path) -> None:
    Image.new("RGB", (128, 96), "red").save(tmp_path / "frame.png")
    asked = wishes(["a"], [1], [frame(0, media=tmp_path / "frame.png")])
    (tmp_path / "images").mkdir()
    Image.new("RGB", (128, 96), "blue").save(tmp_path / asked[0].file)
    save_sheet(tmp_path / "sheet.png", tmp_path, asked, ())
    with Image.open(tmp_path / "sheet.png") as sheet:
        colors = [color for _, color in sorted(sheet.convert("RGB").getcolors(9999) or [], reverse=True)]  # type: ignore[misc]
        assert sheet.width == 16 + 128 + 12 + 128 + 16
    assert set(colors[:3]) == {(255, 255, 255), (255, 0, 0), (0, 0, 255)}


def test_a_film_shows_one_prompt_seed_and_clip() -> None:
    one = films(wishes(["a"], [1], [frame(0), frame(10)]))
    assert {name: len(found) for name, found in one.items()} == {"video.mp4": 2}
    several = films(wishes(["Reefx at dusk, très joli", "?!"], [1, 42], [frame(0), frame(10), frame(0, "wreck")]))
    assert {name: len(found) for name, found in several.items()} == {
        "videos/1_reefx-at-dusk-tres-joli_seed_1_1_dive.mp4": 2,
        "videos/1_reefx-at-dusk-tres-joli_seed_1_2_wreck.mp4": 1,
        "videos/1_reefx-at-dusk-tres-joli_seed_42_1_dive.mp4": 2,
        "videos/1_reefx-at-dusk-tres-joli_seed_42_2_wreck.mp4": 1,
        "videos/2_text_seed_1_1_dive.mp4": 2,
        "videos/2_text_seed_1_2_wreck.mp4": 1,
        "videos/2_text_seed_42_1_dive.mp4": 2,
        "videos/2_text_seed_42_2_wreck.mp4": 1,
    }


def test_pictures_from_words_alone_are_one_film() -> None:
    assert {name: len(found) for name, found in films(wishes(["a", "b"], [1, 2])).items()} == {"video.mp4": 4}


@pytest.mark.parametrize("size", [(64, 48), (65, 49)])
def test_a_film_has_a_frame_for_each_picture(tmp_path: Path, size: tuple[int, int]) -> None:
    for number in range(3):
        Image.new("RGB", size, (80 * number, 0, 0)).save(tmp_path / f"{number}.png")
    save_film(tmp_path / "videos/a.mp4", [tmp_path / f"{n}.png" for n in range(3)], 5, lambda: None)
    with av.open(str(tmp_path / "videos/a.mp4")) as film:
        stream: Any = film.streams.video[0]
        assert sum(1 for _ in film.decode(stream)) == 3
        assert (stream.width, stream.height) == (64, 48)
