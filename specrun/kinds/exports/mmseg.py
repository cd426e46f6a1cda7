"""exports: mmseg. Images and label maps in MMSegmentation's layout.

images/<split>/a.jpg          links, copies or upright PNG; PNG when `transforms` change them
annotations/<split>/a.png     class indices, with the colours of the taxonomy as palette
meta.json                     classes and palette by pixel value, suffixes, ignore_index
statistics.json               mean and standard deviation of the channels, if asked for
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from specrun.errors import NodeError
from specrun.kinds.exports.folder import ExportFolder
from specrun.kinds.exports.reading import Export, ExportSpec, Split, read_dataset
from specrun.model.artifact import Artifact, Outputs
from specrun.model.work import Context
from specrun.spec.kind import Lookup, Problem, Strict

if TYPE_CHECKING:
    from specrun.formats.channel_sums import ChannelSums
    from specrun.formats.crops import Pair
    from specrun.formats.masks_write import Indices
    from specrun.model.labels import Sample

Side = Annotated[int, Field(ge=1, le=65535)]
SizeWH = tuple[Side, Side]


class GridCropSpec(Strict):
    """Windows of one size over the whole image; the last of a row or column ends with the image."""

    size: SizeWH
    """Width and height of a window; smaller images are padded."""
    stride: Side | SizeWH | None = None
    """From one window to the next; null: the size, so that windows touch."""
    threshold: float = Field(default=0.0, ge=0, le=100)
    """Percent of a window's pixels that must be foreground, neither background nor ignored; others are left out."""


class TransformsSpec(Strict):
    """Applied to image and label map in this order."""

    resize: Side | SizeWH | None = None
    """Width and height, or the length of the longer side."""
    pad: SizeWH | None = None
    """Least width and height; what is added is black and ignored."""
    center_crop: SizeWH | None = None
    """Greatest width and height."""
    grid_crop: GridCropSpec | None = None
    """Cut into windows."""


class StatisticsSpec(Strict):
    """Measured while writing."""

    channels: Split | None = "train"
    """The split whose mean and standard deviation are written to statistics.json."""


class MMSegSpec(ExportSpec):
    """Label maps for semantic segmentation."""

    background: int | None = Field(default=0, ge=0, le=255)
    """Value of pixels without a label, classes take the others; null: they are ignored, classes start at 0."""
    ignore_index: int = Field(default=255, ge=0, le=255)
    """Value of pixels that no loss should count."""
    reduce_zero_label: bool = False
    """For MMSegmentation's option of that name: its classes are listed without the background, value 0."""
    unannotated: Literal["negative", "ignore", "skip"] = "negative"
    """Images that nobody has annotated: negative makes them background, ignore makes every pixel ignored,
    skip leaves them out."""
    transforms: TransformsSpec = TransformsSpec()
    """Resizing and cropping, on every export."""
    statistics: StatisticsSpec | None = None
    """What is measured for the trainer."""
    media: Literal["link", "copy"] = "link"
    """link: symbolic links to the images; copy: the folder stands alone."""


class MMSeg(Export):
    """MMSegmentation's training format."""

    Spec = MMSegSpec
    writes_look: ClassVar[bool] = True

    def check(self, spec: MMSegSpec, lookup: Lookup) -> Sequence[Problem]:
        found = list(super().check(spec, lookup))
        if spec.reduce_zero_label and spec.background != 0:
            found.append(Problem("reduce_zero_label", "needs background: 0, whose value it takes away"))
        return found

    def run(self, spec: MMSegSpec, ctx: Context) -> Outputs:
        # Drawing loads numpy.
        from specrun.formats.channel_sums import ChannelSums
        from specrun.formats.masks_write import class_indices, palette

        read = read_dataset(spec, ctx)
        with ExportFolder(ctx, copy_media=spec.media == "copy") as folder:
            read.note_left_out(folder.tally)
            indices = class_indices(read.classes, spec.background, spec.ignore_index)
            colors = palette(indices.names, read.colors, spec.ignore_index)
            writer = _Writer(spec, indices, colors, folder, ChannelSums())
            images = writer.write_all(read.samples, ctx)
            if not images:
                raise NodeError("no image is left to write.", hint="Look at `unannotated` and `grid_crop.threshold`.")
            suffix = folder.unify_suffixes("images")
            meta = {
                "classes": list(indices.names[1:] if spec.reduce_zero_label else indices.names),
                "palette": [list(color) for color in colors[int(spec.reduce_zero_label) : len(indices.names)]],
                "background": spec.background,
                "ignore_index": spec.ignore_index,
                "reduce_zero_label": spec.reduce_zero_label,
                "img_suffix": suffix,
                "seg_map_suffix": ".png",
            }
            folder.write("meta.json", _json(meta))
            facts: dict[str, Any] = {**meta, "images": images.total(), "splits": dict(images), "task": "semantic"}
            if spec.statistics is not None and spec.statistics.channels is not None:
                statistics = {"split": spec.statistics.channels, **writer.sums.to_json()}
                folder.write("statistics.json", _json(statistics))
                facts["statistics"] = statistics
            folder.finish()
            del facts["palette"]
            return Outputs(
                artifacts=(Artifact("dataset", "folder", "."), Artifact("meta", "file", "meta.json")),
                facts=facts,
                notes=folder.tally.notes(),
                known_digests=folder.digests,
            )


class _Writer:
    def __init__(
        self,
        spec: MMSegSpec,
        indices: Indices,
        colors: Sequence[tuple[int, int, int]],
        folder: ExportFolder,
        sums: ChannelSums,
    ) -> None:
        self.spec = spec
        self.indices = indices
        self.colors = colors
        self.folder = folder
        self.sums = sums

    def write_all(self, samples: Sequence[Sample], ctx: Context) -> Counter[str]:
        """Number of images written by split."""
        # Names load numpy through the labels.
        from specrun.formats.export_names import export_stems

        images: Counter[str] = Counter()
        for done, (stem, sample) in enumerate(zip(export_stems(samples), samples, strict=True)):
            ctx.progress(done, len(samples), "images", "writing")
            ctx.check_stop()
            if sample.annotated or self._keeps_unannotated():
                images[str(sample.split)] += self._write(f"{sample.split}/{stem}", sample)
        ctx.progress(len(samples), len(samples), "images", "writing")
        return +images

    def _keeps_unannotated(self) -> bool:
        sentences = {
            "negative": "without annotation {are} written as background",
            "ignore": "without annotation {are} written with every pixel ignored",
            "skip": "without annotation {are} left out",
        }
        self.folder.tally.add("image", sentences[self.spec.unannotated])
        return self.spec.unannotated != "skip"

    def _write(self, stem: str, sample: Sample) -> int:
        """How many images it became."""
        # Drawing loads numpy.
        from specrun.formats.crops import Pair
        from specrun.formats.images import read_upright_rgb
        from specrun.formats.masks_write import draw_label_map, encode_png
        from specrun.model.labels import Mask, Polygon

        labels = draw_label_map(sample, self.indices, self.folder.tally)
        if sample.labels and not any(isinstance(label, Polygon | Mask) for label in sample.labels):
            written = "as negatives" if self.spec.background is not None else "with every pixel ignored"
            self.folder.tally.add("image", f"lost all {{their}} labels and {{are}} written {written}")
        if not sample.annotated and self.spec.unannotated == "ignore":
            labels.fill(self.indices.ignore)
        statistics = self.spec.statistics
        measured = statistics is not None and statistics.channels == sample.split
        if self.spec.transforms == TransformsSpec():
            if measured:
                self.sums.add(read_upright_rgb(sample.media))
            self.folder.place_image(f"images/{stem}", sample)
            self.folder.write(f"annotations/{stem}.png", encode_png(labels, self.colors))
            return 1
        image = read_upright_rgb(sample.media)
        count = 0
        for name, pair in self._transformed(Pair(image, labels), stem):
            count += 1
            if measured:
                self.sums.add(pair.image)
            self.folder.write(f"images/{name}.png", _png(pair.image))
            self.folder.write(f"annotations/{name}.png", encode_png(pair.labels, self.colors))
        if not count:
            self.folder.tally.add("image", "without a window above the threshold {are} left out")
        return count

    def _transformed(self, pair: Pair, stem: str) -> Iterator[tuple[str, Pair]]:
        """Each resulting image with its name; a window's name ends with its left and top."""
        # Cropping loads numpy.
        from specrun.formats.crops import Grid, center_crop, fit, grid_crops, pad, resize

        wanted = self.spec.transforms
        height, width = pair.labels.shape
        if wanted.resize is not None:
            size = fit((width, height), wanted.resize) if isinstance(wanted.resize, int) else wanted.resize
            pair = resize(pair, size)
        if wanted.pad is not None:
            pair = pad(pair, wanted.pad, self.indices.ignore)
        if wanted.center_crop is not None:
            pair = center_crop(pair, wanted.center_crop)
        grid = wanted.grid_crop
        if grid is None:
            yield stem, pair
            return
        stride = grid.stride or grid.size
        stride_xy = (stride, stride) if isinstance(stride, int) else stride
        for window in grid_crops(pair, Grid(grid.size, stride_xy, grid.threshold), self.indices):
            yield f"{stem}__{window.left}_{window.top}", window


def _png(image: Any) -> bytes:
    # Pillow is needed only where images change.
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG", compress_level=3)
    return buffer.getvalue()


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=1).encode("utf-8", "backslashreplace") + b"\n"
