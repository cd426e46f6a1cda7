"""What nodes print is no command to GitHub Actions."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from specrun.cli.github import as_text
from specrun.cli.main import main

HOSTILE = "##[error]not ours"
SPEC = """\
specrun: 1
project: {name: demo}
steps:
  first: {argv: [python, first.py]}
"""


def test_commands_are_text_under_github_and_left_alone_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "a ::b\n  ::error::c\n::stop-commands::d\nx ##[group]e\n"
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    assert as_text(text) == text
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert as_text(text) == "a ::b\n  : :error::c\n: :stop-commands::d\nx ## [group]e\n"


@pytest.mark.parametrize("command", [["apply", "--ui", "plain"], ["apply", "--ui", "json"], ["runs", "show"], ["logs"]])
def test_a_nodes_last_words_are_no_commands(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "project.yaml").write_text(SPEC)
    (tmp_path / "first.py").write_text(f"print({HOSTILE!r}); print('::error::not ours'); raise SystemExit({HOSTILE!r})")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    if command[0] != "apply":
        main(["apply", "--ui", "quiet"])
    main(command)
    captured = capfd.readouterr()
    lines = (captured.out + captured.err).splitlines()
    assert any("not ours" in line for line in lines)
    assert not [line for line in lines if "##[" in line]
    assert not [line for line in lines if re.match(r"\s*::error::not", line)]
