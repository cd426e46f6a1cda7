"""Prompts of a generation at ComfyUI servers, remembered so that a run after a kill finds them and sends none again.

`comfy_prompts` holds the client's name for the websocket and, of each prompt that has not been fetched, its server,
marker, id and the keys of its pictures in their order. It is written before a prompt is sent and after its id is known.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from specrun.clients.comfyui import Comfy, Step, Workflow
from specrun.clients.remote_job import JobState
from specrun.errors import TransientError
from specrun.kinds.generations.wishes import Wish
from specrun.kinds.lora_jobs.remote import memory
from specrun.kinds.lora_jobs.remote.memory import Remembered, Watch
from specrun.model.digest import Json, json_digest
from specrun.model.work import Context

_NAME = "comfy_prompts"


@dataclass
class Flight:
    """A prompt under way. wishes: in the order of its pictures; None: one that is not wanted any more."""

    job: Remembered
    wishes: tuple[Wish | None, ...]
    watch: Watch
    parts: dict[str, float] = field(default_factory=dict)

    def hear(self, step: Step) -> None:
        """Of a sampler; others do not count."""
        if step.node.startswith("sample_") and step.total > 0:
            self.parts[step.node] = min(1.0, step.done / step.total)

    @property
    def done(self) -> float:
        """Pictures' worth of steps that are made."""
        return sum(self.parts.values())


class Prompts:
    """All that are under way, and their memory."""

    def __init__(self, ctx: Context, deadline_s: float) -> None:
        self._ctx, self._deadline_s = ctx, deadline_s
        held = ctx.recall(_NAME)
        told: Mapping[str, Any] = held if isinstance(held, Mapping) else {}
        self.client_id = str(told.get("client") or uuid.uuid4())
        self._noted: dict[str, dict[str, Any]] = {str(one["marker"]): dict(one) for one in told.get("prompts") or []}
        self.flights: list[Flight] = []

    def take_up(self, servers: Sequence[Comfy], missing: Sequence[Wish]) -> None:
        """Those of an earlier run that are of use. Raises TransientError: nobody can say whether one was sent."""
        wanted = {wish.key: wish for wish in missing}
        for noted in list(self._noted.values()):
            job = Remembered(str(noted["key"]), str(noted["place"]), str(noted["marker"]), str(noted.get("id") or ""))
            wishes = tuple(wanted.get(str(key)) for key in noted["keys"])
            comfy = next((server for server in servers if server.url == job.place), None)
            if comfy is None:
                self._ctx.log(f"{job.place} is no server of the connection any more: its prompt is left alone")
                self._forget(job)
            elif found := self._known(comfy, job, wishes):
                self._fly(found, wishes)
            else:
                self._forget(job)

    def send(self, calm: Comfy, workflow: Workflow, wishes: Sequence[Wish]) -> None:
        """Once. calm: a server whose requests a stop does not cut off. Raises NodeError, TransientError."""
        marker = str(uuid.uuid4())
        keys = [wish.key for wish in wishes]

        def note(_: Context, job: Remembered) -> Remembered:
            return self._note(job, keys)

        job = memory.submitted_once(
            self._ctx,
            Remembered(json_digest(list(keys)), calm.url, marker),
            find=calm.find,
            submit=lambda: calm.submit(workflow, prompt_id=marker, client_id=self.client_id, marker=marker),
            note=note,
        )
        self._fly(job, tuple(wishes))

    def end(self, flight: Flight) -> None:
        self.flights.remove(flight)
        self._forget(flight.job)

    def _fly(self, job: Remembered, wishes: tuple[Wish | None, ...]) -> None:
        host = job.place.partition("://")[2]
        self.flights.append(Flight(job, wishes, Watch(self._ctx, job, self._deadline_s, host)))

    def _known(self, comfy: Comfy, job: Remembered, wishes: Sequence[Wish | None]) -> Remembered | None:
        """The prompt with its id, unless it never arrived, was forgotten, ended badly or is not wanted any more."""
        found = job if job.id else self._found(comfy, job)
        if found is None:
            return None
        try:
            report = comfy.report(found.id)
        except TransientError:
            return found  # it is asked again until the server is back
        if report is None or report.state in (JobState.FAILED, JobState.CANCELLED):
            self._ctx.log(f"{comfy.host}: prompt {found.id} of an earlier run is gone, or ended badly")
            return None
        if not any(wishes):
            self._ctx.log(f"{comfy.host}: prompt {found.id} of an earlier run is not wanted any more")
            if not report.state.ended:
                comfy.cancel(found.id)
            return None
        self._ctx.log(f"{comfy.host}: prompt {found.id} of an earlier run is taken up")
        return found

    def _found(self, comfy: Comfy, job: Remembered) -> Remembered | None:
        told = comfy.find(job.marker)
        if told is None:
            return None
        return self._note(replace(job, id=told), list(self._noted[job.marker]["keys"]))

    def _note(self, job: Remembered, keys: Sequence[str]) -> Remembered:
        self._noted[job.marker] = {
            "key": job.key, "place": job.place, "marker": job.marker, "id": job.id, "keys": list(keys),
        }  # fmt: skip
        self._save()
        return job

    def _forget(self, job: Remembered) -> None:
        self._noted.pop(job.marker, None)
        self._save()

    def _save(self) -> None:
        prompts: list[Json] = [dict(one) for one in self._noted.values()]
        self._ctx.remember(_NAME, {"client": self.client_id, "prompts": prompts} if prompts else None)
