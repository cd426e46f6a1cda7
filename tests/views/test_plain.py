from specrun.model.event import (
    Event,
    LogLine,
    NodeFailed,
    NodeFinished,
    NodeSkipped,
    NodeStarted,
    NodeWaiting,
    Notice,
    Progress,
    RunAmended,
    RunFinished,
    RunPaused,
    RunStopping,
)
from specrun.model.plan import Action, Plan
from specrun.views.plain import PlainPrinter
from tests.support.golden import check_golden
from tests.support.synthetic_run import START, finished_coral_run, planned, started

M = "models.unet"


class Screen:
    def __init__(self, *, github: bool = False, verbose: bool = False) -> None:
        self.text = ""
        self.now = START
        self.printer = PlainPrinter(self._write, clock=lambda: self.now, github=github, verbose=verbose)

    def _write(self, text: str) -> None:
        self.text += text

    def show(self, *events: Event) -> str:
        self.printer.handle(started(planned(M), planned("sources.a", seconds=60)))
        self.text = ""
        for event in events:
            self.printer.handle(event)
        return self.text


def test_a_whole_run_line_by_line() -> None:
    screen = Screen()
    for event in finished_coral_run():
        screen.now = event.time
        screen.printer.handle(event)
    check_golden("views/plain.txt", screen.text)


def test_a_line_names_its_node_and_the_time_since_the_start() -> None:
    text = Screen().show(NodeFinished(address=M, duration_s=65, facts={"images": 80}, time=START + 65))
    assert text == "   1:05 models.unet  done in 1 min 05 s  80 images\n"


def test_time_before_an_interruption_is_told_as_such() -> None:
    text = Screen().show(NodeFinished(address=M, duration_s=476, earlier_s=239, time=START + 65))
    assert text.endswith("done in 7 min 56 s, 3 min 59 s of them before it was interrupted\n")


def test_log_lines_are_printed_only_when_verbose() -> None:
    line = LogLine(address=M, text="hello", time=START)
    assert Screen().show(line) == ""
    assert "│ hello" in Screen(verbose=True).show(line)


def test_the_heartbeat_comes_every_ten_seconds_and_says_what_runs() -> None:
    screen = Screen()
    screen.show(
        NodeStarted(address=M, time=START), Progress(address=M, done=1, total=4, phase="epoch 2/8", time=START + 1)
    )
    screen.text = ""
    for second in range(1, 31):
        screen.now = START + second
        screen.printer.tick()
    beats = screen.text.splitlines()
    assert len(beats) == 3
    assert "0 of 2 done, at least 1 min left · models.unet 15% epoch 2/8" in beats[0]


def test_a_run_that_is_stopping_says_what_it_waits_for_and_no_time_left() -> None:
    screen = Screen()
    screen.show(
        NodeStarted(address=M, time=START),
        Progress(address=M, done=1, total=4, phase="validating epoch 2", time=START + 1),
        RunStopping(time=START + 2),
    )
    screen.text, screen.now = "", START + 11
    screen.printer.tick()
    assert screen.text == "   0:11 … stopping, waits for models.unet 25% validating epoch 2\n"


def test_there_is_no_heartbeat_while_nothing_runs() -> None:
    screen = Screen()
    screen.show()
    screen.now = START + 60
    screen.printer.tick()
    assert screen.text == ""


def test_a_failure_says_cause_hint_log_and_last_lines() -> None:
    text = Screen().show(
        NodeFailed(address=M, cause="boom", hint="mend it", log="m/log.txt", last_lines=("one", "two"))
    )
    for said in ("FAILED: boom", "mend it", "log: m/log.txt", "│ one", "│ two"):
        assert said in text


def test_github_gets_an_annotation_that_outside_text_cannot_forge() -> None:
    failed = NodeFailed(
        address=M, cause="50% lost\n::warning::forged", last_lines=("::error::forged", "##[error]forged")
    )
    lines = Screen(github=True).show(failed).splitlines()
    commands = [line for line in lines if line.lstrip().startswith("::")]
    assert commands == ["::error title=models.unet::50%25 lost ::warning::forged"]
    assert not any("##[" in line for line in lines)


def test_without_github_there_are_no_annotations() -> None:
    assert "::" not in Screen().show(NodeFailed(address=M, cause="boom"))


def test_an_interrupted_node_is_no_failure() -> None:
    text = Screen(github=True).show(NodeFailed(address=M, cause="the run was stopped", interrupted=True))
    assert "stopped: the run was stopped" in text
    assert "::error" not in text


def test_skipping_waiting_notices_and_pauses_each_have_a_line() -> None:
    text = Screen().show(
        NodeSkipped(address=M, reason="needs sources.a, which failed"),
        NodeWaiting(address="sources.a", missing=("task 3",)),
        NodeWaiting(address="sources.a", approval=True),
        Notice(text="no GPU here"),
        RunPaused(paused=True),
    )
    for said in ("skipped: needs sources.a", "waits for people: task 3", "needs approval", "no GPU here", "paused"):
        assert said in text
    assert text.count("\n") == 5


def test_several_things_that_people_owe_stand_one_a_line() -> None:
    text = Screen().show(NodeWaiting(address="sources.a", missing=tuple(f"task {i}" for i in range(10))))
    lines = [line.split("sources.a", 1)[1].rstrip() for line in text.splitlines()]
    assert lines[0].strip() == "waits for people:"
    assert lines[1].endswith("  task 0")
    assert lines[-1].endswith("  and 2 more")
    assert len(lines) == 10


def test_another_plan_and_stopping_are_told_and_stopped_nodes_are_counted_as_such() -> None:
    text = Screen().show(
        RunAmended(plan=Plan("corals", (planned(M), planned("sources.a", Action.NONE))).to_json(), queued=(M,)),
        RunStopping(),
        RunStopping(at_once=True),
        RunFinished(status="interrupted", exit_code=130, duration_s=5, stopped=2),
    )
    assert "the plan has changed: 1 node left to make" in text
    assert "stopping: what runs is asked to save its work" in text
    assert "ends everything at once" in text
    assert "interrupted in 5.0 s: 2 stopped" in text


def test_control_characters_never_reach_the_terminal() -> None:
    text = Screen(verbose=True).show(LogLine(address=M, text="\x1b[2Jgone\r\x07"), Notice(text="\x1b]0;x\x07ok"))
    assert "\x1b" not in text
    assert "\x07" not in text
