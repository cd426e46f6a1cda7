"""`/api/tasks/{id}/data/` and its kin: the upload of a task's media, and its frames, chunks and metadata."""

from __future__ import annotations

import json
import math
import mimetypes
import zlib
from typing import TYPE_CHECKING, Any

from tests.doubles.cvat import chunks, pictures, uploads
from tests.doubles.cvat.state import BackgroundRequest, Job, Media, Task
from tests.doubles.cvat.unpacking import SORTINGS, Wanted, unpack
from tests.doubles.cvat.wire import Answer, Call, Refused

if TYPE_CHECKING:
    from tests.doubles.cvat.server import CvatDouble

NOT_FILES = ("server_files", "remote_files", "cloud_storage_id", "job_file_mapping", "validation_params")


def post_data(server: CvatDouble, call: Call, task: Task) -> Answer:
    if task.media is not None:
        raise Refused(400, ["Adding more data is not supported"])
    headers = call.headers
    if "Upload-Start" in headers and "Upload-Finish" not in headers:
        return Answer(202)
    if "Upload-Length" in headers:
        taken = {name for name, _ in task.uploads}
        return uploads.start_tus(server, call, _folder(task), str(call.caller.id), own_name=True, taken=taken)
    if "Upload-Multiple" in headers:
        return _take_files(task, call)
    if (answer := _take_files(task, call)).status != 200:
        return answer
    return _finish(server, call, task)


def upload_chunk(server: CvatDouble, call: Call, task: Task, file_id: str) -> Answer:
    def complete(name: str, content: bytes) -> None:
        task.uploads.append((_free_name(name, task), content))

    return uploads.continue_tus(server, call, _folder(task), file_id, complete)


def _folder(task: Task) -> str:
    return f"tasks/{task.id}/data"


def _free_name(name: str, task: Task) -> str:
    taken = {known for known, _ in task.uploads}
    stem, dot, suffix = name.rpartition(".")
    candidates = (f"{stem}_{number}{dot}{suffix}" for number in range(1, len(taken) + 2))
    return name if name not in taken else next(name for name in candidates if name not in taken)


def _take_files(task: Task, call: Call) -> Answer:
    arrived = [part for part in uploads.multipart(call) if part.filename is not None]
    names = [uploads.base_name(part.filename or "") for part in arrived]
    known = {name for name, _ in task.uploads}
    if len(set(names)) < len(names) or known & set(names):
        return Answer(500, uploads.SERVER_ERROR_PAGE, "text/html; charset=utf-8")
    task.uploads.extend((name, part.content) for name, part in zip(names, arrived, strict=True))
    return Answer(200)


def _finish(server: CvatDouble, call: Call, task: Task) -> Answer:
    wanted = _wanted(_fields(call))
    if wanted.sorting_method == "predefined" and wanted.upload_file_order:
        _same_files(task, wanted)
    request = BackgroundRequest(
        id=f"action=create&target=task&target_id={task.id}",
        owner_id=call.caller.id,
        type="create:task",
        target="task",
        created_date=server.state.now(),
        project_id=task.project_id,
        task_id=task.id,
        org_id=task.organization_id,
        started_message="Media files are being extracted...",
    )
    if server.worker.running(request.id) is not None:
        return Answer(409, {"rq_id": request.id})

    def work() -> None:
        media = unpack(server.state, task, wanted)
        with server.state.lock:
            media.chunks_updated_date = server.state.now()
            task.media = media
            task.uploads.clear()
            server.state.make_jobs(task)

    server.worker.submit(request, work)
    return Answer(202, {"rq_id": request.id})


def _fields(call: Call) -> dict[str, Any]:
    if "multipart/" in call.headers.get("Content-Type", ""):
        return {part.name: part.content.decode() for part in uploads.multipart(call) if part.filename is None}
    return dict(call.json())


def _wanted(fields: dict[str, Any]) -> Wanted:
    if asked := [name for name in NOT_FILES if fields.get(name)]:
        raise Refused(400, {name: ["This server double takes uploaded files only."] for name in asked})
    if "image_quality" not in fields:
        raise Refused(400, {"image_quality": ["This field is required."]})
    numbers = {name: _number(fields, name) for name in ("image_quality", "chunk_size", "start_frame", "stop_frame")}
    sorting = fields.get("sorting_method", "lexicographical")
    if sorting not in SORTINGS:
        raise Refused(400, {"sorting_method": [f'"{sorting}" is not a valid choice.']})
    order = fields.get("upload_file_order") or ()
    return Wanted(
        image_quality=numbers["image_quality"] or 0,
        chunk_size=numbers["chunk_size"],
        start_frame=numbers["start_frame"] or 0,
        stop_frame=numbers["stop_frame"],
        frame_filter=fields.get("frame_filter", ""),
        sorting_method=sorting,
        use_zip_chunks=_flag(fields, "use_zip_chunks", default=False),
        use_cache=_flag(fields, "use_cache", default=True),
        upload_file_order=tuple(json.loads(order) if isinstance(order, str) else order),
    )


def _number(fields: dict[str, Any], name: str) -> int | None:
    value = fields.get(name)
    if value is None:
        return None
    try:
        number = int(value)
    except ValueError:
        raise Refused(400, {name: ["A valid integer is required."]}) from None
    if number < 0:
        raise Refused(400, {name: ["Ensure this value is greater than or equal to 0."]})
    if name == "image_quality" and number > 100:
        raise Refused(400, {name: ["Ensure this value is less than or equal to 100."]})
    return number


def _flag(fields: dict[str, Any], name: str, *, default: bool) -> bool:
    return str(fields.get(name, default)).lower() in ("true", "1")


def _same_files(task: Task, wanted: Wanted) -> None:
    differing = sorted({name for name, _ in task.uploads} ^ set(wanted.upload_file_order))
    if differing:
        raise Refused(
            400,
            [f"Uploaded files do not match the 'upload_file_order' field contents. Mismatching files: {differing}"],
        )


def _media(task: Task) -> Media:
    if task.media is None:
        raise Refused(400, ["Task has no data"])
    return task.media


def get_data(server: CvatDouble, call: Call, task: Task, job: Job | None) -> Answer:
    kind, quality = call.query.get("type"), call.query.get("quality", "compressed")
    number, index = call.query.get("number"), call.query.get("index")
    if kind not in ("chunk", "frame", "preview", "context_image"):
        raise Refused(400, ["Data type not specified or has wrong value"])
    if kind == "chunk" and job is not None:
        if number is None and index is None:
            raise Refused(400, ["Number or Index is not specified"])
        if number is not None and index is not None:
            raise Refused(400, ["Number and Index cannot be used together"])
    elif number is None and kind != "preview":
        raise Refused(400, ["Number is not specified"])
    if quality not in ("compressed", "original"):
        raise Refused(400, ["Wrong quality value"])
    if kind == "preview":
        return get_preview(server, call, task, job)
    if kind == "chunk":
        return _chunk(task, job, number, index, original=quality == "original")
    if kind == "context_image":
        return _context(task, job, int(number or 0))
    return _frame(task, job, int(number or 0), original=quality == "original")


def _chunk(task: Task, job: Job | None, number: str | None, index: str | None, *, original: bool) -> Answer:
    media = _media(task)
    size = media.chunk_size
    if job is None or number is not None:
        first, last = (0, len(media.frames) - 1) if job is None else (job.start_frame, job.stop_frame)
        chosen = int(number or 0)
        bounds = (first // size, last // size)
        frames = range(max(first, chosen * size), min(last, (chosen + 1) * size - 1) + 1)
    else:
        chosen = int(index or 0)
        bounds = (0, math.ceil((job.stop_frame - job.start_frame + 1) / size) - 1)
        start = job.start_frame + chosen * size
        frames = range(start, min(job.stop_frame, start + size - 1) + 1)
    if not bounds[0] <= chosen <= bounds[1]:
        text = f"Invalid chunk number '{chosen}'. The chunk number should be in the [{bounds[0]}, {bounds[1]}] range"
        raise Refused(400, text if job is None else [text])
    content, content_type = chunks.make(media, frames, original=original)
    headers = {
        "X-Checksum": str(zlib.crc32(content[:1000], zlib.crc32(str(len(content)).encode()))),
        "X-Updated-Date": date(media.chunks_updated_date),
        "Accept-Ranges": "bytes",
    }
    return Answer(200, content, content_type, headers)


def date(when: Any) -> str:
    return str(when.isoformat().replace("+00:00", "Z"))


def _check_frame(task: Task, job: Job | None, number: int) -> Media:
    media = _media(task)
    if job is not None and not job.start_frame <= number <= job.stop_frame:
        raise Refused(400, f"Incorrect requested frame number: {number}")
    if not 0 <= number < len(media.frames):
        count = len(media.frames)
        raise Refused(400, f"Invalid frame '{number}'. The frame number should be in the [0, {count}] range")
    return media


def _frame(task: Task, job: Job | None, number: int, *, original: bool) -> Answer:
    media = _check_frame(task, job, number)
    frame = media.frames[number]
    if (media.original_chunk_type if original else media.chunk_type) == "video":
        return Answer(200, frame.original, "image/png")
    if not original:
        return Answer(200, chunks.compressed(media, frame), "image/jpeg")
    content_type = mimetypes.guess_type(frame.name)[0] or "image/jpeg"
    return Answer(200, pictures.served_original(frame.original), content_type)


def _context(task: Task, job: Job | None, number: int) -> Answer:
    media = _check_frame(task, job, number)
    related = media.frames[number].related
    if not related:
        return Answer(404, b"", "text/html; charset=utf-8")
    content = chunks.zipped({f"{name.rsplit('/', 1)[-1]}.jpg": image for name, image in related.items()})
    return Answer(200, content, "application/zip")


def get_preview(server: CvatDouble, call: Call, task: Task, job: Job | None) -> Answer:
    media = _media(task)
    first = media.frames[0 if job is None else job.start_frame]
    return Answer(200, pictures.preview(first.original), "image/jpeg")


def get_meta(server: CvatDouble, call: Call, task: Task, job: Job | None) -> Answer:
    if task.media is None:
        return Answer(500, uploads.SERVER_ERROR_PAGE, "text/html; charset=utf-8")
    media = task.media
    step = Wanted(media.image_quality, frame_filter=media.frame_filter).step
    first, last = (0, len(media.frames) - 1) if job is None else (job.start_frame, job.stop_frame)
    # A video is one file, whatever the number of its frames.
    shown = media.frames[:1] if media.mode == "interpolation" else media.frames[first : last + 1]
    frames = [
        {
            "width": frame.width,
            "height": frame.height,
            "name": frame.name,
            "related_files": len(frame.related),
            "has_related_context": bool(frame.related),
        }
        for frame in shown
    ]
    body = {
        "chapters": [] if media.mode == "interpolation" else None,
        "chunks_updated_date": date(media.chunks_updated_date),
        "chunk_size": media.chunk_size,
        "size": last - first + 1,
        "image_quality": media.image_quality,
        "start_frame": media.start_frame + first * step,
        "stop_frame": media.start_frame + last * step,
        "frame_filter": media.frame_filter,
        "frames": frames,
        "deleted_frames": sorted(number for number in media.deleted_frames if first <= number <= last),
        "included_frames": None,
        "storage": media.storage,
        "cloud_storage_id": None,
    }
    return Answer(200, body)


def patch_meta(server: CvatDouble, call: Call, task: Task, job: Job | None) -> Answer:
    media = _media(task)
    fields = call.json()
    first, last = (0, len(media.frames) - 1) if job is None else (job.start_frame, job.stop_frame)
    deleted = fields.get("deleted_frames")
    with server.state.lock:
        if deleted is not None:
            if not all(isinstance(number, int) for number in deleted):
                raise Refused(400, {"deleted_frames": {"0": ["A valid integer is required."]}})
            kept = {number for number in media.deleted_frames if not first <= number <= last}
            media.deleted_frames = kept | {number for number in deleted if first <= number <= last}
        jobs = [job] if job is not None else server.state.jobs_of(task.id)
        for touched in jobs:
            server.state.annotations_changed(touched)
    return get_meta(server, call, task, job)
