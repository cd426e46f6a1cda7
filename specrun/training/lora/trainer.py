"""A training that is under way: what it is made of, its steps, and where it stands.

Each step of the optimizer takes `gradient_accumulation` batches, of `batch` images for each rank. What is random about
an image (noise, timestep, changes of picture and caption) is drawn from the seed, the number of the step and the place
of the image in it. So neither how many ranks share a step nor how many images fit into memory at a time changes what is
learnt, beyond rounding and dropout.
"""

from __future__ import annotations

import contextlib
import gc
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from specrun.errors import NodeError, OutOfMemory
from specrun.training.lora import checkpoints, formats, layers, network, prior, reporting
from specrun.training.lora.base import Base
from specrun.training.lora.buckets import batches_an_epoch, epoch_batches
from specrun.training.lora.checkpoints import Progress
from specrun.training.lora.crew import Crew, Listener
from specrun.training.lora.encoding import LatentCache, LatentEncoder, TextCache, weights_digest
from specrun.training.lora.estimates import advice
from specrun.training.lora.families import Parts, TextPart, family
from specrun.training.lora.families.parts import token_count, window
from specrun.training.lora.losses import VALIDATION_TIMESTEPS, Losses, Numbers
from specrun.training.lora.noise import generator
from specrun.training.lora.optimizing import Average, make_optimizer, make_schedule, step_in_backward
from specrun.training.lora.pictures import Pixels, prepare
from specrun.training.lora.records import Records, require_short
from specrun.training.lora.sampling import Painter
from specrun.training.lora.settings import LoraTraining
from specrun.training.oom import is_out_of_memory

_LATENTS, _TEXTS, _PRIORS = "lora/latents", "lora/texts", "lora/priors"
ALONE = Crew()
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
    ranks: int = 1


def total_steps(spec: LoraTraining, sizes_wh: Sequence[tuple[int, int]], ranks: int = 1) -> tuple[int, int]:
    """Steps of the optimizer in all, and in each epoch."""
    an_epoch = -(-batches_an_epoch(sizes_wh, spec.batch * ranks) // spec.gradient_accumulation)
    return spec.max_steps or an_epoch * spec.epochs, an_epoch


class Training:
    """A training that is under way, or one rank's part in it."""

    def __init__(self, job: Job, ctx: Listener, crew: Crew = ALONE) -> None:
        self.job, self.spec, self.ctx, self.crew = job, job.spec, ctx, crew
        self.device = torch.device("cuda", crew.rank) if job.on_gpu else torch.device("cpu")
        self.dtype = DTYPES[self.spec.mixed_precision] if job.on_gpu else torch.float32
        if not job.on_gpu and self.spec.mixed_precision != "no":
            ctx.log(f"on the CPU, so in 32 bits instead of {self.spec.mixed_precision}")
        ctx.progress(0, None, "steps", "starting diffusers and loading the base model")
        self.family = family(job.base.family)
        self.parts: Parts = self.family.load(job.base, self.dtype)
        self.records = self._checked(job.records)
        self.noising = self.family.noising(self.parts, self.spec)
        self.encoder = LatentEncoder(self.parts.vae, self.dtype, ctx.log)
        self._place_parts()
        self.priors = prior.class_records(self, job.cache / _PRIORS)
        latents, texts = self._fill_caches()
        self.configs = self._inject()
        self.sizes = [record.fit.size_wh for record in self.records.train]
        self.steps, self.steps_an_epoch = total_steps(self.spec, self.sizes, job.ranks)
        self._epoch: tuple[int, list[tuple[int, ...]]] | None = None
        self._make_optimizer()
        self._require_names()
        self.losses = Losses(
            spec=self.spec,
            seed=job.seed,
            pixels=job.pixels,
            family=self.family,
            parts=self.parts,
            noising=self.noising,
            encoder=self.encoder,
            latents=latents,
            texts=texts,
            run_denoiser=torch.compile(self.parts.denoiser) if self.spec.compile else self.parts.denoiser,
            device=self.device,
            dtype=self.dtype,
            cast=self.cast,
        )
        self.progress = Progress(job.key, at_a_time=self.spec.batch)

    # What the training is made of

    def _checked(self, records: Records) -> Records:
        # The last one reads the words; of FLUX the first one takes the whole sentence and may see its beginning alone.
        part = self.parts.text[-1]
        found = require_short(records, self.spec, lambda caption: token_count(part, caption), window(part))
        for note in found.notes:
            self.ctx.log(note)
        return found

    def _place_parts(self) -> None:
        for module in (self.parts.denoiser, *(part.encoder for part in self.parts.text)):
            module.requires_grad_(False).eval()
            module.to(self.device)
        self.parts.vae.to(self.device)

    def _fill_caches(self) -> tuple[LatentCache | None, TextCache | None]:
        spec, latents, texts = self.spec, None, None
        records = [*self.records.train, *self.records.validation, *self.priors]
        if spec.cache_latents:
            latents = LatentCache(self.job.cache / _LATENTS, weights_digest(self.parts.vae.state_dict()))
            told = self._told("encoding pictures")
            own = records[self.crew.rank :: self.crew.count]
            latents.fill(own, lambda record: prepare(record, spec, self.job.pixels, None), self.encoder, told)
            self.parts.vae.to("cpu")
        if spec.caches_text:
            texts = TextCache(self.job.cache / _TEXTS, self.family, self.parts, spec.clip_skip)
            captions = [*(record.caption for record in records), *reporting.sample_captions(spec)]
            texts.fill(sorted(set(captions))[self.crew.rank :: self.crew.count], self._told("encoding captions"))
            for part in self.parts.text:
                part.encoder.to("cpu")
        if self.job.on_gpu:
            torch.cuda.empty_cache()
        self.crew.wait(self.device)
        return latents, texts

    def _told(self, phase: str) -> Any:
        def told(done: int, total: int) -> None:
            self.ctx.progress(done, total, "files", phase, part=True)
            self.ctx.check_stop()

        return told

    def _inject(self) -> dict[str, Any]:
        spec, seed = self.spec, self.job.seed
        denoiser, name = self.parts.denoiser, self.parts.component
        targets = network.denoiser_targets(spec, self.family, denoiser)
        configs: dict[str, Any] = {name: network.inject(denoiser, spec, targets, seed, name)}
        if spec.train_text_encoder:
            for number, part in enumerate(self._learning_texts()):
                targets = layers.text_targets(spec)
                configs[part.name] = network.inject(part.encoder, spec, targets, seed + 1 + number, part.name)
        if spec.gradient_checkpointing:
            denoiser.enable_gradient_checkpointing()
            if spec.train_text_encoder:
                for part in self._learning_texts():
                    part.encoder.gradient_checkpointing_enable({"use_reentrant": False})
        return configs

    def _require_names(self) -> None:
        """Raises FormatError now, not after hours: a layer that kohya's format has no name for."""
        formats.to_kohya(formats.packed(self.weights()), family=self.job.base.family, scale=self.spec.scale)

    def _learning_texts(self) -> list[TextPart]:
        return [part for part in self.parts.text if part.learns]

    def _make_optimizer(self) -> None:
        spec = self.spec
        groups: list[dict[str, Any]] = []
        for name, module in self.learning.items():
            rate = spec.learning_rate if name == self.parts.component else spec.text_rate
            groups.append({"params": [parameter for _, parameter in network.trainable(module)], "lr": rate})
        self.parameters = [parameter for group in groups for parameter in group["params"]]
        self.optimizer = make_optimizer(groups, spec)
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
        return Painter(self.family, self.parts.denoiser, self.encoder, self.noising, self.device, self.dtype, self.cast)

    def set_learning(self, learning: bool) -> None:
        """Dropout, and computing again, are of the training alone."""
        for module in self.learning.values():
            module.train(learning)

    def step(self) -> float:
        """One step of the optimizer; returns the mean loss. Raises NodeError: it is not a number; OutOfMemory."""
        while (summed := self._gradients()) is None:
            self._take_fewer()
        self.crew.add_gradients(self.parameters)
        mean = float(self.crew.total(summed))
        if not math.isfinite(mean):
            raise NodeError(
                f"step {self.progress.step + 1}: the loss is not a number.",
                hint="Lower learning_rate, or write mixed_precision: bf16 or no.",
            )
        if not self.spec.fused_backward:
            self._apply_gradients()
        self.schedule.step()
        if self.average is not None:
            self.average.update()
        return mean

    def _batches(self) -> list[tuple[int, ...]]:
        """The images of the step that comes now, in batches of one bucket for all ranks together."""
        epoch, group = divmod(self.progress.step, self.steps_an_epoch)
        if self._epoch is None or self._epoch[0] != epoch:
            self._epoch = epoch, epoch_batches(self.sizes, self.spec.batch * self.crew.count, self.job.seed, epoch)
        accumulated = self.spec.gradient_accumulation
        return self._epoch[1][group * accumulated : (group + 1) * accumulated]

    def _gradients(self) -> torch.Tensor | None:
        """This rank's share of the step's gradients, and of its mean loss. None: memory was lacking somewhere."""
        try:
            found = self._own_gradients()
        except (RuntimeError, MemoryError) as error:
            if self.spec.on_oom == "fail" or not is_out_of_memory(error):
                raise
            found = None
        # Outside of `except`: the traceback would keep the tensors alive.
        lacking = self.spec.on_oom == "halve" and self.crew.any(found is None, self.device)
        return None if lacking else found

    def _own_gradients(self) -> torch.Tensor:
        batches, before = self._batches(), 0
        images = sum(len(batch) for batch in batches)
        summed = torch.zeros((), device=self.device)
        for batch in batches:
            begin, end = self.crew.share(batch)
            for first in range(begin, end, self.progress.at_a_time):
                places = range(first, min(first + self.progress.at_a_time, end))
                numbers = [(1, self.progress.step, before + place) for place in places]
                torch.manual_seed(generator(self.job.seed, 2, *numbers[0]).initial_seed())
                chosen = [self.records.train[batch[place]] for place in places]
                loss = self.losses.of(chosen, numbers).sum() / images
                self.scaler.scale(loss).backward()
                summed += loss.detach()
                if self.priors:
                    summed += self._prior_loss(images, numbers)
            before += len(batch)
        return summed

    def _prior_loss(self, images: int, numbers: Sequence[Numbers]) -> torch.Tensor:
        """As many pictures of the class as of the subject."""
        assert self.spec.prior_preservation is not None
        seeds = [generator(self.job.seed, 3, *each).initial_seed() for each in numbers]
        chosen = [random.Random(seed).choice(self.priors) for seed in seeds]
        each = self.losses.of(chosen, [(4, *each) for each in numbers])
        loss = self.spec.prior_preservation.weight * each.sum() / images
        self.scaler.scale(loss).backward()
        return loss.detach()

    def _take_fewer(self) -> None:
        """Half as many images at a time, and the step anew. Raises OutOfMemory: there is one already."""
        before, now = self.progress.at_a_time, self.progress.at_a_time // 2
        if not now:
            raise OutOfMemory(
                f"out of memory on {'a GPU' if self.job.on_gpu else 'the CPU'} with one image at a time.",
                hint=advice(self.spec, self.job.base.family),
            )
        self.optimizer.zero_grad(set_to_none=True)
        gc.collect()
        if self.job.on_gpu:
            torch.cuda.empty_cache()
        self.progress.at_a_time = now
        images = sum(len(batch) for batch in self._batches())
        self.ctx.log(
            f"out of memory with {before} images at a time; going on with {now} and as many more times, "
            f"so a step still takes {images} images"
        )

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
            for index in range(self.crew.rank, len(self.records.validation), self.crew.count):
                for place in range(VALIDATION_TIMESTEPS):
                    self.ctx.check_stop()
                    total += float(self.losses.fixed(self.records.validation[index], (5, index, place), place))
        self.set_learning(True)
        summed = float(self.crew.total(torch.tensor(total, dtype=torch.float64, device=self.device)))
        return summed / (len(self.records.validation) * VALIDATION_TIMESTEPS)

    # Where it stands

    def weights(self) -> dict[str, network.State]:
        """component → the weights that are saved, averages where they are kept."""
        with self.averaged():
            return {name: network.adapter_state(module) for name, module in self.learning.items()}

    def adapter_metadata(self) -> str:
        return network.metadata(self.configs)

    def save(self) -> None:
        """By the leader alone: the others stand at the same place with the same weights."""
        if not self.crew.leads:
            return
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
            if self.crew.leads:
                checkpoints.start_over(self.job.folder)
            self.crew.same(self.parameters)
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
