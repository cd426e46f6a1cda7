"""The images of one pulled task: taken over, found here, or downloaded; each in its place under `media/<task id>/`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from specrun.clients.cvat.api import Api
from specrun.clients.cvat.things import Frame
from specrun.clients.cvat.transfer import fetch_frames
from specrun.errors import FormatError
from specrun.formats.images import read_orientation, read_size
from specrun.formats.orientation import TURNED
from specrun.formats.plain_text import plain_text
from specrun.kinds.cvat_pull.local import Place, find_local
from specrun.kinds.cvat_pull.names import local_names
from specrun.kinds.cvat_pull.pulled import MEDIA, Image, Pulled, link_or_copy
from specrun.kinds.cvat_pull.spec import MediaSpec
from specrun.model.digest import Json, file_digest

FETCHED = "fetched"
"""Folder of staging where downloads arrive; what is there is not asked for again after an interruption."""


def media_key(spec: MediaSpec) -> Json:
    """The settings that the images of a task depend on."""
    return [spec.quality, spec.download, list(spec.from_)]


@dataclass(frozen=True)
class ImageStore:
    """tell: images done in this task, bytes downloaded."""

    spec: MediaSpec
    staging: Path
    previous: Path | None
    places: Sequence[Place]

    def gather(
        self, api: Api, pulled: Pulled, before: Pulled | None, tell: Callable[[int, int], None]
    ) -> dict[int, Image]:
        """Every wanted frame's image; with download: none, those that were found. before: the task as it lies in
        `previous`. Raises FormatError: an image has another size than the server says."""
        names = local_names(pulled.index, pulled.numbers)
        images = self._taken_over(pulled, before)
        left = [number for number in pulled.numbers if number not in images]
        if not pulled.index.is_video:
            images |= self._found_here(pulled, left, names)
            left = [number for number in left if number not in images]
        tell(len(images), 0)
        if left and self.spec.download != "none":
            images |= self._downloaded(api, pulled, left, names, lambda done, size: tell(len(images) + done, size))
        return {number: images[number] for number in pulled.numbers if number in images}

    def _taken_over(self, pulled: Pulled, before: Pulled | None) -> dict[int, Image]:
        """Images that are the same as last time, linked from the previous output."""
        if before is None or before.images is None or self.previous is None:
            return {}
        if before.media_key != media_key(self.spec) or not pulled.same_data(before):
            return {}
        taken: dict[int, Image] = {}
        for number in pulled.numbers:
            image = before.images.get(number)
            if image is not None and self.keep(image):
                taken[number] = image
        return taken

    def keep(self, image: Image) -> bool:
        """Put an image of the previous output into this one; whether it is still there, and the same."""
        if image.elsewhere:
            return Path(image.path).is_file() and file_digest(Path(image.path)) == image.digest
        if (self.staging / image.path).is_file():
            return True
        if self.previous is None:
            return False
        try:
            link_or_copy(self.previous / image.path, self.staging / image.path)
        except FileNotFoundError:
            return False
        return True

    def _found_here(self, pulled: Pulled, numbers: Iterable[int], names: Mapping[int, str]) -> dict[int, Image]:
        found: dict[int, Image] = {}
        for number in numbers if self.places else ():
            frame = pulled.index.frames[number]
            local = find_local(frame, self.places)
            if local is None:
                continue
            path, digest = local
            size = (frame.width, frame.height)
            if self.spec.download == "all":
                # Copied, not linked: editing the file there must not change what was pulled.
                target = self._target(pulled, names[number], path.suffix)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
                found[number] = Image(target.relative_to(self.staging).as_posix(), digest, size)
            else:
                found[number] = Image(str(path), digest, size, elsewhere=True)
        return found

    def _downloaded(
        self,
        api: Api,
        pulled: Pulled,
        numbers: Sequence[int],
        names: Mapping[int, str],
        tell: Callable[[int, int], None],
    ) -> dict[int, Image]:
        folder = self.staging / FETCHED / f"{pulled.task.id}-{self.spec.quality}"
        folder.mkdir(parents=True, exist_ok=True)
        files = fetch_frames(
            api,
            pulled.task,
            pulled.index,
            numbers,
            self.spec.quality,
            folder,
            lambda done, _total, size: tell(done, size),
        )
        images: dict[int, Image] = {}
        for number in numbers:
            file = files[number]
            size, turn = _fitting(file, pulled.index.frames[number], pulled.task.id)
            target = self._target(pulled, names[number], file.suffix)
            link_or_copy(file, target)
            path = target.relative_to(self.staging).as_posix()
            images[number] = Image(path, file_digest(target), size, turn=turn)
        return images

    def _target(self, pulled: Pulled, name: str, suffix: str) -> Path:
        path = PurePosixPath(name)
        if path.suffix.lower() != suffix.lower():
            path = path.with_suffix(suffix) if path.suffix else path.with_name(path.name + suffix)
        return self.staging / MEDIA / str(pulled.task.id) / path


def _fitting(file: Path, frame: Frame, task: int) -> tuple[tuple[int, int], int]:
    """The upright size, and the orientation that labels must still be turned by (1: none)."""
    size, stated = read_size(file), (frame.width, frame.height)
    if size == stated:
        return size, 1
    orientation = read_orientation(file)
    if orientation in TURNED and size == (stated[1], stated[0]):
        return size, orientation
    raise FormatError(
        f'task {task}: frame {frame.number} "{plain_text(frame.name)}" has {size[0]}x{size[1]} pixels, the server says '
        f"{stated[0]}x{stated[1]}.",
        hint="Write media: {quality: original}; if it is, the task's data is damaged.",
    )


def drop_fetched(staging: Path) -> None:
    shutil.rmtree(os.fspath(staging / FETCHED), ignore_errors=True)
