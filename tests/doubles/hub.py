"""The Hub's API over real HTTP on loopback, as huggingface_hub drives it: repositories, commits, large files.

Files from `large_from` bytes on are large ones: they go to a store apart from git by their SHA-256.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit


def git_oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass
class Commit:
    oid: str
    message: str
    files: dict[str, bytes]
    parent: str | None = None


@dataclass
class HubRepo:
    type: str
    private: bool
    commits: list[Commit] = field(default_factory=list)

    @property
    def head(self) -> Commit:
        return self.commits[-1]

    def add(self, message: str, files: dict[str, bytes]) -> Commit:
        number = len(self.commits)
        oid = hashlib.sha1(f"{number} {message}".encode()).hexdigest()
        self.commits.append(Commit(oid, message, files, self.head.oid if self.commits else None))
        return self.head

    def at(self, revision: str) -> Commit | None:
        if revision == "main":
            return self.head
        return next((commit for commit in self.commits if commit.oid == revision), None)


@dataclass
class HubDouble:
    """faults: (method, pattern of the path) → statuses of the next answers; 0 drops the connection."""

    token: str = "hf_writer"
    reader: str = "hf_reader"
    large_from: int = 1000
    url: str = ""
    repos: dict[str, HubRepo] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)
    seen: list[tuple[str, str]] = field(default_factory=list)
    faults: list[tuple[str, str, int]] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def person_commits(self, name: str, files: dict[str, bytes]) -> Commit:
        repo = self.repos[name]
        return repo.add("by hand", {**repo.head.files, **files})

    def make(self, name: str, kind: str, files: dict[str, bytes], *, private: bool = False) -> HubRepo:
        repo = self.repos[name] = HubRepo(kind, private)
        repo.add("initial commit", {".gitattributes": b"*.png filter=lfs\n"})
        if files:
            repo.add("files", {**repo.head.files, **files})
        return repo

    def asked(self, method: str, pattern: str) -> int:
        return sum(1 for one, path in self.seen if one == method and re.search(pattern, path))


class Refused(Exception):
    def __init__(self, status: int, message: str, code: str = "") -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code


class _Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: HubDouble

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._answer()

    do_POST = do_PUT = do_HEAD = do_GET

    def _answer(self) -> None:
        body = self._body()
        path = unquote(urlsplit(self.path).path)
        with self.hub.lock:
            self.hub.seen.append((self.command, path))
            for fault in self.hub.faults:
                if fault[0] == self.command and re.search(fault[1], path):
                    self.hub.faults.remove(fault)
                    if fault[2] == 0:
                        self.connection.close()
                        self.close_connection = True
                        return
                    return self._send(fault[2], {"error": "as asked for"})
            try:
                self._route(path, body)
            except Refused as refused:
                headers = {"X-Error-Message": refused.message}
                self._send(refused.status, {"error": refused.message}, {**headers, "X-Error-Code": refused.code})

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding") == "chunked":
            blocks = b""
            while size := int(self.rfile.readline(), 16):
                blocks += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return blocks
        return self.rfile.read(int(self.headers.get("content-length") or 0))

    def _route(self, path: str, body: bytes) -> None:
        if path.startswith("/lfs/"):
            return self._store(path.rpartition("/")[2], body)
        if path == "/api/validate-yaml":
            return self._send(200, {"errors": [], "warnings": []})
        if path == "/api/whoami-v2":
            self._require_token()
            return self._send(200, {"name": "org", "type": "user"})
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if found := re.fullmatch(r"/(datasets/)?([^/]+/[^/]+)\.git/info/lfs/objects/batch", path):
            return self._batch(json.loads(body))
        if found := re.fullmatch(r"/api/(model|dataset)s/([^/]+/[^/]+)/(\w+)/([^/]+)(?:/(.*))?", path):
            kind, name, what, revision, _ = found.groups()
            return self._api(self._repo(name, kind), name, what, revision, body)
        if found := re.fullmatch(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            return self._resolve(self._repo(found[2], "dataset" if found[1] else "model"), found[3], found[4])
        raise Refused(404, f"no such page {path}")

    def _given(self) -> str:
        return (self.headers.get("authorization") or "").removeprefix("Bearer ")

    def _require_token(self, *, write: bool = False) -> None:
        if self._given() not in (self.hub.token, self.hub.reader):
            raise Refused(401, "Invalid username or password.")
        if write and self._given() != self.hub.token:
            raise Refused(403, "Forbidden: you must use a write token.")

    def _repo(self, name: str, kind: str) -> HubRepo:
        repo = self.hub.repos.get(name)
        signed_in = self._given() in (self.hub.token, self.hub.reader)
        if self._given() and not signed_in:
            raise Refused(401, "Invalid credentials in Authorization header")
        if repo is None or repo.type != kind or (repo.private and not signed_in):
            raise Refused(404 if signed_in else 401, "Repository not found", "RepoNotFound")
        return repo

    def _create(self, asked: dict[str, Any]) -> None:
        self._require_token(write=True)
        name, kind = f"{asked['organization']}/{asked['name']}", asked.get("type") or "model"
        if name in self.hub.repos:
            return self._send(409, {"error": "You already created this repo", "url": self._url(name, kind)})
        self.hub.make(name, kind, {}, private=asked.get("visibility") == "private" or bool(asked.get("private")))
        self._send(200, {"url": self._url(name, kind), "name": name})

    def _url(self, name: str, kind: str) -> str:
        return f"{self.hub.url}/{'datasets/' if kind == 'dataset' else ''}{name}"

    def _api(self, repo: HubRepo, name: str, what: str, revision: str, body: bytes) -> None:
        commit = repo.at(revision)
        if commit is None:
            raise Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        match what:
            case "revision":
                self._send(200, {"id": name, "sha": commit.oid, "private": repo.private, "siblings": []})
            case "tree":
                self._tree(commit)
            case "preupload":
                self._require_token(write=True)
                files = [self._mode(one, commit) for one in json.loads(body)["files"]]
                self._send(200, {"files": files, "commitOid": commit.oid})
            case "commit":
                self._commit(repo, name, [json.loads(line) for line in body.splitlines() if line])
            case _:
                raise Refused(404, what)

    def _mode(self, asked: dict[str, Any], commit: Commit) -> dict[str, Any]:
        there, large = commit.files.get(asked["path"]), asked["size"] >= self.hub.large_from
        oid = None if there is None else sha256(there) if self._is_large(there) else git_oid(there)
        mode = "lfs" if large else "regular"
        return {"path": asked["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid}

    def _is_large(self, data: bytes) -> bool:
        return len(data) >= self.hub.large_from

    def _tree(self, commit: Commit) -> None:
        """Ten entries a page."""
        query = parse_qs(urlsplit(self.path).query)
        start = int(query.get("cursor", ["0"])[0])
        entries: list[dict[str, Any]] = []
        for path, data in sorted(commit.files.items()):
            entry: dict[str, Any] = {"type": "file", "path": path, "size": len(data), "oid": git_oid(data)}
            if self._is_large(data):
                pointer = f"oid sha256:{sha256(data)}\nsize {len(data)}\n".encode()
                entry["oid"] = git_oid(pointer)
                entry["lfs"] = {"oid": sha256(data), "size": len(data), "pointerSize": len(pointer)}
            entries.append(entry)
        headers = {}
        if start + 10 < len(entries):
            plain = self.path.partition("?")[0]
            headers["Link"] = f'<{self.hub.url}{plain}?recursive=true&cursor={start + 10}>; rel="next"'
        self._send(200, entries[start : start + 10], headers)

    def _batch(self, asked: dict[str, Any]) -> None:
        self._require_token(write=True)
        objects = []
        for one in asked["objects"]:
            known = one["oid"] in self.hub.large
            upload = {"upload": {"href": f"{self.hub.url}/lfs/{one['oid']}", "header": {}}}
            objects.append({**one, **({} if known else {"actions": upload})})
        self._send(200, {"transfer": "basic", "objects": objects})

    def _store(self, oid: str, body: bytes) -> None:
        if sha256(body) != oid:
            raise Refused(400, "the content is not what its name says")
        self.hub.large[oid] = body
        self._send(200, {})

    def _commit(self, repo: HubRepo, name: str, lines: list[dict[str, Any]]) -> None:
        self._require_token(write=True)
        header = lines[0]["value"]
        if header.get("parentCommit") not in (None, repo.head.oid):
            raise Refused(412, "A commit has happened since. Please refresh and try again.")
        files = dict(repo.head.files)
        for line in lines[1:]:
            value = line["value"]
            match line["key"]:
                case "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile":
                    if value["oid"] not in self.hub.large:
                        raise Refused(400, f"{value['path']}: its content was never uploaded")
                    files[value["path"]] = self.hub.large[value["oid"]]
                case "deletedFile":
                    if files.pop(value["path"], None) is None:
                        raise Refused(404, "A file with this name doesn't exist", "EntryNotFound")
        made = repo.add(header["summary"], files)
        url = f"{self._url(name, repo.type)}/commit/{made.oid}"
        self._send(200, {"success": True, "commitOid": made.oid, "commitUrl": url, "hookOutput": ""})

    def _resolve(self, repo: HubRepo, revision: str, path: str) -> None:
        commit = repo.at(revision)
        if commit is None or path not in commit.files:
            raise Refused(404, "Entry not found", "EntryNotFound")
        data = commit.files[path]
        etag = sha256(data) if self._is_large(data) else git_oid(data)
        status, headers = 200, {"ETag": f'"{etag}"', "X-Repo-Commit": commit.oid, "Accept-Ranges": "bytes"}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("range") or "")
        if asked:
            start, end = int(asked[1]), int(asked[2]) + 1 if asked[2] else len(data)
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(data)}"
            status, data = 206, data[start:end]
        self._send(status, data, headers)

    def _send(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        kind = "application/octet-stream" if isinstance(content, bytes) else "application/json"
        for name, value in {"Content-Type": kind, "Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


@contextmanager
def hub_double(**settings: Any) -> Iterator[HubDouble]:
    hub = HubDouble(**settings)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Answering", (_Answering,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
