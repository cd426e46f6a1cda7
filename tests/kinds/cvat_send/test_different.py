"""Which images differ most from those that people have."""

import random
from pathlib import Path

import numpy as np
from PIL import Image

from specrun.kinds.cvat_send.different import looks_of, most_different
from specrun.model.labels import Sample


def _sample(name: str, media: Path = Path("/nowhere")) -> Sample:
    return Sample(key=f"s/{name}", media=media, name=name, digest=f"d:{name}", size_wh=(8, 8))


def _on_a_line(**places: float) -> tuple[list[Sample], dict[str, np.ndarray]]:
    looks = {f"d:{name}": np.array([place], dtype=np.float32) for name, place in places.items()}
    return [_sample(name) for name in places], looks


def _names(samples: list[Sample]) -> list[str]:
    return [sample.name for sample in samples]


def test_each_is_the_farthest_from_all_that_were_taken_before() -> None:
    samples, looks = _on_a_line(a=0.0, b=0.1, c=0.4, d=0.5, e=1.0)
    # The first is nearest to the mean, 0.4; then the ends, then what lies between them.
    assert _names(most_different(samples, looks, (), 4, 0))[:4] == ["c", "e", "a", "b"]


def test_what_was_sent_counts_and_copies_of_it_come_last() -> None:
    samples, looks = _on_a_line(sent=0.0, copy=0.0, near=0.2, far=1.0)
    assert _names(most_different(samples, looks, {"d:sent"}, 3, 0)) == ["sent", "far", "near", "copy"]


def test_the_choice_depends_on_the_images_and_the_seed_alone() -> None:
    draw = random.Random(0)
    samples, looks = _on_a_line(**{f"i{number}": draw.random() for number in range(40)})
    first = _names(most_different(samples, looks, (), 10, 7))
    assert first == _names(most_different(samples[::-1], looks, (), 10, 7))
    same, equal = _on_a_line(**{f"i{number}": 0.5 for number in range(40)})
    chosen = [_names(most_different(same, equal, (), 5, seed))[:5] for seed in (1, 1, 2)]
    assert chosen[0] == chosen[1] != chosen[2]


def test_what_cannot_be_read_comes_last(tmp_path: Path) -> None:
    colours = {"red": (255, 0, 0), "blue": (0, 0, 255), "dark": (60, 0, 0)}
    for name, colour in colours.items():
        Image.new("RGB", (40, 30), colour).save(tmp_path / f"{name}.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    samples = [_sample(name, tmp_path / f"{name}.png") for name in ("broken", *colours)]
    done: list[int] = []
    looks = looks_of(samples, 2, lambda: None, done.append)
    assert done == [1, 2, 3, 4]
    assert sorted(looks) == ["d:blue", "d:dark", "d:red"]
    assert looks["d:red"][:3].tolist() == [1.0, 0.0, 0.0]
    assert _names(most_different(samples, looks, {"d:red"}, 1, 0)) == ["red", "blue", "dark", "broken"]
