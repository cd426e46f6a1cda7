"""LoRA weights trained at Replicate."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from specrun.clients.http import Retry
from specrun.clients.remote_job import JobState
from specrun.clients.replicate import Replicate, Training
from specrun.errors import FormatError, NodeError, StopRequested, TransientError
from specrun.kinds.lora_jobs.remote import memory
from specrun.kinds.lora_jobs.remote.backends import BUDGET_HINT, SDXL_TRAINER, ReplicateBackend, measured_s, over_budget
from specrun.kinds.lora_jobs.remote.finished import Job, finished, steps_of
from specrun.kinds.lora_jobs.remote.memory import Remembered, Watch
from specrun.kinds.lora_jobs.remote.pictures import zipped
from specrun.model.artifact import Outputs
from specrun.model.digest import Json
from specrun.model.work import Context
from specrun.spec.kind import Ref
from specrun.spec.quantities import duration_s
from specrun.training.lora.settings import LoraTraining

_STEP = re.compile(r"(\d+)/(\d+)\s*[\[|]")
_LOSS = re.compile(r"\bloss\b[\"']?\s*[:=]\s*([0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?)", re.IGNORECASE)
_MOST_LINES = 200


def train(spec: LoraTraining, backend: ReplicateBackend, job: Job, ctx: Context) -> Outputs:
    # Its trainers take a step for each batch.
    spec = spec.model_copy(update={"gradient_accumulation": 1})
    job = replace(job, spec=spec)
    cloud = _account(backend, ctx, check_stop=True)
    try:
        known = _known(cloud, job, backend, ctx)
        if known is None:
            known = _start(cloud, spec, backend, job, ctx)
        training = _follow(cloud, known, backend, job, ctx)
        return _fetch(cloud, training, backend, job, ctx)
    finally:
        cloud.close()


def _account(backend: ReplicateBackend, ctx: Context, *, check_stop: bool) -> Replicate:
    declared = ctx.declarations[Ref("connections").address(backend.connection)]
    return Replicate(
        ctx.secret(declared["token"]),
        url=declared["url"],
        timeout_s=duration_s(declared["timeout"]),
        retry=Retry.from_settings(ctx.settings),
        check_stop=ctx.check_stop if check_stop else None,
    )


def _finder(cloud: Replicate, backend: ReplicateBackend) -> Any:
    """By the address of the uploaded archive, which is another for each submission."""

    def find(marker: str) -> str | None:
        found = cloud.find(lambda values: values.get(backend.images_input) == marker)
        return None if found is None else found.id

    return find


def _known(cloud: Replicate, job: Job, backend: ReplicateBackend, ctx: Context) -> Remembered | None:
    """The training of an earlier run, unless it ended badly or was for something else."""
    held = memory.recall(ctx)
    if held is None:
        return None
    if held.place != cloud.url and held.id:
        _require_given_up(cloud, held, ctx, f"was started at {held.place}")
    found = memory.taken_up(ctx, held, _finder(cloud, backend)) if held.place == cloud.url else None
    if found is None:
        ctx.log(f"{cloud.host} knows nothing of an earlier training")
        memory.forget(ctx)
        return None
    training = cloud.known_training(found.id)
    if training is None:
        _require_given_up(cloud, found, ctx, "is not known to this account")
        memory.forget(ctx)
        return None
    state = training.state
    if held.key == job.key and state not in (JobState.FAILED, JobState.CANCELLED):
        ctx.log(f"{cloud.host}: training {found.id} of an earlier run is taken up; nothing is started")
        return found
    ctx.log(f"the earlier training {found.id} is {state} and of no use: settings or images changed, or it ended badly")
    if not state.ended:
        cloud.cancel(found.id)
    memory.forget(ctx)
    return None


def _require_given_up(cloud: Replicate, job: Remembered, ctx: Context, why: str) -> None:
    """It is paid for, so only a person gives it up. Raises NodeError: nobody has."""
    if not ctx.replaced:
        hint = (
            f"Are address and token those of the account that started it? If it was deleted there, `specrun apply "
            f"--replace {ctx.address}` gives it up and trains anew, which costs again."
        )
        raise NodeError(f"{cloud.host}: training {job.id} of an earlier run {why}.", hint=hint)
    ctx.log(f"{cloud.host}: training {job.id} is given up (--replace)")


def _start(cloud: Replicate, spec: LoraTraining, backend: ReplicateBackend, job: Job, ctx: Context) -> Remembered:
    steps = steps_of(spec, job.records)
    if message := over_budget(backend, measured_s(memory.published(ctx), steps)):
        raise NodeError(f"backend.budget: {message}.", hint=BUDGET_HINT)
    owner, name, version = backend.trainer_parts
    cloud.check_version(owner, name, version)
    model = backend.model or re.sub(r"[^a-z0-9._-]+", "-", ctx.address.name.lower()).strip("-._")
    cloud.make_destination(backend.owner, model, backend.hardware)
    ctx.progress(0, None, "images", f"uploading to {cloud.host}")
    place = cloud.upload(f"specrun-{job.key[:12]}.zip", zipped(job.records), "application/zip")
    values = inputs(spec, backend, place, steps, job.seed)
    # A stop between the request and its answer would leave a training behind that nobody cancels.
    calm = _account(backend, ctx, check_stop=False)
    return memory.submitted_once(
        ctx,
        Remembered(job.key, cloud.url, place),
        find=_finder(calm, backend),
        submit=lambda: calm.start(owner, name, version, f"{backend.owner}/{model}", values).id,
    )


def inputs(spec: LoraTraining, backend: ReplicateBackend, place: str, steps: int, seed: int) -> dict[str, Any]:
    """The input of the training. The names of the SDXL trainer are filled in; for others, the archive alone."""
    own: dict[str, Any] = {}
    if backend.trainer == SDXL_TRAINER:
        own = {
            "seed": seed,
            "resolution": min(spec.resolution),
            "train_batch_size": spec.batch,
            "max_train_steps": steps,
            "is_lora": True,
            "lora_lr": spec.learning_rate,
            "lora_rank": spec.rank,
        }
    whole = {**own, **backend.input, backend.images_input: place}
    return {name: value for name, value in whole.items() if value is not None}


def _follow(cloud: Replicate, job: Remembered, backend: ReplicateBackend, ours: Job, ctx: Context) -> Training:
    """Raises NodeError: it failed, was cancelled, or hangs."""
    watch = Watch(ctx, job, duration_s(backend.deadline), cloud.host)
    logs = Logs(ctx, ours)
    try:
        while True:
            try:
                training = cloud.training(job.id)
                watch.reached()
            except TransientError as error:
                watch.lost(error)
                cloud.wait(duration_s(backend.poll))
                continue
            watch.tell(training.state)
            logs.take(training.logs, training.state)
            if training.state.ended:
                return _checked(training, cloud, ctx)
            watch.check_deadline(f"cancel training {job.id} on Replicate's site; it costs money until then")
            cloud.wait(duration_s(backend.poll))
    except StopRequested:
        calm = _account(backend, ctx, check_stop=False)
        memory.stopped(ctx, job, backend.on_stop, lambda: calm.cancel(job.id))
        raise


def _checked(training: Training, cloud: Replicate, ctx: Context) -> Training:
    if training.state is JobState.COMPLETED:
        return training
    memory.forget(ctx)
    last = training.error or next(reversed(training.logs.strip().splitlines()), "no reason was given")
    hint = "The log of this run has what it printed; run again to train anew, which costs again."
    raise NodeError(f"{cloud.host}: training {training.id} {training.state}: {last}", hint=hint)


def _fetch(cloud: Replicate, training: Training, backend: ReplicateBackend, job: Job, ctx: Context) -> Outputs:
    if training.weights is None:
        memory.forget(ctx)
        hint = "Look at its page at Replicate: is the trainer one that gives weights?"
        raise NodeError(f"{cloud.host}: training {training.id} ended without weights.", hint=hint)
    target = ctx.staging / "delivered.safetensors"
    if not cloud.fetch(training.weights, target, lambda done, of: ctx.progress(done, of, "bytes", "fetching")):
        memory.forget(ctx)
        hint = "They are kept for a limited time; run again to train anew, which costs again."
        raise NodeError(f"{cloud.host}: the weights of training {training.id} are gone.", hint=hint)
    more: dict[str, Json] = {"server": cloud.host, "job": training.id, "trainer": backend.trainer}
    if training.seconds is not None:
        more |= {"billed_seconds": training.seconds, "cost": round(training.seconds * backend.price_per_second, 4)}
    try:
        return finished(target, job, more, ctx)
    except FormatError:
        memory.forget(ctx)
        raise


class Logs:
    """What a training prints, as this run's log, progress and metrics."""

    def __init__(self, ctx: Context, job: Job) -> None:
        self._ctx, self._job = ctx, job
        self._seen = 0
        self._step = 0
        self._steps = steps_of(job.spec, job.records)

    def take(self, logs: str, state: JobState) -> None:
        """logs: all of it so far; only whole lines that are new are told."""
        if len(logs) < self._seen:  # only the end of a long log is kept
            self._seen = 0
        end = len(logs) if state.ended else max(logs.rfind("\n"), logs.rfind("\r")) + 1
        lines = [line.strip() for line in re.split(r"[\r\n]+", logs[self._seen : end]) if line.strip()]
        self._seen = max(self._seen, end)
        for line in lines[-_MOST_LINES:]:
            self._ctx.log(line)
        for line in lines:
            self._read(line)
        if not state.ended:
            self._ctx.progress(self._step, self._steps, "steps", str(state))

    def _read(self, line: str) -> None:
        # Other bars (of a download) have other totals.
        if (found := _STEP.search(line)) and int(found[2]) == self._steps:
            self._step = min(int(found[1]), self._steps)
        if loss := _LOSS.search(line):
            value = float(loss[1])
            self._ctx.metric("train/loss", self._step, value)
            self._job.losses.append((self._step, value))
