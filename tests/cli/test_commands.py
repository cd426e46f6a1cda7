"""The commands, called as the console script calls them, on a little project of steps."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from specrun.cli import apply
from specrun.cli.main import main

SPEC = """\
specrun: 1
project: {name: demo}
vars: {word: hello}
steps:
  first:
    argv: [python, first.py, "${vars.word}"]
    outputs: {text: text.txt}
    keep: 1
  second:
    argv: [python, -c, "import shutil, sys; shutil.copy(sys.argv[1] + '/text.txt', 'copy.txt')", "${inputs.text}"]
    inputs: {text: steps.first}
"""
FIRST = "import sys; open('text.txt', 'w').write(sys.argv[1])"

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Calls a command in a fresh project; gives exit code, standard output and standard error."""
    (tmp_path / "project.yaml").write_text(SPEC)
    (tmp_path / "first.py").write_text(FIRST)
    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> tuple[int, str, str]:
        code = main(words)
        captured = capfd.readouterr()
        return int(code), captured.out, captured.err

    return call


def test_apply_makes_everything_and_says_where(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("apply", "--ui", "plain")
    assert code == 0
    assert (tmp_path / "outputs/steps/second/copy.txt").read_text() == "hello"
    assert "outputs/steps/second" in out


def test_apply_again_does_nothing_and_says_so(run: Run) -> None:
    run("apply", "--ui", "plain")
    code, out, _ = run("apply", "--ui", "plain")
    assert code == 0
    assert "nothing to do" in out


def test_a_detached_run_exists_when_its_id_is_told(run: Run) -> None:
    code, out, _ = run("apply", "--detach")
    assert code == 0
    assert run("attach", out.strip())[0] == 0


def test_of_two_detached_runs_at_once_one_says_who_is_faster(run: Run, tmp_path: Path) -> None:
    from specrun.store.locks import ProjectLock

    run("apply", "--ui", "quiet", "--target", "steps.first")
    project = tmp_path / ".specrun/lock"
    real = apply.launch

    def late(*arguments: Any) -> Any:
        held.enter_context(ProjectLock(project).hold("apply"))
        return real(*arguments)

    with ExitStack() as held, pytest.MonkeyPatch.context() as patch:
        patch.setattr(apply, "launch", late)
        code, out, err = run("apply", "--detach")
    assert (code, out) == (4, "")
    assert "locked by apply by" in err


def test_a_detached_run_of_nothing_has_no_id(run: Run) -> None:
    run("apply", "--ui", "quiet")
    code, out, err = run("apply", "--detach")
    assert (code, out) == (0, "")
    assert "nothing to do" in err


def test_plan_names_the_edited_line_and_writes_nothing_a_later_run_can_notice(run: Run, tmp_path: Path) -> None:
    run("apply", "--ui", "quiet")
    (tmp_path / "project.yaml").write_text(SPEC.replace("word: hello", "word: bye"))
    before = (tmp_path / ".specrun/state.db").read_bytes()
    code, out, _ = run("plan", "--detailed-exitcode")
    assert code == 10
    assert "hello" in out
    assert "bye" in out
    assert "project.yaml:6" in out
    assert (tmp_path / ".specrun/state.db").read_bytes() == before


def test_comments_order_and_white_space_change_nothing(run: Run, tmp_path: Path) -> None:
    run("apply", "--ui", "quiet")
    head, _, tail = SPEC.partition("steps:\n")
    (tmp_path / "project.yaml").write_text(
        head.replace("vars: {word: hello}", "# a word\nvars:\n    word:   hello  # this one") + "steps:\n\n" + tail
    )
    assert run("plan", "--detailed-exitcode")[0] == 0


def test_json_events_are_alone_on_standard_output(run: Run) -> None:
    code, out, _ = run("apply", "--ui", "json")
    lines = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert lines[0] == {"type": "Journal", "format": 1}
    assert lines[1]["type"] == "RunStarted"
    assert lines[-1]["type"] == "RunFinished"


def test_plan_json_has_actions_and_reasons(run: Run) -> None:
    _, out, _ = run("plan", "--json")
    nodes = {n["address"]: n for n in json.loads(out)["nodes"]}
    assert nodes["steps.first"]["action"] == "create"


def test_a_saved_plan_is_carried_out(run: Run, tmp_path: Path) -> None:
    assert run("plan", "--out", "saved.plan", "--var", "word=saved")[0] == 0
    assert run("apply", "saved.plan", "--ui", "quiet")[0] == 0
    assert (tmp_path / "outputs/steps/first/text.txt").read_text() == "saved"


def test_a_saved_plan_is_refused_when_something_was_made_since(run: Run) -> None:
    run("plan", "--out", "saved.plan")
    run("apply", "--ui", "quiet")
    code, _, err = run("apply", "saved.plan", "--ui", "quiet")
    assert code == 7
    assert "out of date" in err


def test_a_saved_plan_is_refused_when_a_file_has_changed_since(run: Run, tmp_path: Path) -> None:
    run("plan", "--out", "saved.plan")
    (tmp_path / "first.py").write_text(FIRST + "  # edited")
    assert run("apply", "saved.plan", "--ui", "quiet")[0] == 7


def test_a_saved_plan_is_refused_when_a_node_below_would_do_something_else(run: Run, tmp_path: Path) -> None:
    run("plan", "--out", "saved.plan")
    (tmp_path / "project.yaml").write_text(SPEC.replace("copy.txt", "other.txt"))
    code, _, err = run("apply", "saved.plan", "--ui", "quiet")
    assert code == 7
    assert "steps.second" in err


def test_a_plan_is_not_saved_under_the_name_of_a_spec(run: Run) -> None:
    assert run("plan", "--out", "saved.yaml")[0] == 2


def test_an_unreadable_saved_plan_is_a_mistake_of_the_command_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "saved.plan").write_text('{"specrun_plan": 1}')
    assert run("apply", "saved.plan")[0] == 2


def test_json_says_that_nothing_happened(run: Run) -> None:
    run("apply", "--ui", "quiet")
    assert json.loads(run("apply", "--ui", "json")[1])["type"] == "Journal"


def test_a_reader_that_goes_away_does_not_end_the_work(run: Run, tmp_path: Path) -> None:
    import subprocess
    import sys

    argv = [sys.executable, "-m", "specrun.cli.main", "apply", "--ui", "plain"]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=tmp_path)
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(60) == 0
    assert (tmp_path / "outputs/steps/second/copy.txt").exists()


def test_the_dashboard_is_refused_where_it_cannot_be_drawn(run: Run) -> None:
    code, _, err = run("apply", "--ui", "tui")
    assert code == 2
    assert "--ui plain" in err


def test_during_a_run_nothing_is_called_interrupted(run: Run, tmp_path: Path) -> None:
    import os
    import subprocess
    import sys
    import time

    waiting = ["import os, time", f"open({str(tmp_path / 'began')!r}, 'w').close()"]
    waiting += [
        f"while not os.path.exists({str(tmp_path / 'go')!r}): time.sleep(0.01)",
        "open('text.txt', 'w').close()",
    ]
    (tmp_path / "first.py").write_text("\n".join(waiting))
    argv = [sys.executable, "-m", "specrun.cli.main", "apply", "--ui", "quiet"]
    process = subprocess.Popen(argv, cwd=tmp_path)
    deadline = time.monotonic() + 60
    while not (tmp_path / "began").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    actions = {n["address"]: n["action"] for n in json.loads(run("plan", "--json")[1])["nodes"]}
    open(tmp_path / "go", "w").close()
    assert process.wait(60) == 0
    assert actions["steps.first"] == "create"
    assert os.path.exists(tmp_path / "outputs/steps/second/copy.txt")


def test_target_makes_a_node_and_what_it_needs(run: Run, tmp_path: Path) -> None:
    assert run("apply", "--ui", "quiet", "--target", "steps.first")[0] == 0
    assert not (tmp_path / "outputs/steps/second").exists()


def test_a_misspelt_target_gets_a_suggestion(run: Run) -> None:
    code, _, err = run("apply", "--target", "steps.frist")
    assert code == 2
    assert "Did you mean steps.first?" in err


def test_a_mistaken_spec_shows_every_mistake_and_exits_with_2(run: Run, tmp_path: Path) -> None:
    (tmp_path / "project.yaml").write_text(SPEC.replace("argv: [python, first.py", "agrv: [python, first.py"))
    code, out, err = run("plan")
    assert (code, out) == (2, "")
    assert "project.yaml:6:5" in err
    assert "argv" in err


def test_under_github_mistakes_and_failures_become_annotations(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    (tmp_path / "first.py").write_text("raise SystemExit('no more paper')")
    assert "::error title=steps.first::" in run("apply", "--ui", "plain")[1]
    (tmp_path / "project.yaml").write_text(SPEC.replace("argv: [python, first.py", "agrv: [python, first.py"))
    _, out, err = run("plan")
    assert "::error file=project.yaml,line=6,col=5::" in err
    assert "::" not in out


def test_a_failed_node_gives_exit_code_1_with_cause_and_log(run: Run, tmp_path: Path) -> None:
    (tmp_path / "first.py").write_text("raise SystemExit('no more paper')")
    code, out, _ = run("apply", "--ui", "plain")
    assert code == 1
    assert "no more paper" in out
    assert "log.txt" in out


def test_there_is_no_spec_here(run: Run, tmp_path: Path) -> None:
    (tmp_path / "project.yaml").unlink()
    code, _, err = run("plan")
    assert code == 2
    assert "specrun init" in err


def test_another_run_holds_the_project(run: Run, tmp_path: Path) -> None:
    from specrun.store.locks import ProjectLock

    run("apply", "--ui", "quiet", "--target", "steps.first")
    with ProjectLock(tmp_path / ".specrun/lock").hold("apply"):
        code, _, err = run("apply", "--ui", "quiet")
    assert code == 4
    assert "apply by" in err


def test_rollback_returns_to_the_earlier_output_and_accept_keeps_it(run: Run, tmp_path: Path) -> None:
    text = tmp_path / "outputs/steps/first/text.txt"
    run("apply", "--ui", "quiet")
    run("apply", "--ui", "quiet", "--set", "vars.word=second")
    assert text.read_text() == "second"
    assert run("rollback", "steps.first")[0] == 0
    assert text.read_text() == "hello"
    (tmp_path / "project.yaml").write_text(SPEC.replace("word: hello", "word: second"))
    assert run("accept", "steps.first", "--reason", "the first was better")[0] == 0
    _, out, _ = run("plan", "--json")
    assert {n["address"]: n["action"] for n in json.loads(out)["nodes"]}["steps.first"] == "none"
    assert "the first was better" in run("why", "steps.second")[1]


def test_adopt_takes_in_what_was_made_elsewhere(run: Run, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.txt").write_text("made by hand")
    assert run("adopt", "steps.first", "elsewhere.txt")[0] == 0
    assert run("apply", "--ui", "quiet")[0] == 0
    assert (tmp_path / "outputs/steps/second/copy.txt").read_text() == "made by hand"


def test_prune_removes_what_is_no_longer_declared_and_nothing_else(run: Run, tmp_path: Path) -> None:
    run("apply", "--ui", "quiet")
    (tmp_path / "project.yaml").write_text(SPEC[: SPEC.index("  second:")])
    assert "- steps.second" in run("plan")[1]
    assert run("prune")[0] == 7
    assert (tmp_path / "outputs/steps/second").exists()
    assert run("prune", "--yes")[0] == 0
    assert not (tmp_path / "outputs/steps/second").exists()
    assert (tmp_path / "outputs/steps/first").exists()


def test_logs_runs_and_graph(run: Run, tmp_path: Path) -> None:
    (tmp_path / "first.py").write_text(FIRST + "; print('said something')")
    run("apply", "--ui", "quiet")
    assert run("logs", "steps.first")[1] == "said something\n"
    assert "done" in run("runs")[1]
    assert "steps.second  ← steps.first" in run("graph")[1]
    assert '"steps.first" -> "steps.second"' in run("graph", "--format", "dot")[1]


def test_a_bug_of_ours_says_where_the_report_lies(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> int:
        raise RuntimeError("impossible")

    monkeypatch.setattr("specrun.cli.plan.run", broken)
    code, _, err = run("plan")
    assert code == 3
    assert "specrun-report" in err


def test_a_second_spec_in_the_same_folder_is_refused(run: Run, tmp_path: Path) -> None:
    run("apply", "--ui", "quiet")
    (tmp_path / "other.yaml").write_text(SPEC.replace("demo", "other"))
    code, _, err = run("plan", "other.yaml")
    assert code == 2
    assert "belongs to project.yaml" in err


def test_a_renamed_spec_is_the_same_project(run: Run, tmp_path: Path) -> None:
    run("apply", "--ui", "quiet")
    (tmp_path / "project.yaml").rename(tmp_path / "renamed.yaml")
    assert run("plan", "renamed.yaml", "--detailed-exitcode")[0] == 0


def test_a_spec_may_be_given_by_place_everywhere(run: Run) -> None:
    run("apply", "--ui", "quiet")
    assert run("runs", "project.yaml")[0] == 0
    assert "steps.first" in run("why", "steps.second", "project.yaml")[1]


def test_a_failure_is_forgotten_when_its_cause_is_taken_back(run: Run, tmp_path: Path) -> None:
    run("apply", "--ui", "quiet")
    (tmp_path / "first.py").write_text("raise SystemExit(1)")
    assert run("apply", "--ui", "quiet")[0] == 1
    (tmp_path / "first.py").write_text(FIRST)
    _, out, _ = run("plan", "--json", "--set", "steps.second.env={A: b}")
    reasons = {n["address"]: [r["cause"] for r in n["reasons"]] for n in json.loads(out)["nodes"]}
    assert reasons == {"steps.first": [], "steps.second": ["config"]}


def test_why_says_that_an_input_was_made_anew_with_the_same_content(run: Run, tmp_path: Path) -> None:
    run("apply", "--ui", "quiet")
    (tmp_path / "first.py").write_text(FIRST + "  # the same")
    run("apply", "--ui", "quiet")
    assert "made anew since; what is read of it is the same" in run("why", "steps.second")[1]


def test_attach_without_a_terminal_tells_how_the_run_ended(run: Run) -> None:
    run("apply", "--ui", "quiet")
    code, out, _ = run("attach")
    assert code == 0
    assert "2 made" in out
    assert "\x1b[" not in out


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("{executor: {backend: ray}}", "this version"),
        ("{tracking: {wandb: {project: p}}}", "nothing in this project reports there"),
    ],
)
def test_settings_that_nothing_carries_out_are_refused(run: Run, tmp_path: Path, settings: str, said: str) -> None:
    (tmp_path / "project.yaml").write_text(SPEC.replace("vars:", f"settings: {settings}\nvars:"))
    code, _, err = run("plan")
    assert code == 2
    assert said in err


def test_why_tells_people_what_changed_and_keeps_digests_for_those_who_ask(run: Run) -> None:
    run("apply", "--ui", "quiet")
    _, out, _ = run("why", "steps.second", "--set", "steps.second.env={A: b}")
    assert "changed since: env.A set to b" in out
    assert re.search(r"made \d{4}-\d\d-\d\d \d\d:\d\d in [\d.]+ s, run ", out)
    assert "{" not in out
    assert not re.search(r"[0-9a-f]{16}", out)
    assert re.search(r"digest [0-9a-f]{16}", run("why", "steps.second", "-v")[1])


def test_why_leaves_out_what_was_seen_that_tells_a_person_nothing() -> None:
    from specrun.cli.why import seen_text

    assert seen_text({"weights": None, "files": {"a.png": "0123456789abcdef0"}}) == ""
    assert seen_text({"tasks": {"17": {"state": "completed", "date": None}}}) == "tasks.17.state completed"
    assert seen_text({str(i): i for i in range(6)}) == "0 0, 1 1, 2 2, 3 3 and 2 more"
    assert seen_text(None) == ""
