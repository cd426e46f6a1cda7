"""Image classification: one folder a class, `[<split>/]<class>/…/a.jpg`.

The first folder is the split when it is called train, val or test and holds folders of its own; the next one
is the class, deeper ones only sort. Classes are sorted by name.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from specrun.errors import FormatError
from specrun.formats.image_names import name_key
from specrun.formats.reading import USUAL_SPLITS, Entry, Reading
from specrun.model.labels import Tag


def read_folders(path: Path, reading: Reading) -> Iterator[Entry]:
    """path: only for messages, the images are those of the reading. Raises FormatError."""
    if not reading.media.names:
        raise FormatError(f"{path}: holds no images.", hint="Lay it out as <split>/<class>/a.jpg or <class>/a.jpg.")
    placed = {name: _split_and_class(name, reading.media.root) for name in reading.media.names}
    reading.add_classes(sorted({label for split, label in placed.values() if reading.subsets.include(split)}))
    for name, (split, label) in placed.items():
        if reading.wants(split):
            yield reading.entry_of(name, (Tag(label=label),), subset=split, group="")


def _split_and_class(name: str, root: Path) -> tuple[str, str]:
    folders = name_key(name).split("/")[:-1]
    split = folders[0] if len(folders) > 1 and folders[0].lower() in USUAL_SPLITS else ""
    if not folders or (len(folders) == 1 and folders[0].lower() in USUAL_SPLITS):
        raise FormatError(
            f"{root / name}: the image lies in no class folder.", hint="Lay it out as <split>/<class>/a.jpg."
        )
    return split, folders[1] if split else folders[0]
