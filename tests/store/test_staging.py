from __future__ import annotations

import os
from pathlib import Path

import pytest

from specrun.errors import NodeError
from specrun.model.address import Address
from specrun.store.manifest import NOTE_NAME
from specrun.store.staging import (
    LeftWork,
    adoptable,
    begin_work,
    find_resumable,
    leave_waiting,
    left_work,
    open_staging,
    published,
    remove,
    staging_folders,
    was_cut_off,
    write_staging_note,
)
from tests.support.outputs import NODE, fingerprint_of, project_paths, stage

A, B, C = (fingerprint_of(letter) for letter in "abc")


def test_staging_of_the_same_fingerprint_goes_on(tmp_path: Path) -> None:
    paths = project_paths(tmp_path)
    first, resumed = open_staging(paths, NODE, A, {"epochs": 3})
    assert not resumed
    (first / "last.pt").write_text("checkpoint")
    again, resumed = open_staging(paths, NODE, A, {"epochs": 3})
    assert (again, resumed) == (first, True)
    assert (again / "last.pt").exists()


def test_staging_of_the_same_resume_key_moves_to_the_new_fingerprint(tmp_path: Path) -> None:
    paths = project_paths(tmp_path)
    for fingerprint, mtime in ((A, 1), (B, 2)):
        folder = paths.staging(NODE, fingerprint)
        folder.mkdir(parents=True)
        write_staging_note(folder, fingerprint, {"arch": "n"})
        (folder / "last.pt").write_text(fingerprint)
        os.utime(folder, (mtime, mtime))
    found = find_resumable(paths, NODE, C, {"arch": "n"})
    assert found == paths.staging(NODE, C)
    assert (found / "last.pt").read_text() == B
    assert [folder.name for folder in staging_folders(paths, NODE)] == [A, C]


def test_another_resume_key_starts_afresh(tmp_path: Path) -> None:
    paths = project_paths(tmp_path)
    folder, _ = open_staging(paths, NODE, A, {"arch": "n"})
    (folder / "last.pt").write_text("checkpoint")
    folder, resumed = open_staging(paths, NODE, A, {"arch": "x"})
    assert not resumed
    assert [entry.name for entry in folder.iterdir()] == [".resume.json"]


def test_a_kind_without_resume_key_never_goes_on(tmp_path: Path) -> None:
    paths = project_paths(tmp_path)
    folder, _ = open_staging(paths, NODE, A, None)
    (folder / "half.txt").write_text("half")
    folder, resumed = open_staging(paths, NODE, A, None)
    assert not resumed
    assert not (folder / "half.txt").exists()


def test_instances_of_a_matrix_are_not_taken_for_staging_of_the_base(tmp_path: Path) -> None:
    paths = project_paths(tmp_path)
    open_staging(paths, Address("models", "unet", (("a", "1"),)), A, {"arch": "n"})
    assert staging_folders(paths, NODE) == []
    assert find_resumable(paths, NODE, B, {"arch": "n"}) is None


def test_a_damaged_note_starts_afresh(tmp_path: Path) -> None:
    paths = project_paths(tmp_path)
    folder, _ = open_staging(paths, NODE, A, {"arch": "n"})
    (folder / ".resume.json").write_text("{")
    assert not open_staging(paths, NODE, A, {"arch": "n"})[1]


def test_finished_staging_that_nobody_published_is_adoptable(tmp_path: Path) -> None:
    paths = project_paths(tmp_path)
    staging, _ = stage(paths, "a")
    manifest = adoptable(paths, NODE, A)
    assert manifest is not None
    assert manifest.fingerprint == A
    assert adoptable(paths, NODE, B) is None
    (staging / "log.txt").write_text("")
    assert adoptable(paths, NODE, A) is None


def test_finished_staging_is_found_under_another_fingerprints_name(tmp_path: Path) -> None:
    paths = project_paths(tmp_path)
    staging, _ = stage(paths, "a")
    staging.rename(paths.staging(NODE, B))
    paths.staging(NODE, A).mkdir()
    assert adoptable(paths, NODE, A) is not None
    assert (paths.staging(NODE, A) / "manifest.json").exists()
    assert staging_folders(paths, NODE) == [paths.staging(NODE, A)]


def test_an_output_is_known_again_when_the_state_is_lost(tmp_path: Path) -> None:
    paths = project_paths(tmp_path)
    staging, _ = stage(paths, "a")
    paths.output(NODE).parent.mkdir(parents=True)
    staging.rename(paths.output(NODE))
    assert published(paths, NODE, A) is not None
    assert published(paths, NODE, B) is None
    assert adoptable(paths, NODE, A) is None


def test_staging_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    paths = project_paths(tmp_path)
    paths.output_root.write_text("a file in the way")
    with pytest.raises(NodeError, match=r"models\.unet: .*outputs"):
        open_staging(paths, NODE, A, None)


def test_removing_a_link_leaves_its_target(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / "file").write_text("x")
    (tmp_path / "link").symlink_to(target)
    remove(tmp_path / "link")
    remove(tmp_path / "missing")
    assert (target / "file").exists()
    assert not (tmp_path / "link").is_symlink()


def test_the_time_of_earlier_attempts_is_kept_with_their_work(tmp_path: Path) -> None:
    paths = project_paths(tmp_path)
    staging, _ = open_staging(paths, NODE, A, {"arch": "n"})
    assert begin_work(staging, 1_000.0) == 0.0
    os.utime(staging / NOTE_NAME, (1_060, 1_060))
    again, resumed = open_staging(paths, NODE, B, {"arch": "n"})
    assert resumed
    assert begin_work(again, 2_000.0) == 60.0
    os.utime(again / NOTE_NAME, (2_005, 2_005))
    assert begin_work(again, 3_000.0) == 65.0


def test_an_empty_staging_folder_has_no_time_behind_it(tmp_path: Path) -> None:
    paths = project_paths(tmp_path)
    staging, _ = open_staging(paths, NODE, A, {"arch": "n"})
    begin_work(staging, 1_000.0)
    fresh, resumed = open_staging(paths, NODE, A, {"arch": "x"})
    assert not resumed
    assert begin_work(fresh, 2_000.0) == 0.0


def test_work_left_to_wait_for_people_was_not_cut_off_and_goes_on(tmp_path: Path) -> None:
    paths = project_paths(tmp_path)
    staging, _ = open_staging(paths, NODE, A, {"tasks": 3})
    begin_work(staging, 0.0)
    assert was_cut_off(staging)
    leave_waiting(staging)
    assert not was_cut_off(staging)
    _, resumed = open_staging(paths, NODE, A, {"tasks": 3})
    begin_work(staging, 0.0)
    assert resumed
    assert was_cut_off(staging)


def test_a_note_that_cannot_be_read_counts_as_cut_off(tmp_path: Path) -> None:
    (tmp_path / NOTE_NAME).write_text("{")
    assert was_cut_off(tmp_path)


def test_what_an_attempt_worked_by_is_known_from_what_it_left(tmp_path: Path) -> None:
    paths = project_paths(tmp_path)
    assert left_work(paths, NODE, {"arch": "n"}) is None
    staging, _ = open_staging(paths, NODE, A, {"arch": "n"})
    begin_work(staging, 1_000.0, config={"epochs": 40}, read={"data:exports.x": "d"})
    assert left_work(paths, NODE, {"arch": "n"}) == LeftWork({"epochs": 40}, {"data:exports.x": "d"}, staging)
    assert left_work(paths, NODE, {"arch": "x"}) == LeftWork({"epochs": 40}, {"data:exports.x": "d"}, None)


def test_an_older_attempt_with_the_settings_of_now_is_what_goes_on(tmp_path: Path) -> None:
    paths = project_paths(tmp_path)
    for fingerprint, rate in ((A, 0.002), (B, 0.03)):
        staging, _ = open_staging(paths, NODE, fingerprint, {"lr": rate})
        begin_work(staging, 1_000.0, config={"lr": rate})
        os.utime(staging / NOTE_NAME, (rate * 1e6, rate * 1e6))

    found = left_work(paths, NODE, {"lr": 0.002})

    assert found == LeftWork({"lr": 0.002}, {}, paths.staging(NODE, A))
    assert find_resumable(paths, NODE, A, {"lr": 0.002}) == paths.staging(NODE, A)
