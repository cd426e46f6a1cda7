"""exports: coco. `annotations/instances_<split>.json` beside `images/<split>/`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from specrun.kinds.exports.folder import ExportFolder
from specrun.kinds.exports.reading import (
    DatasetRead,
    Export,
    ExportSpec,
    Unannotated,
    count_splits,
    declared_skeleton,
    read_dataset,
    without_unannotated,
)
from specrun.model.artifact import Artifact, Outputs
from specrun.model.work import Context
from specrun.spec.kind import Ref

if TYPE_CHECKING:
    from specrun.formats.coco_write import CocoWriter
    from specrun.model.labels import Sample

_CHECK_EVERY = 64
_LICENSE_ID = 1


class CocoSpec(ExportSpec):
    """COCO instances, with keypoints where there are any."""

    masks: Literal["rle", "polygons"] = "rle"
    """How masks are written: rle keeps every pixel; polygons follows the pixel borders, masks with holes stay rle."""
    unannotated: Unannotated = "negative"
    """Images that nobody has annotated: negative lists them without annotations, skip leaves them out."""
    media: Literal["link", "copy"] = "link"
    """link: symbolic links to the images; copy: the folder stands alone."""
    skeleton: Annotated[str | None, Ref("skeletons")] = None
    """Names and edges of the keypoints; null: the names of the labels, without edges."""


class Coco(Export):
    """COCO's JSON, one file a split."""

    Spec = CocoSpec
    writes_look: ClassVar[bool] = True

    def run(self, spec: CocoSpec, ctx: Context) -> Outputs:
        # Label writing loads numpy.
        from specrun.formats.coco_write import CocoWriter, keypoint_names

        read = read_dataset(spec, ctx)
        with ExportFolder(ctx, copy_media=spec.media == "copy") as folder:
            read.note_left_out(folder.tally)
            samples = without_unannotated(read.samples, spec.unannotated, folder.tally)
            skeleton = declared_skeleton(spec.skeleton, ctx)
            declared = dict.fromkeys(read.classes, skeleton["points"]) if skeleton else {}
            edges = [(str(a), str(b)) for a, b in skeleton.get("edges") or ()] if skeleton else []
            points = keypoint_names(samples, declared)
            writer = CocoWriter(read.classes, spec.masks, folder.tally, points, edges)
            splits = count_splits(samples)
            info = dict(ctx.input("dataset").facts.get("info") or {})
            for split, rows in _rows_by_split(samples, folder, writer, ctx).items():
                header = _header(read, info)
                for image in rows["images"] if header["licenses"] else ():
                    image["license"] = _LICENSE_ID
                content = {**header, "categories": writer.categories(), **rows}
                folder.write(f"annotations/instances_{split}.json", _dump(content))
            folder.finish()
            return Outputs(
                artifacts=tuple(Artifact(split, "file", f"annotations/instances_{split}.json") for split in splits),
                facts={
                    "classes": list(read.classes),
                    "images": len(samples),
                    "splits": dict(splits),
                    "task": "segment",
                },
                notes=folder.tally.notes(),
                known_digests=folder.digests,
            )


def _rows_by_split(
    samples: Sequence[Sample], folder: ExportFolder, writer: CocoWriter, ctx: Context
) -> dict[str, dict[str, list[dict[str, Any]]]]:
    # Names load numpy through the labels.
    from specrun.formats.export_names import export_stems

    rows: dict[str, dict[str, list[dict[str, Any]]]] = {}
    total = len(samples)
    for done, (stem, sample) in enumerate(zip(export_stems(samples), samples, strict=True)):
        if done % _CHECK_EVERY == 0:
            ctx.progress(done, total, "images", "writing")
            ctx.check_stop()
        place = folder.place_image(f"images/{sample.split}/{stem}", sample)
        image = writer.image(sample, place.rpartition("/")[2])
        of_split = rows.setdefault(str(sample.split), {"images": [], "annotations": []})
        of_split["images"].append(image)
        of_split["annotations"] += writer.annotations(sample, image["id"])
    ctx.progress(total, total, "images", "writing")
    return rows


def _header(read: DatasetRead, info: Mapping[str, Any]) -> dict[str, Any]:
    """No date: the same dataset gives the same bytes."""
    described = {key: value for key, value in info.items() if key != "license"}
    licence = str(info.get("license") or "")
    return {
        "info": {"description": read.name, **described},
        "licenses": [{"id": _LICENSE_ID, "name": licence, "url": ""}] if licence else [],
    }


def _dump(content: Mapping[str, Any]) -> bytes:
    """One image or annotation a line, so that a changed label is a changed line."""
    sections = []
    for key, value in content.items():
        if isinstance(value, list) and value:
            lines = ",\n".join(json.dumps(row, ensure_ascii=False, separators=(", ", ": ")) for row in value)
            sections.append(f"{json.dumps(key)}: [\n{lines}\n]")
        else:
            sections.append(f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}")
    return ("{\n" + ",\n".join(sections) + "\n}\n").encode("utf-8", "backslashreplace")
