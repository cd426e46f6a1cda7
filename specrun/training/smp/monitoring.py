"""Which metric says that an epoch is better than another, decided before training from what the splits show."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from specrun.errors import NodeError
from specrun.training.smp.description import BACKGROUND
from specrun.training.smp.names import METRICS_BY_CLASS
from specrun.training.smp.settings import SmpTrainSpec

_LOSSES = ("val/loss", "train/loss")


def lower_is_better(metric: str) -> bool:
    """By the metric itself: a class may have "loss" in its name."""
    return metric in _LOSSES


@dataclass(frozen=True, kw_only=True)
class Shown:
    """channels: of the model. drawn: classes that the validation split shows, the background among them; None: nobody
    has looked. validates: there is such a split."""

    channels: tuple[str, ...]
    drawn: Collection[str] | None
    validates: bool

    def telling(self, metric: str) -> tuple[str, str | None]:
        """The metric itself, or the one to watch in its place and why."""
        if metric == "train/loss":
            return metric, None
        if not self.validates:
            return "train/loss", "there is no validation split"
        if self.drawn is None:
            return metric, None
        if not self.drawn:
            return "train/loss", "every pixel of the validation split is ignored"
        wanted = (
            {metric.removeprefix(METRICS_BY_CLASS)}
            if metric.startswith(METRICS_BY_CLASS)
            else {*self.channels} - {BACKGROUND}
        )
        if metric == "val/loss" or wanted & {*self.drawn}:
            return metric, None
        what = metric.removeprefix(METRICS_BY_CLASS) if metric.startswith(METRICS_BY_CLASS) else "no class"
        never = "never occurs" if metric.startswith(METRICS_BY_CLASS) else "occurs"
        return "val/loss", f"{what} {never} in the validation split"


def watch_what_tells(train: SmpTrainSpec, shown: Shown) -> tuple[SmpTrainSpec, tuple[str, ...]]:
    """With metrics that can be told, and sentences on those that were replaced: a score of a class that never occurs
    would make the first epoch the best.

    Raises NodeError: a metric is of a class that the model does not have.
    """
    notes = []
    best, why = _checked("checkpoints", train.checkpoints.monitor, shown)
    if why:
        notes.append(f"{why}: the best epoch is the one with the lowest {best}, not {train.checkpoints.monitor}")
    changed = train.model_copy(update={"checkpoints": train.checkpoints.model_copy(update={"monitor": best})})
    if train.early_stopping is None:
        return changed, tuple(notes)
    watched, why = _checked("early_stopping", train.early_stopping.monitor, shown)
    if why:
        notes.append(f"{why}: early stopping watches {watched}, not {train.early_stopping.monitor}")
    stopping = train.early_stopping.model_copy(update={"monitor": watched})
    return changed.model_copy(update={"early_stopping": stopping}), tuple(notes)


def _checked(place: str, metric: str, shown: Shown) -> tuple[str, str | None]:
    name = metric.removeprefix(METRICS_BY_CLASS)
    if metric.startswith(METRICS_BY_CLASS) and name not in shown.channels:
        raise NodeError(
            f'train.{place}.monitor: {metric}: there is no class "{name}".',
            hint=f"There are {', '.join(shown.channels)}.",
        )
    return shown.telling(metric)
