"""`specrun watch` as a process, on little projects of steps that people edit while it looks on."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from PIL import Image

from specrun.model.address import parse_address
from specrun.run.control import Ask, Wanted, send
from specrun.store.locks import ProjectLock
from tests.support.watched import save_by_renaming, save_by_swapping, save_by_truncating, watching

SPEC = """\
specrun: 1
project: {name: demo}
include: [more.yaml]
steps:
  first: {argv: [python, first.py, hello], outputs: {text: text.txt}}
  second: {argv: [python, -c, "import sys", "${inputs.text}"], inputs: {text: steps.first}}
"""
MORE = """\
steps:
  third: {argv: [python, -c, "print(3)"]}
"""
FIRST = "import sys; open('text.txt', 'w').write(sys.argv[1])"
SLOW = """\
specrun: 1
project: {name: demo}
steps:
  edited: {argv: [python, wait.py, edited, old, "${project}"]}
  other: {argv: [python, wait.py, other, old, "${project}"]}
"""
WAIT = """\
import sys, time
name, value, project = sys.argv[1:]
open('value', 'w').write(value)
while not __import__('os').path.exists(f'{project}/go-{name}-{value}'):
    time.sleep(0.02)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "project.yaml").write_text(SPEC)
    (tmp_path / "more.yaml").write_text(MORE)
    (tmp_path / "first.py").write_text(FIRST)
    return tmp_path


@pytest.fixture
def slow_project(tmp_path: Path) -> Path:
    (tmp_path / "project.yaml").write_text(SLOW)
    (tmp_path / "wait.py").write_text(WAIT)
    return tmp_path


@pytest.mark.parametrize("save", [save_by_truncating, save_by_renaming, save_by_swapping])
def test_an_edit_is_noticed_however_the_editor_saves(project: Path, save: Callable[[Path, str], None]) -> None:
    with watching(project) as watched:
        watched.until_idle(after=1)
        save(project / "project.yaml", SPEC.replace("hello", "once"))
        watched.until_idle(after=2)
        save(project / "project.yaml", SPEC.replace("hello", "twice"))
        watched.until_idle(after=3)
        assert watched.interrupt() == 130
    assert (project / "outputs/steps/first/text.txt").read_text() == "twice"
    assert watched.started().count("steps.third") == 1
    changed = [node["address"] for node in watched.of("PlanChanged")[0]["nodes"]]
    assert changed == ["steps.first", "steps.second"]
    assert watched.of("PlanChanged")[0]["files"] == ["project.yaml"]


def test_an_included_file_is_followed(project: Path) -> None:
    with watching(project) as watched:
        watched.until_idle(after=1)
        save_by_renaming(project / "more.yaml", MORE.replace("print(3)", "print(4)"))
        watched.until_idle(after=2)
    assert watched.started().count("steps.third") == 2
    assert watched.started().count("steps.first") == 1


def test_a_file_that_is_touched_without_another_content_makes_nothing_run(project: Path) -> None:
    with watching(project) as watched:
        watched.until_idle(after=1)
        os.utime(project / "first.py")
        save_by_truncating(project / "more.yaml", MORE.replace("print(3)", "print(4)"))
        watched.until_idle(after=2)
    assert watched.started().count("steps.first") == 1


def test_an_edited_script_makes_its_step_and_what_needs_it_run(project: Path) -> None:
    with watching(project) as watched:
        watched.until_idle(after=1)
        save_by_truncating(project / "first.py", FIRST + "  # edited")
        watched.until_idle(after=2)
    texts = {node["address"]: node["reasons"][0]["text"] for node in watched.of("PlanChanged")[0]["nodes"]}
    assert texts["steps.first"] == "first.py changed"
    # The text is the same, so what reads it was not made again.
    assert watched.started().count("steps.second") == 1


def test_images_deep_in_a_source_and_a_replaced_folder_are_noticed(tmp_path: Path) -> None:
    images = tmp_path / "images"
    (images / "day").mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(images / "day/one.png")
    (tmp_path / "project.yaml").write_text(
        "specrun: 1\nproject: {name: demo}\nsources:\n  mine: {kind: images, path: images}\n"
    )
    with watching(tmp_path) as watched:
        watched.until_idle(after=1)
        (images / "night").mkdir()
        Image.new("RGB", (4, 4)).save(images / "night/two.png")
        watched.until_idle(after=2)
        images.rename(tmp_path / "away")
        (tmp_path / "away/day").mkdir(exist_ok=True)
        shutil.copytree(tmp_path / "away", images)
        Image.new("RGB", (4, 4)).save(images / "day/three.png")
        watched.until_idle(after=3)
        Image.new("RGB", (4, 4)).save(images / "day/four.png")
        watched.until(lambda: watched.of("NodeFinished")[-1]["facts"]["images"] == 4, "the fourth image")


def test_a_failed_node_runs_again_when_it_changed_and_not_before(project: Path) -> None:
    (project / "first.py").write_text("raise SystemExit('no')")
    with watching(project) as watched:
        watched.until_idle(after=1)
        save_by_truncating(project / "more.yaml", MORE.replace("print(3)", "print(4)"))
        watched.until_idle(after=2)
        assert watched.started().count("steps.first") == 1
        save_by_truncating(project / "first.py", FIRST)
        watched.until_idle(after=3)
    assert (project / "outputs/steps/first/text.txt").read_text() == "hello"


def test_a_broken_spec_shows_its_mistakes_and_the_run_goes_on(slow_project: Path) -> None:
    with watching(slow_project) as watched:
        watched.until(lambda: len(watched.started()) == 2, "the start of both")
        save_by_truncating(slow_project / "project.yaml", SLOW.replace("argv: [python, wait.py, edited", "agrv: ["))
        watched.until(lambda: watched.of("SpecBroken"), "the mistakes")
        assert watched.of("SpecBroken")[0]["diagnostics"][0]["line"] == 4
        save_by_truncating(slow_project / "project.yaml", SLOW)
        for name in ("edited", "other"):
            (slow_project / f"go-{name}-old").touch()
        watched.until_idle(after=1)
    assert sorted(watched.started()) == ["steps.edited", "steps.other"]
    assert not watched.of("NodeFailed")


def test_a_running_node_that_became_stale_is_started_again_at_once_and_another_is_left_alone(
    slow_project: Path,
) -> None:
    with watching(slow_project) as watched:
        watched.until(lambda: len(watched.started()) == 2, "the start of both")
        save_by_renaming(slow_project / "project.yaml", SLOW.replace("edited, old", "edited, new"))
        watched.until(lambda: watched.started().count("steps.edited") == 2, "the second start")
        assert watched.of("NodeFailed", "steps.edited")[0]["interrupted"]
        (slow_project / "go-edited-new").touch()
        watched.until(lambda: watched.of("NodeFinished", "steps.edited"), "the end of the new one")
        (slow_project / "go-other-old").touch()
        watched.until_idle(after=1)
    assert (slow_project / "outputs/steps/edited/value").read_text() == "new"
    assert watched.started().count("steps.other") == 1
    assert not watched.of("NodeFailed", "steps.other")
    assert len(watched.of("RunStarted")) == 1
    assert [node["address"] for node in watched.of("PlanChanged")[0]["nodes"]] == ["steps.edited"]
    assert "argv" in watched.of("PlanChanged")[0]["nodes"][0]["reasons"][0]["text"]


def test_a_node_that_left_the_spec_is_stopped_and_one_that_came_begins_in_the_same_run(slow_project: Path) -> None:
    with watching(slow_project) as watched:
        watched.until(lambda: len(watched.started()) == 2, "the start of both")
        save_by_truncating(slow_project / "project.yaml", SLOW.replace("edited", "added"))
        watched.until(lambda: "steps.added" in watched.started(), "the start of the new one")
        watched.until(lambda: watched.of("NodeFailed", "steps.edited"), "the end of the old one")
        # Declared again as it was: what nobody wanted for a while did not fail.
        save_by_truncating(slow_project / "project.yaml", SLOW)
        watched.until(lambda: watched.started().count("steps.edited") == 2, "its second start")
        for name in ("edited", "other"):
            (slow_project / f"go-{name}-old").touch()
        watched.until_idle(after=1)
    assert len(watched.of("RunStarted")) == 1


def test_a_node_for_which_people_have_finished_begins_in_the_run_that_goes_on(
    slow_project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1] / "support/people"))
    (slow_project / "project.yaml").write_text(SLOW + "reviews:\n  mine: {owed: owed.txt}\n")
    (slow_project / "owed.txt").write_text("ann: task 7\n")
    with watching(slow_project) as watched:
        watched.until(lambda: len(watched.started()) == 2, "the start of both")
        assert watched.of("NodeWaiting", "reviews.mine")[0]["missing"] == ["ann: task 7"]
        save_by_truncating(slow_project / "owed.txt", "")
        watched.until(lambda: watched.of("NodeFinished", "reviews.mine"), "its end")
        assert not watched.of("RunFinished")
        for name in ("edited", "other"):
            (slow_project / f"go-{name}-old").touch()
        watched.until_idle(after=1)
    assert sorted(watched.started()) == ["reviews.mine", "steps.edited", "steps.other"]


def test_a_node_that_somebody_cancelled_is_not_begun_again_by_an_edit_of_another(slow_project: Path) -> None:
    with watching(slow_project) as watched:
        watched.until(lambda: len(watched.started()) == 2, "the start of both")
        folder = slow_project / ".specrun/runs" / watched.of("RunStarted")[0]["run"]
        send(folder, Wanted(Ask.CANCEL, parse_address("steps.other")))
        watched.until(lambda: watched.of("NodeFailed", "steps.other"), "its end")
        save_by_truncating(slow_project / "project.yaml", SLOW.replace("edited, old", "edited, new"))
        watched.until(lambda: watched.started().count("steps.edited") == 2, "the second start")
        (slow_project / "go-edited-new").touch()
        watched.until_idle(after=1)
    assert watched.started().count("steps.other") == 1
    end = watched.of("RunFinished")[0]
    assert (end["finished"], end["stopped"], end["failed"]) == (1, 1, 0)


def test_another_run_is_waited_for(project: Path) -> None:
    with watching(project) as watched:
        watched.until_idle(after=1)
        with ProjectLock(project / ".specrun/lock").hold("prune"):
            save_by_truncating(project / "more.yaml", MORE.replace("print(3)", "print(4)"))
            watched.until(lambda: "waits for prune" in watched.of("Watching")[-1]["text"], "waiting")
            assert len(watched.of("RunStarted")) == 1
        watched.until_idle(after=2)


def test_nothing_stays_open_after_a_run(project: Path) -> None:
    with watching(project) as watched:
        watched.until_idle(after=1)
        before = psutil.Process(watched.process.pid).num_fds()
        for number in range(2, 5):
            save_by_truncating(project / "more.yaml", MORE.replace("print(3)", f"print('{number}')"))
            watched.until_idle(after=number)
        assert psutil.Process(watched.process.pid).num_fds() == before


@pytest.mark.parametrize("ending", ["hang up", "nobody reads"])
def test_the_run_goes_on_when_the_terminal_is_closed(slow_project: Path, ending: str) -> None:
    with watching(slow_project) as watched:
        watched.until(lambda: len(watched.started()) == 2, "the start of both")
        supervisor = psutil.Process(watched.of("RunStarted")[0]["pid"])
        if ending == "hang up":
            watched.process.send_signal(signal.SIGHUP)
        else:
            watched.stop_reading()
        watched.process.wait(60)
        assert supervisor.is_running()
        for name in ("edited-old", "other-old"):
            (slow_project / f"go-{name}").touch()
        supervisor.wait(60)
    assert (slow_project / "outputs/steps/other/value").read_text() == "old"


def test_the_first_sigint_stops_the_run_and_waits_for_it(slow_project: Path) -> None:
    with watching(slow_project) as watched:
        watched.until(lambda: len(watched.started()) == 2, "the start of both")
        assert watched.interrupt() == 130
        assert watched.of("RunFinished")[0]["status"] == "interrupted"


def test_sigterm_ends_it_with_143_when_nothing_runs(project: Path) -> None:
    with watching(project) as watched:
        watched.until_idle(after=1)
        watched.process.send_signal(signal.SIGTERM)
        assert watched.process.wait(60) == 143


def test_a_spec_that_is_broken_from_the_beginning_is_waited_for(project: Path) -> None:
    (project / "project.yaml").write_text(SPEC + "  fourth: {agrv: [x]}\n")
    with watching(project) as watched:
        watched.until(lambda: watched.of("SpecBroken"), "the mistakes")
        save_by_truncating(project / "project.yaml", SPEC)
        watched.until_idle(after=1)
    assert (project / "outputs/steps/first/text.txt").read_text() == "hello"
