"""The work of sources.huggingface: files of one commit, and samples of the images among them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from specrun.clients.http import Retry
from specrun.clients.hub import Files, RemoteFile, content_of, head, is_inside
from specrun.errors import FormatError
from specrun.formats.image_names import is_image, name_key
from specrun.formats.images import read_size
from specrun.formats.samples import SAMPLES_NAME, save_samples
from specrun.kinds.publications.spec import account_of
from specrun.kinds.sources.huggingface_spec import HuggingFaceSourceSpec, endpoint_of, observed, repo_of, required_head
from specrun.kinds.sources.summary import Summary
from specrun.model.artifact import Artifact, Outputs
from specrun.model.digest import file_digest
from specrun.model.labels import Sample
from specrun.model.work import Context
from specrun.store.patterns import EVERYTHING, compile_patterns

FOLDER = "files"


def fetch(spec: HuggingFaceSourceSpec, ctx: Context) -> Outputs:
    account, repo = account_of(spec.connection, ctx.declarations, ctx.secret), repo_of(spec)
    commit = required_head(spec, head(account, repo, spec.revision, retry=Retry.from_settings(ctx.settings)))
    files = Files(account, repo)
    wanted = _wanted(spec, files.tree(commit))
    if not wanted:
        hint = "Check include and revision."
        raise FormatError(f"{spec.repo}: none of the files at {commit[:8]} match.", hint=hint)
    folder = ctx.staging / FOLDER
    new = 0
    for done, (path, remote) in enumerate(sorted(wanted.items())):
        ctx.check_stop()
        ctx.progress(done, len(wanted), "files", path)
        if not _taken_over(ctx, folder, path, remote):
            files.fetch(path, commit, folder)
            new += 1
    _leave_only(folder, wanted)
    digests = {path: file_digest(folder / path) for path in wanted}
    summary, classes, notes = _samples(spec, ctx, folder, digests)
    return Outputs(
        artifacts=(Artifact("samples", "file", SAMPLES_NAME), Artifact("files", "folder", FOLDER)),
        facts={**summary.facts(classes), "repo": spec.repo, "commit": commit, "files": len(wanted), "fetched": new},
        parts=summary.parts(classes),
        notes=notes,
        known_digests={f"{FOLDER}/{path}": digest for path, digest in digests.items()},
        observation=observed(spec, commit, endpoint_of(spec, ctx.declarations)),
    )


def _wanted(spec: HuggingFaceSourceSpec, tree: Mapping[str, RemoteFile]) -> dict[str, RemoteFile]:
    """Raises FormatError: the repository names a file that would lie elsewhere."""
    patterns = compile_patterns(spec.include or EVERYTHING)
    for path in tree:
        if not is_inside(path):
            raise FormatError(f"{spec.repo}: {path!r} would lie outside of the output; nothing was fetched.")
    return {path: remote for path, remote in tree.items() if patterns.fullmatch(path)}


def _taken_over(ctx: Context, folder: Path, path: str, remote: RemoteFile) -> bool:
    target = folder / path
    for place in (target, ctx.previous / FOLDER / path if ctx.previous else None):
        if place is None or not place.is_file() or place.stat().st_size != remote.size:
            continue
        if not content_of(place).is_at(remote):
            continue
        if place != target:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            try:
                os.link(place, target)
            except OSError:  # another file system, or one without links
                shutil.copyfile(place, target)
        return True
    return False


def _leave_only(folder: Path, wanted: Mapping[str, RemoteFile]) -> None:
    """Nothing of an interrupted run, and not the library's own notes."""
    shutil.rmtree(folder / ".cache", ignore_errors=True)
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        if path.relative_to(folder).as_posix() not in wanted:
            path.unlink()


def _samples(
    spec: HuggingFaceSourceSpec, ctx: Context, folder: Path, digests: Mapping[str, str]
) -> tuple[Summary, list[str], tuple[str, ...]]:
    root, summary = folder / spec.path, Summary()
    if not root.is_dir():
        raise FormatError(f"{spec.repo}: has no folder {spec.path}.", hint="Check path and include.")
    target = ctx.staging / SAMPLES_NAME
    if spec.format == "images":
        save_samples(target, summary.count(_images(root, folder, digests, ctx)), ctx.project_dir)
        classes: list[str] = []
        notes: tuple[str, ...] = ()
    else:
        classes, notes = _labelled(spec, ctx, root, folder, digests, summary)
    if not summary.images:
        raise FormatError(f"{spec.repo}: holds no image that matches.", hint="Check include, path and format.")
    return summary, classes, notes


def _images(root: Path, folder: Path, digests: Mapping[str, str], ctx: Context) -> Iterator[Sample]:
    for path in sorted(path for path in root.rglob("*") if path.is_file() and is_image(path.name)):
        ctx.check_stop()
        name = name_key(path.relative_to(root).as_posix())
        digest = digests[path.relative_to(folder).as_posix()]
        media = ctx.output / path.relative_to(ctx.staging)
        key = f"{ctx.address.name}/{name}"
        yield Sample(key=key, media=media, name=name, digest=digest, size_wh=read_size(path), annotated=False)


def _labelled(
    spec: HuggingFaceSourceSpec,
    ctx: Context,
    root: Path,
    folder: Path,
    digests: Mapping[str, str],
    summary: Summary,
) -> tuple[list[str], tuple[str, ...]]:
    from specrun.formats.data_sets import Options, read_data_set
    from specrun.formats.layouts import media_root
    from specrun.formats.reading import MediaFolder, Reading

    assert spec.format != "images"
    reading = Reading(media=MediaFolder.scan(media_root(spec.format, root)))

    def samples() -> Iterator[Sample]:
        for entry in read_data_set(spec.format, root, reading, Options()):  # type: ignore[arg-type]
            ctx.check_stop()
            yield Sample(
                key="/".join(part for part in (ctx.address.name, entry.group, entry.name) if part),
                media=ctx.output / entry.media.relative_to(ctx.staging),
                name=entry.name,
                digest=digests[entry.media.relative_to(folder).as_posix()],
                size_wh=entry.size_wh,
                split=entry.split,
                labels=entry.labels,
                annotated=entry.annotated,
                fields=entry.fields,
            )

    save_samples(ctx.staging / SAMPLES_NAME, summary.count(samples()), ctx.project_dir)
    tally = reading.lost
    tally.add("image", "{are} not there and {were} skipped", len(reading.missing))
    return list(reading.classes), tally.notes()
