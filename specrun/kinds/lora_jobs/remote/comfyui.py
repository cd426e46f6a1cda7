"""LoRA weights trained at a ComfyUI server."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from specrun.clients.comfyui import Comfy, Progress, Report
from specrun.clients.remote_job import JobState
from specrun.errors import FormatError, NodeError, StopRequested, TransientError
from specrun.kinds.comfy_servers import calm_server, comfy_servers, free_server
from specrun.kinds.lora_jobs.remote import comfy_workflow, memory
from specrun.kinds.lora_jobs.remote.backends import ComfyBackend
from specrun.kinds.lora_jobs.remote.comfy_console import Console
from specrun.kinds.lora_jobs.remote.finished import Job, finished, steps_of
from specrun.kinds.lora_jobs.remote.memory import Remembered, Watch
from specrun.kinds.lora_jobs.remote.pictures import one_size, pictures
from specrun.model.artifact import Artifact, Outputs
from specrun.model.work import Context
from specrun.spec.quantities import duration_s
from specrun.training.lora.settings import LoraTraining

_WEIGHTS = "lora_00001_.safetensors"
"""What SaveLoRA calls the first file of a new folder."""
_WAIT_FOR_SERVER_S = 5.0


def train(spec: LoraTraining, backend: ComfyBackend, job: Job, ctx: Context) -> Outputs:
    servers = comfy_servers(backend.connection, ctx)
    try:
        known = _known(servers, job, backend, ctx)
        if known is None:
            comfy = _free_server(servers, backend, ctx)
            known = _submit(comfy, spec, backend, job, ctx)
        else:
            comfy = next(server for server in servers if server.url == known.place)
        report = _follow(comfy, known, backend, job, ctx)
        return _fetch(comfy, known, report, job, ctx)
    finally:
        for server in servers:
            server.close()


def _known(servers: list[Comfy], job: Job, backend: ComfyBackend, ctx: Context) -> Remembered | None:
    """The job of an earlier run, as far as its server still has it."""
    held = memory.recall(ctx)
    if held is None:
        return None
    comfy = next((server for server in servers if server.url == held.place), None)
    if comfy is None:
        ctx.log(f"{held.place} is no server of {backend.connection} any more: its job {held.id} is left alone")
        memory.forget(ctx)
        return None
    found = memory.taken_up(ctx, held, comfy.find)
    report = comfy.report(found.id) if found is not None else None
    if found is None or report is None:
        ctx.log(f"{comfy.host} knows nothing of the earlier job {held.id or held.marker}")
    elif held.key != job.key:
        ctx.log(f"the job {found.id} was submitted for other settings or images")
        if not report.state.ended:
            comfy.cancel(found.id)
    elif report.state in (JobState.FAILED, JobState.CANCELLED):
        ctx.log(f"the earlier job {found.id} {report.state}")
    else:
        ctx.log(f"{comfy.host}: job {found.id} of an earlier run is taken up")
        return found
    memory.forget(ctx)
    return None


def _free_server(servers: list[Comfy], backend: ComfyBackend, ctx: Context) -> Comfy:
    while True:
        found = free_server(servers, backend.connection, ctx)
        if found is not None:
            return found
        ctx.progress(0, None, "steps", "queued: every server has its max_jobs")
        servers[0].wait(_WAIT_FOR_SERVER_S)


def _submit(comfy: Comfy, spec: LoraTraining, backend: ComfyBackend, job: Job, ctx: Context) -> Remembered:
    nodes = comfy_workflow.look_at_nodes(comfy, spec, backend)
    folder = f"specrun_{job.key[:24]}"
    total = len(job.records.train)
    size = one_size(job.records, spec.resolution) if nodes.one_size else None
    if size is not None:
        ctx.log(f"{comfy.host} reads pictures of one size alone: all are cut to {size[0]}x{size[1]}")
    for number, picture in enumerate(pictures(job.records, size)):
        ctx.progress(number, total, "images", f"uploading to {comfy.host}", part=True)
        comfy.upload(f"{picture.name}.png", picture.png, folder)
        comfy.upload(f"{picture.name}.txt", picture.caption.encode(), folder, "text/plain")
    marker = str(uuid.uuid4())
    workflow = comfy_workflow.training_workflow(
        nodes, spec, folder=folder, prefix=f"specrun/{marker}/lora", steps=steps_of(spec, job.records), seed=job.seed
    )
    # A stop between the request and its answer would leave a job behind that nobody cancels.
    calm = calm_server(backend.connection, comfy.url, ctx)
    return memory.submitted_once(
        ctx,
        Remembered(job.key, comfy.url, marker),
        find=calm.find,
        submit=lambda: calm.submit(workflow, prompt_id=marker, client_id=marker, marker=marker),
    )


def _follow(comfy: Comfy, job: Remembered, backend: ComfyBackend, ours: Job, ctx: Context) -> Report:
    """Raises NodeError: it failed, was cancelled, was forgotten, or hangs."""
    steps = steps_of(ours.spec, ours.records)
    watch = Watch(ctx, job, duration_s(backend.deadline), comfy.host)
    console = Console(comfy, ctx, ours, steps)
    try:
        with Progress(comfy, job.marker, job.id) as socket:
            while True:
                try:
                    report = comfy.report(job.id)
                    watch.reached()
                except TransientError as error:
                    watch.lost(error)
                    comfy.wait(duration_s(backend.poll))
                    continue
                if report is None:
                    memory.forget(ctx)
                    hint = "It was restarted, or its history was cleared. Run again to train anew."
                    raise NodeError(f"{comfy.host}: has forgotten job {job.id}.", hint=hint)
                watch.tell(report.state, f", {report.ahead} before it" if report.ahead else "")
                if report.state.ended:
                    console.look()
                    return _checked(report, comfy, job, ctx)
                watch.check_deadline(f"take prompt {job.id} out of the server's queue")
                if report.state is JobState.QUEUED:
                    ctx.progress(0, steps, "steps", f"queued, {report.ahead} before it")
                else:
                    console.look()
                for step in socket.steps(duration_s(backend.poll)):
                    if step.node == comfy_workflow.TRAINER and step.total > 1:
                        ctx.progress(steps * step.done / step.total, steps, "steps", "running")
    except StopRequested:
        calm = calm_server(backend.connection, job.place, ctx)
        memory.stopped(ctx, job, backend.on_stop, lambda: calm.cancel(job.id))
        raise


def _checked(report: Report, comfy: Comfy, job: Remembered, ctx: Context) -> Report:
    if report.state is JobState.COMPLETED:
        return report
    memory.forget(ctx)
    hint = "The server's console says more; run again to train anew."
    if "memory" in report.error.lower():
        hint = "Lower the resolution, the batch or the rank, or write gradient_checkpointing: true."
    raise NodeError(f"{comfy.host}: job {job.id} {report.state}: {report.error}.", hint=hint)


def _fetch(comfy: Comfy, job: Remembered, report: Report, ours: Job, ctx: Context) -> Outputs:
    ctx.progress(0, None, "", "fetching the weights")
    target = ctx.staging / "delivered.safetensors"
    file = {"filename": _WEIGHTS, "subfolder": f"specrun/{job.marker}", "type": "output"}
    try:
        comfy.fetch(file, target)
        _fetch_graph(comfy, report.outputs, ctx)
        return finished(target, ours, {"server": comfy.host, "job": job.id}, ctx)
    except TransientError:
        raise
    except FormatError:
        memory.forget(ctx)
        raise
    except NodeError as error:
        memory.forget(ctx)
        hint = "Look at the server's output folder and console; run again to train anew."
        raise NodeError(f"job {job.id} ended without weights. {error.message}", hint=hint) from error


def _fetch_graph(comfy: Comfy, outputs: Mapping[str, Any], ctx: Context) -> None:
    told = outputs.get(comfy_workflow.GRAPH)
    images = told.get("images") if isinstance(told, Mapping) else None
    if isinstance(images, list) and images and isinstance(images[0], Mapping):
        try:
            ctx.artifact(Artifact("loss", "file", comfy.fetch(images[0], ctx.staging / "loss.png").name))
        except NodeError as error:
            ctx.log(f"the picture of the loss could not be fetched: {error.message}")
