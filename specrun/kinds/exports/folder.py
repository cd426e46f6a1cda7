"""The folder of an export while it is written: label files and images, each with its digest.

What did not change since the published output is taken over by a hard link, believed by its manifest as
long as the file is not younger than that. Images are symbolic links, made for the place where the folder will
lie: relative when image and output both lie in the project, absolute otherwise. Images that trainers read
differently are written as upright PNG (see `formats.media`); `conversions.json` says which and from what.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from specrun.errors import FormatError
from specrun.formats.media import linked_suffix, reason_to_convert, upright_png
from specrun.formats.tally import Tally
from specrun.kinds.exports.file_writer import FileWriter
from specrun.model.artifact import MANIFEST_NAME
from specrun.model.digest import bytes_digest
from specrun.model.work import Context
from specrun.store.manifest import OWN_NAMES, read_manifest

if TYPE_CHECKING:
    from specrun.model.labels import Sample

CONVERSIONS_NAME = "conversions.json"


class ExportFolder:
    """digests: path → digest of everything written so far. Paths are posix, relative to the output."""

    def __init__(self, ctx: Context, *, copy_media: bool = False) -> None:
        self.staging = ctx.staging
        self.copy_media = copy_media
        self.tally = Tally()
        self.digests: dict[str, str] = {}
        self._conversions: dict[str, list[str]] = {}
        self._folders: set[str] = set()
        self._links = LinkTargets(ctx.output, ctx.project_dir)
        self._previous = _Previous(ctx.previous)
        self._place = str(ctx.staging)
        self._writer = FileWriter(ctx.cpus)
        empty_staging(ctx.staging)

    def __enter__(self) -> ExportFolder:
        return self

    def __exit__(self, *raised: object) -> None:
        self._writer.abandon()

    def write(self, path: str, data: bytes) -> None:
        digest = bytes_digest(data)
        self.digests[path] = digest
        self._make_parent(path)
        before = self._previous.untouched(path, len(data)) if self._previous.digest(path) == digest else None
        self._writer.add(("link" if before else "write", f"{self._place}/{path}", data, before or ""))

    def place_image(self, stem: str, sample: Sample) -> str:
        """Link, copy or convert the image of a sample; returns its path, `stem` with a suffix."""
        known, reason = self._previous.reason(stem, sample.digest)
        if known:
            _require(sample)
        else:
            reason = reason_of(sample)
        path = stem + (".png" if reason else linked_suffix(sample.media))
        self._make_parent(path)
        if reason:
            self._convert(path, sample, reason)
            return path
        self.digests[path] = sample.digest
        if self.copy_media:
            if not (self._previous.digest(path) == sample.digest and self._take_over(path)):
                shutil.copyfile(sample.media, self.staging / path)
        else:
            target = self._links.target(path, str(sample.media))
            self._writer.add(("symlink", f"{self._place}/{path}", b"", target))
        return path

    def unify_suffixes(self, folder: str) -> str:
        """One suffix for all images below a folder, `.png` if they differ: readers look at the content, but
        some list files by one suffix. Returns the suffix."""
        self._writer.wait()
        paths = [path for path in self.digests if path.startswith(f"{folder}/")]
        suffixes = {os.path.splitext(path)[1] for path in paths}
        if len(suffixes) == 1:
            return suffixes.pop()
        for path in paths:
            renamed = os.path.splitext(path)[0] + ".png"
            if renamed != path:
                os.rename(f"{self.staging}/{path}", f"{self.staging}/{renamed}")
                self.digests[renamed] = self.digests.pop(path)
                self.tally.add("image", "{are} named .png whatever the content, so that all have one suffix")
        return ".png"

    def finish(self) -> None:
        """Write down which images were converted, and wait until everything lies there. Raises OSError."""
        if self._conversions:
            self.write(CONVERSIONS_NAME, json.dumps(self._conversions, indent=0, sort_keys=True).encode() + b"\n")
        self._writer.wait()

    def _convert(self, path: str, sample: Sample, reason: str) -> None:
        self.tally.add("image", f"{{were}} written as upright RGB PNG because of {reason}")
        self._conversions[path] = [sample.digest, reason]
        known = self._previous.converted(path, sample.digest)
        if known is not None and self._take_over(path):
            self.digests[path] = known
            return
        data = converted(sample)
        self.digests[path] = bytes_digest(data)
        self._writer.add(("write", f"{self._place}/{path}", data, ""))

    def _take_over(self, path: str) -> bool:
        """A hard link to the file in the previous output; False: it was touched, or cannot be linked."""
        before = self._previous.untouched(path, None)
        if before is None:
            return False
        try:
            os.link(before, f"{self.staging}/{path}")
        except OSError:
            return False
        return True

    def _make_parent(self, path: str) -> None:
        parent = path.rpartition("/")[0]
        if parent not in self._folders:
            os.makedirs(f"{self.staging}/{parent}", exist_ok=True)
            self._folders.add(parent)


class _Previous:
    """The published output of last time, by its manifest; nothing when there is none."""

    def __init__(self, folder: Path | None) -> None:
        manifest = read_manifest(folder) if folder is not None else None
        self._folder = str(folder)
        self._digests = {file.path: file.digest for file in manifest.files} if manifest else {}
        self._images = {path.rpartition(".")[0]: path for path in self._digests if not path.endswith(".txt")}
        self._made_ns = os.stat(f"{folder}/{MANIFEST_NAME}").st_mtime_ns if manifest else 0
        self._conversions: dict[str, list[str]] = {}
        if CONVERSIONS_NAME in self._digests and self.untouched(CONVERSIONS_NAME, None):
            self._conversions = json.loads(Path(self._folder, CONVERSIONS_NAME).read_bytes())

    def digest(self, path: str) -> str | None:
        return self._digests.get(path)

    def reason(self, stem: str, source_digest: str) -> tuple[bool, str | None]:
        """Whether the same image was looked at last time, and why it was converted."""
        path = self._images.get(stem)
        if path is None:
            return False, None
        if path in self._conversions:
            source, reason = self._conversions[path]
            return (True, reason) if source == source_digest else (False, None)
        return self._digests[path] == source_digest, None

    def converted(self, path: str, source_digest: str) -> str | None:
        """Digest of the PNG that was made of the same image last time."""
        entry = self._conversions.get(path)
        return self._digests.get(path) if entry is not None and entry[0] == source_digest else None

    def untouched(self, path: str, size: int | None) -> str | None:
        """Where the file lies if it is as the manifest says: of this size and not younger than that."""
        place = f"{self._folder}/{path}"
        try:
            found = os.lstat(place)
        except OSError:
            return None
        same_size = size is None or found.st_size == size
        return place if same_size and found.st_mtime_ns <= self._made_ns else None


class LinkTargets:
    """What a symbolic link in the output must say to lead to an image."""

    def __init__(self, output: Path, project_dir: Path) -> None:
        self._output = os.path.realpath(output)
        self._project = os.path.realpath(project_dir) + os.sep
        self._inside = (self._output + os.sep).startswith(self._project)
        self._known: dict[tuple[str, str], str] = {}

    def target(self, path: str, media: str) -> str:
        folder, _, name = media.rpartition("/")
        link_folder = path.rpartition("/")[0]
        known = self._known.get((link_folder, folder))
        if known is None:
            known = self._known[link_folder, folder] = self._between(link_folder, folder)
        return f"{known}/{name}"

    def _between(self, link_folder: str, media_folder: str) -> str:
        real = os.path.realpath(media_folder)
        if self._inside and (real + os.sep).startswith(self._project):
            return os.path.relpath(real, f"{self._output}/{link_folder}")
        return real


def converted(sample: Sample) -> bytes:
    """The image as upright PNG. Raises FormatError."""
    try:
        return upright_png(sample.media)
    except FormatError as error:
        raise FormatError(
            error.message, hint="Replace the file by a whole one and apply again; images without a file are left out."
        ) from error


def reason_of(sample: Sample) -> str | None:
    try:
        return reason_to_convert(sample.media)
    except OSError as error:
        raise _unreadable(sample, error) from error


def _require(sample: Sample) -> None:
    """Raises FormatError: an image that is known from last time has gone since, and a link would lead nowhere."""
    try:
        os.stat(sample.media)
    except OSError as error:
        raise _unreadable(sample, error) from error


def _unreadable(sample: Sample, error: OSError) -> FormatError:
    return FormatError(
        f"{sample.media}: the image of {sample.name} cannot be read ({error.strerror}).",
        hint="Restore the file, or import its source again.",
    )


def empty_staging(folder: Path) -> None:
    """An interrupted export starts anew: writing is cheap, and no half-written file can stay."""
    for entry in folder.iterdir():
        if entry.name in OWN_NAMES:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
