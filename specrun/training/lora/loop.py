"""The loop: steps from the first or the last one, with what is told and saved between them."""

from __future__ import annotations

import torch

from specrun.errors import OutOfMemory, StopRequested
from specrun.training.lora.crew import Crew, Listener
from specrun.training.lora.estimates import advice, needed_mib
from specrun.training.lora.reporting import Report
from specrun.training.lora.trainer import ALONE, Job, Training
from specrun.training.oom import is_out_of_memory

_REPORT_EVERY = 10


def train(job: Job, ctx: Listener, crew: Crew = ALONE) -> Training:
    """To the end. Raises StopRequested (a checkpoint stays), OutOfMemory, FormatError, NodeError."""
    _require_memory(job)
    try:
        training = Training(job, ctx, crew)
        training.take_up()
        _run(training)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        place = f"GPU {crew.rank}" if job.on_gpu else "the CPU"
        raise OutOfMemory(f"out of memory on {place}.", hint=advice(job.spec, job.base.family)) from error
    return training


def _run(training: Training) -> None:
    report = Report(training)
    progress = training.progress
    _report(report, training)
    training.set_learning(True)
    for step in range(progress.step, training.steps):
        loss = training.step()
        progress.step = step + 1
        progress.loss_sum += loss
        progress.loss_count += 1
        if progress.step % _REPORT_EVERY == 0 or progress.step == training.steps:
            report.losses()
        _report(report, training)
        stop = training.crew.any(training.ctx.stop_requested(), training.device) and progress.step < training.steps
        if stop or progress.step % training.spec.save_every == 0:
            training.save()
        if stop:
            raise StopRequested("stopped because the run was asked to stop; training goes on from here")
    progress.finished = True
    training.save()


def _report(report: Report, training: Training) -> None:
    """Validation and pictures of this step, unless they were made before an interruption."""
    progress = training.progress
    try:
        if progress.reported < progress.step:
            report.at_step()
            progress.reported = progress.step
    except StopRequested:
        training.save()
        raise


def _require_memory(job: Job) -> None:
    """Raises OutOfMemory before anything is loaded: the GPU is smaller than what the settings need by rule."""
    if not job.on_gpu:
        return
    total = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory / 2**20
    needed = needed_mib(job.spec, job.base.family)
    if needed > 1.25 * total:
        raise OutOfMemory(
            f"the GPU has {total / 1024:.0f} GiB; by rule these settings need {needed / 1024:.0f} GiB.",
            hint=advice(job.spec, job.base.family, fits_mib=total),
        )
