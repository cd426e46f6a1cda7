"""settings.tracking: where training reports to, if something reports at all and can."""

from __future__ import annotations

from pathlib import Path

import pytest

from specrun.cli.project import refuse_unserved
from specrun.errors import UsageError
from specrun.kinds.registry import REGISTRY
from specrun.spec.project import Project, load_project

_SMP = """
models: {unet: {kind: smp, encoder: resnet18, encoder_weights: null, data: masks}}
sources: {s: {kind: images, path: media}}
datasets: {d: {from: sources.s}}
exports: {masks: {kind: mmseg, dataset: d}}
"""


def _project(folder: Path, tracking: str, nodes: str = _SMP) -> Project:
    (folder / "media").mkdir(exist_ok=True)
    text = f"specrun: 1\nproject: {{name: p}}\nsettings: {{tracking: {{{tracking}}}}}\n{nodes}"
    (folder / "project.yaml").write_text(text, encoding="utf-8")
    return load_project(folder / "project.yaml", REGISTRY)


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_tracker_that_is_not_installed_is_told_before_anything_runs(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = _project(tmp_path, f"{name}: {{}}")
    monkeypatch.setattr("importlib.util.find_spec", lambda package: None)
    with pytest.raises(UsageError, match=rf"settings\.tracking\.{name}: the package {name} is not installed"):
        refuse_unserved(project)


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_tracker_that_is_installed_is_let_through(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    project = _project(tmp_path, f"{name}: {{}}")
    monkeypatch.setattr("importlib.util.find_spec", lambda package: object())
    refuse_unserved(project)


def test_a_tracker_that_nothing_would_report_to_is_refused(tmp_path: Path) -> None:
    project = _project(tmp_path, "wandb: {}", "sources: {s: {kind: images, path: media}}")
    with pytest.raises(UsageError, match="nothing in this project reports there"):
        refuse_unserved(project)


def test_without_trackers_nothing_is_refused(tmp_path: Path) -> None:
    refuse_unserved(_project(tmp_path, "csv: true"))
