"""Programs as nodes, run by real workers: what they print, what they leave behind, what changes meanwhile."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from specrun.model.event import LogLine, Metric, NodeFinished, Progress
from specrun.model.plan import Action
from specrun.run.context import LONGEST_LINE
from specrun.store.paths import ProjectPaths
from tests.support.jobs import apply, plan_job, python, step
from tests.support.processes import running, until


def test_a_process_left_behind_does_not_hold_up_its_node(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys; p = subprocess.Popen(['sleep', '600']); "
        "open(sys.argv[1] + '/pid', 'w').write(str(p.pid)); print('end', end='')"
    )
    ran = apply(tmp_path, [step("a", [*python(code), "${project}"], timeout_s=30)])
    assert ran.code == 0
    first, second = [line.text for line in ran.of(LogLine)]
    assert {first, second} == {"end", "(it left a process behind that holds its output; no more of it is read)"}
    until(lambda: not running(int((tmp_path / "pid").read_text())), "its end")


def test_a_program_may_close_its_output_and_go_on(tmp_path: Path) -> None:
    code = "import os, time; os.close(1); os.close(2); time.sleep(0.3); open('x', 'w').write('late')"
    ran = apply(tmp_path, [step("a", python(code))])
    assert ran.code == 0
    assert (tmp_path / "outputs/steps/a/x").read_text() == "late"


def test_a_program_starts_with_the_usual_signals(tmp_path: Path) -> None:
    code = (
        "import signal; assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL; "
        "assert signal.getsignal(signal.SIGINT) == signal.default_int_handler"
    )
    assert apply(tmp_path, [step("a", python(code))]).code == 0


@pytest.mark.parametrize(
    "line",
    ['{"metric": "a", "step": 1, "value": 1' + "0" * 400 + "}", '{"a": ' * 50_000, '{"done": 1e999, "total": NaN}'],
    ids=["huge", "deep", "infinite"],
)
def test_no_line_can_fail_a_step_or_spoil_the_journal(tmp_path: Path, line: str) -> None:
    (tmp_path / "line.txt").write_text(line)
    ran = apply(tmp_path, [step("a", python("print(open('" + str(tmp_path / "line.txt") + "').read())"))])
    assert ran.code == 0
    assert ran.of(Progress) == ran.of(Metric) == []
    assert "".join(event.text for event in ran.of(LogLine)) == line
    (journal,) = ProjectPaths(tmp_path, tmp_path / "outputs").runs.glob("*/events.jsonl")
    for told in journal.read_text().splitlines():
        json.loads(told, parse_constant=pytest.fail)


def test_output_without_line_ends_is_told_in_pieces(tmp_path: Path) -> None:
    ran = apply(tmp_path, [step("a", python("print('x' * (1 << 20), end='')"))])
    texts = [event.text for event in ran.of(LogLine)]
    assert sum(map(len, texts)) == 1 << 20
    assert max(map(len, texts)) == LONGEST_LINE


def test_a_link_to_a_file_of_the_output_works_where_it_is_published(tmp_path: Path) -> None:
    code = "import os; open('best.pt', 'w').write('w'); os.symlink(os.getcwd() + '/best.pt', 'latest.pt')"
    assert apply(tmp_path, [step("a", python(code))]).code == 0
    assert (tmp_path / "outputs/steps/a/latest.pt").read_text() == "w"


def test_an_input_edited_while_its_step_runs_makes_it_stale_whatever_becomes_of_it(tmp_path: Path) -> None:
    watched = tmp_path / "p.txt"
    watched.write_text("v1")
    code = "import sys; open(sys.argv[1], 'w').write('v2')"
    node = step("a", [*python(code), "${project}/p.txt"], files=["p.txt"])
    ran = apply(tmp_path, [node])
    assert ran.of(NodeFinished)[0].notes == ("p.txt changed while it ran: the next apply makes it again",)
    watched.write_text("v1")
    (planned,) = plan_job(tmp_path, [node]).plan.nodes
    assert planned.action is Action.UPDATE
    assert [reason.text for reason in planned.reasons] == ["p.txt changed"]


def test_an_input_edited_between_plan_and_run_is_recorded_as_it_was_read(tmp_path: Path) -> None:
    edit = "import sys; open(sys.argv[1], 'w').write('v2')"
    (tmp_path / "p.txt").write_text("v1")
    editor = step("editor", [*python(edit), "${project}/p.txt"])
    reader = step("reader", python("pass"), inputs={"after": "steps.editor"}, files=["p.txt"])
    assert apply(tmp_path, [editor, reader]).code == 0
    assert not plan_job(tmp_path, [editor, reader]).plan.has_changes


def test_a_folder_in_argv_is_handed_on_and_watched(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/x").write_text("1")
    code = "import os, sys; open('names', 'w').write(' '.join(os.listdir(sys.argv[1])))"
    node = step("a", [*python(code), "data/"])
    assert apply(tmp_path, [node]).code == 0
    assert (tmp_path / "outputs/steps/a/names").read_text() == "x"
    assert not plan_job(tmp_path, [node]).plan.has_changes
    (tmp_path / "data/y").write_text("2")
    assert [reason.text for reason in plan_job(tmp_path, [node]).plan.nodes[0].reasons] == ["data changed"]


def test_a_pattern_for_everything_does_not_take_in_what_specrun_writes(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("1")
    node = step("a", python("open('made.txt', 'w')"), files=["**/*"])
    assert apply(tmp_path, [node]).code == 0
    assert not plan_job(tmp_path, [node]).plan.has_changes
