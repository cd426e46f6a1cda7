from __future__ import annotations

import os
from pathlib import Path

from specrun.run.places import places_of


def make(root: Path, *folders: str) -> None:
    for folder in folders:
        (root / folder).mkdir(parents=True)


def test_the_folder_of_a_file_is_watched_not_the_file(tmp_path: Path) -> None:
    (tmp_path / "project.yaml").touch()
    places = places_of([tmp_path / "project.yaml"], [], [])
    assert places.flat == {str(tmp_path)}
    assert not places.deep
    assert places.concerns(str(tmp_path / "project.yaml"))
    assert not places.concerns(str(tmp_path / "sub/project.yaml"))


def test_a_source_folder_is_watched_with_all_that_lies_below_and_its_parent_for_itself_alone(tmp_path: Path) -> None:
    make(tmp_path, "data/images")
    places = places_of([], [tmp_path / "data/images"], [])
    assert places.deep == {str(tmp_path / "data/images")}
    assert places.flat == {str(tmp_path / "data")}
    assert places.concerns(str(tmp_path / "data/images/deep/a.jpg"))
    assert places.concerns(str(tmp_path / "data/images"))
    assert not places.concerns(str(tmp_path / "data/notes.txt"))


def test_what_specrun_writes_is_never_watched(tmp_path: Path) -> None:
    make(tmp_path, "images", "outputs/models", ".specrun/runs", ".git/objects")
    own = [tmp_path / "outputs", tmp_path / ".specrun"]
    places = places_of([tmp_path / "project.yaml"], [tmp_path], own)
    assert places.deep == {str(tmp_path / "images")}
    assert str(tmp_path) in places.flat
    assert not places.concerns(str(tmp_path / "outputs/models/best.pt"))
    assert not places.concerns(str(tmp_path / ".specrun"))
    assert places.concerns(str(tmp_path / "new"))


def test_an_output_root_deep_inside_a_source_is_spared(tmp_path: Path) -> None:
    make(tmp_path, "data/raw", "data/made/outputs", "data/made/other")
    places = places_of([], [tmp_path / "data"], [tmp_path / "data/made/outputs"])
    assert places.deep == {str(tmp_path / "data/raw"), str(tmp_path / "data/made/other")}
    assert {str(tmp_path / "data"), str(tmp_path / "data/made")} <= places.flat


def test_a_source_inside_the_outputs_is_left_to_the_regular_look(tmp_path: Path) -> None:
    make(tmp_path, "outputs/exports")
    places = places_of([], [tmp_path / "outputs/exports"], [tmp_path / "outputs"])
    assert not places.deep
    assert not places.flat


def test_a_missing_folder_is_waited_for_in_the_nearest_one_that_exists(tmp_path: Path) -> None:
    places = places_of([tmp_path / "conf/extra/more.yaml"], [tmp_path / "data/images"], [])
    assert places.flat == {str(tmp_path)}
    assert places.concerns(str(tmp_path / "data"))


def test_a_linked_spec_is_watched_in_both_places(tmp_path: Path) -> None:
    make(tmp_path, "real", "here")
    (tmp_path / "real/project.yaml").touch()
    (tmp_path / "here/project.yaml").symlink_to(tmp_path / "real/project.yaml")
    places = places_of([tmp_path / "here/project.yaml"], [], [])
    assert places.flat == {str(tmp_path / "here"), str(tmp_path / "real")}


def test_a_folder_that_was_replaced_is_another_place(tmp_path: Path) -> None:
    make(tmp_path, "images", "newer")
    before = places_of([], [tmp_path / "images"], [])
    assert places_of([], [tmp_path / "images"], []) == before
    os.rename(tmp_path / "images", tmp_path / "old")
    os.rename(tmp_path / "newer", tmp_path / "images")
    assert places_of([], [tmp_path / "images"], []) != before
