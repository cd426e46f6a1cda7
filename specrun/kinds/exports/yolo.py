"""exports: yolo. What Ultralytics trains on, `data.yaml` and all.

    data.yaml                 train, val, test, names; kpt_shape and flip_idx for pose
    images/<split>/a.jpg      links, copies or upright PNG
    labels/<split>/a.txt      one line an object
    <split>/<class>/a.jpg     for the task classify

`data.yaml` names no `path`, so Ultralytics takes its own folder and the output can be moved.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

from specrun.kinds.exports.class_folders import write_class_folders
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
    from specrun.formats.yolo_write import PoseLayout, YoloWriter
    from specrun.model.labels import Sample

_CHECK_EVERY = 256
_SMALLEST_SIDE = 10
"""Ultralytics' `check_image` refuses images below it."""


class YoloSpec(ExportSpec):
    """A dataset in Ultralytics' layout."""

    task: Literal["detect", "segment", "pose", "obb", "classify"] = "segment"
    """What is learnt; it decides what a label line holds."""
    layout: Literal["split_dirs"] = "split_dirs"
    """split_dirs: images/<split> beside labels/<split>."""
    unannotated: Unannotated = "negative"
    """Images that nobody has annotated: negative writes them with an empty label file, skip leaves them out."""
    media: Literal["link", "copy"] = "link"
    """link: symbolic links to the images; copy: the folder stands alone."""
    skeleton: Annotated[str | None, Ref("skeletons")] = None
    """Order and mirror images of the keypoints, for pose; null: as the labels name them."""


class Yolo(Export):
    """Ultralytics' training format."""

    Spec = YoloSpec

    def run(self, spec: YoloSpec, ctx: Context) -> Outputs:
        read = read_dataset(spec, ctx)
        with ExportFolder(ctx, copy_media=spec.media == "copy") as folder:
            read.note_left_out(folder.tally)
            _note_small(read.samples, folder)
            if spec.task == "classify":
                outputs = write_class_folders(read, read.samples, folder, ctx)
                splits = outputs.facts["splits"]
                assert isinstance(splits, dict)
                return replace(outputs, notes=(*outputs.notes, *_split_notes(splits)))
            samples = without_unannotated(read.samples, spec.unannotated, folder.tally)
            return _write_labels(spec, read, samples, folder, ctx)


def _write_labels(
    spec: YoloSpec, read: DatasetRead, samples: Sequence[Sample], folder: ExportFolder, ctx: Context
) -> Outputs:
    # Label writing loads numpy.
    from specrun.formats.export_names import export_stems
    from specrun.formats.yolo_write import PoseLayout, Task, YoloWriter, pose_layout

    task = Task(spec.task)
    pose = pose_layout(samples, declared_skeleton(spec.skeleton, ctx)) if task is Task.POSE else PoseLayout(())
    writer = YoloWriter(task, {name: i for i, name in enumerate(read.classes)}, pose)
    for done, (stem, sample) in enumerate(zip(export_stems(samples), samples, strict=True)):
        if done % _CHECK_EVERY == 0:
            ctx.progress(done, len(samples), "images", "writing")
            ctx.check_stop()
        folder.place_image(f"images/{sample.split}/{stem}", sample)
        folder.write(f"labels/{sample.split}/{stem}.txt", writer.text(sample, folder.tally).encode())
    ctx.progress(len(samples), len(samples), "images", "writing")
    splits = count_splits(samples)
    folder.write("data.yaml", _data_yaml(read.classes, splits, pose if task is Task.POSE else None).encode())
    folder.finish()
    return Outputs(
        artifacts=(Artifact("data", "file", "data.yaml"), Artifact("dataset", "folder", ".")),
        facts={"classes": list(read.classes), "images": len(samples), "splits": dict(splits), "task": spec.task},
        notes=(*folder.tally.notes(), *_split_notes(splits), *_pose_notes(writer)),
        known_digests=folder.digests,
    )


def _note_small(samples: Sequence[Sample], folder: ExportFolder) -> None:
    small = sum(min(sample.size_wh) < _SMALLEST_SIDE for sample in samples)
    folder.tally.add("image", f"smaller than {_SMALLEST_SIDE} pixels {{are}} skipped by Ultralytics", small)


def _data_yaml(classes: Sequence[str], splits: Mapping[str, int], pose: PoseLayout | None) -> str:
    """JSON strings are YAML strings, so any class name is safe."""
    lines = [f"{split}: images/{split}" for split in splits]
    lines.append("names:")
    lines += [f"  {i}: {json.dumps(name, ensure_ascii=False)}" for i, name in enumerate(classes)]
    if pose is not None:
        lines.append(f"kpt_shape: [{len(pose.names)}, 3]")
        if pose.flip:
            lines.append(f"flip_idx: {list(pose.flip)}")
        lines.append("kpt_names:")
        named = json.dumps(list(pose.names), ensure_ascii=False)
        lines += [f"  {i}: {named}" for i in range(len(classes))]
    return "\n".join(lines) + "\n"


def _split_notes(splits: Collection[str]) -> list[str]:
    missing = [split for split in ("train", "val") if split not in splits]
    return [f"no image is in {' or '.join(missing)}; Ultralytics needs train and val"] if missing else []


def _pose_notes(writer: YoloWriter) -> list[str]:
    if writer.task == "pose" and not writer.pose.flip:
        return ["no mirrored keypoints are known, so Ultralytics will not flip images; name a skeleton with flip_pairs"]
    return []
