"""The words of the command line before argparse sees them."""

from __future__ import annotations

from pathlib import Path

import pytest

from specrun.cli.main import with_spec_option


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("plan --spec other.yaml -v", "plan other.yaml -v"),
        ("apply --spec=other.yaml", "apply other.yaml"),
        ("watch other.yaml", "watch other.yaml"),
        ("runs other.yaml", "runs --spec other.yaml"),
        ("runs --all other.yaml", "runs --all --spec other.yaml"),
        ("logs --spec other.yaml models.m", "logs --spec other.yaml models.m"),
        ("logs folder models.m", "logs --spec folder models.m"),
        ("logs empty", "logs empty"),
        ("why models.m --spec folder", "why models.m --spec folder"),
    ],
)
def test_a_spec_is_taken_by_place_and_by_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, meant: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "folder/project.yaml").touch()
    assert with_spec_option(given.split()) == meant.split()
