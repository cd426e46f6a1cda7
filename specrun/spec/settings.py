"""`project` and `settings`: what holds for the whole spec and makes nothing stale."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from specrun.model.address import NAME_PATTERN
from specrun.spec.kind import Duration, Strict
from specrun.spec.secrets import SecretRef


class ProjectSpec(Strict):
    """The project itself."""

    name: str = Field(pattern=f"^{NAME_PATTERN}$")
    """The project's name: letters, digits, _ and -, starting with a letter."""
    description: str = ""
    """For people."""
    seed: int = Field(default=42, ge=0, lt=2**32)
    """Seed of everything random, unless an entry has its own."""
    output_root: str = Field(default="outputs", min_length=1)
    """The folder for everything that is made, relative to the spec."""


class ExecutorSettings(Strict):
    """Where and how much at a time."""

    backend: Literal["local", "ray"] = "local"
    """local: worker processes on this machine; ray: tasks on a Ray cluster that exists."""
    max_parallel: int = Field(default=4, ge=1)
    """Nodes that run at the same time, at most."""
    gpus: Literal["auto"] | int | list[int] = "auto"
    """auto: every GPU; a number: that many; a list: these indices."""
    address: str = "auto"
    """Of the Ray cluster."""


class DatabaseUri(Strict):
    """A MongoDB of your own."""

    uri: SecretRef
    """mongodb://…, by reference because it may hold a password."""


class FiftyOneSettings(Strict):
    """The FiftyOne database."""

    database: Literal["embedded", "global"] | DatabaseUri = "embedded"
    """embedded: one that belongs to the project; global: the user's own; {uri: …}: a server."""


class WandbSettings(Strict):
    """Weights & Biases."""

    project: str | None = None
    """Project there; the spec's name when left out."""
    entity: str | None = None
    """User or team."""
    api_key: SecretRef | None = None
    """Left out: what `wandb login` stored."""
    mode: Literal["online", "offline"] | None = None
    """offline: into the node's folder of the run, for `wandb sync`; null: what WANDB_MODE says, else online."""


class MlflowSettings(Strict):
    """MLflow."""

    tracking_uri: str | None = Field(default=None, pattern=r"^[a-z+-]+:")
    """Server or database, for example https://… or sqlite:///mlflow.db; null: what MLFLOW_TRACKING_URI says, else
    mlflow.db in the output root."""
    token: SecretRef | None = None
    """Of the server; left out: what MLflow's own environment variables say."""
    experiment: str | None = None
    """Experiment there; the spec's name when left out."""


class TrackingSettings(Strict):
    """Where metrics of trainings go besides the run's journal."""

    tensorboard: bool = True
    """TensorBoard event files in the node's folder."""
    csv: bool = True
    """A CSV file in the node's folder."""
    wandb: WandbSettings | None = None
    """null: off."""
    mlflow: MlflowSettings | None = None
    """null: off."""


class RetrySettings(Strict):
    """Retries of single requests to servers; whole nodes have `retries`."""

    max_attempts: int = Field(default=5, ge=1, le=100)
    """The first attempt counts."""
    initial_delay: Duration = "1s"
    """Before the second attempt; doubled each time, with jitter."""
    max_delay: Duration = "60s"
    """The longest wait between two attempts."""


class RunsSettings(Strict):
    """Folders of earlier runs, with their journals and logs."""

    keep: int = Field(default=50, ge=1)
    """So many stay. Older ones go when a run begins, unless they are younger than 30 days or made something that is
    still current."""


class Settings(Strict):
    """How things are run; nothing here makes a node stale."""

    executor: ExecutorSettings = ExecutorSettings()
    """Where and how much at a time."""
    fiftyone: FiftyOneSettings = FiftyOneSettings()
    """The FiftyOne database."""
    tracking: TrackingSettings = TrackingSettings()
    """Where metrics of trainings go besides the run's journal."""
    retry: RetrySettings = RetrySettings()
    """Retries of single requests to servers."""
    runs: RunsSettings = RunsSettings()
    """Folders of earlier runs."""
