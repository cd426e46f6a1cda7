"""Datasets and backups in and out: which request is made, and what it is called. The bytes are exports.py's."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import format_datetime
from typing import TYPE_CHECKING, Literal

from tests.doubles.cvat import exports, formats, lookup, uploads
from tests.doubles.cvat import resources_requests as requests
from tests.doubles.cvat.state import BackgroundRequest, Job, Project, State, Task
from tests.doubles.cvat.wire import Answer, Call, Refused

if TYPE_CHECKING:
    from tests.doubles.cvat.server import CvatDouble

Kind = Literal["project", "task", "job"]
_NOT_READY = b"The export process is not finished"
_HTML = "text/html; charset=utf-8"


@dataclass(frozen=True)
class Target:
    kind: Kind
    thing: Project | Task | Job
    project_id: int | None = None
    task_id: int | None = None
    job_id: int | None = None
    org_id: int | None = None

    @property
    def query(self) -> str:
        return f"target={self.kind}&target_id={self.thing.id}"

    def request(self, state: State, call: Call, number: str, kind: str, form: str | None = None) -> BackgroundRequest:
        return BackgroundRequest(
            number,
            call.caller.id,
            kind,
            self.kind,
            created_date=state.now(),
            project_id=self.project_id,
            task_id=self.task_id,
            job_id=self.job_id,
            org_id=self.org_id,
            format=form,
        )


def find(state: State, call: Call, kind: str, number: str) -> Target:
    match kind:
        case "project":
            project = lookup.project(state, call, number)
            return Target("project", project, project.id, org_id=project.organization_id)
        case "task":
            task = lookup.task(state, call, number)
            return Target("task", task, task.project_id, task.id, org_id=task.organization_id)
        case _:
            job = lookup.job(state, call, number)
            task = state.tasks[job.task_id]
            return Target("job", job, task.project_id, task.id, job.id, task.organization_id)


def export_dataset(server: CvatDouble, call: Call, kind: str, number: str) -> Answer:
    state = server.state
    target = find(state, call, kind, number)
    form = call.query.get("format", "")
    if form not in formats.EXPORTERS:
        raise Refused(400, ["Unknown format specified for the request"])
    images = call.query.get("save_images", "false").lower() in ("true", "1", "yes")
    what = "dataset" if images else "annotations"
    name = form.replace(" ", "_").replace(".", "~")
    request_id = f"action=export&{target.query}&user_id={call.caller.id}&format={name}&subresource={what}"
    request = target.request(state, call, request_id, f"export:{what}", form)

    def work() -> None:
        request.result = exports.make_archive(state, target.thing, form, save_images=images)
        written = exports.archive_date(state, target.thing, form, save_images=images)
        dated = written.strftime("%Y_%m_%d_%H_%M_%S")
        request.result_name = f"{target.kind}_{target.thing.id}_{what}_{dated}_{form.lower()}.zip"

    return _submit(server, request, work)


def export_backup(server: CvatDouble, call: Call, kind: str, number: str) -> Answer:
    state = server.state
    target = find(state, call, kind, number)
    thing = target.thing
    assert not isinstance(thing, Job)
    if isinstance(thing, Task) and thing.media is None:
        raise Refused(400, ["Backup of a task without data is not allowed"])
    request_id = f"action=export&{target.query}&user_id={call.caller.id}&subresource=backup"
    request = target.request(state, call, request_id, "export:backup")

    def work() -> None:
        request.result = exports.make_backup(state, thing)
        dated = target.thing.updated_date.strftime("%Y_%m_%d_%H_%M_%S")
        request.result_name = f"{target.kind}_{thing.name}_backup_{dated}.zip"

    return _submit(server, request, work)


def _submit(server: CvatDouble, request: BackgroundRequest, work: Callable[[], None]) -> Answer:
    status = 409 if server.worker.running(request.id) is not None else 202
    if status == 202:
        server.worker.submit(request, work)
    return Answer(status, {"rq_id": request.id})


def download(server: CvatDouble, call: Call, kind: str, number: str) -> Answer:
    state = server.state
    find(state, call, kind, number)
    if "rq_id" not in call.query:
        raise Refused(400, b"Missing request id in the query parameters", _HTML)
    request = requests.find(state, call, call.query["rq_id"])
    if request.status != "finished" or request.result is None:
        raise Refused(400, _NOT_READY, _HTML)
    named = {
        "Content-Disposition": f'attachment; filename="{request.result_name}"',
        "ETag": f'"{hashlib.md5(request.result, usedforsecurity=False).hexdigest()}"',
    }
    if request.finished_date is not None:
        named["Last-Modified"] = format_datetime(request.finished_date, usegmt=True)
    whole = Answer(200, request.result, "application/zip", named)
    return _ranged(call, whole) if server.ranges else whole


def _ranged(call: Call, whole: Answer) -> Answer:
    """A part of the file, when the client asks to go on where it was cut off."""
    wanted = call.headers.get("Range", "")
    if not wanted.startswith("bytes=") or call.headers.get("If-Range", whole.headers["ETag"]) != whole.headers["ETag"]:
        return whole
    first, _, last = wanted.removeprefix("bytes=").partition("-")
    size = len(whole.body)
    start, stop = int(first or 0), int(last) + 1 if last else size
    if start >= size:
        return Answer(416, b"", _HTML, {"Content-Range": f"bytes */{size}"})
    headers = whole.headers | {"Accept-Ranges": "bytes", "Content-Range": f"bytes {start}-{min(stop, size) - 1}/{size}"}
    return Answer(206, whole.body[start:stop], whole.content_type, headers)


def import_annotations(server: CvatDouble, call: Call, kind: str, number: str) -> Answer:
    """POST of annotations of a task or a job, or of a dataset of a project."""
    state = server.state
    target = find(state, call, kind, number)
    what = "dataset" if kind == "project" else "annotations"

    def finish(name: str, content: bytes) -> Answer:
        form = call.query.get("format", "")
        if form not in formats.IMPORTERS:
            raise Refused(400, [f"Unknown input format '{form}'"])
        mode = call.query.get("import_mode", "replace")
        if mode not in ("replace", "append"):
            raise Refused(400, [f"Invalid import_mode='{mode}'. Allowed: replace, append"])
        convert = call.query.get("conv_mask_to_poly", "true").lower() not in ("false", "0")
        request_id = f"action=import&{target.query}&subresource={what}"
        request = target.request(state, call, request_id, f"import:{what}")
        return _submit(
            server,
            request,
            lambda: exports.import_annotations(
                state,
                target.thing,
                form,
                content,
                filename=name,
                append=mode == "append",
                conv_mask_to_poly=convert,
            ),
        )

    return uploads.receive(server, call, f"{kind}s/{number}/{what}", str(call.caller.id), finish)


def annotation_chunk(server: CvatDouble, call: Call, kind: str, number: str, file_id: str) -> Answer:
    find(server.state, call, kind, number)
    what = "dataset" if kind == "project" else "annotations"
    return uploads.chunk(server, call, f"{kind}s/{number}/{what}", file_id)


def import_backup(server: CvatDouble, call: Call, kind: Literal["project", "task"]) -> Answer:
    state, owner = server.state, call.caller
    organization_id = call.organization.id if call.organization else None

    def finish(name: str, content: bytes) -> Answer:
        request_id = f"action=import&target={kind}&id={uuid.uuid4()}&subresource=backup"
        when = state.now()
        request = BackgroundRequest(request_id, owner.id, "import:backup", kind, created_date=when)
        request.org_id = organization_id

        def work() -> None:
            request.result_id = exports.import_backup(
                state, kind, content, owner_id=owner.id, organization_id=organization_id
            )

        return _submit(server, request, work)

    return uploads.receive(server, call, f"{kind}s/backup", str(owner.id), finish)


def backup_chunk(server: CvatDouble, call: Call, kind: str, file_id: str) -> Answer:
    return uploads.chunk(server, call, f"{kind}s/backup", file_id)
