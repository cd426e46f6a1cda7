import json
from pathlib import Path

import pytest

from specrun.cli.main import main


def test_the_schema_is_written_and_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["schema", "--check"]) == 1
    assert main(["schema"]) == 0
    assert main(["schema", "--check"]) == 0
    written = tmp_path / "schemas" / "project.schema.json"
    written.write_text(written.read_text() + "\n")
    assert main(["schema", "--check"]) == 1
    assert "Run `specrun schema`." in capsys.readouterr().err


def test_the_schema_is_printed_on_wish(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", "--out", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "specrun project"
