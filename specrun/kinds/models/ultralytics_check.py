"""What is told about a model of kind ultralytics before anything is trained."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from specrun.spec.kind import Lookup, Problem, Ref
from specrun.training.ultralytics.arguments import FILE_ARGUMENTS

if TYPE_CHECKING:
    from specrun.kinds.models.ultralytics_spec import UltralyticsSpec


def all_problems(spec: UltralyticsSpec, lookup: Lookup) -> list[Problem]:
    from specrun.training.warm_start import start_problems, wrong_kind_problems

    of_weights = _weights_problems(spec, lookup)
    return [
        *_argument_problems(spec),
        *_file_problems(spec, lookup),
        *(of_weights or _data_problems(spec, lookup)),
        *_export_problems(spec),
        *start_problems(spec.start_from, Path(lookup.project_dir)),
        *wrong_kind_problems(spec.start_from, lookup, "ultralytics"),
    ]


def _argument_problems(spec: UltralyticsSpec) -> list[Problem]:
    from specrun.training.ultralytics.arguments import argument_problems, installed_arguments, installed_limits

    arguments = installed_arguments()
    if arguments is None:
        hint = "Install the extra: pip install 'specrun[yolo]'."
        return [Problem("", "Ultralytics is not installed, so `train` is not checked.", hint, warning=True)]
    problems = [
        Problem(f"train.{found.path}", found.message, found.hint, found.warning)
        for found in argument_problems(spec.train, arguments, installed_limits())
    ]
    if spec.seed is not None and "seed" in spec.train:
        problems.append(Problem("train.seed", "The seed is given twice.", "Leave `seed` or `train.seed` out."))
    gpus = spec.resources.gpu_count or 0
    batch = spec.train.get("batch")
    if gpus > 1 and isinstance(batch, int) and batch > 0 and batch % gpus:
        hint = f"Write a multiple of {gpus}: the batch is that of all GPUs together."
        problems.append(Problem("train.batch", f"A batch of {batch} cannot be shared by {gpus} GPUs.", hint))
    return problems


def _file_problems(spec: UltralyticsSpec, lookup: Lookup) -> list[Problem]:
    from specrun.training.ultralytics.weights import local_file

    hint = "Paths are relative to the spec."
    return [
        Problem(f"train.{name}", f"There is no file {text}.", hint)
        for name in FILE_ARGUMENTS
        if isinstance(text := spec.train.get(name), str) and local_file(text, Path(lookup.project_dir)) is None
    ]


def _export_problems(spec: UltralyticsSpec) -> list[Problem]:
    from specrun.training.ultralytics.export_arguments import installed_export_problems
    from specrun.training.ultralytics.exporting import EXPORT_FORMATS, INSTALL_HINT, missing_packages

    problems = []
    for name, arguments in spec.export.items():
        if name in EXPORT_FORMATS:
            found = installed_export_problems(name, arguments)
            problems += [Problem(f"export.{name}.{each.path}", each.message, each.hint) for each in found]
        if name not in EXPORT_FORMATS:
            hint = f"Write one of {', '.join(EXPORT_FORMATS)}."
            problems.append(Problem(f"export.{name}", f'"{name}" is not a format that specrun exports.', hint))
        elif missing := missing_packages(name):
            message = f"{name} needs {', '.join(missing)}, which cannot be imported here."
            problems.append(Problem(f"export.{name}", message, INSTALL_HINT, warning=True))
    return problems


def _weights_problems(spec: UltralyticsSpec, lookup: Lookup) -> list[Problem]:
    from specrun.training.ultralytics.weights import (
        is_architecture,
        local_file,
        unknown_architecture,
        unknown_release,
    )

    name = spec.weights
    if local_file(name, Path(lookup.project_dir)):
        return []
    if is_architecture(name):
        remedy = unknown_architecture(name)
        return [Problem("weights", f'There is no architecture "{name}".', remedy)] if remedy else []
    if not name.endswith(".pt"):
        hint = "Give an architecture such as yolo11n-seg.yaml or a checkpoint such as yolo11n-seg.pt."
        return [Problem("weights", f'"{name}" is neither a .pt checkpoint nor a .yaml architecture.', hint)]
    if Path(name).name != name:
        return [Problem("weights", f"There is no file {name}.", "Paths are relative to the spec.")]
    if remedy := unknown_release(name):
        return [Problem("weights", f'There is no file "{name}", and no released checkpoint of that name.', remedy)]
    return []


def _data_problems(spec: UltralyticsSpec, lookup: Lookup) -> list[Problem]:
    from specrun.training.ultralytics.weights import is_architecture, task_by_name, unknown_release

    if spec.data is None:
        if is_architecture(spec.weights):
            return [Problem("data", "An architecture must be trained.", "Name an export: data: exports.yolo.")]
        if spec.train:
            return [Problem("train", "Without `data` nothing is trained.", "Name an export, or remove train.")]
        return []
    address = Ref("exports").address(spec.data)
    kind = lookup.kind_of(address)
    if kind is not None and kind != "exports.yolo":
        return [Problem("data", f"{address} is {kind}; Ultralytics trains on exports of kind yolo.")]
    export = lookup.spec(address)
    wanted, given = getattr(export, "task", None), task_by_name(spec.weights)
    if not is_architecture(spec.weights) and unknown_release(Path(spec.weights).name):
        given = None  # a file of one's own that is called nearly as a released one
    if wanted and given and wanted != given:
        hint = f"Use weights for {wanted}, or write task: {given} in {address}."
        return [Problem("weights", f"{spec.weights} is a model for {given}; {address} is written for {wanted}.", hint)]
    return []
