"""Numbers of a training at Weights & Biases and MLflow: through stand-ins of their clients, and the real ones where
they are installed, offline and in a database."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from specrun.errors import MissingDependency, NodeError, StopRequested
from specrun.training.trackers import tracked
from tests.support.context import DictMemory, make_context
from tests.support.fake_wandb import FakeWandb

_KEY = {"env": "WANDB_KEY"}


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> FakeWandb:
    client = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", client)
    for name in ("WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    return client


def _context(folder: Path, tracking: dict[str, Any], **overrides: Any) -> Any:
    fields = {"settings": {"tracking": tracking}, "project_name": "reef", **overrides}
    return make_context(folder, "models.unet", **fields)


def _train(ctx: Any, epochs: tuple[int, ...] = (1, 2)) -> None:
    with tracked(ctx, {"arch": "Unet", "train": {"epochs": 2}}) as watched:
        for epoch in epochs:
            watched.progress(epoch - 1, 2, "epochs")
            watched.metric("val/iou", epoch, epoch / 10)
            watched.metric("train/loss", epoch, float("nan") if epoch == 2 else 1.0)


def test_the_numbers_of_each_epoch_go_there_and_to_the_run(tmp_path: Path, wandb: FakeWandb) -> None:
    ctx = _context(tmp_path, {"wandb": {"entity": "lab"}})
    _train(ctx)
    (run,) = wandb.runs
    assert run.rows == [(1, {"val/iou": 0.1, "train/loss": 1.0}), (2, {"val/iou": 0.2})]
    assert run.ended == 0
    told = {name: run.fields[name] for name in ("project", "entity", "name", "config")}
    assert told == {
        "project": "reef", "entity": "lab", "name": "models.unet", "config": {"arch": "Unet", "train": {"epochs": 2}},
    }  # fmt: skip
    assert Path(run.fields["dir"]).is_relative_to(ctx.run_folder)
    assert sum(type(event).__name__ == "Metric" for event in ctx.events) == 3


def test_the_key_is_handed_over_as_a_value(tmp_path: Path, wandb: FakeWandb, monkeypatch: pytest.MonkeyPatch) -> None:
    from specrun.model.digest import canonical_json

    ctx = _context(tmp_path, {"wandb": {"api_key": _KEY}}, secrets={canonical_json(_KEY): "the-secret-key"})
    _train(ctx)
    assert wandb.runs[0].fields["settings"].api_key == "the-secret-key"
    assert "the-secret-key" not in [*os.environ.values(), *map(str, ctx.events)]


def test_nothing_is_opened_for_a_training_that_was_over_before(tmp_path: Path, wandb: FakeWandb) -> None:
    with tracked(_context(tmp_path, {"wandb": {}}), {}) as watched:
        watched.log("training was finished before")
    assert wandb.runs == []


def test_an_attempt_that_goes_on_uses_the_run_of_the_one_before(tmp_path: Path, wandb: FakeWandb) -> None:
    memory = DictMemory()
    ctx = _context(tmp_path, {"wandb": {}}, memory=memory)

    def stop() -> None:
        with tracked(ctx, {}) as watched:
            watched.metric("val/iou", 1, 0.1)
            watched.progress(1)
            raise StopRequested("stop")

    with pytest.raises(StopRequested):
        stop()
    _train(ctx, (2,))
    _train(_context(tmp_path, {"wandb": {}}, memory=memory), (1,))
    first, second, third = (run.id for run in wandb.runs)
    assert first == second != third
    assert [run.ended for run in wandb.runs] == [1, 0, 0]


def test_a_service_that_fails_later_costs_no_training(tmp_path: Path, wandb: FakeWandb) -> None:
    wandb.failure = OSError("no route to host")
    ctx = _context(tmp_path, {"wandb": {}})
    _train(ctx)
    said = [event.text for event in ctx.events if type(event).__name__ == "LogLine"]
    assert said[0] == "settings.tracking.wandb: no route to host; the training goes on without it"
    assert sum("tracking" in line for line in said) == 1


def test_a_service_that_lets_us_not_in_fails_the_node_at_once(
    tmp_path: Path, wandb: FakeWandb, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**fields: Any) -> None:
        raise ValueError("api_key not configured\nmore")

    monkeypatch.setattr(wandb, "init", refuse)
    with pytest.raises(NodeError, match=r"settings\.tracking\.wandb: api_key not configured(?!.*more)") as caught:
        _train(_context(tmp_path, {"wandb": {}}))
    assert "wandb: null" in str(caught.value.hint)


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_missing_package_names_the_extra(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingDependency, match=rf"settings\.tracking\.{name}") as caught:
        _train(_context(tmp_path, {name: {}}))
    assert f"specrun[{name}]" in str(caught.value.hint)


def test_weights_and_biases_itself_takes_a_run_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    from specrun.model.digest import canonical_json

    secrets = {canonical_json(_KEY): "k" * 40}
    ctx = _context(tmp_path, {"wandb": {"mode": "offline", "api_key": _KEY}}, secrets=secrets)
    _train(ctx)
    (kept,) = (ctx.run_folder / "wandb").glob("wandb/offline-run-*/run-*.wandb")
    said = [event.text for event in ctx.events if type(event).__name__ == "LogLine"]
    assert b"val/iou" in kept.read_bytes(), said
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in files if b"k" * 40 in path.read_bytes()]
    assert not [path for path in files if path.is_relative_to(tmp_path / "home")]


@pytest.mark.slow
def test_mlflow_itself_keeps_the_numbers_in_a_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    ctx = _context(tmp_path, {"mlflow": {"tracking_uri": "sqlite:///kept.db", "experiment": "coins"}})
    with tracked(ctx, {"arch": "Unet"}) as watched:
        for epoch in (1, 2):
            watched.metric("metrics/mAP50(B)", epoch, epoch / 4)
            watched.progress(epoch)
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'kept.db'}")
    experiment = client.get_experiment_by_name("coins")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == ("models.unet", "FINISHED")
    assert run.data.params == {"arch": "Unet"}
    history = client.get_metric_history(run.info.run_id, "metrics/mAP50_B_")
    assert [(one.step, one.value) for one in history] == [(1, 0.25), (2, 0.5)]
