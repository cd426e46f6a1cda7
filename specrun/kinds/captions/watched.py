"""Files of captions that people may edit: noticed when a dataset is looked at. Light: planning imports this module."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from specrun.errors import NodeError
from specrun.kinds.captions.spec import CaptionsSpec, MetadataProvider, SidecarProvider, provider_chain
from specrun.kinds.sources.watched import Files
from specrun.model.digest import Json

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class CaptionFiles:
    """value: for the observation. changed: readable, as far as it is known."""

    value: dict[str, Json]
    changed: tuple[str, ...] = ()


def caption_files(files: Files, spec: CaptionsSpec, folders: Iterable[str], project_dir: Path) -> CaptionFiles:
    """folders: of the images, relative to the project or absolute."""
    digests: dict[str, Json] = {}
    changed: list[str] = []
    patterns = _patterns(spec)
    for folder in folders if patterns else ():
        try:
            found = files.listing(project_dir / folder, patterns)
        except NodeError:
            digests[folder] = None
            continue
        digests[folder] = {"digest": found.digest}
        changed += [*found.changed, *found.added, *found.removed]
    for provider in spec.providers:
        if isinstance(provider, MetadataProvider) and provider.path is not None:
            digests[provider.path] = files.file_digest(project_dir / provider.path)
    return CaptionFiles(digests, _lines(changed))


def _patterns(spec: CaptionsSpec) -> tuple[str, ...]:
    found: list[str] = []
    for provider in provider_chain(spec):
        match provider:
            case SidecarProvider():
                found.append(f"**/*{provider.suffix}")
            case MetadataProvider(path=None):
                found += ["**/metadata.jsonl", "**/metadata.csv"]
            case _:
                pass
    return tuple(found)


def _lines(names: Sequence[str]) -> tuple[str, ...]:
    if not names:
        return ("files of captions changed",)
    more = ", …" if len(names) > _SHOWN else ""
    return (f"captions changed in {', '.join(names[:_SHOWN])}{more}",)
