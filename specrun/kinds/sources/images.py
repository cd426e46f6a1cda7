"""sources.images: a folder of images, nothing said about what they show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import anyio.to_thread
from pydantic import Field

from specrun.errors import FormatError
from specrun.formats.image_names import image_patterns, is_image, name_key
from specrun.formats.tally import Tally
from specrun.kinds.sources.summary import Summary
from specrun.kinds.sources.watched import Files, below, differences, value_of
from specrun.model.artifact import Artifact, Outputs
from specrun.model.state import Observation
from specrun.model.work import Context, Listing, Look
from specrun.spec.kind import Kind, Lookup, NodeSpec, Problem

if TYPE_CHECKING:
    from specrun.model.labels import Sample

_SHOWN = 3


class ImagesSpec(NodeSpec):
    path: str
    """The folder, relative to the spec. Its images are used where they lie, never copied."""
    include: list[str] = Field(default=["**/*"], min_length=1)
    """Globs relative to the folder; of the files that match, those with an image's suffix are taken."""
    exclude: list[str] = []
    """Globs of files to leave out."""


class Images(Kind):
    """Finds the images below a folder."""

    Spec = ImagesSpec

    def check(self, spec: ImagesSpec, lookup: Lookup) -> Sequence[Problem]:
        folder = Path(lookup.project_dir) / spec.path
        if folder.is_dir():
            return ()
        problem = "is not a folder" if folder.exists() else "does not exist"
        return (Problem("path", f"{folder} {problem}", "Put the images there, or mend the path."),)

    async def observe(self, spec: ImagesSpec, look: Look) -> Observation:
        listings = await anyio.to_thread.run_sync(
            lambda: _listings(spec, look, look.project_dir, (look.state_dir, look.output_root))
        )
        before = look.record.observation if look.record else None
        changed = differences(before, listings)
        return Observation(value_of(listings), changed)

    def run(self, spec: ImagesSpec, ctx: Context) -> Outputs:
        # numpy comes with the codec, and planning imports this module.
        from specrun.formats.samples import SAMPLES_NAME, save_samples
        from specrun.store.listing import ListingCache

        state_dir = ctx.cache_dir.parent
        with closing(ListingCache(state_dir / "cache.db")) as cache:
            listings = _listings(spec, cache, ctx.project_dir, (state_dir, ctx.output_root))
        images = [file for file in listings["media"].files if is_image(file[0])]
        if not images:
            raise FormatError(
                f"{ctx.project_dir / spec.path}: no images match.", hint="Check include, exclude and the path."
            )
        summary = Summary()
        samples = summary.count(_samples(images, ctx.project_dir / spec.path, ctx))
        save_samples(ctx.staging / SAMPLES_NAME, samples, ctx.project_dir)
        return Outputs(
            artifacts=(Artifact("samples", "file", SAMPLES_NAME),),
            facts=summary.facts(()),
            parts=summary.parts(()),
            notes=_notes(listings["media"]),
            observation=value_of(listings),
        )


def _listings(spec: ImagesSpec, files: Files, project_dir: Path, own_folders: Sequence[Path]) -> Mapping[str, Listing]:
    root = project_dir / spec.path
    include = image_patterns() if spec.include == ["**/*"] else tuple(spec.include)
    return {"media": files.listing(root, include, (*spec.exclude, *below(root, *own_folders)))}


def _samples(images: Sequence[tuple[str, int, str]], root: Path, ctx: Context) -> Iterator[Sample]:
    """Raises FormatError after all were looked at: how many cannot be read, and the first of them."""
    # Pillow and numpy: planning imports this module.
    from specrun.formats.images import read_size
    from specrun.model.labels import Sample

    unreadable: list[FormatError] = []
    for done, (name, _, digest) in enumerate(images, start=1):
        ctx.check_stop()
        ctx.progress(done, len(images), "images", "reading headers")
        try:
            size = read_size(root / name)
        except FormatError as error:
            unreadable.append(error)
            continue
        key = f"{ctx.address.name}/{name_key(name)}"
        yield Sample(key=key, media=root / name, name=name_key(name), digest=digest, size_wh=size, annotated=False)
    if unreadable:
        shown = "\n".join(error.message for error in unreadable[:_SHOWN])
        raise FormatError(
            f"{root}: {len(unreadable)} of {len(images)} images cannot be read:\n{shown}",
            hint="Replace them, or leave them out with exclude.",
        )


def _notes(listing: Listing) -> tuple[str, ...]:
    others = [file[0] for file in listing.files if not is_image(file[0])]
    tally = Tally()
    tally.add("matching file", "{are} no image and {were} left out", len(others))
    return tally.notes()
