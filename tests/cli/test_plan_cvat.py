"""`specrun plan` of specs that reach CVAT, on the double."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from specrun.cli.main import main
from specrun.clients.cvat.session import process_sessions
from specrun.errors import ExitCode
from tests.doubles.cvat.server import CvatDouble

SPEC = """\
specrun: 1
project: {{name: demo}}
settings: {{retry: {{max_attempts: 1}}}}
connections:
  lab: {{kind: cvat, url: "{url}", username: admin, password: {{env: LAB_PASSWORD}}}}
taxonomies:
  weeds: {{classes: [thistle]}}
sources:
  photos: {{kind: images, path: photos}}
  done: {{kind: cvat, from: cvat_projects.round}}
cvat_projects:
  round:
    connection: lab
    project: weeds
    labels: {{from: taxonomies.weeds}}
    tasks: {{from: sources.photos}}
"""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CvatDouble]:
    with CvatDouble(anonymous_per_minute=None) as double:
        (tmp_path / "photos").mkdir()
        for number in range(2):
            Image.new("RGB", (40, 30), (number, 9, 9)).save(tmp_path / f"photos/{number}.png")
        (tmp_path / "project.yaml").write_text(SPEC.format(url=double.url))
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("LAB_PASSWORD", double.password)
        yield double


def called(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    process_sessions.cache_clear()
    code = main(words)
    captured = capsys.readouterr()
    return code, " ".join((captured.out + captured.err).split())


def test_what_will_be_made_is_told_before_anything_was_sent(
    server: CvatDouble, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out = called(capsys, "plan")
    assert code == 0
    assert 'a new project "weeds" with the label thistle' in out


@pytest.mark.parametrize(
    ("value", "words"), [("wrong", "Check"), ("", "the environment variable LAB_PASSWORD is not set. Set it")]
)
def test_refused_credentials_show_in_the_first_plan(
    server: CvatDouble, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, value: str, words: str
) -> None:
    monkeypatch.setenv("LAB_PASSWORD", value)
    code, out = called(capsys, "plan")
    assert code == ExitCode.CREDENTIALS
    assert "could not be looked at: " in out
    assert words in out
