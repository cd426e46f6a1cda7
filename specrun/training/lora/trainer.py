"""The training: from records and a base model to weights; going on exactly where an earlier attempt ended.

Each step of the optimizer takes `gradient_accumulation` batches. What is random in it (noise, timesteps, dropout,
changes of pictures and captions) is drawn from the seed and the number of its batch.
"""

from __future__ import annotations

import contextlib
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from specrun.errors import NodeError, OutOfMemory, StopRequested
from specrun.model.work import Context
from specrun.training.lora import checkpoints, network, prior, reporting
from specrun.training.lora.base import Base
from specrun.training.lora.buckets import batches_an_epoch, epoch_batches
from specrun.training.lora.checkpoints import Progress
from specrun.training.lora.encoding import LatentCache, LatentEncoder, TextCache, weights_digest
from specrun.training.lora.estimates import advice, needed_mib
from specrun.training.lora.families import Parts, Text, family
from specrun.training.lora.families.parts import token_count, window
from specrun.training.lora.noise import generator, make_diffusion
from specrun.training.lora.optimizing import Average, make_optimizer, make_schedule, step_in_backward
from specrun.training.lora.pictures import Picture, Pixels, prepare
from specrun.training.lora.records import Record, Records, changed_caption, require_short
from specrun.training.lora.sampling import Painter
from specrun.training.lora.settings import LoraTraining
from specrun.training.oom import is_out_of_memory

_REPORT_EVERY = 10
_VALIDATION_TIMESTEPS = 4
_LATENTS, _TEXTS, _PRIORS = "lora/latents", "lora/texts", "lora/priors"
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "no": torch.float32}


@dataclass(frozen=True, kw_only=True)
class Job:
    """key: digest of all that decides the result. folder: where weights go. cache: what may vanish."""

    spec: LoraTraining
    base: Base
    records: Records
    pixels: Pixels
    folder: Path
    cache: Path
    key: str
    seed: int
    on_gpu: bool


def total_steps(spec: LoraTraining, sizes_wh: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Steps of the optimizer in all, and in each epoch."""
    an_epoch = -(-batches_an_epoch(sizes_wh, spec.batch) // spec.gradient_accumulation)
    return spec.max_steps or an_epoch * spec.epochs, an_epoch


class Training:
    """A training that is under way."""

    def __init__(self, job: Job, ctx: Context) -> None:
        self.job, self.spec, self.ctx = job, job.spec, ctx
        self.device = torch.device("cuda" if job.on_gpu else "cpu")
        self.dtype = DTYPES[self.spec.mixed_precision] if job.on_gpu else torch.float32
        if not job.on_gpu and self.spec.mixed_precision != "no":
            ctx.log(f"on the CPU, so in 32 bits instead of {self.spec.mixed_precision}")
        ctx.progress(0, None, "steps", "loading the base model")
        self.family = family(job.base.family)
        self.parts: Parts = self.family.load(job.base, self.dtype)
        self.records = self._checked(job.records)
        self.diffusion = make_diffusion(self.parts.scheduler, self.spec)
        self.encoder = LatentEncoder(self.parts.vae, self.dtype, ctx.log)
        self.latents = LatentCache(job.cache / _LATENTS, weights_digest(self.parts.vae.state_dict()))
        self._place_parts()
        self.texts = TextCache(job.cache / _TEXTS, self.family, self.parts, self.spec.clip_skip)
        self.priors = prior.class_records(self, job.cache / _PRIORS)
        self._fill_caches()
        self.configs = self._inject()
        self.sizes = [record.fit.size_wh for record in self.records.train]
        self.steps, self.steps_an_epoch = total_steps(self.spec, self.sizes)
        self._make_optimizer()
        self.run_denoiser: Any = torch.compile(self.parts.denoiser) if self.spec.compile else self.parts.denoiser
        self.progress = Progress(job.key)

    # What the training is made of

    def _checked(self, records: Records) -> Records:
        part = self.parts.text[0]
        found = require_short(records, self.spec, lambda caption: token_count(part, caption), window(part))
        for note in found.notes:
            self.ctx.log(note)
        return found

    def _place_parts(self) -> None:
        for module in (self.parts.denoiser, *(part.encoder for part in self.parts.text)):
            module.requires_grad_(False).eval()
            module.to(self.device)
        self.parts.vae.to(self.device)

    def _fill_caches(self) -> None:
        records = [*self.records.train, *self.records.validation, *self.priors]
        if self.spec.cache_latents:
            self.latents.fill(
                records,
                lambda record: prepare(record, self.spec, self.job.pixels, None),
                self.encoder,
                self._told("encoding pictures"),
            )
        captions: list[str] = ["", *(record.caption for record in records)]
        if self.spec.caches_text:
            told = self._told("encoding captions")
            self.texts.fill([*captions, *reporting.sample_captions(self.spec)], told)
            for part in self.parts.text:
                part.encoder.to("cpu")
        if self.spec.cache_latents:
            self.parts.vae.to("cpu")
        if self.job.on_gpu:
            torch.cuda.empty_cache()

    def _told(self, phase: str) -> Any:
        def told(done: int, total: int) -> None:
            self.ctx.progress(done, total, "files", phase)
            self.ctx.check_stop()

        return told

    def _inject(self) -> dict[str, Any]:
        spec, seed = self.spec, self.job.seed
        denoiser = self.parts.denoiser
        configs = {"unet": network.inject(denoiser, spec, network.denoiser_targets(spec), seed, "unet")}
        if spec.train_text_encoder:
            for number, part in enumerate(self.parts.text):
                targets = network.text_targets(spec)
                configs[part.name] = network.inject(part.encoder, spec, targets, seed + 1 + number, part.name)
        if spec.gradient_checkpointing:
            denoiser.enable_gradient_checkpointing()
            if spec.train_text_encoder:
                for part in self.parts.text:
                    part.encoder.gradient_checkpointing_enable({"use_reentrant": False})
        return configs

    def _make_optimizer(self) -> None:
        spec = self.spec
        groups: list[dict[str, Any]] = []
        for name, module in self.learning.items():
            rate = spec.learning_rate if name == "unet" else spec.text_rate
            groups.append({"params": [parameter for _, parameter in network.trainable(module)], "lr": rate})
        self.parameters = [parameter for group in groups for parameter in group["params"]]
        self.optimizer = make_optimizer(groups, spec, on_gpu=self.job.on_gpu)
        self.schedule = make_schedule(self.optimizer, spec, self.steps)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)
        self.average = Average(self.parameters, spec.ema) if spec.ema is not None else None
        if spec.fused_backward:
            step_in_backward(self.optimizer, self.parameters)

    @property
    def learning(self) -> dict[str, Any]:
        """The modules that learn, by name."""
        return {name: module for name, module in self.parts.modules.items() if name in self.configs}

    def cast(self) -> Any:
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)

    def averaged(self) -> contextlib.AbstractContextManager[None]:
        """The weights that are saved: averages, where they are kept."""
        return self.average or contextlib.nullcontext()

    def painter(self) -> Painter:
        return Painter(self.family, self.parts.denoiser, self.encoder, self.diffusion.scheduler, self.device, self.cast)

    def set_learning(self, learning: bool) -> None:
        """Dropout, and computing again, are of the training alone."""
        for module in self.learning.values():
            module.train(learning)

    # One step

    def text_of(self, captions: Sequence[str]) -> Text:
        if self.spec.caches_text:
            said = self.texts.load(captions)
        else:
            with torch.set_grad_enabled(self.spec.train_text_encoder and torch.is_grad_enabled()), self.cast():
                said = self.family.encode(self.parts, captions, self.spec.clip_skip)
        return {name: value.to(self.device) for name, value in said.items()}

    def batch_loss(self, records: Sequence[Record], numbers: tuple[int, ...], *, learning: bool) -> torch.Tensor:
        """(n,) the loss of each record. numbers: what decides noise, timesteps and changes. learning: with changes."""
        source = generator(self.job.seed, *numbers)
        order = random.Random(source.initial_seed()) if learning else None
        pictures, moments = self._moments(records, order)
        latents = self.encoder.drawn(moments, source)
        noise, timesteps = self.diffusion.draw(latents.shape, source)
        if not learning:
            timesteps = self._fixed_timesteps(numbers[-1]).expand(len(records))
        return self._loss_at(records, pictures, (latents, noise, timesteps), order)

    def _moments(self, records: Sequence[Record], order: random.Random | None) -> tuple[list[Picture], torch.Tensor]:
        """Pictures are read only where something else than their latents is asked of them."""
        cached = self.spec.cache_latents
        if cached and self.spec.masked_loss is None:
            return [], torch.stack([self.latents.load(record) for record in records])
        pictures = [prepare(record, self.spec, self.job.pixels, None if cached else order) for record in records]
        if cached:
            return pictures, torch.stack([self.latents.load(record) for record in records])
        pixels = torch.stack([picture.pixels for picture in pictures])
        return pictures, self.encoder.moments(pixels, [record.name for record in records])

    def _loss_at(
        self,
        records: Sequence[Record],
        pictures: Sequence[Picture],
        drawn: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
        order: random.Random | None,
    ) -> torch.Tensor:
        latents, noise, timesteps = (value.to(self.device) for value in drawn)
        noisy = self.diffusion.noisy(latents, noise, timesteps)
        target = self.diffusion.target(latents, noise, timesteps)
        captions = [record.caption for record in records]
        if order is not None:
            captions = [changed_caption(caption, self.spec, order) for caption in captions]
        text = self.text_of(captions)
        sizes = torch.tensor(self._sizes(records, pictures), device=self.device)
        with self.cast():
            denoiser = self.run_denoiser if order is not None else self.parts.denoiser
            predicted = self.family.predict(denoiser, noisy.to(self.dtype), timesteps, text, sizes)
        masks = [picture.mask for picture in pictures if picture.mask is not None]
        mask = torch.stack(masks).to(self.device) if masks else None
        return self.diffusion.loss(predicted, target, timesteps, mask)

    def _sizes(self, records: Sequence[Record], pictures: Sequence[Picture]) -> list[tuple[int, int, int, int]]:
        if pictures:
            return [picture.sizes for picture in pictures]
        return [
            (
                record.size_wh[1],
                record.size_wh[0],
                (record.fit.resize_wh[1] - record.fit.size_wh[1]) // 2,
                (record.fit.resize_wh[0] - record.fit.size_wh[0]) // 2,
            )
            for record in records
        ]

    def _fixed_timesteps(self, number: int) -> torch.Tensor:
        count = int(self.diffusion.scheduler.config.num_train_timesteps)
        return torch.tensor([(2 * number + 1) * count // (2 * _VALIDATION_TIMESTEPS)])

    def step(self) -> float:
        """One step of the optimizer; returns the mean loss. Raises NodeError: it is not a number."""
        spec, number = self.spec, self.progress.step
        epoch, group = divmod(number, self.steps_an_epoch)
        batches = epoch_batches(self.sizes, spec.batch, self.job.seed, epoch)
        wanted = batches[group * spec.gradient_accumulation : (group + 1) * spec.gradient_accumulation]
        images = sum(len(batch) for batch in wanted)
        mean = 0.0
        for place, batch in enumerate(wanted):
            numbers = (1, number, place)
            torch.manual_seed(generator(self.job.seed, 2, *numbers).initial_seed())
            loss = self.batch_loss([self.records.train[i] for i in batch], numbers, learning=True).sum() / images
            self.scaler.scale(loss).backward()
            mean += float(loss.detach())
            mean += self._prior_step(len(batch), images, numbers)
        if not math.isfinite(mean):
            raise NodeError(
                f"step {number + 1}: the loss is not a number.",
                hint="Lower learning_rate, or write mixed_precision: bf16 or no.",
            )
        if not spec.fused_backward:
            self._apply_gradients()
        self.schedule.step()
        if self.average is not None:
            self.average.update()
        return mean

    def _prior_step(self, count: int, images: int, numbers: tuple[int, ...]) -> float:
        """As many pictures of the class as of the subject."""
        if not self.priors or self.spec.prior_preservation is None:
            return 0.0
        order = random.Random(generator(self.job.seed, 3, *numbers).initial_seed())
        chosen = [order.choice(self.priors) for _ in range(count)]
        each = self.batch_loss(chosen, (4, *numbers), learning=True)
        loss = self.spec.prior_preservation.weight * each.sum() / images
        self.scaler.scale(loss).backward()
        return float(loss.detach())

    def _apply_gradients(self) -> None:
        self.scaler.unscale_(self.optimizer)
        if self.spec.max_grad_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.parameters, self.spec.max_grad_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)

    @torch.no_grad()
    def validation_loss(self) -> float:
        """Over all validation images at the same timesteps and noise each time."""
        self.set_learning(False)
        total = 0.0
        with self.averaged():
            for index, record in enumerate(self.records.validation):
                for number in range(_VALIDATION_TIMESTEPS):
                    self.ctx.check_stop()
                    total += float(self.batch_loss([record], (5, index, number), learning=False))
        self.set_learning(True)
        return total / (len(self.records.validation) * _VALIDATION_TIMESTEPS)

    # Where it stands

    def weights(self) -> dict[str, network.State]:
        """component → the weights that are saved, averages where they are kept."""
        with self.averaged():
            return {name: network.adapter_state(module) for name, module in self.learning.items()}

    def adapter_metadata(self) -> str:
        return network.metadata(self.configs)

    def save(self) -> None:
        states = {
            "weights": {name: network.adapter_state(module) for name, module in self.learning.items()},
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "average": self.average.state() if self.average else {},
        }
        checkpoints.save(self.job.folder, self.progress, states)

    def take_up(self) -> bool:
        """Go on from the last checkpoint; False: there is none."""
        found = checkpoints.load(self.job.folder, self.job.key) if self.spec.resume == "auto" else None
        if found is None:
            checkpoints.start_over(self.job.folder)
            return False
        self.progress, states = found
        for name, module in self.learning.items():
            network.load_adapter(module, states["weights"][name], name)
        self.optimizer.load_state_dict(states["optimizer"])
        self.schedule.load_state_dict(states["schedule"])
        self.scaler.load_state_dict(states["scaler"])
        if self.average is not None:
            self.average.load(states["average"])
        self.ctx.log(f"going on from step {self.progress.step:,} of {self.steps:,}")
        return True


def train(job: Job, ctx: Context) -> Training:
    """To the end. Raises StopRequested (a checkpoint stays), OutOfMemory, FormatError, NodeError."""
    _require_memory(job)
    try:
        training = Training(job, ctx)
        training.take_up()
        _run(training)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        place = "the GPU" if job.on_gpu else "the CPU"
        raise OutOfMemory(f"out of memory on {place}.", hint=advice(job.spec, job.base.family)) from error
    return training


def _run(training: Training) -> None:
    report = reporting.Report(training)
    progress = training.progress
    if progress.step == 0:
        report.start()
    training.set_learning(True)
    for step in range(progress.step, training.steps):
        loss = training.step()
        progress.step = step + 1
        progress.loss_sum += loss
        progress.loss_count += 1
        if progress.step % _REPORT_EVERY == 0 or progress.step == training.steps:
            report.losses()
        report.at_step()
        stop = training.ctx.stop_requested() and progress.step < training.steps
        if stop or progress.step % training.spec.save_every == 0:
            training.save()
        if stop:
            raise StopRequested("stopped because the run was asked to stop; training goes on from here")
    progress.finished = True
    training.save()


def _require_memory(job: Job) -> None:
    """Raises OutOfMemory before anything is loaded: the GPU is smaller than what the settings need by rule."""
    if not job.on_gpu:
        return
    total = torch.cuda.get_device_properties(0).total_memory / 2**20
    needed = needed_mib(job.spec, job.base.family)
    if needed > 1.25 * total:
        raise OutOfMemory(
            f"the GPU has {total / 1024:.0f} GiB; by rule these settings need {needed / 1024:.0f} GiB.",
            hint=advice(job.spec, job.base.family, fits_mib=total),
        )
