"""Images that are here already: looked for by name, believed by their size in pixels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from specrun.clients.cvat.things import Frame
from specrun.errors import FormatError, NodeError
from specrun.formats.images import read_size
from specrun.formats.reading import MediaFolder
from specrun.formats.samples import SAMPLES_NAME, load_samples
from specrun.model.digest import file_digest
from specrun.model.work import Made


@dataclass(frozen=True)
class Place:
    """A folder, or the images of a source. digests: by path, where they are known."""

    folder: MediaFolder
    digests: Mapping[Path, str]

    @classmethod
    def of_folder(cls, folder: Path) -> Place:
        """Raises NodeError: no such folder."""
        if not folder.is_dir():
            raise NodeError(f"media.from: {folder} is no folder.", hint="Mend the path.")
        return cls(MediaFolder.scan(folder), {})

    @classmethod
    def of_source(cls, made: Made, project_dir: Path) -> Place:
        digests = {sample.media: sample.digest for sample in load_samples(made.folder / SAMPLES_NAME, project_dir)}
        names = tuple(path.as_posix().lstrip("/") for path in digests)
        return cls(MediaFolder(Path("/"), names), digests)


def places(named: Sequence[str], sources: Iterable[Made], project_dir: Path) -> tuple[Place, ...]:
    """In the order of `media.from`. Raises NodeError: a folder is not there."""
    made = {str(source.address): source for source in sources}
    return tuple(
        Place.of_source(made[name], project_dir) if name in made else Place.of_folder(project_dir / name)
        for name in named
    )


def find_local(frame: Frame, among: Sequence[Place]) -> tuple[Path, str] | None:
    """Path and digest of the first image with the frame's name and size; None: nowhere, or not for certain."""
    for place in among:
        try:
            name = place.folder.find(frame.name)
            if name is None:
                continue
            path = place.folder.root / name
            if read_size(path) == (frame.width, frame.height):
                return path, place.digests.get(path) or file_digest(path)
        except (FormatError, OSError):
            continue
    return None
