"""exports: fiftyone. Any format that FiftyOne writes, by its own exporter, one folder a split."""

from __future__ import annotations

import difflib
import inspect
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from specrun.errors import NodeError
from specrun.formats.tally import Tally
from specrun.kinds.exports.folder import LinkTargets, converted, empty_staging, reason_of
from specrun.kinds.exports.reading import DatasetRead, Export, ExportSpec, count_splits, read_dataset
from specrun.model.artifact import Artifact, Outputs
from specrun.model.digest import bytes_digest
from specrun.model.work import Context
from specrun.spec.kind import WorkerSort

if TYPE_CHECKING:
    from specrun.model.labels import Sample

_TEXT_SUFFIXES = (".csv", ".json", ".txt", ".xml", ".yaml")


class FiftyOneExportSpec(ExportSpec):
    """A format by its name in FiftyOne."""

    type: str
    """For example VOCDetectionDataset or CVATImageDataset: a class of fiftyone.types."""
    media: Literal["link", "copy"] = "link"
    """link: symbolic links to the images; copy: the folder stands alone."""
    options: dict[str, Any] = {}
    """Further arguments of FiftyOne's exporter."""


class FiftyOneExport(Export):
    """FiftyOne's own exporters; what they lose is lost here too."""

    Spec = FiftyOneExportSpec
    writes_look: ClassVar[bool] = True
    worker: ClassVar[WorkerSort] = "fiftyone"

    def run(self, spec: FiftyOneExportSpec, ctx: Context) -> Outputs:
        # The client loads pymongo.
        from specrun.clients import fiftyone

        read = read_dataset(spec, ctx)
        splits = count_splits(read.samples)
        empty_staging(ctx.staging)
        with fiftyone.database(ctx) as database:
            dataset = database.dataset(read.name)
            format_class = _dataset_type(database.fiftyone.types, spec.type)
            families = dict(database.layout(read.name).label_fields.get(read.label_field) or {})
            tally = Tally()
            read.note_left_out(tally)
            notes: tuple[str, ...] = ()
            for done, split in enumerate(splits):
                ctx.progress(done, len(splits), "splits", "writing")
                ctx.check_stop()
                place = ctx.staging / split
                fields = _fields_for(format_class, place, dataset, families or {"": read.label_field})
                notes = _left_out(spec, read, families, fields)
                paths = [str(sample.media) for sample in read.samples if sample.split == split]
                view = dataset.select_by("filepath", paths)
                view.export(**_arguments(spec, read, format_class, place, fields))
        ctx.progress(len(splits), len(splits), "splits", "writing")
        _name_final_place(ctx.staging, ctx.output)
        digests = place_media(ctx, read.samples, tally, copy=spec.media == "copy")
        return Outputs(
            artifacts=tuple(Artifact(split, "folder", split) for split in splits),
            facts={
                "classes": list(read.classes),
                "images": len(read.samples),
                "splits": dict(splits),
                "task": spec.type,
            },
            notes=(*notes, *tally.notes()),
            known_digests=digests,
        )


def _dataset_type(types: Any, name: str) -> Any:
    found = getattr(types, name, None)
    if inspect.isclass(found) and issubclass(found, types.Dataset):
        return found
    known = [n for n, c in vars(types).items() if inspect.isclass(c) and issubclass(c, types.Dataset)]
    close = difflib.get_close_matches(name, known, n=1)
    raise NodeError(f'FiftyOne has no dataset type "{name}".', hint=f'Did you mean "{close[0]}"?' if close else None)


def _fields_for(format_class: Any, place: Path, dataset: Any, families: Mapping[str, str]) -> list[str]:
    """The FiftyOne fields of a label field that the format takes; all of them when it does not say."""
    schema = dataset.get_field_schema()
    present = [at for at in dict.fromkeys(families.values()) if at in schema]
    accepted = _accepted(format_class, place)
    if not accepted:
        return present
    return [at for at in present if getattr(schema[at], "document_type", type(None)).__name__ in accepted]


def _accepted(format_class: Any, place: Path) -> set[str]:
    """Names of the label classes that an exporter takes."""
    exporter = format_class().get_dataset_exporter_cls()(export_dir=str(place))
    wanted = getattr(exporter, "label_cls", None)
    classes = wanted.values() if isinstance(wanted, dict) else wanted if isinstance(wanted, list | tuple) else [wanted]
    return {accepted.__name__ for accepted in classes if inspect.isclass(accepted)}


def _left_out(
    spec: FiftyOneExportSpec, read: DatasetRead, families: Mapping[str, str], fields: Sequence[str]
) -> tuple[str, ...]:
    if not fields:
        raise NodeError(
            f"{spec.type} takes none of the labels in {read.label_field}.", hint="Choose another type or label_field."
        )
    left = [family for family, at in families.items() if at not in fields[:1]]
    return (f"{', '.join(sorted(left))} of {read.label_field} are not part of {spec.type}",) if left else ()


def _arguments(
    spec: FiftyOneExportSpec, read: DatasetRead, format_class: Any, place: Path, fields: Sequence[str]
) -> dict[str, Any]:
    exporter = format_class().get_dataset_exporter_cls()
    takes = inspect.signature(exporter.__init__).parameters
    arguments: dict[str, Any] = {
        "export_dir": str(place),
        "dataset_type": format_class,
        "label_field": fields[0],
        # Also for copies: links tell which image a file is, whatever its name.
        "export_media": "symlink",
        "progress": False,
    }
    if "classes" in takes:
        arguments["classes"] = list(read.classes)
    return {**arguments, **spec.options}


def _name_final_place(staging: Path, output: Path) -> None:
    """Some exporters write absolute paths into their files; they must name where the folder will lie."""
    before, after = os.fsencode(staging), os.fsencode(output)
    for path in staging.rglob("*"):
        if path.suffix in _TEXT_SUFFIXES and not path.is_symlink() and before in (data := path.read_bytes()):
            path.write_bytes(data.replace(before, after))


def place_media(ctx: Context, samples: Sequence[Sample], tally: Tally, *, copy: bool) -> dict[str, str]:
    """Make of FiftyOne's links what other exports have: links for the final place, copies, or upright PNG for
    images that trainers read differently, under the names that the label files say. Returns digest by path."""
    by_media = {str(sample.media): sample for sample in samples}
    targets = LinkTargets(ctx.output, ctx.project_dir)
    digests: dict[str, str] = {}
    for folder, _, names in os.walk(ctx.staging):
        ctx.check_stop()
        for name in names:
            path = Path(folder, name)
            sample = by_media.get(os.readlink(path)) if path.is_symlink() else None
            if sample is None:
                continue
            place = path.relative_to(ctx.staging).as_posix()
            reason = reason_of(sample)
            path.unlink()
            if reason:
                data = converted(sample)
                path.write_bytes(data)
                digests[place] = bytes_digest(data)
                tally.add("image", f"{{were}} written as upright RGB PNG under {{their}} old name because of {reason}")
                continue
            if copy:
                shutil.copyfile(sample.media, path)
            else:
                path.symlink_to(targets.target(place, str(sample.media)))
            digests[place] = sample.digest
    return digests
