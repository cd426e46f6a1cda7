"""A task's images: by whole chunks where those hold them, one by one where not.

A chunk is a zip of `chunk_size` images in the order of the task's frames, named 000000.jpg, 000001.png, … by the
server; the originals of a task made from a video are chunks of MP4, so that its frames come one by one, as PNG.
Seen against a real server: 300 images one by one take 31 s, in chunks less than 4 s.
"""

from __future__ import annotations

import os
import re
import threading
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from typing import Literal

from specrun.clients.cvat.api import Api
from specrun.clients.cvat.things import FrameIndex, Task
from specrun.errors import FormatError, NodeError

Quality = Literal["original", "compressed"]
Moved = Callable[[int, int, int], None]
"""Images so far, images in all, bytes so far."""
PARALLEL = 4
SINGLES = 8
"""Frames that are fetched one after the other by one of the parallel threads."""
LARGEST_IMAGE = 1 << 30
_ENDING = re.compile(r"\.[A-Za-z0-9]{1,5}")
_BY_MAGIC = (
    (b"\xff\xd8\xff", ".jpg"),
    (b"\x89PNG\r\n\x1a\n", ".png"),
    (b"GIF8", ".gif"),
    (b"BM", ".bmp"),
    (b"II*\x00", ".tif"),
    (b"MM\x00*", ".tif"),
)


def fetch_frames(
    api: Api,
    task: Task,
    frames: FrameIndex,
    numbers: Iterable[int],
    quality: Quality,
    folder: Path,
    progress: Moved | None = None,
) -> dict[int, Path]:
    """Frame number → file `<folder>/<number:06d><ending>`; files that are there are not fetched again.

    The folder belongs to this task and quality alone. Raises NodeError: a frame that the task has not.
    """
    wanted = sorted(set(numbers))
    if wanted and not (wanted[0] >= 0 and wanted[-1] < len(frames.frames)):
        raise NodeError(f"{api.connection.host}: task {task.id} has frames 0 to {len(frames.frames) - 1} only")
    folder.mkdir(parents=True, exist_ok=True)
    held = held_frames(folder)
    fetching = _Fetching(api, task.id, frames, quality, folder, progress, total=len(wanted))
    fetching.count(*(held[n] for n in wanted if n in held))
    chunked = (task.original_chunks if quality == "original" else task.compressed_chunks) != "video"
    groups: dict[int, list[int]] = {}
    for number in wanted:
        if number not in held:
            groups.setdefault(number // (frames.chunk_size if chunked else SINGLES), []).append(number)
    fetch = fetching.chunk if chunked else fetching.singly
    fetched = _in_parallel([partial(fetch, numbers) for numbers in groups.values()])
    for part in fetched:
        held.update(part)
    return {number: held[number] for number in wanted}


def held_frames(folder: Path) -> dict[int, Path]:
    """What a folder of frames holds, without what is only begun."""
    found = {}
    for path in folder.iterdir():
        if path.stem.isdecimal() and _ENDING.fullmatch(path.suffix) and path.suffix not in (".part", ".zip"):
            found[int(path.stem)] = path
    return found


def _in_parallel(works: Sequence[Callable[[], dict[int, Path]]]) -> list[dict[int, Path]]:
    """The first failure ends the others at their next request."""
    with ThreadPoolExecutor(PARALLEL, thread_name_prefix="cvat") as pool:
        futures: list[Future[dict[int, Path]]] = [pool.submit(work) for work in works]
        done, waiting = wait(futures, return_when=FIRST_EXCEPTION)
        for future in waiting:
            future.cancel()
        for future in done:
            if (error := future.exception()) is not None:
                raise error
    return [future.result() for future in futures]


class _Fetching:
    """One task's frames on their way into a folder; used from several threads."""

    def __init__(
        self,
        api: Api,
        task_id: int,
        frames: FrameIndex,
        quality: Quality,
        folder: Path,
        progress: Moved | None,
        *,
        total: int,
    ) -> None:
        self._api, self._frames, self._quality, self._folder = api, frames, quality, folder
        self._path = f"/api/tasks/{task_id}/data/"
        self._progress, self._total = progress, total
        self._images = self._bytes = 0
        self._lock = threading.Lock()

    def count(self, *files: Path) -> None:
        with self._lock:
            self._images += len(files)
            self._bytes += sum(file.stat().st_size for file in files)
            if self._progress is not None:
                self._progress(self._images, self._total, self._bytes)

    def chunk(self, numbers: list[int]) -> dict[int, Path]:
        """Frames of one chunk."""
        if len(numbers) == 1 and self._frames.chunk_size > 2:
            return self.singly(numbers)
        chunk = numbers[0] // self._frames.chunk_size
        archive = self._folder / f"chunk-{chunk}.zip"
        try:
            self._api.stream(self._path, archive, type="chunk", number=chunk, quality=self._quality)
            members = images_in(archive, self._expected(chunk))
            if members is None:
                return self.singly(numbers)
            first = chunk * self._frames.chunk_size
            return self._unpacked(archive, {number: members[number - first] for number in numbers})
        finally:
            archive.unlink(missing_ok=True)

    def _expected(self, chunk: int) -> int:
        return min(self._frames.chunk_size, len(self._frames.frames) - chunk * self._frames.chunk_size)

    def _unpacked(self, archive: Path, members: Mapping[int, zipfile.ZipInfo]) -> dict[int, Path]:
        found = {}
        with zipfile.ZipFile(archive) as opened:
            for number, member in members.items():
                try:
                    content = opened.read(member)
                except (zipfile.BadZipFile, EOFError, OSError, RuntimeError, NotImplementedError):
                    raise FormatError(f"{self._api.connection.host}: a chunk of images is damaged") from None
                found[number] = self._saved(number, content)
        return found

    def singly(self, numbers: Sequence[int]) -> dict[int, Path]:
        found = {}
        for number in numbers:
            content, _ = self._api.get_bytes(self._path, type="frame", number=number, quality=self._quality)
            found[number] = self._saved(number, content)
        return found

    def _saved(self, number: int, content: bytes) -> Path:
        """Under a name of our own: the ending by content, else that of the frame's name."""
        ending = next((end for magic, end in _BY_MAGIC if content.startswith(magic)), "")
        if not ending:
            named = os.path.splitext(self._frames.frames[number].name)[1]
            ending = named.lower() if _ENDING.fullmatch(named) else ".bin"
        target = self._folder / f"{number:06d}{ending}"
        part = target.with_name(f"{target.name}.part")
        part.write_bytes(content)
        os.replace(part, target)
        self.count(target)
        return target


def images_in(archive: Path, expected: int) -> list[zipfile.ZipInfo] | None:
    """The members in the order of their numbers; None: no archive of that many images.

    Names are only compared with what the server writes, never used for a file.
    """
    if not zipfile.is_zipfile(archive):
        return None
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [member for member in opened.infolist() if not member.is_dir()]
    except zipfile.BadZipFile:
        return None
    numbers = [re.fullmatch(r"(\d+)\.\w+", member.filename) for member in members]
    by_number = {int(found[1]): member for found, member in zip(numbers, members, strict=True) if found}
    if sorted(by_number) != list(range(expected)) or len(members) != expected:
        return None
    if any(member.file_size > LARGEST_IMAGE for member in members):
        raise FormatError("a chunk of images holds an implausibly large one")
    return [by_number[number] for number in range(expected)]
