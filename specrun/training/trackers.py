"""Weights & Biases and MLflow, as `settings.tracking` asks: the numbers of a training go there too.

Whether a service can be reached at all is seen before the training begins. After that nothing of theirs may cost a
training: a tracker that fails is told once and left out. An attempt that goes on from an interrupted one goes on in
the same run there. Keys are handed over as values; nothing is written into the home folder.
"""

from __future__ import annotations

import math
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol, cast

from specrun.errors import MissingDependency, NodeError
from specrun.model.digest import Json
from specrun.model.work import Context

Values = Mapping[str, float]
_MEMORY = "trackers"
"""Key of the node's memory: `{"attempt": staging, "wandb": id, "mlflow": id}` of a training that is not over."""


class Tracker(Protocol):
    """One run there. Anything may be raised."""

    id: str

    def add(self, step: int, values: Values) -> None: ...
    def close(self, *, failed: bool) -> None: ...


class Trackers:
    """Those that are asked for, opened by `begin`."""

    def __init__(self, ctx: Context, config: Mapping[str, Json]) -> None:
        """config: what the run is described by there."""
        self._ctx = ctx
        self._config = config
        self._wanted: Mapping[str, Any] = ctx.settings.get("tracking") or {}
        self._open: dict[str, Tracker] | None = None

    def begin(self) -> None:
        """Does nothing the second time.

        Raises MissingDependency, CredentialsError, NodeError: one is not installed or lets us not in.
        """
        if self._open is not None:
            return
        self._open = {}
        attempt = self._ctx.staging.name
        asked = [name for name in _STARTS if self._wanted.get(name) is not None]
        recalled = self._ctx.recall(_MEMORY) if asked else None
        before = recalled if isinstance(recalled, dict) and recalled.get("attempt") == attempt else {}
        for name in asked:
            self._open[name] = self._started(name, before.get(name))
        if self._open:
            ids: dict[str, Json] = {name: tracker.id for name, tracker in self._open.items()}
            self._ctx.remember(_MEMORY, {"attempt": attempt, **ids})

    def _started(self, name: str, before: Json) -> Tracker:
        try:
            return _STARTS[name](self._wanted[name], self._ctx, self._config, str(before) if before else None)
        except ModuleNotFoundError as error:
            raise MissingDependency(
                f"settings.tracking.{name}: {error.name} is not installed.",
                hint=f"Install the extra: pip install 'specrun[{name}]', or write {name}: null.",
            ) from error
        except NodeError:
            raise
        except Exception as error:  # whatever a service's client raises
            raise NodeError(
                f"settings.tracking.{name}: {_text(error)}", hint=f"Mend it, or write {name}: null to train without."
            ) from error

    def add(self, step: int, values: Values) -> None:
        """The numbers of an epoch, those that are finite."""
        self.begin()
        finite = {name: float(value) for name, value in values.items() if math.isfinite(value)}
        for name, tracker in list((self._open or {}).items()):
            if not self._guarded(name, partial(tracker.add, step, finite)):
                assert self._open is not None
                del self._open[name]

    def close(self, *, failed: bool) -> None:
        for name, tracker in (self._open or {}).items():
            self._guarded(name, partial(tracker.close, failed=failed))
        if self._open and not failed:
            self._ctx.remember(_MEMORY, None)

    def _guarded(self, name: str, work: Callable[[], None]) -> bool:
        try:
            work()
        except Exception as error:  # whatever a service's client raises
            self._ctx.log(f"settings.tracking.{name}: {_text(error)}; the training goes on without it")
            return False
        return True


class TrackedContext:
    """A context whose metrics go to trackers too, gathered by step; they are opened with the first sign of work, so
    that a training that was over before makes no run there."""

    def __init__(self, ctx: Context, trackers: Trackers) -> None:
        self._ctx = ctx
        self._trackers = trackers
        self._step: float | None = None
        self._values: dict[str, float] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ctx, name)

    def progress(
        self, done: float, total: float | None = None, unit: str = "", phase: str = "", *, part: bool = False
    ) -> None:
        self._trackers.begin()
        self.flush()
        self._ctx.progress(done, total, unit, phase, part=part)

    def metric(self, name: str, step: float, value: float) -> None:
        self._ctx.metric(name, step, value)
        if step != self._step:
            self.flush()
            self._step = step
        self._values[name] = value

    def flush(self) -> None:
        if self._values and self._step is not None:
            self._trackers.add(int(self._step), self._values)
        self._values = {}


@contextmanager
def tracked(ctx: Context, config: Mapping[str, Json]) -> Iterator[Context]:
    """The context for a training that reports its metrics step by step. config: what it is described by there."""
    trackers = Trackers(ctx, config)
    watched = TrackedContext(ctx, trackers)
    try:
        yield cast(Context, watched)
        watched.flush()
    except BaseException:
        trackers.close(failed=True)
        raise
    trackers.close(failed=False)


class _Wandb:
    def __init__(self, client: Any, run: Any) -> None:
        self._client = client
        self._run = run
        self.id = str(run.id)

    def add(self, step: int, values: Values) -> None:
        self._run.log(dict(values), step=step)

    def close(self, *, failed: bool) -> None:
        self._run.finish(exit_code=int(failed))
        self._client.teardown()  # waits for its helper process, which writes what is offline


def _wandb(wanted: Mapping[str, Any], ctx: Context, config: Mapping[str, Json], before: str | None) -> Tracker:
    import wandb  # an extra

    folder = ctx.run_folder / "wandb"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        os.environ.setdefault(name, str(ctx.cache_dir / "wandb"))
    settings = wandb.Settings(
        api_key=ctx.secret(wanted["api_key"]) if wanted.get("api_key") else None,
        mode=wanted.get("mode") or os.environ.get("WANDB_MODE") or "online",
        silent=True,
        console="off",
        disable_code=True,
        disable_git=True,
    )
    run = wandb.init(
        project=wanted.get("project") or ctx.project_name or None,
        entity=wanted.get("entity"),
        name=str(ctx.address),
        id=before or secrets.token_hex(4),
        resume="allow",
        dir=str(folder),
        config=dict(config),
        settings=settings,
    )
    if getattr(run, "offline", False):
        ctx.log(f"Weights & Biases writes to {folder}; `wandb sync` sends it")
    return _Wandb(wandb, run)


class _Mlflow:
    """token: of the server; MLflow takes it from the environment alone, where it stands during a request."""

    def __init__(self, client: Any, run_id: str, token: str | None) -> None:
        self._client = client
        self._token = token
        self.id = run_id

    def add(self, step: int, values: Values) -> None:
        from mlflow.entities import Metric  # loaded with the client

        now = int(time.time() * 1000)
        metrics = [Metric(_mlflow_name(name), value, now, step) for name, value in values.items()]
        with _mlflow_token(self._token):
            self._client.log_batch(self.id, metrics=metrics)

    def close(self, *, failed: bool) -> None:
        with _mlflow_token(self._token):
            self._client.set_terminated(self.id, "FAILED" if failed else "FINISHED")


def _mlflow(wanted: Mapping[str, Any], ctx: Context, config: Mapping[str, Json], before: str | None) -> Tracker:
    from mlflow import MlflowClient  # an extra

    token = ctx.secret(wanted["token"]) if wanted.get("token") else None
    uri = _beside_the_spec(wanted.get("tracking_uri"), ctx) or os.environ.get("MLFLOW_TRACKING_URI")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # by itself it tries for minutes
    with _mlflow_token(token):
        client = MlflowClient(tracking_uri=uri or f"sqlite:///{ctx.output_root / 'mlflow.db'}")
        if before is not None:
            client.update_run(before, status="RUNNING")
            return _Mlflow(client, before, token)
        name = wanted.get("experiment") or ctx.project_name or "specrun"
        found = client.get_experiment_by_name(name)
        experiment = found.experiment_id if found else client.create_experiment(name)
        run_id = str(client.create_run(experiment, run_name=str(ctx.address)).info.run_id)
        for key, value in config.items():
            client.log_param(run_id, _mlflow_name(key), value)
    return _Mlflow(client, run_id, token)


def _beside_the_spec(uri: str | None, ctx: Context) -> str | None:
    scheme, separator, path = (uri or "").partition(":///")
    return f"{scheme}:///{ctx.project_dir / path}" if scheme == "sqlite" and separator else uri


@contextmanager
def _mlflow_token(token: str | None) -> Iterator[None]:
    if token is None:
        yield
        return
    name = "MLFLOW_TRACKING_TOKEN"
    before = os.environ.get(name)
    os.environ[name] = token
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _mlflow_name(name: str) -> str:
    """It refuses what is neither a letter, a digit nor one of these."""
    return re.sub(r"[^\w\-. /:]", "_", name)


_STARTS: Mapping[str, Callable[[Mapping[str, Any], Context, Mapping[str, Json], str | None], Tracker]] = {
    "wandb": _wandb,
    "mlflow": _mlflow,
}


def _text(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
