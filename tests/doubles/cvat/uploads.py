"""How files reach the server: multipart forms, TUS, and the Upload-Start … Upload-Finish session around them.

What has arrived stays until Upload-Finish took it: a second Upload-Start forgets nothing, so that a file sent again
under its old name meets itself, as on the real server.
"""

from __future__ import annotations

import base64
import re
import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

from tests.doubles.cvat.state import PartialUpload
from tests.doubles.cvat.wire import Answer, Call, Refused

if TYPE_CHECKING:
    from tests.doubles.cvat.server import CvatDouble

SERVER_ERROR_PAGE = (
    b'\n<!doctype html>\n<html lang="en">\n<head>\n  <title>Server Error (500)</title>\n</head>\n<body>\n'
    b"  <h1>Server Error (500)</h1><p></p>\n</body>\n</html>\n"
)
MAX_TUS_SIZE = 26843545600
TUS_HEADERS = {
    "Tus-Resumable": "1.0.0",
    "Tus-Version": "1.0.0",
    "Tus-Extension": "",
    "Tus-Max-Size": str(MAX_TUS_SIZE),
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "PATCH,HEAD,GET,POST,OPTIONS",
    "Access-Control-Expose-Headers": "Tus-Resumable,upload-length,upload-metadata,Location,Upload-Offset",
    "Access-Control-Allow-Headers": "Tus-Resumable,upload-length,upload-metadata,Location,Upload-Offset,content-type",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True)
class Part:
    """One field of a multipart form; `filename` is None for a plain field."""

    name: str
    filename: str | None
    content: bytes


def multipart(call: Call) -> list[Part]:
    """Binary-safe; file names as UTF-8, or in the `filename*=` form."""
    found = re.search(r'boundary="?([^";]+)"?', call.headers.get("Content-Type", ""))
    if found is None:
        return []
    parts = []
    for chunk in call.body.split(b"--" + found.group(1).encode())[1:]:
        if chunk.startswith(b"--"):
            break
        head, _, content = chunk.partition(b"\r\n\r\n")
        disposition = next(
            line for line in head.decode().split("\r\n") if line.lower().startswith("content-disposition")
        )
        name = re.search(r'[; ]name="((?:[^"\\]|\\.)*)"', disposition)
        parts.append(Part(name.group(1) if name else "", _filename(disposition), content.removesuffix(b"\r\n")))
    return parts


def _filename(disposition: str) -> str | None:
    if extended := re.search(r"filename\*=utf-8''([^;]+)", disposition, re.IGNORECASE):
        return unquote(extended.group(1))
    plain = re.search(r'filename="((?:[^"\\]|\\.)*)"', disposition)
    return plain.group(1).replace("%22", '"') if plain else None


def base_name(filename: str) -> str:
    """The folder that a client sends with a file name is dropped."""
    return filename.replace("\\", "/").rsplit("/", 1)[-1]


def start_tus(
    server: CvatDouble, call: Call, folder: str, prefix: str, *, own_name: bool, taken: Collection[str] = ()
) -> Answer:
    """201 with the address of the upload. own_name: the file keeps the name of the metadata (media), otherwise it is
    known by its upload's id (annotations, datasets, backups). taken: names that are there already."""
    length = int(call.headers["Upload-Length"])
    if length > MAX_TUS_SIZE:
        return Answer(413, f"File size exceeds max limit of {MAX_TUS_SIZE} bytes", headers=dict(TUS_HEADERS))
    metadata = _metadata(call.headers.get("Upload-Metadata", ""))
    if own_name and not metadata.get("filename"):
        return Answer(400, "Metadata is expected to contain 'filename' key", headers=dict(TUS_HEADERS))
    if own_name and metadata["filename"] in taken:
        return Answer(409, "File with same name already exists", headers=dict(TUS_HEADERS))
    file_id = f"{prefix}_{uuid.uuid4()}"
    name = metadata["filename"] if own_name else file_id
    with server.state.lock:
        server.state.partial_uploads[folder, file_id] = PartialUpload(name, length)
    location = f"{call.base_url}{call.path.rstrip('/')}/{file_id}"
    return Answer(201, headers={**TUS_HEADERS, "Location": location, "Upload-Filename": name})


def _metadata(header: str) -> dict[str, str]:
    pairs = (pair.strip().split(" ", 1) for pair in header.split(",") if pair.strip())
    return {pair[0]: base64.b64decode(pair[1]).decode() if len(pair) > 1 else "" for pair in pairs}


def continue_tus(
    server: CvatDouble, call: Call, folder: str, file_id: str, complete: Callable[[str, bytes], None]
) -> Answer:
    """PATCH of a piece and HEAD for the offset; a complete upload is handed on and forgotten (404 afterwards)."""
    with server.state.lock:
        upload = server.state.partial_uploads.get((folder, file_id))
        if upload is None:
            return Answer(404, headers=dict(TUS_HEADERS))
        if not file_id.startswith(f"{call.caller.id}_"):
            return Answer(403, headers=dict(TUS_HEADERS))
        offset = len(upload.content)
        if call.method == "HEAD":
            headers = {**TUS_HEADERS, "Upload-Offset": str(offset), "Upload-Length": str(upload.length)}
            return Answer(200, headers=headers)
        if int(call.headers.get("Upload-Offset", 0)) != offset:
            return Answer(409, headers=dict(TUS_HEADERS))
        upload.content += call.body
        if len(upload.content) >= upload.length:
            del server.state.partial_uploads[folder, file_id]
            complete(upload.name, bytes(upload.content))
        return Answer(204, headers={**TUS_HEADERS, "Upload-Offset": str(len(upload.content))})


def receive(server: CvatDouble, call: Call, folder: str, prefix: str, finish: Callable[[str, bytes], Answer]) -> Answer:
    """POST of an annotation file, a dataset or a backup."""
    if "Upload-Finish" in call.headers:
        name = call.query.get("filename", "")
        with server.state.lock:
            content = server.state.received_files.get((folder, name))
        if content is None:
            raise Refused(400, ["No such file were uploaded"])
        answer = finish(name, content)
        if answer.status < 300:
            server.state.received_files.pop((folder, name), None)
        return answer
    if "Upload-Start" in call.headers:
        return Answer(202)
    if "Upload-Length" in call.headers:
        return start_tus(server, call, folder, prefix, own_name=False)
    for part in multipart(call):
        if part.filename is not None:
            return finish(base_name(part.filename), part.content)
    raise Refused(400, ["No such file were uploaded"])


def chunk(server: CvatDouble, call: Call, folder: str, file_id: str) -> Answer:
    """PATCH and HEAD of an annotation file, a dataset or a backup."""

    def complete(name: str, content: bytes) -> None:
        server.state.received_files[folder, name] = content

    return continue_tus(server, call, folder, file_id, complete)
