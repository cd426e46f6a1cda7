import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from specrun.model.event import (
    GpuSample,
    LogLine,
    MachineSample,
    NodeFailed,
    NodeFinished,
    NodeSkipped,
    NodeStarted,
    NodeWaiting,
    Notice,
    RunFinished,
    RunPaused,
    RunStarted,
    RunStopping,
)
from specrun.model.plan import Plan
from specrun.tui.app import Dashboard
from specrun.tui.line_pane import LinePane
from specrun.tui.node_tree import NodeTree
from tests.support.dashboard import NOON, NotedControl, Shown, settle, shown_dashboard
from tests.support.synthetic_run import START, coral_run, finished_coral_run, planned, started

HOSTILE = "[@click=app.quit]x[/] [bold red]loud[/] \x1b[2J\x1b]0;owned\x07"
FAILED = "models.sweep[encoder=resnet50]"


def in_dashboard(test: Callable[[Shown], Awaitable[None]], **options: Any) -> None:
    async def run() -> None:
        async with shown_dashboard(**options) as shown:
            await test(shown)

    asyncio.run(run())


@pytest.mark.parametrize("size", [(80, 24), (120, 36), (250, 70), (40, 10)])
def test_it_is_whole_at_every_size(size: tuple[int, int]) -> None:
    async def look(shown: Shown) -> None:
        lines = shown.text.splitlines()
        assert len(lines) == size[1]
        assert "corals" in lines[0]
        assert "detector" in shown.text
        assert "q leave" in lines[-1]

    in_dashboard(look, size=size)


def test_the_header_says_how_far_it_is_and_when_it_ends() -> None:
    async def look(shown: Shown) -> None:
        header = shown.text.splitlines()[0]
        for part in ("corals", "running", "1 failed", "5/13", "10:00", "left"):
            assert part in header

    in_dashboard(look)


def test_what_runs_shows_progress_and_time_left() -> None:
    async def look(shown: Shown) -> None:
        row = next(line for line in shown.text.splitlines() if "● detector" in line)
        assert "22%" in row
        assert "~31m" in row
        assert "epoch 23/100" in shown.text

    in_dashboard(look)


def test_gpus_show_their_load_and_who_uses_them() -> None:
    async def look(shown: Shown) -> None:
        row = next(line for line in shown.text.splitlines() if "GPU 1" in line and "H200" in line)
        assert "18.8/24 GiB" in row
        assert "models.sweep[encoder=resnet18]" in row
        assert "disk 412 GiB free" in shown.text

    in_dashboard(look)


@pytest.mark.parametrize("amount", [0, 1, 4, 8])
@pytest.mark.parametrize("size", [(80, 24), (120, 40), (250, 70)])
def test_however_many_gpus_there_are_all_are_seen_and_the_machine_too(amount: int, size: tuple[int, int]) -> None:
    samples = [
        GpuSample(
            index=index,
            name="NVIDIA H200",
            utilisation=90,
            memory_used_mib=88_064 + 1024 * index,
            memory_total_mib=143_771,
            temperature_c=60 + index,
            power_w=600,
            time=NOON,
        )
        for index in range(amount)
    ]
    events = [event for event in coral_run(until=600) if not isinstance(event, GpuSample)]

    async def look(shown: Shown) -> None:
        for index in range(amount):
            assert f"{60 + index}" in shown.text
            assert f"{86 + index}" in shown.text
        assert "disk 412 GiB free" in shown.text
        assert shown.app.query_one("#tree").size.height >= size[1] // 2
        if amount:
            assert "detect" in next(line for line in shown.text.splitlines() if "90%" in line)

    in_dashboard(look, events=[*events, *samples], size=size)


def test_hostile_names_and_lines_are_only_text() -> None:
    node = planned("models.m[label=x]")
    events = [
        started(node, project=HOSTILE),
        NodeStarted(address="models.m[label=x]", time=START),
        LogLine(address="models.m[label=x]", text=HOSTILE, time=START),
        Notice(text=HOSTILE, level="warning", time=START + 1),
        NodeFailed(address="models.m[label=x]", cause=HOSTILE, hint=HOSTILE, time=START + 1),
    ]

    async def look(shown: Shown) -> None:
        assert "[@click=app.quit]x[/]" in shown.text
        assert "\x1b" not in shown.text
        for strip in shown.app.screen._compositor.render_strips():
            for segment in strip:
                assert not (segment.style and segment.style.meta.get("@click"))
        await shown.press("1", "3", "5", "g", "1", "5")
        assert shown.app.is_running

    in_dashboard(look, events=events, now=START + 2)


def test_nothing_is_drawn_while_nothing_changes() -> None:
    async def look(shown: Shown) -> None:
        refreshed: list[object] = []
        for pane in shown.app.query(LinePane):
            pane.refresh = lambda *regions, _pane=pane, **more: refreshed.append(_pane) or _pane  # type: ignore[method-assign]
        for _ in range(5):
            await shown.app.tick()
        assert refreshed == []
        await shown.give(LogLine(address="models.detector", text="one more", time=NOON))
        assert refreshed

    in_dashboard(look)


def test_the_cursor_goes_where_something_happens_until_somebody_moves_it() -> None:
    async def look(shown: Shown) -> None:
        tree = shown.app.query_one(NodeTree)
        assert tree.cursor_key == "models.detector"
        await shown.press("k")
        stayed = tree.cursor_key
        await shown.give(NodeFinished(address="models.detector", duration_s=5, time=NOON))
        assert tree.cursor_key == stayed != "models.detector"

    in_dashboard(look)


def test_a_cancel_asks_first() -> None:
    async def look(shown: Shown) -> None:
        await shown.press("c")
        assert shown.asking == "AskScreen"
        await shown.press("escape")
        assert shown.control.asked == []
        await shown.press("c", "y")
        assert shown.control.asked == [("cancel", "models.detector")]

    in_dashboard(look)


def test_a_failed_node_is_retried_and_a_refusal_is_shown() -> None:
    async def look(shown: Shown) -> None:
        shown.app.query_one(NodeTree).reveal(FAILED)
        await shown.press("R")
        assert shown.control.asked == [("retry", FAILED)]
        assert "the supervisor is gone" in shown.said

    in_dashboard(look, control=NotedControl("the supervisor is gone"))


def test_pause_and_go_on() -> None:
    async def look(shown: Shown) -> None:
        await shown.press("p")
        await shown.give(RunPaused(paused=True, time=NOON))
        assert "paused" in shown.text.splitlines()[0]
        await shown.press("p")
        assert shown.control.asked == [("pause", True), ("pause", False)]

    in_dashboard(look)


def test_a_queued_node_may_go_first() -> None:
    async def look(shown: Shown) -> None:
        shown.app.query_one(NodeTree).reveal("predictions.masks")
        await shown.press("P")
        assert shown.control.asked == [("prioritise", "predictions.masks")]

    in_dashboard(look)


@pytest.mark.parametrize(
    ("key", "address", "reason"),
    [
        ("R", "models.detector", "has not failed"),
        ("c", "sources.reef", "is done, not running"),
        ("P", "models.detector", "not queued"),
    ],
)
def test_a_key_that_does_nothing_says_why(key: str, address: str, reason: str) -> None:
    async def look(shown: Shown) -> None:
        shown.app.query_one(NodeTree).reveal(address)
        await shown.press(key)
        assert any(reason in text for text in shown.said)
        assert shown.control.asked == []
        assert shown.asking == ""

    in_dashboard(look)


@pytest.mark.parametrize("key", ["c", "R", "p", "P", "Q"])
def test_when_the_run_is_over_nothing_can_be_asked_of_it(key: str) -> None:
    async def look(shown: Shown) -> None:
        shown.app.query_one(NodeTree).reveal("models.detector")
        await shown.press(key)
        assert any("the run is over" in text for text in shown.said)

    in_dashboard(look, events=finished_coral_run(), finished=True)


def test_an_onlooker_asks_nothing() -> None:
    async def look(shown: Shown) -> None:
        await shown.press("c", "Q", "p")
        assert all("only looks on" in text for text in shown.said)
        assert len(shown.said) == 3

    in_dashboard(look, control=None)


def test_q_leaves_and_the_run_goes_on() -> None:
    async def look(shown: Shown) -> None:
        await shown.press("q")
        assert shown.app.return_value == "left"
        assert shown.control.asked == []

    in_dashboard(look)


def test_a_capital_q_asks_and_stops_the_run() -> None:
    async def look(shown: Shown) -> None:
        await shown.press("Q")
        assert shown.asking == "AskScreen"
        await shown.press("y")
        assert shown.control.asked == [("stop_run", False)]
        assert shown.app.return_value is None

    in_dashboard(look)


def test_a_second_stop_ends_the_run_at_once() -> None:
    async def look(shown: Shown) -> None:
        await shown.press("Q", "y", "Q")
        assert "Stop at once?" in shown.text
        await shown.press("y", "ctrl+c", "s")
        assert shown.control.asked == [("stop_run", False), ("stop_run", True), ("stop_run", True)]

    in_dashboard(look)


@pytest.mark.parametrize("width", [120, 44])
def test_a_question_is_whole_at_every_width_also_after_a_resize(width: int) -> None:
    async def look(shown: Shown) -> None:
        await shown.press("ctrl+c")
        await shown.pilot.resize_terminal(width, 30)
        await shown.settle()
        words = " ".join(shown.text.replace("│", " ").split())
        for said in ("Stop the run, or only leave the dashboard?", "s stop the run", "l leave", "esc no"):
            assert said in words

    in_dashboard(look, size=(80, 30))


def test_a_refusal_that_is_still_seen_is_not_said_again() -> None:
    async def look(shown: Shown) -> None:
        await shown.press("c", "c", "c")
        assert len(shown.said) == 1

    in_dashboard(look, events=finished_coral_run())


def test_from_the_moment_it_is_asked_to_stop_the_run_shows_as_stopping() -> None:
    async def look(shown: Shown) -> None:
        await shown.press("Q", "y")
        await shown.app.tick()
        await shown.settle()
        assert "■ stopping" in shown.text.splitlines()[0]
        await shown.press("Q")
        assert "stopping already" in shown.text
        await shown.give(RunStopping(time=NOON))
        assert "epoch 23/100" in shown.text
        assert not re.search(r"~\d|min left", shown.text)

    in_dashboard(look)


def test_a_stop_that_was_refused_is_not_shown_as_one() -> None:
    async def look(shown: Shown) -> None:
        await shown.press("Q", "y")
        await shown.app.tick()
        assert "stopping" not in shown.text.splitlines()[0]

    in_dashboard(look, control=NotedControl("no space left"))


def test_a_node_that_was_cancelled_shows_as_stopping_until_it_has() -> None:
    async def look(shown: Shown) -> None:
        shown.app._panes.tree.reveal("models.detector")
        await shown.press("c", "y")
        await shown.app.tick()
        await shown.settle()
        assert "■ stopping" in shown.text
        await shown.give(NodeFailed(address="models.detector", cause="cancelled", interrupted=True, time=NOON))
        assert "■ stopped after" in shown.text
        assert "■ stopping" not in shown.text

    in_dashboard(look)


LINK = "https://cvat.example.org/tasks/17"


def test_a_node_that_waits_says_for_whom_in_the_tree_the_header_and_the_details() -> None:
    async def look(shown: Shown) -> None:
        await shown.give(
            NodeWaiting(
                address="sources.round1",
                missing=("3 of 10 tasks completed", f"train_batch_08, 31 of 50 frames: {LINK}", *["one more"] * 4),
                time=NOON,
            )
        )
        shown.app._panes.tree.reveal("sources.round1")
        await shown.press("5")
        row = next(line for line in shown.text.splitlines() if "⏸ round1" in line)
        assert "3/10 tasks" in row
        assert shown.text.count(LINK) == 2
        assert "lines more: Details" in shown.text
        shown.app._panes.focus_tab()
        await shown.press("u")
        assert f"copied {LINK}" in shown.said

    in_dashboard(look)


def test_a_link_is_opened_by_a_click() -> None:
    async def look(shown: Shown) -> None:
        await shown.give(NodeWaiting(address="sources.round1", missing=(LINK,), time=NOON))
        shown.app._panes.tree.reveal("sources.round1")
        await shown.press("5")
        lines = shown.text.splitlines()
        row = next(index for index, line in enumerate(lines) if LINK in line)
        await shown.pilot.click(offset=(lines[row].index(LINK) + 3, row))
        await shown.settle()
        assert shown.app.clipboard == LINK

    in_dashboard(look)


def test_what_writes_outside_the_machine_is_shown_with_its_approval() -> None:
    async def look(shown: Shown) -> None:
        await shown.give(NodeWaiting(address="publications.reef", missing=("--yes",), approval=True, time=NOON))
        shown.app._panes.tree.reveal("publications.reef")
        await shown.press("3")
        assert "writes outside this machine" in shown.text
        assert "needs approval (--yes)" in shown.text
        assert "approval" in next(line for line in shown.text.splitlines() if "⏸ reef" in line)

    in_dashboard(look)


@pytest.mark.parametrize(("key", "asked", "left"), [("s", True, False), ("l", False, True), ("escape", False, False)])
def test_ctrl_c_asks_whether_to_stop_or_to_leave(key: str, asked: bool, left: bool) -> None:
    async def look(shown: Shown) -> None:
        await shown.press("ctrl+c", key)
        assert (shown.control.asked == [("stop_run", False)]) == asked
        assert (shown.app.return_value == "left") == left

    in_dashboard(look)


def test_filtering_by_a_part_of_the_address() -> None:
    async def look(shown: Shown) -> None:
        await shown.press("slash", *"resnet", "enter")
        rows = [row.key for row in shown.app.query_one(NodeTree).rows]
        assert FAILED in rows
        assert "models.detector" not in rows
        await shown.press("escape")
        assert "models.detector" in [row.key for row in shown.app.query_one(NodeTree).rows]

    in_dashboard(look)


def test_only_running_and_only_failed() -> None:
    async def look(shown: Shown) -> None:
        tree = shown.app.query_one(NodeTree)
        await shown.press("f")
        assert [row.key for row in tree.rows if row.sort == "node"] == [FAILED]
        await shown.press("r")
        running = [row.key for row in tree.rows if row.sort == "node"]
        assert running == ["models.detector", "models.sweep[encoder=resnet18]"]
        await shown.press("a")
        assert len(tree.rows) > 10

    in_dashboard(look)


def test_a_matrix_is_folded_and_opens() -> None:
    async def look(shown: Shown) -> None:
        tree = shown.app.query_one(NodeTree)
        assert "sweep ×4" in shown.text
        assert tree.cursor_key == "models.detector"
        assert FAILED not in [row.key for row in tree.rows]
        await shown.press("j", "enter")
        assert FAILED in [row.key for row in tree.rows]

    in_dashboard(look)


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("1", ["Ultralytics 8.4.1"]),
        ("2", ["train/box_loss", "mAP50(M)"]),
        ("3", ["train.epochs 50 → 100", "project.yaml:61", "Needed by", "predictions.masks"]),
        ("4", ["nothing was made yet"]),
        ("5", ["ultralytics", "gpu (pid 5120)"]),
    ],
)
def test_each_tab_shows_its_side_of_the_node(key: str, words: list[str]) -> None:
    async def look(shown: Shown) -> None:
        await shown.press(key)
        for word in words:
            assert word in shown.text

    in_dashboard(look)


def test_the_run_itself_has_a_log_a_plan_and_details() -> None:
    async def look(shown: Shown) -> None:
        await shown.press("g")
        assert "done in 13 s" in shown.text
        await shown.press("3")
        assert "no longer in the spec" in shown.text
        await shown.press("5")
        assert "reefbox" in shown.text
        assert "no connection to wandb" in shown.text

    in_dashboard(look)


def test_the_previous_run_is_drawn_beside_this_one() -> None:
    asked: list[str] = []

    def previous(address: str) -> dict[str, list[tuple[float, float]]]:
        asked.append(address)
        return {"train/box_loss": [(float(step), 9.0) for step in range(100)]}

    async def look(shown: Shown) -> None:
        await shown.press("2")
        await shown.app.tick()
        assert asked == ["models.detector"]
        chart = next(line for line in shown.text.splitlines() if "9┤" in line)
        assert any(0x2800 < ord(character) < 0x2900 for character in chart)

    in_dashboard(look, previous_metrics=previous, size=(200, 50))


def test_scores_without_curves_are_among_the_metrics() -> None:
    async def look(shown: Shown) -> None:
        await shown.give(NodeFinished(address="evaluations.detector", duration_s=2, facts={"map50": 0.731}, time=NOON))
        shown.app._panes.tree.reveal("evaluations.detector")
        await shown.press("2")
        assert "0.731" in shown.text

    in_dashboard(look)


def test_what_the_log_says_of_itself_goes_with_it() -> None:
    async def look(shown: Shown) -> None:
        shown.app._panes.focus_tab()
        await shown.press("w")
        await shown.app.tick()
        await shown.settle()
        assert "every line wrapped" in shown.text
        await shown.press("3")
        assert "every line wrapped" not in shown.text

    in_dashboard(look)


def test_the_selected_row_is_one_block_where_it_is_reversed() -> None:
    async def look(shown: Shown) -> None:
        shown.app.theme = "ansi-dark"
        await shown.settle()
        tree = shown.app._panes.tree
        index = next(i for i, row in enumerate(tree.rows) if row.key == tree.cursor_key)
        styles = [segment.style for segment in tree.render_line(index - tree.scroll_offset.y)]
        assert {(style.color, style.reverse) for style in styles if style} == {(styles[0] and styles[0].color, True)}

    in_dashboard(look)


def test_details_show_the_config_that_the_run_froze(tmp_path: Path) -> None:
    (tmp_path / "request.json").write_text('{"config": {"argv": ["python", "train.py"], "train": {"epochs": 100}}}')

    async def look(shown: Shown) -> None:
        await shown.press("5")
        assert "python train.py" in shown.text
        assert "epochs: 100" in shown.text

    in_dashboard(look, log_path=lambda _: tmp_path / "log.txt", size=(120, 50))


def test_the_log_comes_from_the_file_on_disk_and_is_followed(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_text("from the file\n")

    async def look(shown: Shown) -> None:
        assert "from the file" in shown.text
        assert "Ultralytics 8.4.1" not in shown.text
        with log.open("a") as file:
            file.write("appended\n")
        await shown.app.tick()
        await shown.settle()
        assert "appended" in shown.text

    in_dashboard(look, log_path=lambda address: log if address == "models.detector" else None)


def test_the_whole_log_opens_in_pager_and_editor(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_text("x\n")
    environ = {"PAGER": "cat -A", "EDITOR": "cat -n", "TEXTUAL_THEME": "specrun-dark"}

    async def look(shown: Shown) -> None:
        await shown.press("enter", "v", "e")
        assert [program.argv for program in shown.programs] == [("cat", "-A", str(log)), ("cat", "-n", str(log))]

    in_dashboard(look, log_path=lambda _: log, environ=environ)


def test_searching_the_log_counts_and_marks() -> None:
    async def look(shown: Shown) -> None:
        await shown.press("enter", "slash", *"ultralytics", "enter")
        assert "1 line matches" in shown.text
        assert "Ultralytics" in shown.text

    in_dashboard(look)


def test_an_output_folder_opens(tmp_path: Path) -> None:
    events = [
        started(planned("models.m")),
        NodeFinished(address="models.m", duration_s=1, folder=str(tmp_path), time=START + 1),
    ]
    environ = {"SHELL": "/bin/sh", "TEXTUAL_THEME": "specrun-dark"}

    async def look(shown: Shown) -> None:
        shown.app.query_one(NodeTree).reveal("models.m")
        await shown.press("o")
        assert [(program.argv, program.cwd) for program in shown.programs] == [(("/bin/sh",), str(tmp_path))]

    in_dashboard(look, events=events, now=START + 2, environ=environ)


def test_only_an_output_that_was_made_or_found_is_shown() -> None:
    plan = Plan("corals", tuple(planned(f"models.{name}", folder=f"models/{name}") for name in "ab"))
    events = [
        RunStarted(project="corals", spec="", plan=plan.to_json(), output_root="/data/outputs", time=START),
        NodeSkipped(address="models.a", reason="unchanged", unchanged=True, time=START),
        NodeFailed(address="models.b", cause="no", time=START + 1),
    ]

    async def look(shown: Shown) -> None:
        tree = shown.app.query_one(NodeTree)
        tree.reveal("models.a")
        await shown.press("4")
        assert "/data/outputs/models/a" in shown.text
        tree.reveal("models.b")
        await shown.press("4")
        assert "nothing was made yet" in shown.text

    in_dashboard(look, events=events, now=START + 2)


def test_an_output_that_is_not_here_is_copied_instead() -> None:
    async def look(shown: Shown) -> None:
        shown.app.query_one(NodeTree).reveal("sources.reef")
        await shown.press("o")
        assert shown.app.clipboard == "/data/corals/outputs/sources/reef"
        assert shown.programs == []

    in_dashboard(look)


def test_copying_takes_what_the_focused_pane_stands_for() -> None:
    async def look(shown: Shown) -> None:
        await shown.press("y")
        assert shown.app.clipboard == "models.detector"
        await shown.press("3", "tab", "y")
        assert "train.epochs 50 → 100" in shown.app.clipboard

    in_dashboard(look)


def test_help_shows_the_keys_of_the_focused_pane() -> None:
    async def look(shown: Shown) -> None:
        await shown.press("question_mark")
        assert "only what failed" in shown.text
        await shown.press("escape", "enter", "question_mark")
        assert "Keys of the log" in shown.text
        assert "$EDITOR" in shown.text

    in_dashboard(look, size=(120, 45))


@pytest.mark.parametrize("size", [(80, 24), (60, 16), (120, 40), (250, 70)])
def test_all_of_the_help_can_be_reached(size: tuple[int, int]) -> None:
    async def look(shown: Shown) -> None:
        await shown.press("question_mark")
        seen = shown.text
        for _ in range(8):
            await shown.press("pagedown")
            seen += shown.text
        assert all(said in seen for said in ("Keys of the nodes", "stop the run (asks)", "waits for people", "skipped"))
        assert "more ·" not in shown.text
        assert "esc closes" in shown.text

    in_dashboard(look, size=size)


def test_the_help_says_all_of_why_a_key_does_nothing() -> None:
    async def look(shown: Shown) -> None:
        shown.app._panes.tree.reveal("models.sweep[encoder=resnet18]")
        await shown.press("question_mark")
        said = " ".join(shown.text.replace("│", " ").split())
        assert "models.sweep[encoder=resnet18] has" in said
        assert "not failed: it is running" in said
        assert "↑ k ↓ j" in said

    in_dashboard(look, size=(80, 40))


def test_full_screen_hides_everything_else_and_escape_comes_back() -> None:
    async def look(shown: Shown) -> None:
        await shown.press("z")
        assert "Nodes" not in shown.text
        assert "GPU 0" not in shown.text.splitlines()[-3]
        await shown.press("escape")
        assert "Nodes" in shown.text

    in_dashboard(look)


def test_the_command_palette_goes_to_a_node() -> None:
    async def look(shown: Shown) -> None:
        await shown.press("ctrl+p", *"resnet50")
        await shown.until(lambda: f"Go to {FAILED}" in shown.text, "the answer")
        await shown.press("enter", "enter")
        assert shown.app.query_one(NodeTree).cursor_key == FAILED

    in_dashboard(look)


def test_in_the_command_palette_brackets_are_only_brackets() -> None:
    address = "models.m[@click=app.quit]"

    async def look(shown: Shown) -> None:
        shown.app.query_one(NodeTree).reveal(address)
        await shown.press("ctrl+p", *"again")
        await shown.until(lambda: f"{address} has not failed" in shown.text, "the answer")
        await shown.press("escape", "ctrl+p", *"click")
        await shown.until(lambda: f"Go to {address}" in shown.text, "the answer")

    in_dashboard(look, events=[started(planned(address))], size=(120, 45))


@pytest.mark.parametrize("theme", ["specrun-light", "ansi-dark", "ansi-light", "textual-dark", "dracula"])
def test_every_theme_shows_the_same_text(theme: str) -> None:
    async def look(shown: Shown) -> None:
        before = shown.text
        shown.app.theme = theme
        await shown.settle()
        await shown.app.tick()
        await shown.settle()
        assert shown.text == before

    in_dashboard(look)


def test_without_colours_state_and_selection_are_still_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")

    async def look(shown: Shown) -> None:
        styles = [segment.style for strip in shown.app.screen._compositor.render_strips() for segment in strip]
        assert any(style and style.reverse for style in styles)
        for sign in ("✖", "✔", "━", "─"):
            assert sign in shown.text
        assert [type(line_filter).__name__ for line_filter in shown.app._filters if line_filter.enabled] == ["NoColor"]

    in_dashboard(look, environ={"NO_COLOR": "1"})


def test_a_finished_run_stands_still_at_its_end_from_the_journal_alone() -> None:
    async def look(shown: Shown) -> None:
        header = shown.text.splitlines()[0]
        assert "✖ failed" in header
        assert "40:59" in header
        assert shown.said == []
        shown.feed.waiting = [LogLine(address="models.detector", text="too late", time=NOON)]
        await shown.app.tick()
        assert shown.feed.waiting

    in_dashboard(look, events=finished_coral_run(), finished=True, now=START + 1e7)


def test_a_finished_run_is_told_to_its_end_in_however_many_pieces_it_comes() -> None:
    whole = finished_coral_run()
    pieces = [whole[begin : begin + 50] for begin in range(0, len(whole), 50)]

    async def run() -> None:
        app = Dashboard(feed=lambda: pieces.pop(0) if pieces else [], control=None, finished=True)
        async with app.run_test() as pilot:
            await settle(pilot)
            assert app.run_view.finished
            assert not pieces

    asyncio.run(run())


def test_a_failure_that_happens_now_is_announced_and_an_old_one_is_not() -> None:
    async def look(shown: Shown) -> None:
        assert shown.said == []
        await shown.give(NodeFailed(address="models.detector", cause="boom [/]", time=NOON - 1))
        assert shown.said == ["models.detector failed: boom [/]"]

    in_dashboard(look)


def test_it_closes_by_itself_after_the_end_unless_somebody_is_there() -> None:
    now = [NOON]

    def close(*keys: str) -> str | None:
        now[0] = NOON
        result: list[str | None] = []

        async def look(shown: Shown) -> None:
            await shown.press("k")
            await shown.give(RunFinished(status="done", exit_code=0, duration_s=600, time=NOON))
            assert "closes in 10 s" in shown.text
            await shown.press(*keys)
            now[0] += 11
            await shown.app.tick()
            result.append(shown.app.return_value)

        in_dashboard(look, close_when_done=True, clock=lambda: now[0])
        return result[0]

    assert close() == "left"
    assert close("j") is None


def test_a_node_that_finished_shows_how_long_it_took() -> None:
    async def look(shown: Shown) -> None:
        await shown.give(NodeFinished(address="models.detector", duration_s=5, time=NOON))
        row = next(line for line in shown.text.splitlines() if "✔ detector" in line)
        assert "5s" in row

    in_dashboard(look)


def test_the_mouse_chooses_nodes_folds_groups_picks_tabs_and_presses_keys() -> None:
    async def look(shown: Shown) -> None:
        tree = shown.app.query_one(NodeTree)
        lines = shown.text.splitlines()

        async def click(text: str, *, right: bool = False) -> None:
            rows = [y for y, line in enumerate(lines) if text in line]
            column = lines[rows[0]].rindex(text) if right else lines[rows[0]].index(text)
            await shown.pilot.click(offset=(column + 1, rows[0]))
            await shown.settle()

        await click("mmseg")
        assert tree.cursor_key == "exports.mmseg"
        await click("sweep ×4")
        assert FAILED in [row.key for row in tree.rows]
        await click("Plan", right=True)
        assert "Needed by" in shown.text
        await click("help")
        assert shown.asking == "HelpScreen"

    in_dashboard(look)


def test_marked_text_is_copied_by_ctrl_c() -> None:
    async def look(shown: Shown) -> None:
        row = next(y for y, line in enumerate(shown.text.splitlines()) if "Ultralytics" in line)
        column = shown.text.splitlines()[row].index("Ultralytics")
        await shown.pilot.mouse_down(offset=(column, row))
        await shown.pilot.hover(offset=(column + 11, row))
        await shown.pilot.mouse_up(offset=(column + 11, row))
        await shown.press("ctrl+c")
        assert shown.app.clipboard.startswith("Ultralytics")
        assert "\n" not in shown.app.clipboard
        assert shown.asking == ""

    in_dashboard(look)


def test_before_the_first_event_it_says_that_the_run_starts() -> None:
    async def look(shown: Shown) -> None:
        assert "starting" in shown.text.splitlines()[0]
        await shown.press("c", "2", "3", "4", "5", "R", "p")
        await shown.give(started(planned("steps.a"), project="late"))
        assert "late" in shown.text
        assert "○ a" in shown.text

    in_dashboard(look, events=[])


def test_the_machine_appears_with_its_first_sample() -> None:
    sample = MachineSample(
        cpu=42, cores=8, memory_used_mib=2048, memory_total_mib=8192, disk_free_bytes=2**40, time=NOON
    )

    async def look(shown: Shown) -> None:
        assert "CPU" not in shown.text
        await shown.give(sample)
        assert "42%" in shown.text
        assert "2.0/8 GiB" in shown.text

    in_dashboard(look, events=[started(planned("steps.a"))])


def test_while_nobody_steers_a_small_matrix_opens_for_what_runs_in_it() -> None:
    nodes = [planned(f"steps.s[seed={i}]") for i in range(3)]

    async def look(shown: Shown) -> None:
        await shown.give(NodeStarted(address="steps.s[seed=1]", time=NOON))
        assert shown.app.query_one(NodeTree).cursor_key == "steps.s[seed=1]"

    in_dashboard(look, events=[started(*nodes)])
