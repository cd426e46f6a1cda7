from __future__ import annotations

import os
from pathlib import Path

from specrun.model.address import parse_address
from specrun.model.event import Event, NodeFailed
from specrun.run.job import Job
from specrun.run.request import Result
from specrun.run.supervisor import Supervision, supervise
from specrun.run.veil import Veil, VeiledPipe
from tests.support.jobs import plan_job, python, step

SECRET = "s3cr3t-value"


def test_values_and_their_lines_are_covered_longest_first() -> None:
    veil = Veil(["secret", "secret-longer", "first line\nsecond line", "short"])
    assert veil.text("secret-longer secret first line, second line, short") == "••• ••• •••, •••, short"


def test_without_a_secret_there_is_nothing_to_cover() -> None:
    assert not Veil(["", "12345"])


def test_all_texts_of_an_event_and_a_result_are_covered() -> None:
    veil = Veil([SECRET])
    assert veil.json({"a": [f"x{SECRET}", 3], "b": {"c": SECRET}}) == {"a": ["x•••", 3], "b": {"c": "•••"}}
    covered = veil.result(Result(ok=False, cause=f"no {SECRET}", hint=SECRET, missing=(SECRET,)))
    assert (covered.cause, covered.hint, covered.missing) == ("no •••", "•••", ("•••",))


def test_a_secret_that_comes_in_two_writes_is_covered(tmp_path: Path) -> None:
    log = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    pipe = VeiledPipe(log, Veil([SECRET]))
    for part in (b"token s3cr3t", b"-value\nrest"):
        os.write(pipe.descriptor, part)
    pipe.close()
    os.close(log)
    assert (tmp_path / "log").read_bytes() == "token •••\nrest".encode()


def apply_with_secret(job: Job) -> list[Event]:
    events: list[Event] = []
    supervise(job, Supervision(listeners=[events.append], environ={**os.environ, "MY_SECRET": SECRET}))
    return events


def test_a_secret_that_a_step_prints_is_nowhere_in_the_clear(tmp_path: Path) -> None:
    code = (
        "import os, sys; t = os.environ['TOKEN']; print('token is', t); print('again', t, file=sys.stderr); "
        'print(\'{"metric": "\' + t + \'", "step": 1, "value": 1}\'); raise SystemExit(3)'
    )
    node = step("a", python(code), env={"TOKEN": {"env": "MY_SECRET"}})
    events = apply_with_secret(plan_job(tmp_path, [node]))
    (failed,) = [event for event in events if isinstance(event, NodeFailed)]
    assert set(failed.last_lines) == {"token is •••", "again •••"}
    told = [path for path in (tmp_path / ".specrun").rglob("*") if path.is_file()]
    assert any(path.name == "log.txt" for path in told)
    assert [path for path in told if SECRET.encode() in path.read_bytes()] == []


def test_a_step_still_gets_its_secret(tmp_path: Path) -> None:
    code = "import os; open('length', 'w').write(str(len(os.environ['TOKEN'])))"
    node = step("a", python(code), env={"TOKEN": {"env": "MY_SECRET"}})
    apply_with_secret(plan_job(tmp_path, [node]))
    folder = tmp_path / "outputs" / parse_address("steps.a").folder
    assert (folder / "length").read_text() == str(len(SECRET))
