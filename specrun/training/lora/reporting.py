"""What a training tells while it runs: losses, pictures, earlier weights."""

from __future__ import annotations

import csv
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from specrun.model.artifact import Artifact
from specrun.training.lora import checkpoints, formats
from specrun.training.lora.families import Text
from specrun.training.lora.sampling import Wish, picture_name, save_sheet
from specrun.training.lora.settings import SAMPLE_STEP, LoraTraining

if TYPE_CHECKING:
    from specrun.training.lora.trainer import Training

METRICS = "metrics.csv"
_COLUMNS = ("step", "train/loss", "lr", "steps/s", "val/loss")


def prompts_of(spec: LoraTraining) -> list[str]:
    if spec.samples is None:
        return []
    return spec.samples.prompts or ([spec.trigger] if spec.trigger else [])


def sample_captions(spec: LoraTraining) -> list[str]:
    """What the text encoders are asked for pictures."""
    prompts = prompts_of(spec)
    return [*prompts, spec.samples.negative_prompt] if spec.samples is not None and prompts else []


class Report:
    def __init__(self, training: Training) -> None:
        self.training = training
        self.ctx = training.ctx
        self.prompts = prompts_of(training.spec)
        self.folder = training.job.folder
        self._write()
        self._since = time.monotonic()
        self._from = training.progress.step

    def losses(self) -> None:
        progress = self.training.progress
        speed = (progress.step - self._from) / max(time.monotonic() - self._since, 1e-9)
        row = {
            "step": float(progress.step),
            "train/loss": progress.loss_sum / max(1, progress.loss_count),
            "lr": float(self.training.optimizer.param_groups[0]["lr"]),
            "steps/s": speed,
        }
        progress.loss_sum, progress.loss_count = 0.0, 0
        self._add(row)
        self._since, self._from = time.monotonic(), progress.step

    def at_step(self) -> None:
        spec, step, last = self.training.spec, self.training.progress.step, self.training.steps
        self.ctx.progress(step, last, "steps", f"step {step:,}/{last:,}")
        began = time.monotonic()
        if spec.validation is not None and (step % spec.validation.every == 0 or step == last):
            self._validate()
        if not self.training.crew.leads:
            return
        if spec.samples is not None and (step % spec.samples.every == 0 or step == last):
            self._pictures()
        if step and spec.keep_weights and (step % spec.save_every == 0 or step == last):
            self._keep()
        self._since += time.monotonic() - began

    def _validate(self) -> None:
        done = any(
            row["step"] == self.training.progress.step and "val/loss" in row for row in self.training.progress.rows
        )
        if self.training.records.validation and not done:
            self.ctx.progress(0, None, "images", "measuring the validation loss")
            loss = self.training.validation_loss()
            self._add({"step": float(self.training.progress.step), "val/loss": loss})

    def _pictures(self) -> None:
        spec = self.training.spec.samples
        if spec is None or not self.prompts:
            return
        training = self.training
        folder = self.folder / "samples"
        folder.mkdir(parents=True, exist_ok=True)
        width, height = (side // SAMPLE_STEP * SAMPLE_STEP for side in spec.size or training.spec.resolution)
        training.set_learning(False)
        with training.averaged():
            for number, prompt in enumerate(self.prompts):
                when = f"at step {training.progress.step:,}" if training.progress.step else "before training"
                self.ctx.progress(number, len(self.prompts), "pictures", f"painting samples {when}", part=True)
                wish = Wish(
                    _text(training, prompt),
                    _text(training, spec.negative_prompt),
                    (width, height),
                    spec.seed + number,
                    spec.steps,
                    training.family.guidance if spec.guidance is None else spec.guidance,
                )
                picture = training.painter().paint(wish, self.ctx.check_stop)
                picture.save(folder / picture_name(training.progress.step, number))
        training.set_learning(True)
        save_sheet(folder, self.prompts, last=training.steps)
        self.ctx.artifact(Artifact("samples", "folder", "samples"))

    def _keep(self) -> None:
        training, progress = self.training, self.training.progress
        losses = [row["val/loss"] for row in progress.rows if "val/loss" in row]
        good = losses[-1] if losses else -float(progress.step)
        folder = self.folder / checkpoints.KEPT
        folder.mkdir(exist_ok=True)
        kept = sorted({*progress.kept, (good, progress.step)})
        progress.kept = [(float(value), int(step)) for value, step in kept[: training.spec.keep_weights]]
        if any(step == progress.step for _, step in progress.kept):
            weights = formats.packed(training.weights())
            own = {"lora_adapter_metadata": training.adapter_metadata()}
            formats.save_weights(folder / f"step_{progress.step:06d}.safetensors", weights, own)
        wanted = {f"step_{step:06d}.safetensors" for _, step in progress.kept}
        for path in folder.glob("step_*.safetensors"):
            if path.name not in wanted:
                path.unlink()

    def _add(self, row: dict[str, float]) -> None:
        self.training.progress.rows.append(row)
        for name, value in row.items():
            if name != "step":
                self.ctx.metric(name, row["step"], value)
        self._write()

    def _write(self) -> None:
        """Anew each time: rows beyond a checkpoint are forgotten with what they tell of."""
        if self.training.crew.leads:
            write_metrics(self.folder / METRICS, self.training.progress.rows)


def write_metrics(path: Path, rows: list[dict[str, float]]) -> None:
    partial = path.with_suffix(".part")
    with partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, _COLUMNS)
        writer.writeheader()
        writer.writerows({**row, "step": int(row["step"])} for row in rows)
    os.replace(partial, path)


def _text(training: Training, prompt: str) -> Text:
    with torch.no_grad():
        return training.losses.text_of([prompt])
