"""exports: image_classification. A folder a class, by split: `<split>/<class>/<image>`."""

from __future__ import annotations

from typing import Literal

from specrun.kinds.exports.class_folders import write_class_folders
from specrun.kinds.exports.folder import ExportFolder
from specrun.kinds.exports.reading import Export, ExportSpec, read_dataset
from specrun.model.artifact import Outputs
from specrun.model.work import Context


class ImageClassificationSpec(ExportSpec):
    """A folder a class."""

    media: Literal["link", "copy"] = "link"
    """link: symbolic links to the images; copy: the folder stands alone."""


class ImageClassification(Export):
    """The layout of torchvision's ImageFolder."""

    Spec = ImageClassificationSpec

    def run(self, spec: ImageClassificationSpec, ctx: Context) -> Outputs:
        read = read_dataset(spec, ctx)
        with ExportFolder(ctx, copy_media=spec.media == "copy") as folder:
            read.note_left_out(folder.tally)
            return write_class_folders(read, read.samples, folder, ctx)
