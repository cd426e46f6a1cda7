"""A task's images on their way into CVAT, over cvat-sdk's transport, so that an interruption costs one batch.

    POST data/ Upload-Start; POST data/ Upload-Multiple with a batch of files, again and again; files that are larger
    than a batch by TUS; POST data/ Upload-Finish with the order of all names → a background request.

What the server took is written down beside the links of the images (`sent.json`). A batch whose answer was lost is
sent again: for a name that it has already the server answers 500 and keeps what it has (a unique index refuses the
second entry, and the files of the batch are written after it). So after a 500 the files go one by one, where two of
them mean that the name is there; `Upload-Finish` compares all names with the order and refuses what is incomplete:
what it misses is sent again. While a task has no frames the server takes data again, so a creation that failed is
tried once more.

cvat-sdk's own `upload_data` sends all in one call: killed in the middle, its second call would end with that 500.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from specrun.clients.cvat.answers import Refused
from specrun.clients.cvat.api import Api
from specrun.clients.cvat.background import finish, under_way
from specrun.clients.cvat.catalogue import find_task
from specrun.clients.cvat.frames import Moved
from specrun.errors import NodeError, TransientError

BATCH_BYTES = 32 << 20
BATCH_FILES = 200
_ROUNDS = 4
_MISMATCH, _MORE = "Uploaded files do not match", " more)"


def upload_images(
    api: Api,
    task_id: int,
    files: Sequence[Path],
    names: Sequence[str],
    *,
    quality: int = 70,
    staging: Path,
    deadline_s: float | None = None,
    progress: Moved | None = None,
    extra: Mapping[str, Any] | None = None,
) -> list[str]:
    """Give a task its images in the order of `files` and wait until the server has made its frames.

    names: how they are called there, base names that differ from one another. staging: a folder for links under
    these names and the note of what was sent; kept, it saves a second call what the first one sent; it may be removed
    afterwards. deadline_s: for all of it; None: none for the sending. extra: more fields of the data request
    (`chunk_size`, …). A task that has its images already is left as it is.
    Returns the names that were sent more than once: a server that was killed while it wrote one may have it damaged.
    """
    check_names(files, names)
    if has_data(api, task_id):
        return []
    is_resumed = staging.exists()
    links = link_all(files, names, staging)
    upload = _Upload(api, task_id, links, staging / "sent.json", progress, deadline_s, is_resumed)
    fields = {
        "image_quality": quality,
        "sorting_method": "predefined",
        "upload_file_order": list(names),
        **(extra or {}),
    }
    _send_and_finish(upload, fields)
    return sorted(upload.doubtful)


def _send_and_finish(upload: _Upload, fields: Mapping[str, Any]) -> None:
    failures = 0
    for again in range(_ROUNDS):
        upload.send_all()
        try:
            rq_id = upload.finish(fields)
            if rq_id is not None:
                finish(upload.api, rq_id, deadline_s=upload.left_s())
            return
        except Refused as refused:
            if refused.status != 400 or _MISMATCH not in refused.message or again == _ROUNDS - 1:
                raise
            upload.forget(refused.message)
        except TransientError:
            raise
        except NodeError:
            failures += 1
            if failures > 1 or not has_failed(upload.api, upload.task_id):
                raise


def has_failed(api: Api, task_id: int) -> bool:
    """Whether the server tried to make the frames and could not."""
    try:
        under_way(api, creation_id(task_id))
    except TransientError:
        raise
    except NodeError:
        return True
    return False


def has_data(api: Api, task_id: int) -> bool:
    """Whether the task has its frames; waits for a creation that is still under way. One that failed left none.

    Raises NodeError: there is no such task.
    """
    task = find_task(api, task_id)
    if task is None:
        raise NodeError(f"{api.connection.host}: there is no task {task_id}")
    if task.has_data:
        return True
    rq_id = creation_id(task_id)
    if has_failed(api, task_id) or not under_way(api, rq_id):
        # It may have been finished between the two questions.
        task = find_task(api, task_id)
        return task is not None and task.has_data
    try:
        finish(api, rq_id)
    except TransientError:
        raise
    except NodeError:
        if not has_failed(api, task_id):
            raise
        return False
    return True


def creation_id(task_id: int) -> str:
    """The server's name for making a task of its data."""
    return f"action=create&target=task&target_id={task_id}"


def check_names(files: Sequence[Path], names: Sequence[str]) -> None:
    """Raises NodeError: the server would refuse these names, or mix them up."""
    if len(files) != len(names) or not files:
        raise NodeError(f"{len(files)} images and {len(names)} names for them: nothing to upload")
    for name in names:
        if not name or name != os.path.basename(name) or name in (".", "..", "sent.json") or not name.isprintable():
            raise NodeError(f"{name!r} cannot be the name of an image in CVAT", hint="Give a name without folders.")
    if len(set(names)) != len(names):
        again = next(name for position, name in enumerate(names) if name in names[:position])
        raise NodeError(f"two images would be called {again} in one CVAT task")


def link_all(files: Sequence[Path], names: Sequence[str], staging: Path) -> list[Path]:
    """The images under their names in one folder. Hard links: cvat-sdk sends what a symbolic link leads to
    under the name of that."""
    staging.mkdir(parents=True, exist_ok=True)
    links = []
    for file, name in zip(files, names, strict=True):
        link = staging / name
        link.unlink(missing_ok=True)
        try:
            os.link(os.path.realpath(file), link)
        except OSError:  # another file system, or one without links
            shutil.copyfile(file, link)
        links.append(link)
    return links


class _Upload:
    """note: names that the server has acknowledged, for this task. doubtful: names that were sent more than once.
    is_resumed: an earlier run may have been killed with a batch on its way."""

    def __init__(
        self,
        api: Api,
        task_id: int,
        links: Sequence[Path],
        note: Path,
        progress: Moved | None,
        deadline_s: float | None,
        is_resumed: bool,
    ) -> None:
        self.api, self.task_id, self._links, self._note = api, task_id, links, note
        self.doubtful: set[str] = set()
        self._broke_off = is_resumed
        self._progress = progress
        self._until = None if deadline_s is None else time.monotonic() + deadline_s
        self._sent: set[str] = set(self._noted())
        self._bytes = sum(link.stat().st_size for link in links if link.name in self._sent)

    def left_s(self) -> float | None:
        """Until the deadline; at least a second, for an answer that is there already."""
        return None if self._until is None else max(1.0, self._until - time.monotonic())

    def send_all(self) -> None:
        """Start, and every file that the server has not acknowledged."""
        from specrun.clients.cvat.sdk import SdkUpload  # loads cvat-sdk

        self._tell()
        waiting = [link for link in self._links if link.name not in self._sent]
        if not waiting:
            return
        self._patiently(SdkUpload.start)
        for batch in batches(waiting):
            self._check()
            was_sent, self._broke_off = self._broke_off, False
            if len(batch) == 1 and batch[0].stat().st_size > BATCH_BYTES:
                self._patiently(partial(SdkUpload.send_large, file=batch[0]))
            elif self._patiently(partial(SdkUpload.send, files=batch)) == 500:
                self._send_each(batch)
            if was_sent or self._broke_off:
                self.doubtful.update(file.name for file in batch)
            self._broke_off = False
            self._acknowledge(batch)

    def _send_each(self, batch: Sequence[Path]) -> None:
        """A server that is in trouble answers 500 too, so one of them is no proof that the name is there."""
        from specrun.clients.cvat.sdk import SdkUpload  # loads cvat-sdk

        self._broke_off = True
        refused = [file for file in batch if self._patiently(partial(SdkUpload.send, files=[file])) == 500]
        if refused:
            self.api.http.wait(self.api.http.retry.delay_s(1, 0.5))
        for file in refused:
            self._patiently(partial(SdkUpload.send, files=[file]))

    def forget(self, words: str) -> None:
        """What the server says that it misses; it names five at most, and then all are sent again."""
        missing = {link.name for link in self._links if link.name in words}
        self._sent = set() if _MORE in words or not missing else self._sent - missing
        self._bytes = sum(link.stat().st_size for link in self._links if link.name in self._sent)

    def finish(self, fields: Mapping[str, Any]) -> str | None:
        """The id of the request that makes the frames; None: it has been carried out."""

        def end(sdk: Any) -> str | None:
            if has_data(self.api, self.task_id):  # an earlier attempt went through although its answer was lost
                return None
            return str(sdk.finish(fields))

        found: str | None = self._patiently(end)
        return found

    def _patiently(self, work: Callable[[Any], Any]) -> Any:
        """What `work` returns, as often tried as the connection allows: all of it may be done twice."""
        from specrun.clients.cvat.sdk import SdkUpload, SessionEnded, Unanswered  # loads cvat-sdk

        retry = self.api.http.retry
        ended = None
        for failed in range(1, retry.max_attempts + 1):
            self._check()
            session = self.api.session(ended=ended)
            try:
                return work(SdkUpload(self.api, self.task_id, session))
            except SessionEnded as error:
                if ended is not None or self.api.connection.password is None:
                    raise error.refusal from None
                ended = session
            except Unanswered as error:
                if failed == retry.max_attempts:
                    raise TransientError(
                        f"{self.api.connection.host}: the upload to task {self.task_id} broke off: {error}",
                        hint="Run again: what the server has is not sent a second time.",
                    ) from None
                self._broke_off = True
                self.api.http.wait(retry.delay_s(failed, 0.5))
        raise TransientError(f"{self.api.connection.host}: the upload to task {self.task_id} did not go through")

    def _check(self) -> None:
        self.api.check_stop()
        if self._until is not None and time.monotonic() > self._until:
            raise NodeError(
                f"{self.api.connection.host}: {len(self._sent)} of {len(self._links)} images of task {self.task_id} "
                "were sent when the time was up",
                hint="Run again: what the server has is not sent a second time.",
            )

    def _acknowledge(self, batch: Sequence[Path]) -> None:
        self._sent.update(link.name for link in batch)
        self._bytes += sum(link.stat().st_size for link in batch)
        part = self._note.with_name(self._note.name + ".part")
        part.write_text(json.dumps({"task": self.task_id, "url": self.api.connection.url, "sent": sorted(self._sent)}))
        os.replace(part, self._note)
        self._tell()

    def _tell(self) -> None:
        if self._progress is not None:
            self._progress(len(self._sent), len(self._links), self._bytes)

    def _noted(self) -> list[str]:
        with contextlib.suppress(OSError, ValueError):
            noted = json.loads(self._note.read_text("utf-8"))
            if noted.get("task") == self.task_id and noted.get("url") == self.api.connection.url:
                return [str(name) for name in noted.get("sent", ())]
        return []


def batches(files: Sequence[Path]) -> Iterator[list[Path]]:
    """In their order; a file that is larger than a batch stands alone."""
    batch: list[Path] = []
    size = 0
    for file in files:
        own = file.stat().st_size
        if batch and (size + own > BATCH_BYTES or len(batch) == BATCH_FILES):
            yield batch
            batch, size = [], 0
        batch.append(file)
        size += own
    if batch:
        yield batch
