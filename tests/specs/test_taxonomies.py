"""specs/taxonomies: the same images in two projects of CVAT, each with classes of its own."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.doubles.cvat.server import CvatDouble
from tests.support.example_specs import Example, drawn, pulled

SQUARE = [10.0, 10.0, 40.0, 10.0, 40.0, 40.25, 10.0, 40.0]


@pytest.mark.slow
def test_each_taxonomy_has_a_project_of_its_own_and_comes_back_from_it(tmp_path: Path) -> None:
    with CvatDouble(anonymous_per_minute=None) as server:
        example = Example(tmp_path, "taxonomies", server)
        said = example.apply(code=6)
        sizes, coins = example.tasks("taxonomies.sizes"), example.tasks("taxonomies.any_coin")
        for task in (*sizes, *coins):
            assert f"{server.url}/tasks/{task.id}" in said
        # 40 images a task, split by subset; 20 images a job.
        assert [task.subset for task in sizes] == ["train", "train", "val"]
        assert [len(server.state.jobs_of(task.id)) for task in sizes] == [2, 2, 1]
        assert _labels(drawn(example, *sizes)).keys() == {"small", "large"}
        assert _labels(drawn(example, *coins)).keys() == {"coin"}
        assert _places(drawn(example, *sizes)) == _places(drawn(example, *coins))
        assert len(drawn(example, *coins)) == example.facts("datasets/coins/classes=any_coin")["labels"]["coin"] == 378

        # One taxonomy is finished, in the other somebody still draws.
        person = server.person
        first = person.shapes(sizes[0].id)[0]
        person.delete_shape(first["id"])
        other = next(s for s in person.shapes(sizes[0].id) if s["frame"] == 3)
        person.edit_shape(other["id"], points=[value + 0.5 for value in other["points"]])
        drawn_new = {"label": "small", "type": "polygon", "points": SQUARE}
        person.draw(sizes[2].id, 7, drawn_new)
        example.finish(*sizes)
        person.draw(coins[0].id, 0, {**drawn_new, "label": "coin"})
        before = example.counts()
        said = example.apply(code=6)
        assert f"{server.url}/tasks/{coins[0].id}" in said
        assert f"{server.url}/tasks/{sizes[0].id}" not in said
        assert pulled(example, "sources/corrected/classes=sizes") == drawn(example, *sizes)
        assert not (example.folder / "outputs/sources/corrected/classes=any_coin/samples.jsonl").exists()
        expected = _labels(drawn(example, *sizes))
        assert example.facts("datasets/corrected/classes=sizes")["labels"] == expected
        assert example.counts() == before

        example.finish(*coins)
        example.apply(code=0)
        assert pulled(example, "sources/corrected/classes=any_coin") == drawn(example, *coins)
        assert example.facts("datasets/corrected/classes=any_coin")["labels"] == {"coin": 379}
        assert "nothing to do" in example.apply(code=0)
        assert example.counts() == before
        assert not server.errors, "\n".join(server.errors)


def _labels(shapes: list[tuple[str, str, tuple[float, ...]]]) -> dict[str, int]:
    return dict(sorted(Counter(label for _, label, _ in shapes).items()))


def _places(shapes: list[tuple[str, str, tuple[float, ...]]]) -> list[tuple[str, tuple[float, ...]]]:
    return sorted((frame, points) for frame, _, points in shapes)
