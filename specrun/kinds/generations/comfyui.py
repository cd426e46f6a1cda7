"""Pictures made at ComfyUI servers."""

from __future__ import annotations

import io
from collections.abc import Sequence

from PIL import Image, UnidentifiedImageError

from specrun.clients.comfyui import Comfy, Progress, Report
from specrun.clients.remote_job import JobState
from specrun.errors import FormatError, NodeError, StopRequested, TransientError
from specrun.kinds.comfy_servers import calm_server, comfy_servers, free_server
from specrun.kinds.generations.prediction import asked_prediction
from specrun.kinds.generations.prompts import Flight, Prompts
from specrun.kinds.generations.spec import ComfyGeneration, GenerationSpec, lora_facts
from specrun.kinds.generations.stock import Stock
from specrun.kinds.generations.wishes import Keep, Wish, batches_of, picture_of, size_of
from specrun.kinds.generations.workflow import Drawn, picture_workflow, shower_of
from specrun.model.digest import Json
from specrun.model.work import Context, Made
from specrun.spec.quantities import duration_s
from specrun.training.looks import Look
from specrun.training.lora.base import USUAL_GUIDANCE

_MOST_TRIES = 3


class ComfyPainter:
    """A pool of servers, each with at most its max_jobs prompts of ours."""

    def __init__(self, spec: GenerationSpec, backend: ComfyGeneration, ctx: Context, loras: Sequence[Made]) -> None:
        _require_families(loras)
        self._spec, self._backend, self._ctx = spec, backend, ctx
        self.base = backend.checkpoint
        self.step = 8
        self.given: list[tuple[str, float]] = []
        self.guidance = USUAL_GUIDANCE["sd"]
        self.prediction = asked_prediction(spec, {made.address.name: lora_facts(made) for made in loras})
        theirs = sorted((one.file, one.weight) for one in backend.loras)
        self.decides: list[Json] = [["comfyui", backend.checkpoint, [list(one) for one in theirs]]]
        self._stock = Stock(spec, backend, ctx, loras)
        self._lost: dict[str, int] = {}

    def notes(self) -> list[str]:
        return self._stock.notes()

    def paint(self, missing: Sequence[Wish], look: Look, total: int, keep: Keep) -> list[Wish]:
        """Every picture that is wanted comes, or this raises."""
        servers = comfy_servers(self._backend.connection, self._ctx)
        prompts = Prompts(self._ctx, duration_s(self._backend.deadline))
        sockets = {server.url: Progress(server, prompts.client_id) for server in servers}
        try:
            prompts.take_up(servers, missing)
            self._work(servers, prompts, sockets, Canvas(list(missing), look, total, keep))
        except StopRequested:
            self._cancel(prompts)
            raise
        finally:
            for socket in sockets.values():
                socket.close()
            for server in servers:
                server.close()
        return []

    def _work(self, servers: Sequence[Comfy], prompts: Prompts, sockets: dict[str, Progress], canvas: Canvas) -> None:
        under_way = {wish.key for flight in prompts.flights for wish in flight.wishes if wish}
        waiting = [wish for wish in canvas.missing if wish.key not in under_way]
        queue = list(batches_of(waiting, self._spec.batch, canvas.look))
        by_url = {server.url: server for server in servers}
        while queue or prompts.flights:
            while queue and (free := free_server(servers, self._backend.connection, self._ctx)):
                self._send(free, prompts, queue.pop(0), canvas.look)
            for flight in list(prompts.flights):
                if not self._looked_at(flight, by_url[flight.job.place], prompts, canvas):
                    queue.insert(0, self._again(flight))
                    prompts.end(flight)
            self._listen(servers, prompts, sockets, canvas)

    def _send(self, comfy: Comfy, prompts: Prompts, wishes: Sequence[Wish], look: Look) -> None:
        files = self._stock.of(comfy, look)
        drawn = []
        for wish in wishes:
            size = size_of(wish, look)
            assert size is not None, "checked before a run"
            drawn.append(Drawn(wish.prompt, wish.seed, size, self._uploaded(comfy, wish, look)))
        calm = calm_server(self._backend.connection, comfy.url, self._ctx)
        try:
            prompts.send(calm, picture_workflow(files, self._spec, look, drawn), wishes)
        finally:
            calm.close()

    def _uploaded(self, comfy: Comfy, wish: Wish, look: Look) -> str | None:
        picture = picture_of(wish, look)
        if picture is None:
            return None
        target = io.BytesIO()
        picture.save(target, "PNG")
        return self._stock.upload_picture(comfy, target.getvalue())

    def _looked_at(self, flight: Flight, comfy: Comfy, prompts: Prompts, canvas: Canvas) -> bool:
        """False: the server has forgotten the prompt. Raises NodeError: it failed, or hangs."""
        try:
            report = comfy.report(flight.job.id)
            flight.watch.reached()
        except TransientError as error:
            flight.watch.lost(error)
            return True
        if report is None:
            return False
        flight.watch.tell(report.state, f", {report.ahead} before it" if report.ahead else "")
        match report.state:
            case JobState.COMPLETED:
                self._fetch(flight, comfy, report, canvas)
                self._stock.read_console(comfy)
                prompts.end(flight)
            case JobState.FAILED | JobState.CANCELLED:
                prompts.end(flight)
                hint = "The server's console says more."
                if "memory" in report.error.lower():
                    hint = "Lower size, or start the server with --lowvram."
                raise NodeError(f"{comfy.host}: prompt {flight.job.id} {report.state}: {report.error}.", hint=hint)
            case _:
                flight.watch.check_deadline(f"take prompt {flight.job.id} out of the server's queue")
        return True

    def _fetch(self, flight: Flight, comfy: Comfy, report: Report, canvas: Canvas) -> None:
        for number, wish in enumerate(flight.wishes):
            if wish is None:
                continue
            told = report.outputs.get(shower_of(number))
            files = told.get("images") if isinstance(told, dict) else None
            if not files:
                hint = "Look at the server's console; run again to make it anew."
                raise NodeError(f"{comfy.host}: prompt {flight.job.id} ended without a picture.", hint=hint)
            target = comfy.fetch(files[0], self._ctx.staging / "fetched.part")
            try:
                with Image.open(target) as picture:
                    canvas.keep(wish, picture.convert("RGB"))
            except (UnidentifiedImageError, OSError, SyntaxError) as error:
                raise FormatError(f"{comfy.host}: {files[0].get('filename')} is no picture ({error}).") from error
            finally:
                target.unlink(missing_ok=True)
            canvas.done += 1

    def _again(self, flight: Flight) -> list[Wish]:
        """Raises NodeError: that has happened too often."""
        wishes = [wish for wish in flight.wishes if wish]
        tries = self._lost[flight.job.key] = self._lost.get(flight.job.key, 0) + 1
        host = flight.job.place.partition("://")[2]
        if tries >= _MOST_TRIES:
            hint = "Does it run out of memory and start anew? Look at its console."
            raise NodeError(f"{host}: has forgotten the same pictures {tries} times.", hint=hint)
        self._ctx.log(f"{host}: has forgotten prompt {flight.job.id}; its {len(wishes)} pictures are asked for again")
        return wishes

    def _listen(self, servers: Sequence[Comfy], prompts: Prompts, sockets: dict[str, Progress], canvas: Canvas) -> None:
        busy = [server for server in servers if any(flight.job.place == server.url for flight in prompts.flights)]
        poll = duration_s(self._backend.poll)
        if not busy and canvas.done < canvas.total:
            self._tell(prompts, canvas)
        for server in busy:
            for step in sockets[server.url].steps(poll / len(busy)):
                for flight in prompts.flights:
                    if flight.job.id == step.prompt:
                        flight.hear(step)
            self._tell(prompts, canvas)

    def _tell(self, prompts: Prompts, canvas: Canvas) -> None:
        states = [flight.watch.state for flight in prompts.flights]
        phase = "making" if JobState.RUNNING in states or not states else str(states[0] or JobState.QUEUED)
        made = canvas.done + sum(flight.done for flight in prompts.flights)
        self._ctx.progress(made, canvas.total, "pictures", phase)

    def _cancel(self, prompts: Prompts) -> None:
        for flight in list(prompts.flights):
            calm = calm_server(self._backend.connection, flight.job.place, self._ctx)
            try:
                calm.cancel(flight.job.id)
            except NodeError as error:
                self._ctx.log(
                    f"prompt {flight.job.id} could not be cancelled: {error.message} Run again to take it up."
                )
                continue
            finally:
                calm.close()
            self._ctx.log(f"prompt {flight.job.id} is {JobState.CANCELLED}")
            prompts.end(flight)


def _require_families(loras: Sequence[Made]) -> None:
    """Raises FormatError: the workflow is not for one of them."""
    for made in loras:
        if lora_facts(made)["family"] == "flux":
            message = f"lora {made.address.name} was trained on FLUX, which needs nodes that are not known."
            raise FormatError(message, hint="Write backend: {kind: diffusers}.")


class Canvas:
    """What is to be painted, and how far it is."""

    def __init__(self, missing: list[Wish], look: Look, total: int, keep: Keep) -> None:
        self.missing, self.look, self.total, self.keep = missing, look, total, keep
        self.done = total - len(missing)
