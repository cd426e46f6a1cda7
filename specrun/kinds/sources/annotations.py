"""sources.annotations: images with labels in a format that other tools write."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import anyio.to_thread
from pydantic import Field

from specrun.errors import FormatError
from specrun.formats.image_names import image_patterns, is_image
from specrun.formats.layouts import LABEL_PATTERNS, LABELMAP_NAME, Format, is_archive, media_root, unpacked_root
from specrun.formats.tally import literal
from specrun.kinds.sources.summary import Summary
from specrun.kinds.sources.watched import Files, below, differences, value_of, watched_file
from specrun.model.artifact import Artifact, Outputs
from specrun.model.digest import file_digest
from specrun.model.state import Observation
from specrun.model.work import Context, Listing, Look
from specrun.spec.kind import Kind, Lookup, NodeSpec, Problem

if TYPE_CHECKING:
    from specrun.formats.reading import Entry, Reading
    from specrun.model.labels import Sample

UNPACKED = "unpacked"
"""Folder of the output that holds an archive's content."""


class AnnotationsSpec(NodeSpec):
    format: Format
    """What wrote the labels. cvat: "CVAT for images 1.1" or "CVAT for video 1.1" (annotations.xml)."""
    path: str
    """The annotation file, the folder of the data set, or a .zip of it, relative to the spec."""
    media: str | None = None
    """The folder that the images' names are relative to; default: beside the annotations."""
    classes: list[str] | None = Field(default=None, min_length=1)
    """masks only: the class of each pixel value, from 0 on; default: by the colours of labelmap.txt."""
    ignore_index: int | None = Field(default=None, ge=0)
    """masks only: the pixel value that carries no label, often 255."""
    task: Literal["detect", "segment", "pose", "obb"] | None = None
    """yolo only: what the lines mean; default: the line and kpt_shape say it, which obb cannot be told from."""
    subsets: dict[str, Literal["train", "val", "test"] | None] | None = None
    """Which subsets are read and the split each becomes (null: none); default: all, by their usual names."""
    missing: Literal["error", "skip"] = "error"
    """What to do when images that the annotations name are not there."""


class Annotations(Kind):
    """Reads other people's labels; the images are used where they lie."""

    Spec = AnnotationsSpec

    def check(self, spec: AnnotationsSpec, lookup: Lookup) -> Sequence[Problem]:
        return [*_path_problems(spec, Path(lookup.project_dir)), *_combination_problems(spec, Path(lookup.project_dir))]

    async def observe(self, spec: AnnotationsSpec, look: Look) -> Observation:
        place = _Place(spec, look.project_dir)
        own_folders = (look.state_dir, look.output_root)
        listings = await anyio.to_thread.run_sync(place.listings, look, own_folders)
        before = look.record.observation if look.record else None
        changed = differences(before, listings)
        return Observation(value_of(listings), changed)

    def run(self, spec: AnnotationsSpec, ctx: Context) -> Outputs:
        place = _Place(spec, ctx.project_dir)
        if not is_archive(place.path):
            return self._read(place, ctx)
        try:
            return self._read(place, ctx)
        except FormatError as error:
            message = _named_by_archive(error.message, place.path, ctx.staging / UNPACKED)
            raise FormatError(message, hint=error.hint) from error

    def _read(self, place: _Place, ctx: Context) -> Outputs:
        # numpy comes with the readers, and planning imports this module.
        from specrun.formats.reading import MediaFolder, Reading, Subsets
        from specrun.formats.samples import SAMPLES_NAME, save_samples
        from specrun.store.listing import ListingCache

        spec, state_dir = place.spec, ctx.cache_dir.parent
        with closing(ListingCache(state_dir / "cache.db")) as cache:
            listings = place.listings(cache, (state_dir, ctx.output_root))
        source = _unpack(place.path, ctx) if is_archive(place.path) else place.path
        root = place.media or media_root(spec.format, source)
        if is_archive(place.path) and place.media is None:
            digests = _digests_below(root)
        else:
            digests = {name: digest for name, _, digest in listings["media"].files}
        reading = Reading(
            media=MediaFolder(root, tuple(name for name in digests if is_image(name))), subsets=Subsets(spec.subsets)
        )
        summary = Summary()
        samples = summary.count(_samples(_entries(spec, source, reading, ctx), root, digests, ctx))
        save_samples(ctx.staging / SAMPLES_NAME, samples, ctx.project_dir)
        _check_found(place, reading)
        return Outputs(
            artifacts=(Artifact("samples", "file", SAMPLES_NAME),),
            facts=summary.facts(reading.classes),
            parts=summary.parts(reading.classes),
            notes=_notes(spec, reading),
            known_digests=_known(root, digests, ctx),
            observation=value_of(listings),
        )


@dataclass(frozen=True)
class _Place:
    """Where the data set and its images lie."""

    spec: AnnotationsSpec
    project_dir: Path

    @property
    def path(self) -> Path:
        return self.project_dir / self.spec.path

    @property
    def media(self) -> Path | None:
        """The folder that the user named."""
        return None if self.spec.media is None else self.project_dir / self.spec.media

    @property
    def labelmap(self) -> Path | None:
        """masks only: the file that says which colour is which class."""
        if self.spec.format != "masks":
            return None
        folders = (self.path, self.media) if self.media is not None else (self.path,)
        return next((file for folder in folders if (file := folder / LABELMAP_NAME).is_file()), None)

    def listings(self, files: Files, own_folders: Sequence[Path]) -> Mapping[str, Listing]:
        """labels: the files they are read from; media: the images. Raises NodeError: a folder is gone."""
        found: dict[str, Listing] = {}
        patterns = LABEL_PATTERNS[self.spec.format]
        if self.path.is_file():
            found["labels"] = watched_file(files, self.path)
        elif patterns and not (self.spec.format == "masks" and self.media is None):
            found["labels"] = files.listing(self.path, patterns, below(self.path, *own_folders))
        if not is_archive(self.path) or self.media is not None:
            root = self.media or media_root(self.spec.format, self.path)
            found["media"] = files.listing(root, image_patterns(), below(root, *own_folders))
        if self.spec.classes is None and self.labelmap is not None:
            found["labelmap"] = watched_file(files, self.labelmap)
        return found


def _path_problems(spec: AnnotationsSpec, project_dir: Path) -> Iterator[Problem]:
    path = project_dir / spec.path
    if not path.exists():
        yield Problem("path", f"{path} does not exist", "Put the annotations there, or mend the path.")
    if spec.media is not None and not (project_dir / spec.media).is_dir():
        hint = "It must be the folder that holds the images."
        yield Problem("media", f"{project_dir / spec.media} is not a folder", hint)


def _combination_problems(spec: AnnotationsSpec, project_dir: Path) -> Iterator[Problem]:
    place = _Place(spec, project_dir)
    if spec.format == "masks" and spec.classes is None and not is_archive(place.path) and not place.labelmap:
        hint = "List the classes in the order of the pixel values: classes: [sky, road, car]."
        yield Problem("format", f"masks need `classes`, or a {LABELMAP_NAME} beside them with colours", hint)
    for name in ("classes", "ignore_index"):
        if spec.format != "masks" and getattr(spec, name) is not None:
            yield Problem(name, f"`{name}` belongs to format: masks; {spec.format} says it itself", "Remove it.")
    if spec.format != "yolo" and spec.task is not None:
        yield Problem("task", f"`task` belongs to format: yolo; {spec.format} says it itself", "Remove it.")
    classes = spec.classes or []
    if len(set(classes)) != len(classes):
        yield Problem("classes", "a class is listed twice", "Each pixel value needs a class of its own.")


def _unpack(archive: Path, ctx: Context) -> Path:
    from specrun.formats.archive import extract_archive

    target = ctx.staging / UNPACKED
    shutil.rmtree(target, ignore_errors=True)
    extract_archive(
        archive, target, progress=lambda done, total: ctx.progress(done, total, "files", "unpacking", part=True)
    )
    return unpacked_root(target)


def _named_by_archive(message: str, archive: Path, unpacked: Path) -> str:
    """`a.zip: labels/a.txt:3: …` in place of the path in a folder that is gone after the failure."""
    for folder in dict.fromkeys((str(unpacked), str(unpacked.resolve()))):
        if message.startswith(f"{folder}/"):
            message = f"{archive}: {message[len(folder) + 1 :]}"
        message = message.replace(folder, str(archive))
    return message


def _digests_below(root: Path) -> dict[str, str]:
    images = sorted(path for path in root.rglob("*") if path.is_file() and is_image(path.name))
    return {path.relative_to(root).as_posix(): file_digest(path) for path in images}


def _known(root: Path, digests: Mapping[str, str], ctx: Context) -> dict[str, str]:
    """Digests of unpacked images, relative to the output, so that they are not read again."""
    if not root.is_relative_to(ctx.staging):
        return {}
    prefix = root.relative_to(ctx.staging)
    return {(prefix / name).as_posix(): digest for name, digest in digests.items()}


def _entries(spec: AnnotationsSpec, source: Path, reading: Reading, ctx: Context) -> Iterator[Entry]:
    from specrun.formats.data_sets import Options, read_data_set

    options = Options(classes=spec.classes or (), ignore_index=spec.ignore_index, task=spec.task)
    total = len(reading.media.names)
    for done, entry in enumerate(read_data_set(spec.format, source, reading, options), start=1):
        ctx.check_stop()
        ctx.progress(done, max(done, total), "images", "reading labels")
        yield entry


def _samples(entries: Iterator[Entry], root: Path, digests: Mapping[str, str], ctx: Context) -> Iterator[Sample]:
    # numpy: planning imports this module.
    from specrun.model.labels import Sample

    published = root.is_relative_to(ctx.staging)
    for entry in entries:
        file = entry.media.relative_to(root).as_posix()
        media = ctx.output / entry.media.relative_to(ctx.staging) if published else entry.media
        yield Sample(
            key="/".join(part for part in (ctx.address.name, entry.group, entry.name) if part),
            media=media,
            name=entry.name,
            digest=digests[file],
            size_wh=entry.size_wh,
            split=entry.split,
            labels=entry.labels,
            annotated=entry.annotated,
            fields=entry.fields,
        )


def _check_found(place: _Place, reading: Reading) -> None:
    """Raises FormatError: images are missing, a subset does not occur, or nothing was read."""
    from specrun.formats.reading import shown

    where, spec = place.path, place.spec
    unknown = sorted(set(spec.subsets or ()) - set(reading.seen_subsets))
    if unknown:
        there = ", ".join(f'"{name}"' for name in sorted(reading.seen_subsets)) or "none"
        raise FormatError(f'{where}: there is no subset "{unknown[0]}".', hint=f"There are: {there}.")
    if reading.missing and spec.missing == "error":
        packed = is_archive(where) and place.media is None
        searched = "in the archive" if packed else f"below {reading.media.root}"
        remedy = "Export it with images, or set media" if packed else "Set media"
        raise FormatError(
            f"{where}: images that it names were not found {searched}: {len(reading.missing)} of "
            f"{len(reading.missing) + len(reading.used)} ({shown(reading.missing)}).",
            hint=f"{remedy} to the folder that holds them, or write missing: skip to go on without them.",
        )
    if not reading.used:
        raise FormatError(f"{where}: names no image that is there.", hint="Check `format`, `path` and `media`.")


def _notes(spec: AnnotationsSpec, reading: Reading) -> tuple[str, ...]:
    """What was not kept or not read, counted."""
    tally = reading.lost
    tally.add("image", "{are} not there and {were} skipped", len(reading.missing))
    left_out = {name: n for name, n in reading.seen_subsets.items() if not reading.subsets.include(name)}
    for name, count in left_out.items():
        tally.add("image", f'{{were}} left out with the subset "{literal(name)}"', count)
    if spec.format in ("cvat", "coco", "voc"):
        unlisted = len(reading.media.names) - len(reading.used) - sum(left_out.values())
        tally.add("image", "{lie} there but {are} not listed", max(unlisted, 0))
    return tally.notes()
