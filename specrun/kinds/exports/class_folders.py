"""`<split>/<class>/<image>`: what torchvision's ImageFolder and Ultralytics' classify read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from specrun.errors import NodeError
from specrun.kinds.exports.folder import ExportFolder
from specrun.kinds.exports.reading import DatasetRead
from specrun.model.artifact import Artifact, Outputs
from specrun.model.work import Context

if TYPE_CHECKING:
    from specrun.formats.tally import Tally
    from specrun.model.labels import Sample

_CHECK_EVERY = 256


def write_class_folders(read: DatasetRead, samples: Sequence[Sample], folder: ExportFolder, ctx: Context) -> Outputs:
    """Every class has a folder in every split, also an empty one: readers number the folders they see.

    An image with several tags goes by the first; one without a tag is left out. Both are counted.
    """
    # Names and labels load numpy.
    from specrun.formats.export_names import export_stems, folder_names
    from specrun.formats.nouns import unknown_class
    from specrun.model.labels import Tag

    folders = folder_names(read.classes)
    chosen: list[tuple[Sample, str]] = []
    for sample in samples:
        tags = [label for label in sample.labels if isinstance(label, Tag)]
        _count(sample, tags, folder.tally)
        if not tags:
            continue
        if tags[0].label not in folders:
            raise unknown_class(sample, tags[0])
        chosen.append((sample, tags[0].label))
    if not chosen:
        raise NodeError(
            f"{read.name}: no image has a tag in {read.label_field}, so there are no classes to sort images into.",
            hint="Name the field that holds the classes of whole images in `label_field`.",
        )
    splits = Counter(str(sample.split) for sample, _ in chosen)
    for split in splits:
        for name in folders.values():
            (folder.staging / split / name).mkdir(parents=True, exist_ok=True)
    stems = export_stems([sample for sample, _ in chosen])
    for done, ((sample, label), stem) in enumerate(zip(chosen, stems, strict=True)):
        if done % _CHECK_EVERY == 0:
            ctx.progress(done, len(chosen), "images", "writing")
            ctx.check_stop()
        folder.place_image(f"{sample.split}/{folders[label]}/{stem}", sample)
    ctx.progress(len(chosen), len(chosen), "images", "writing")
    folder.finish()
    in_order = sorted(read.classes, key=folders.__getitem__)
    return Outputs(
        artifacts=(Artifact("dataset", "folder", "."),),
        facts={
            "classes": list(in_order),
            "images": len(chosen),
            "splits": dict(splits),
            "task": "classify",
        },
        notes=folder.tally.notes(),
        known_digests=folder.digests,
    )


def _count(sample: Sample, tags: Sequence[object], tally: Tally) -> None:
    if not tags:
        tally.add("image", "without a tag {are} left out")
    elif len(tags) > 1:
        tally.add("image", "with several tags {are} sorted by the first")
    tally.add("label", "other than tags {are} not part of image classification", len(sample.labels) - len(tags))
