"""Training images: an mmseg export, read, checked and brought to the size that the model sees.

What happens to an image depends on (seed, epoch, its index) alone: neither the number of processes that load images
nor where training was interrupted changes a pixel.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from specrun.errors import FormatError
from specrun.training.smp.description import BACKGROUND, Fit
from specrun.training.smp.sharing import batches_of_rank

Reader = Callable[[Path], NDArray[np.uint8]]
"""An image as (height, width, 3) uint8, RGB, upright."""
IGNORED = 255
"""Value of ignored pixels in the label maps of this module, whatever the export calls them."""


@dataclass(frozen=True, slots=True)
class Item:
    image: Path
    mask: Path


@dataclass(frozen=True, kw_only=True)
class Export:
    """names: all classes in the order of pixel values, the background included. shift: subtracted from the values,
    1 where the export wants value 0 ignored (`reduce_zero_label`)."""

    folder: Path
    names: tuple[str, ...]
    background: int | None
    ignore_index: int
    shift: int
    splits: dict[str, tuple[Item, ...]]
    statistics: dict[str, Any] | None = None
    colors: tuple[tuple[int, int, int], ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(name for value, name in enumerate(self.names) if value != self.background)


def read_export(folder: Path) -> Export:
    """Raises FormatError: it is no mmseg export, or an image lacks its label map."""
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        names, suffix = tuple(str(name) for name in meta["classes"]), str(meta["img_suffix"])
        ignore, reduced = int(meta["ignore_index"]), bool(meta["reduce_zero_label"])
        background = meta["background"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FormatError(f"{folder / 'meta.json'}: does not describe an mmseg export ({error}).") from error
    statistics = folder / "statistics.json"
    return Export(
        folder=folder,
        names=names,
        background=None if reduced else background,
        ignore_index=ignore,
        shift=int(reduced),
        splits={split: _items(folder, split, suffix) for split in ("train", "val", "test")},
        statistics=json.loads(statistics.read_text(encoding="utf-8")) if statistics.is_file() else None,
        colors=tuple(tuple(color) for color in meta.get("palette", ())),
    )


def _items(folder: Path, split: str, suffix: str) -> tuple[Item, ...]:
    place = folder / "annotations" / split
    found = []
    for mask in sorted(place.rglob("*.png")):
        image = folder / "images" / split / mask.relative_to(place).with_suffix("")
        image = image.with_name(image.name + suffix)
        if not image.exists():
            raise FormatError(f"{image}: is missing beside its label map {mask.name}.", hint="Make the export anew.")
        found.append(Item(image, mask))
    return tuple(found)


def read_mask(path: Path, export: Export) -> NDArray[np.uint8]:
    """Class numbers from 0, IGNORED where no loss counts. Raises FormatError: a value that is no class."""
    with Image.open(path) as picture:
        pixels = np.asarray(picture)
    if pixels.ndim != 2 or pixels.dtype != np.uint8:
        raise FormatError(f"{path}: is not a label map of one byte a pixel.")
    table = np.full(256, 254, dtype=np.uint8)
    known = len(export.names) + export.shift
    table[export.shift : known] = np.arange(len(export.names), dtype=np.uint8)
    table[: export.shift] = IGNORED
    table[export.ignore_index] = IGNORED
    present = np.flatnonzero(np.bincount(pixels.reshape(-1), minlength=256))
    for value in present:
        if value != export.ignore_index and not value < known:
            raise FormatError(
                f"{path}: has the value {value}, which is no class: there are {known} values from 0 and "
                f"{export.ignore_index} for ignored pixels.",
                hint="Make the export anew with --replace, or correct the file.",
            )
    labels: NDArray[np.uint8] = table[pixels]
    return labels


@dataclass(frozen=True, slots=True)
class Placed:
    """Where an image lies after `fit_image`: scale, then offset. size_hw: of the image within the frame."""

    top: int
    left: int
    size_hw: tuple[int, int]


def fit_image(
    image: NDArray[np.uint8], mask: NDArray[np.uint8] | None, size_hw: tuple[int, int], fit: Fit
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None, Placed]:
    """Resized or letterboxed to size_hw; what is added is grey and ignored."""
    height, width = size_hw
    placed = Placed(0, 0, size_hw)
    if fit == "letterbox":
        scale = min(height / image.shape[0], width / image.shape[1])
        inner = (max(1, round(image.shape[0] * scale)), max(1, round(image.shape[1] * scale)))
        placed = Placed((height - inner[0]) // 2, (width - inner[1]) // 2, inner)
    image = _resized(image, placed.size_hw, Image.Resampling.BILINEAR)
    if mask is not None:
        mask = _resized(mask, placed.size_hw, Image.Resampling.NEAREST)
    if placed.size_hw != size_hw:
        image, mask = _framed(image, mask, placed, size_hw)
    return image, mask, placed


def _resized(pixels: NDArray[np.uint8], size_hw: tuple[int, int], how: Image.Resampling) -> NDArray[np.uint8]:
    if pixels.shape[:2] == size_hw:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((size_hw[1], size_hw[0]), how))


def _framed(
    image: NDArray[np.uint8], mask: NDArray[np.uint8] | None, placed: Placed, size_hw: tuple[int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    rows = slice(placed.top, placed.top + placed.size_hw[0])
    columns = slice(placed.left, placed.left + placed.size_hw[1])
    frame = np.full((*size_hw, 3), 114, dtype=np.uint8)
    frame[rows, columns] = image
    if mask is None:
        return frame, None
    labels = np.full(size_hw, IGNORED, dtype=np.uint8)
    labels[rows, columns] = mask
    return frame, labels


def pad_to(
    image: NDArray[np.uint8], mask: NDArray[np.uint8] | None, least_hw: tuple[int, int], stride: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """At the right and below: reflected pixels where there are enough, ignored in the label map."""
    height, width = (
        -(-max(side, least) // stride) * stride for side, least in zip(image.shape[:2], least_hw, strict=True)
    )
    add = ((0, height - image.shape[0]), (0, width - image.shape[1]))
    if not (add[0][1] or add[1][1]):
        return image, mask
    mode: Any = "reflect" if add[0][1] < image.shape[0] and add[1][1] < image.shape[1] else "edge"
    padded = np.pad(image, (*add, (0, 0)), mode=mode)
    return padded, None if mask is None else np.pad(mask, add, constant_values=IGNORED)


def generator(*numbers: int) -> torch.Generator:
    """Random numbers that depend on these alone."""
    seed = int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])
    return torch.Generator().manual_seed(seed & 0x7FFF_FFFF_FFFF_FFFF)


@dataclass
class Frames:
    """One split at the size that the model sees, decoded once where memory allows.

    The cache is one block of shared memory, so that processes that load images fill it together.
    """

    items: Sequence[Item]
    export: Export
    read: Reader
    size_hw: tuple[int, int]
    fit: Fit
    stride: int
    cached: bool = False
    images: torch.Tensor | None = field(default=None, init=False)
    masks: torch.Tensor | None = field(default=None, init=False)
    filled: torch.Tensor | None = field(default=None, init=False)

    def make_room(self) -> None:
        """For the cache, before any process that loads images begins. Once."""
        if self.cached and self.fit != "crop" and self.images is None:
            count = len(self.items)
            self.images = torch.empty((count, *self.size_hw, 3), dtype=torch.uint8).share_memory_()
            self.masks = torch.empty((count, *self.size_hw), dtype=torch.uint8).share_memory_()
            self.filled = torch.zeros(count, dtype=torch.uint8).share_memory_()

    def bytes_needed(self) -> int:
        return len(self.items) * self.size_hw[0] * self.size_hw[1] * 4

    def whole(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """The image as it is for `crop`, else at size_hw. Raises FormatError."""
        if self.images is not None and self.masks is not None and self.filled is not None:
            if not self.filled[index]:
                image, mask = self._read(index)
                self.images[index].numpy()[:] = image
                self.masks[index].numpy()[:] = mask
                self.filled[index] = 1
            return self.images[index].numpy(), self.masks[index].numpy()
        return self._read(index)

    def _read(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        item = self.items[index]
        image, mask = self.read(item.image), read_mask(item.mask, self.export)
        if image.shape[:2] != mask.shape:
            raise FormatError(
                f"{item.mask}: is {mask.shape[1]}x{mask.shape[0]} pixels, its image {image.shape[1]}x{image.shape[0]}.",
                hint="Make the export anew.",
            )
        if self.fit == "crop":
            return image, mask
        image, fitted, _ = fit_image(image, mask, self.size_hw, self.fit)
        assert fitted is not None
        return image, fitted

    def training(self, index: int, random: torch.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """At size_hw."""
        image, mask = self.whole(index)
        if self.fit != "crop":
            return image, mask
        image, padded = pad_to(image, mask, self.size_hw, 1)
        assert padded is not None
        top, left = (
            int(torch.randint(0, side - wanted + 1, (1,), generator=random))
            for side, wanted in zip(image.shape[:2], self.size_hw, strict=True)
        )
        rows, columns = slice(top, top + self.size_hw[0]), slice(left, left + self.size_hw[1])
        return image[rows, columns], padded[rows, columns]


class TrainingSet(torch.utils.data.Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Indexed by (epoch, index): (3, h, w) uint8 and (h, w) uint8, all of it ignored below 0. change: augmentation of
    one sample, or None where a GPU does it."""

    def __init__(self, frames: Frames, seed: int, mosaic: float, change: Callable[..., Any] | None) -> None:
        self.frames = frames
        self.seed = seed
        self.mosaic = mosaic
        self.change = change

    def __len__(self) -> int:
        return len(self.frames.items)

    def __getitem__(self, place: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        epoch, index = place
        if index < 0:
            pixels, labels, seed = self[epoch, ~index]
            return pixels, torch.full_like(labels, IGNORED), seed
        random = generator(self.seed, 1, epoch, index)
        if self.mosaic and float(torch.rand((), generator=random)) < self.mosaic:
            image, mask = self._mosaic(index, random)
        else:
            image, mask = self.frames.training(index, random)
        pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
        labels = torch.from_numpy(np.ascontiguousarray(mask))
        if self.change is not None:
            pixels, labels = self.change(pixels, labels, random)
            return pixels.contiguous(), labels.contiguous(), torch.zeros(())
        seed = torch.randint(0, 2**62, (), generator=random)
        # A copy: what the cache holds must not be changed by what comes after.
        return pixels.contiguous(), labels.clone(), seed

    def _mosaic(self, index: int, random: torch.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Four images around a random point; of each the quarter that lies in its own corner is seen."""
        height, width = self.frames.size_hw
        row = int(torch.randint(height // 4, height - height // 4, (1,), generator=random))
        column = int(torch.randint(width // 4, width - width // 4, (1,), generator=random))
        others = torch.randint(0, len(self), (3,), generator=random).tolist()
        image = np.empty((height, width, 3), dtype=np.uint8)
        mask = np.empty((height, width), dtype=np.uint8)
        rows, columns = (slice(0, row), slice(row, height)), (slice(0, column), slice(column, width))
        for corner, other in enumerate([index, *others]):
            part = rows[corner // 2], columns[corner % 2]
            pixels, labels = self.frames.training(other, random)
            image[part], mask[part] = pixels[part], labels[part]
        return image, mask


class ValidationSet(torch.utils.data.Dataset[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]):
    """Image, label map, and 1, or 0 for one that shall not count (an index below 0). Nothing random. For `crop` whole
    images, padded to the stride."""

    def __init__(self, frames: Frames) -> None:
        self.frames = frames

    def __len__(self) -> int:
        return len(self.frames.items)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        image, mask = self.frames.whole(max(index, ~index))
        if self.frames.fit == "crop":
            image, padded = pad_to(image, mask, (1, 1), self.frames.stride)
            assert padded is not None
            mask = padded
        pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).contiguous()
        labels = torch.from_numpy(np.ascontiguousarray(mask)).clone()
        return pixels, labels if index >= 0 else torch.full_like(labels, IGNORED), torch.tensor(int(index >= 0))


class ShuffledBatches(torch.utils.data.Sampler[list[tuple[int, int]]]):
    """Batches of (epoch, index) for one of `world` processes, in an order that (seed, epoch) decides; see
    batches_of_rank. An index below 0 is that of an image that shall not count: `~index`.

    start: images of this epoch that were seen before an interruption; used once.
    """

    def __init__(self, count: int, batch: int, seed: int, *, rank: int = 0, world: int = 1) -> None:
        self.count, self.batch, self.seed = count, batch, seed
        self.rank, self.world = rank, world
        self.epoch = 0
        self.start = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.count // (self.batch * self.world))

    def images(self, number: int) -> int:
        """In a batch, over all processes."""
        return min(self.batch * self.world, self.count - number * self.batch * self.world)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch, skipped, self.start = self.epoch, self.start // (self.batch * self.world), 0
        order = torch.randperm(self.count, generator=generator(self.seed, 0, epoch)).tolist()
        batches = batches_of_rank(self.count, self.batch, rank=self.rank, world=self.world)
        for places, counts in islice(batches, skipped, None):
            yield [(epoch, order[place] if counts else ~order[place]) for place in places]


class OrderedBatches(torch.utils.data.Sampler[list[int]]):
    """Batches of a validation for one of `world` processes; as ShuffledBatches."""

    def __init__(self, count: int, batch: int, *, rank: int = 0, world: int = 1) -> None:
        self._batches = [
            places if counts else [~place for place in places]
            for places, counts in batches_of_rank(count, batch, rank=rank, world=world)
        ]

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self._batches)


def class_pixels(frames: Frames, check: Callable[[int], None]) -> NDArray[np.int64]:
    """(256,) how many pixels each value has in the split. Raises FormatError: an unknown value."""
    counts = np.zeros(256, dtype=np.int64)
    for index, item in enumerate(frames.items):
        check(index)
        counts += np.bincount(read_mask(item.mask, frames.export).reshape(-1), minlength=256)
    return counts


def names_of(values: Sequence[int], export: Export) -> tuple[str, ...]:
    return tuple(export.names[value] if value != export.background else BACKGROUND for value in values)
