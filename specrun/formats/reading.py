"""What the readers of other people's data share: where images lie, which subsets count, what was found.

A reader is a generator `read_x(path, reading) -> Iterator[Entry]`. It finds images through the Reading
and leaves there what is not an entry: classes, images that do not exist, shapes that cannot be kept.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath

from specrun.errors import FormatError
from specrun.formats.image_names import is_image, name_key
from specrun.formats.images import read_orientation, read_size
from specrun.formats.orientation import TURNED, labels_to_upright
from specrun.formats.tally import Tally
from specrun.model.labels import AnyLabel

USUAL_SPLITS: Mapping[str, str] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
FieldValue = str | float | int | bool | None
_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One image as a data set describes it.

    media: absolute path. name: relative to the media folder, posix, NFC. group: the task or subset, for the
    key. size_wh: upright. labels: in pixels of the upright image.
    """

    media: Path
    name: str
    size_wh: tuple[int, int]
    group: str = ""
    split: str | None = None
    labels: tuple[AnyLabel, ...] = ()
    annotated: bool = True
    fields: Mapping[str, FieldValue] = field(default_factory=dict)


@dataclass(frozen=True)
class Subsets:
    """Which subsets are read and the split each becomes; wanted None: all, splits by their usual names."""

    wanted: Mapping[str, str | None] | None = None

    def include(self, subset: str) -> bool:
        return self.wanted is None or subset in self.wanted

    def split(self, subset: str) -> str | None:
        if self.wanted is not None:
            return self.wanted.get(subset)
        return USUAL_SPLITS.get(subset.lower())


@dataclass(frozen=True)
class MediaFolder:
    """The images under a folder. names: relative posix paths as they are on disk."""

    root: Path
    names: tuple[str, ...]

    @classmethod
    def scan(cls, root: Path) -> MediaFolder:
        found = (p.relative_to(root).as_posix() for p in root.rglob("*") if is_image(p.name) and p.is_file())
        return cls(root, tuple(sorted(found)))

    @cached_property
    def _by_key(self) -> Mapping[str, str]:
        return {name_key(name): name for name in self.names}

    @cached_property
    def _by_base(self) -> Mapping[str, list[str]]:
        bases: dict[str, list[str]] = defaultdict(list)
        for key in self._by_key:
            bases[key.rpartition("/")[2]].append(key)
        return bases

    def find(self, name: str, *folders: str) -> str | None:
        """The image that a data set calls `name`, as a path on disk relative to the root; None: not there.

        Tried in this order: below each of `folders`; the only image whose path ends like `name`; the same
        with leading folders of `name` left off, which an annotation tool may have had and we do not.
        Raises FormatError: several images fit equally well.
        """
        wanted = name_key(name).lstrip("/").removeprefix("./")
        for folder in (*folders, ""):
            exact = self._by_key.get(f"{folder}/{wanted}" if folder else wanted)
            if exact is not None:
                return exact
        candidates = self._by_base.get(wanted.rpartition("/")[2], [])
        for tail in _tails(wanted):
            fitting = [key for key in candidates if key.endswith(f"/{tail}") or key == tail]
            for folder in folders:
                inside = [key for key in fitting if f"/{folder}/" in f"/{key}"]
                fitting = inside or fitting
            if len(fitting) > 1:
                raise FormatError(
                    f'{self.root}: "{name}" could be any of {len(fitting)} images ({shown(fitting)}).',
                    hint="Set media to the folder that the names are relative to.",
                )
            if fitting:
                return self._by_key[fitting[0]]
        return None


def _tails(path: str) -> Iterator[str]:
    """`a/b/c`, `b/c`, `c`."""
    parts = path.split("/")
    return ("/".join(parts[i:]) for i in range(len(parts)))


@dataclass(kw_only=True)
class Reading:
    """One pass over a data set. The collections are complete when the reader is exhausted.

    classes: in the order of the source. lost: what was not kept or changed its form.
    missing: images that the annotations name and that are not there. used: media paths that were found.
    aliases: other names of a subset's image folder (train → train2017).
    """

    media: MediaFolder
    subsets: Subsets = Subsets()
    size_of: Callable[[Path], tuple[int, int]] = read_size
    orientation_of: Callable[[Path], int] = read_orientation
    classes: dict[str, None] = field(default_factory=dict)
    lost: Tally = field(default_factory=Tally)
    missing: list[str] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    seen_subsets: Counter[str] = field(default_factory=Counter)
    aliases: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _folders: dict[tuple[Path, str], tuple[str, ...]] = field(default_factory=dict)

    def wants(self, subset: str) -> bool:
        """Whether an image of this subset is read; counts it either way."""
        self.seen_subsets[subset] += 1
        return self.subsets.include(subset)

    def add_classes(self, names: Iterable[str]) -> None:
        self.classes.update(dict.fromkeys(names))

    def entry(
        self,
        name: str,
        labels: tuple[AnyLabel, ...],
        *,
        near: Path,
        subset: str = "",
        group: str | None = None,
        stated_wh: tuple[int, int] | None = None,
        fields: Mapping[str, FieldValue] | None = None,
    ) -> Entry | None:
        """The entry for an image that the annotations name, or None (and noted) when it is not there.

        near: the annotation file; images beside it come first.
        """
        file = self.media.find(name, *self._likely_folders(near, subset))
        if file is None or self._of_another_split(file, subset):
            self.missing.append(f"{subset}/{name}" if subset else name)
            return None
        return self.entry_of(file, labels, subset=subset, group=group, stated_wh=stated_wh, fields=fields)

    def _of_another_split(self, file: str, subset: str) -> bool:
        """`train/a.png` is not the image that subset val calls `a.png`."""
        folder, named = USUAL_SPLITS.get(split_folder(file).lower()), USUAL_SPLITS.get(subset.lower())
        return folder is not None and named is not None and folder != named

    def _likely_folders(self, near: Path, subset: str) -> tuple[str, ...]:
        """Where an annotation file's images are looked for first, relative to the media folder."""
        known = self._folders.get((near, subset))
        if known is not None:
            return known
        names = [name for name in (subset, *self.aliases.get(subset, ())) if name]
        inside = near.parent.relative_to(self.media.root) if near.is_relative_to(self.media.root) else Path()
        folders: list[str] = []
        for around in (inside, *inside.parents):
            prefix = "" if around == Path() else name_key(f"{around.as_posix()}/")
            folders += [f"{prefix}{place}{name}" for name in names for place in ("images/", "")]
            folders += [f"{prefix}images", *([prefix.rstrip("/")] if prefix else [])]
        self._folders[near, subset] = tuple(folders)
        return self._folders[near, subset]

    def entry_of(
        self,
        file: str,
        labels: tuple[AnyLabel, ...],
        *,
        subset: str = "",
        group: str | None = None,
        stated_wh: tuple[int, int] | None = None,
        annotated: bool = True,
        fields: Mapping[str, FieldValue] | None = None,
    ) -> Entry:
        """The entry for an image of the media folder. Raises FormatError: it cannot be read, or its size
        is not the one that the labels were drawn on."""
        media = self.media.root / file
        if file in self.used:
            raise FormatError(
                f"{media}: two entries of the annotations are this image.",
                hint="Set media to the folder that the names are relative to, or remove one of them.",
            )
        size = self.size_of(media)
        if stated_wh is not None and stated_wh != size:
            labels = self._turned(labels, media, stated_wh, size)
        self.used.add(file)
        self.add_classes(label.label for label in labels)
        return Entry(
            media=media,
            name=name_key(file),
            size_wh=size,
            group=subset if group is None else group,
            split=self.subsets.split(subset),
            labels=labels,
            annotated=annotated,
            fields=fields or {},
        )

    def _turned(
        self, labels: tuple[AnyLabel, ...], media: Path, stated_wh: tuple[int, int], size_wh: tuple[int, int]
    ) -> tuple[AnyLabel, ...]:
        """Labels drawn on the pixels as stored, before EXIF orientation, turned with the image."""
        orientation = self.orientation_of(media)
        if orientation in TURNED and stated_wh == (size_wh[1], size_wh[0]):
            self.lost.add("image", "{were} annotated before EXIF orientation; {their} labels were turned with it")
            return tuple(labels_to_upright(label, orientation, stated_wh) for label in labels)
        raise FormatError(
            f"{media}: the annotations were made on {stated_wh[0]}x{stated_wh[1]} pixels, "
            f"the image has {size_wh[0]}x{size_wh[1]}.",
            hint="Use the images that were annotated; resized copies do not fit the labels.",
        )


def shown(names: Sequence[str]) -> str:
    """The first few of many names."""
    return ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")


def split_folder(path: str) -> str:
    """The first folder of a relative path that is named like a split, or ""."""
    return next((part for part in PurePosixPath(path).parts[:-1] if part.lower() in USUAL_SPLITS), "")
