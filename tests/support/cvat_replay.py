"""Recorded requests sent again, in their order, to a double: logged in as then, with files of equal meaning.

What the recording left out is made here: the bytes of files (by name), passwords, tokens, and the three requests that
were made in between without being recorded (`BEFORE`).
"""

from __future__ import annotations

import base64
import gzip
import http.server
import io
import json
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import urllib3
from PIL import Image, ImageDraw

from tests.doubles.cvat.server import CvatDouble
from tests.support.cvat_sameness import Sameness

Json = Any
DOUBLES = Path(__file__).parents[1] / "doubles"
_SIZES = {"img_002.jpg": (240, 320), "img_003.jpg": (300, 200)}
_PASSWORDS = {"alice": "alice-has-a-password", "admin": CvatDouble.password}
# Steps in which the server had not got round to the work yet.
_BUSY = (
    "err_export_409_same_request_in_progress",
    "request_status_queued",
    "export_download_before_ready",
    "request_cancel",
    "err_import_409_in_progress",
    "import_queued_then_set_annotations",
)
# Requests that the recording lacks, by the number of the next pair.
BEFORE = {386: ("DELETE", "/api/projects/4"), 754: ("DELETE", "/api/tasks/6")}
_FULL_AGAIN = (768,)
"""Before these, somebody used up the anonymous calls of the minute."""


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    content: bytes

    def value(self) -> Json:
        """As the recording writes it: JSON, text, or what kind of bytes it is."""
        if not self.content:
            return None
        kind = self.headers.get("content-type", "")
        if "json" in kind:
            return json.loads(self.content)
        if kind.startswith("text/"):
            return {"_text": self.content.decode(), "_size": len(self.content)}
        return {"_binary": True, "_size": len(self.content), "_magic": self.content[:8].hex()}


def recorded_pairs() -> list[Json]:
    with gzip.open(DOUBLES / "cvat_pairs.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


class Clock:
    """Now, as far as the double knows; it goes on by itself and can be put forward."""

    def __init__(self) -> None:
        self._ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self._ahead

    def forward(self, **span: float) -> None:
        self._ahead += timedelta(**span)


@dataclass
class Replay:
    double: CvatDouble
    clock: Clock
    hook: str
    """Where webhooks go."""
    same: Sameness = field(default_factory=Sameness)
    _pool: urllib3.PoolManager = field(default_factory=urllib3.PoolManager)
    _cookies: dict[str, dict[str, str]] = field(default_factory=dict)
    _tokens: dict[str, str] = field(default_factory=dict)
    _files: dict[str, bytes] = field(default_factory=dict)
    _upload: str = ""
    _step: str = ""

    def send(self, pair: Json) -> Reply:
        self._prepare(pair)
        headers = self._headers(pair)
        body = self._body(pair, headers)
        query = [(name, self._query(name, value)) for name, value in pair["query"]]
        reply = self._request(pair["method"], self._path(pair["path"]), headers, body, query)
        self._remember(pair, reply)
        return reply

    def differences(self, pair: Json, reply: Reply) -> list[str]:
        problems = [] if pair["status"] == reply.status else [f"status {pair['status']} became {reply.status}"]
        old, new = pair["response"], reply.value()
        if isinstance(old, dict) and "_binary" in old:
            old, new = dict(old), dict(new) if isinstance(new, dict) else new
            if not _is_upload_returned(pair) and isinstance(new, dict):
                old.pop("_size")
                new.pop("_size", None)
        if pair["seq"] in (768, 769) and new is not None:
            # How long to wait depends on when the minute began.
            old, new = ({"detail": value["detail"].split(" available")[0]} for value in (old, new))
        if isinstance(new, dict) and "logo_url" in new:
            new["description"] = old["description"]
        problems += self.same.differences(old, new, self.double.url, _kind(pair["path"]))
        return problems + self._header_differences(pair, reply)

    def _header_differences(self, pair: Json, reply: Reply) -> list[str]:
        problems = []
        if (pair["type"] or "").split(";")[0] != reply.headers.get("content-type", "").split(";")[0]:
            problems.append(f"content type {pair['type']} became {reply.headers.get('content-type')}")
        for name, value in pair["response_headers"].items():
            if name == "retry-after":
                problems += [] if 1 <= int(reply.headers.get(name, 0)) <= 60 else ["no Retry-After"]
            elif name == "upload-offset":
                problems += [] if name in reply.headers else ["no Upload-Offset"]
            else:
                problems += self.same.differences({name: value}, {name: reply.headers.get(name)}, self.double.url)
        return problems

    def _prepare(self, pair: Json) -> None:
        """Bring the double to where the server was: work done or still waiting, minutes gone by, calls used up."""
        if pair["step"] != self._step and pair["step"] not in _BUSY:
            self.double.worker.settle()
        self._step = pair["step"]
        for call in self.double.webhook_calls:
            call.join()
        if unrecorded := BEFORE.get(pair["seq"]):
            method, path = unrecorded
            self._request(method, self._path(path), self._basic("admin"))
        if pair["step"] == "err_token_expired":
            self.clock.forward(seconds=10)
        if pair["seq"] in _FULL_AGAIN:
            while self._request("GET", "/api/server/about", {}).status == 200:
                continue
        if pair["step"] == "setup" and pair["path"] == "/api/auth/login":
            self.clock.forward(minutes=1)
        if pair["path"].startswith("/api/requests/action") and pair["method"] == "GET" and pair["status"] == 200:
            self.double.worker.advance(
                unquote(self._path(pair["path"])).removeprefix("/api/requests/"), pair["response"]["status"]
            )

    def _path(self, recorded: str) -> str:
        return self.same.text(recorded, self.double.url)

    def _query(self, name: str, value: str) -> str:
        if name in ("project_id", "task_id", "job_id"):
            return str(self.same.number(f"{name.removesuffix('_id')}s", int(value)))
        if name == "filter" and "project_id" in value:
            rules = json.loads(value)
            rules["and"][0]["=="][1] = self.same.number("projects", rules["and"][0]["=="][1])
            return json.dumps(rules)
        if name == "filename" and "-" in value and self._upload:
            return self._upload
        return self.same.text(value, self.double.url)

    def _headers(self, pair: Json) -> dict[str, str]:
        headers = {name: value for name, value in pair["headers"].items() if name != "upload-length"}
        kind, _, rest = pair["actor"].partition(":")
        who, _, how = rest.partition(":")
        if kind == "basic":
            headers |= self._basic("admin", "not the password") if who == "wrong" else self._basic(who)
        elif kind == "token":
            headers["Authorization"] = f"Bearer {self._tokens.get(who, who)}"
        elif kind == "session":
            cookies = self._cookies[who]
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in cookies.items())
            if how != "nocsrf":
                headers["X-CSRFToken"] = cookies["csrftoken"]
        return headers

    def _basic(self, user: str, password: str = "") -> dict[str, str]:
        secret = f"{user}:{password or _PASSWORDS[user]}".encode()
        return {"Authorization": f"Basic {base64.b64encode(secret).decode()}"}

    def _body(self, pair: Json, headers: dict[str, str]) -> bytes | None:
        body = pair["body"]
        if "upload-length" in pair["headers"]:
            self._upload_name = _metadata_name(pair["headers"]["upload-metadata"])
            headers["Upload-Length"] = str(len(self._file(self._upload_name, pair)))
        if isinstance(body, dict) and "_binary" in body:
            return self._file(self._upload_name, pair)
        if isinstance(body, dict) and "_multipart" in body:
            return self._form(body["_multipart"], headers)
        if isinstance(body, dict) and "_unparsed" in body:
            headers["Content-Type"] = "application/json"
            return str(body["_unparsed"]).encode()
        if body is None:
            return None
        headers.setdefault("Content-Type", "application/json")
        return json.dumps(self._secrets(pair, self.same.body(body, self.double.url, _kind(pair["path"])))).encode()

    def _secrets(self, pair: Json, body: Json) -> Json:
        if not isinstance(body, dict):
            return body
        if pair["path"] == "/api/auth/login":
            body["password"] = "wrong" if pair["status"] == 400 else _PASSWORDS[body["username"]]
        if pair["path"] == "/api/auth/register":
            body |= {"password1": _PASSWORDS["alice"], "password2": _PASSWORDS["alice"]}
        if body.get("expiry_date"):
            ahead = timedelta(days=-2) if body["name"] == "past" else timedelta(seconds=5)
            body["expiry_date"] = (self.clock() + ahead).isoformat()
        if "target_url" in body:
            body["target_url"] = self.hook
        if "secret" in body:
            body["secret"] = "the webhook's secret"
        return body

    def _form(self, parts: Json, headers: dict[str, str]) -> bytes:
        boundary = "a-boundary-of-a-test"
        headers["content-type"] = f"multipart/form-data; boundary={boundary}"
        pieces = []
        for part in parts:
            head = "\r\n".join(part["headers"])
            name = head.partition('filename="')[2].partition('"')[0].rpartition("/")[2]
            content = part["text"].encode() if "text" in part else media_file(name, part["size"])
            pieces += [f"--{boundary}\r\n{head}\r\n\r\n".encode(), content, b"\r\n"]
        return b"".join([*pieces, f"--{boundary}--\r\n".encode()])

    def _file(self, name: str, pair: Json) -> bytes:
        """What was uploaded under a name: recorded archives, the double's own exports, or a file made anew."""
        if name.endswith(".jpg"):
            return media_file(name, int(pair["headers"].get("upload-length") or pair["body"]["_size"]))
        if name in ("project_coco_images.zip", "task_backup.zip"):
            return self._files[name]
        golden = DOUBLES / "golden" / name
        return golden.read_bytes() if golden.exists() else annotation_file(name)

    def _request(
        self, method: str, path: str, headers: dict[str, str], body: bytes | None = None, query: Any = ()
    ) -> Reply:
        url = self.double.url + quote(path, safe="/%&=~")
        if query:
            url += "?" + "&".join(f"{quote(name)}={quote(value, safe='')}" for name, value in query)
        sent = {name: _latin(value) for name, value in headers.items()}
        got = self._pool.request(method, url, body=body, headers=sent, redirect=False, retries=False)
        return Reply(got.status, {name.lower(): got.headers[name] for name in got.headers}, got.data)

    def _remember(self, pair: Json, reply: Reply) -> None:
        if pair["path"] in ("/api/auth/login", "/api/auth/register") and reply.status in (200, 201):
            user = pair["body"]["username"]
            who = "last" if pair["step"] == "logout" else user
            self._cookies[who] = _cookies(reply)
        if pair["path"] == "/api/auth/access_tokens" and reply.status == 201:
            self._tokens[pair["body"]["name"]] = reply.value()["value"]
        if "upload-length" in pair["headers"] and reply.status == 201:
            self._upload = reply.headers["upload-filename"]
            old = pair["response_headers"]["location"].rpartition("/")[2]
            self.same.renamed[old] = reply.headers["location"].rpartition("/")[2]
        if isinstance(pair["response"], dict) and "subresource=backup" in str(pair["response"].get("rq_id")):
            self.same.renamed[pair["response"]["rq_id"]] = reply.value()["rq_id"]
            old_id, new_id = (quote(value["rq_id"], safe="~") for value in (pair["response"], reply.value()))
            self.same.renamed[old_id] = new_id
        for name, request_id in (
            ("project_coco_images.zip", "target=project&target_id=1&user_id=1&format=COCO_1~0&subresource=dataset"),
            ("task_backup.zip", "target=task&target_id=1&user_id=1&subresource=backup"),
        ):
            request = self.double.state.requests.get(f"action=export&{request_id}")
            if request is not None and request.result is not None:
                self._files.setdefault(name, request.result)


@contextmanager
def replaying() -> Iterator[Replay]:
    """A fresh double whose worker does only what the recording says it had done, and a receiver of webhooks."""
    clock = Clock()
    with CvatDouble(clock=clock) as double, _receiver() as hook:
        double.worker.hold()
        replay = Replay(double, clock, hook)
        replay.same.renamed["http://127.0.0.1:8099/hook"] = hook
        yield replay


@contextmanager
def _receiver() -> Iterator[str]:
    class Receive(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receive)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/hook"
    server.shutdown()
    server.server_close()
    thread.join()


def media_file(name: str, size: int) -> bytes:
    """The uploaded file of that name: images of the recorded dimensions and byte count."""
    if name == "imgs.zip":
        return _zip({f"sub/dir/img_00{n}.jpg": media_file(f"img_00{n}.jpg", 19000) for n in range(3)})
    if name == "broken.jpg":
        return b"this is no picture".ljust(size, b".")
    if not name.endswith(".jpg"):
        return b"hello"
    image = Image.new("RGB", _SIZES.get(name, (320, 240)), (90, 110, 130))
    ImageDraw.Draw(image).text((20, 20), name, fill=(255, 255, 255))
    written = io.BytesIO()
    image.save(written, "JPEG", quality=95)
    # What follows the end of a JPEG is ignored by readers.
    return written.getvalue().ljust(size, b"\0")


def annotation_file(name: str) -> bytes:
    """The small COCO files that were uploaded, as their names in the recording and the server's answers tell."""
    label = "not_in_task" if name == "ml.zip" else "cell"
    image = "no_such_image.jpg" if name == "mi.zip" else "img_000.jpg"
    found: dict[str, Any] = {
        "id": 1,
        "image_id": 1,
        "category_id": 1,
        "segmentation": [[20.0, 30.0, 100.0, 30.0, 100.0, 110.0]],
        "bbox": [20.0, 30.0, 80.0, 80.0],
        "area": 3200.0,
        "iscrowd": 0,
    }
    coco = {
        "images": [{"id": 1, "file_name": image, "width": 320, "height": 240}],
        "categories": [{"id": 1, "name": label}],
        "annotations": [found],
    }
    if name == "mc.zip":
        del coco["categories"]
    if name == "nic.json":
        del found["iscrowd"]
    if name == "junk.zip":
        return b"PK\x03\x04junkjunk"
    written = json.dumps(coco).encode()
    return written if name.endswith(".json") else _zip({"annotations/instances_default.json": written})


def _zip(files: dict[str, bytes]) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return written.getvalue()


def _metadata_name(header: str) -> str:
    encoded = header.partition("filename ")[2].split(",")[0]
    return base64.b64decode(encoded).decode().rpartition("/")[2]


def _cookies(reply: Reply) -> dict[str, str]:
    found = {}
    for cookie in reply.headers["set-cookie"].split(", "):
        name, _, rest = cookie.partition("=")
        found[name] = rest.partition(";")[0]
    return found


def _kind(path: str) -> str:
    parts = path.split("/")
    if "annotations" in parts:
        return ""
    if "deliveries" in parts or "ping" in parts:
        return "deliveries"
    return "access_tokens" if "access_tokens" in parts else parts[2]


def _is_upload_returned(pair: Json) -> bool:
    query = dict(pair["query"])
    return query.get("type") == "frame" and query.get("quality") == "original"


def _latin(value: str) -> str:
    return value.encode().decode("latin-1")
