"""Predictions and their evaluation in a FiftyOne dataset. Slow: starts MongoDB and imports FiftyOne."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("fiftyone") is None, reason="the extra fiftyone is not installed"),
]

_ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("project")
    program = _ROOT / "tests" / "support" / "predicted_dataset.py"
    environ = {**os.environ, "PYTHONPATH": str(_ROOT)}
    done = subprocess.run([sys.executable, str(program), str(folder)], env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("RESULT "))
    found: dict[str, Any] = json.loads(line.removeprefix("RESULT "))
    return found


def test_the_labels_lie_in_the_dataset_with_their_scores(seen: dict[str, Any]) -> None:
    assert seen["labels"] == {"a.png": [["small", 0.95], ["large", 0.9]], "b.png": [["large", 0.9]], "c.png": []}


def test_predictions_and_verdicts_change_nothing_that_consumers_of_the_dataset_read(seen: dict[str, Any]) -> None:
    assert seen["moved"] == []


def test_the_evaluation_is_listed_in_fiftyone_with_its_counts(seen: dict[str, Any]) -> None:
    assert seen["facts"]["images"] == 2
    assert seen["facts"]["map50"] == pytest.approx(0.50495, abs=1e-5)
    assert seen["verdicts"]["runs"] == ["eval_e"]
    # Predictions below the confidence of the best F1 get no verdict.
    assert seen["verdicts"]["counts"] == {"a.png": [1, 0, 0], "b.png": [0, 0, 1], "c.png": [None, None, None]}
    assert seen["verdicts"]["truth"] == ["tp", 1.0, True]


def test_images_that_left_the_split_lose_their_predictions(seen: dict[str, Any]) -> None:
    assert {name: len(labels) for name, labels in seen["labels_after_move"].items()} == {
        "a.png": 2,
        "b.png": 0,
        "c.png": 0,
    }


def test_a_label_field_that_somebody_deleted_is_noticed(seen: dict[str, Any]) -> None:
    assert seen["observed"] == [seen["observation"], []]
    value, differences = seen["observed_without_field"]
    assert value != seen["observation"]
    assert differences == ["the label field found is gone from FiftyOne"]


def test_a_saved_view_narrows_the_images(seen: dict[str, Any]) -> None:
    assert seen["view"]["images"] == 1
    assert seen["view"]["labels"] == {"a.png": 0, "b.png": 0, "c.png": 1}
    assert "no saved view named only_d" in seen["view"]["missing"]
    assert "It has: only_c" in seen["view"]["missing"]


def test_labels_of_others_are_never_overwritten(seen: dict[str, Any]) -> None:
    own, foreign = seen["refused"]
    assert "which people annotate" in own
    assert "a field found that predictions.p wrote" in foreign


def test_the_field_that_a_node_wrote_before_goes_if_nobody_touched_it(seen: dict[str, Any]) -> None:
    fields, said, in_samples = seen["renamed"]["untouched"]
    assert (fields, in_samples) == (["renamed_2"], False)
    assert said == ["the label field renamed_1, which it wrote before and nobody changed, was removed from FiftyOne"]


def test_a_field_that_people_changed_tagged_or_evaluated_stays(seen: dict[str, Any]) -> None:
    renamed = seen["renamed"]
    fields, said = renamed["changed"]
    assert fields == ["renamed_2", "renamed_3"]
    assert (
        "renamed_2, which it wrote before, stays in FiftyOne: labels of 1 image were changed or tagged there; del"
        in said[0]
    )
    fields, said = renamed["tagged"]
    assert fields == ["renamed_2", "renamed_3", "renamed_4"]
    assert "labels of 1 image were changed or tagged there" in said[1]
    fields, said = renamed["evaluated"]
    assert fields == ["renamed_2", "renamed_3", "renamed_4", "renamed_5"]
    assert "it was evaluated there" in said[2]


def test_a_field_that_another_node_writes_by_now_is_left_to_it(seen: dict[str, Any]) -> None:
    taken = seen["taken_over"]
    assert taken["said"] == []
    assert taken["labels"]["a.png"] == 2
    assert "a field taken that predictions.second wrote" in taken["refused"]


def test_a_field_that_does_not_say_who_wrote_it_stays(seen: dict[str, Any]) -> None:
    (note,), there = seen["taken_over"]["unsigned"]
    assert there
    assert "unsigned, which it wrote before, stays in FiftyOne: it does not say which node wrote it last" in note


def test_a_field_that_holds_what_the_last_output_says_goes_though_it_bears_no_name(seen: dict[str, Any]) -> None:
    notes, there = seen["taken_over"]["proven"]
    assert notes == ["the label field proven, which it wrote before and nobody changed, was removed from FiftyOne"]
    assert not there


def test_labels_that_people_mended_in_the_field_stay_when_another_model_answers(seen: dict[str, Any]) -> None:
    mended = seen["mended"]
    assert mended["before"] == {
        "a.png": [["small", 0.95], ["large", 0.9]],
        "b.png": [["large", 0.9]],
        "c.png": [["large", 0.9]],
    }
    assert mended["one"] == {
        "a.png": [["large", 0.95], ["large", 0.9]],
        "b.png": [["large", 0.8]],
        "c.png": [["large", 0.8]],
    }
    assert mended["two"] == {"a.png": [["large", 0.95], ["large", 0.9]], "b.png": [], "c.png": [["large", 0.9]]}
    assert mended["said"][:2] == [
        [],
        [
            "1 image keeps the labels that people changed or tagged in edited in FiftyOne: a.png; another label_field"
            " takes the model's for all, and the files hold them anyway"
        ],
    ]
    assert mended["said"][2][0].startswith("2 images keep the labels")


def test_files_hold_what_the_model_says_of_images_that_people_mended(seen: dict[str, Any]) -> None:
    assert seen["mended"]["in_files"][:2] == [[0.9, 0.9, 0.9], [0.8, 0.8, 0.8]]


def test_what_nobody_mended_is_known_after_an_import_of_the_dataset(seen: dict[str, Any]) -> None:
    assert seen["mended"]["after_import"]["c.png"] == [["large", 0.8]]


def test_labels_that_somebody_tagged_stay(seen: dict[str, Any]) -> None:
    assert seen["mended"]["tagged"]["c.png"] == [["large", 0.8]]


def test_another_field_takes_all_answers_and_the_mended_one_stays(seen: dict[str, Any]) -> None:
    mended = seen["mended"]
    assert mended["elsewhere"]["a.png"] == [["small", 0.95], ["large", 0.8]]
    assert mended["fields"] == ["edited", "edited_2"]
    assert "labels of 3 images were changed or tagged there" in mended["said"][5][0]


def test_a_field_that_was_deleted_is_filled_whole(seen: dict[str, Any]) -> None:
    assert seen["mended"]["deleted"] == seen["mended"]["before"]
