"""Mistakes in a model of kind smp that can be told without torch: names, combinations, references."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from specrun.kinds.models.smp_argument_check import architecture_problems, optimizer_problems, scheduler_problems
from specrun.spec.kind import Lookup, Problem, Ref
from specrun.spec.suggest import did_you_mean, listed
from specrun.training.smp import names
from specrun.training.warm_start import start_problems, wrong_kind_problems

if TYPE_CHECKING:
    from specrun.kinds.models.smp_spec import SmpSpec

_FORMATS = {"torchscript": (), "onnx": ("opset", "dynamic")}
_OPSETS = (9, 20)
"""What torch's exporter of traced networks writes."""
_OF_GIVEN = {"image_size", "fit", "normalize"}
_OF_LOSS = {
    "tversky": frozenset({"alpha", "beta", "gamma"}),
    "focal": frozenset({"alpha", "gamma"}),
    "focal_dice": frozenset({"alpha", "gamma"}),
    "cross_entropy": frozenset({"smoothing"}),
    "dice_ce": frozenset({"smoothing"}),
}


def smp_problems(spec: SmpSpec, lookup: Lookup) -> Sequence[Problem]:
    if not names.architectures():
        hint = "Install the extra: pip install 'specrun[smp]'."
        message = "segmentation-models-pytorch is not installed, so arch and encoder are not checked."
        return [Problem("", message, hint, warning=True), *_reference_problems(spec, lookup)]
    return [
        *_name_problems(spec, Path(lookup.project_dir)),
        *_training_problems(spec),
        *_reference_problems(spec, lookup),
        *_export_problems(spec),
    ]


def _name_problems(spec: SmpSpec, project_dir: Path) -> Iterator[Problem]:
    wrong = names.unknown_architecture(spec.arch)
    if wrong:
        yield Problem("arch", f'segmentation-models-pytorch has no architecture "{spec.arch}".', wrong)
    remedy = names.unknown_encoder(spec.encoder)
    if remedy:
        yield Problem("encoder", f'There is no encoder "{spec.encoder}".', remedy)
        return
    if wrong:
        return
    dpt, vit = spec.arch.lower() == "dpt", names.is_vit(spec.encoder)
    if dpt and not spec.encoder.startswith("tu-"):
        hint = "For example tu-vit_base_patch16_224.augreg_in21k."
        yield Problem("encoder", f"DPT takes vision transformers of timm, not {spec.encoder}.", hint)
    elif vit and not dpt:
        message = f"{spec.encoder} is a vision transformer, which {spec.arch} cannot take."
        yield Problem("encoder", message, "Write arch: DPT, or choose another encoder.")
    yield from architecture_problems(spec)
    yield from _weights_problems(spec, project_dir)


def _weights_problems(spec: SmpSpec, project_dir: Path) -> Iterator[Problem]:
    wanted, known = spec.encoder_weights, names.smp_encoders().get(spec.encoder)
    if not isinstance(wanted, str):
        return
    if "/" in wanted or Path(wanted).suffix:
        if spec.checkpoint is None and not (project_dir / wanted).is_file():
            yield Problem("encoder_weights", f"There is no file {wanted}.", "Paths are relative to the spec.")
        return
    if names.is_of_timm(spec.encoder):
        if wanted != "imagenet":  # the default, which says: those that belong to it
            hint = "Write true for its own, null for none; others are named in the encoder: tu-<model>.<weights>."
            yield Problem("encoder_weights", f'Encoders of timm have no weights named "{wanted}".', hint)
        return
    if known is not None and wanted not in known:
        hint = did_you_mean(wanted, known, otherwise="There are") or "Write null."
        yield Problem("encoder_weights", f'{spec.encoder} has no weights named "{wanted}".', hint)


def _training_problems(spec: SmpSpec) -> Iterator[Problem]:
    train = spec.train
    yield from optimizer_problems(train.optimizer)
    if train.scheduler is not None:
        yield from scheduler_problems(train.scheduler)
    watched = {"checkpoints": train.checkpoints.monitor}
    if train.early_stopping is not None:
        watched["early_stopping"] = train.early_stopping.monitor
    for name, metric in watched.items():
        if metric not in names.METRICS and not metric.startswith(names.METRICS_BY_CLASS):
            remedy = did_you_mean(metric, names.METRICS) or f"Write {listed(names.METRICS)} or val/iou/<class>."
            yield Problem(f"train.{name}.monitor", f'There is no metric "{metric}".', remedy)
    for name in ("scale", "crop"):
        sides = getattr(spec.augment, name)
        if sides is not None and sides[0] > sides[1]:
            yield Problem(f"augment.{name}", f"{sides[0]} is more than {sides[1]}.", "Write the least one first.")
    yield from _loss_problems(spec)
    yield from _sharing_problems(spec)


def _loss_problems(spec: SmpSpec) -> Iterator[Problem]:
    """What says nothing of the loss that it stands with."""
    written = spec.train.loss
    for place, term in enumerate(written if isinstance(written, list) else [written]):
        if isinstance(term, str):
            continue
        useful = _OF_LOSS.get(term.name, frozenset())
        at = f"train.loss.{place}" if isinstance(written, list) else "train.loss"
        for name in sorted(term.model_fields_set - {"name", "weight"} - useful):
            hint = f"There {'is' if len(useful) == 1 else 'are'} {listed(sorted(useful), 'and')}." if useful else None
            yield Problem(f"{at}.{name}", f"{name} means nothing for {term.name}.", hint or f"Remove {name}.")


def _sharing_problems(spec: SmpSpec) -> Iterator[Problem]:
    gpus, train = spec.resources.gpu_count, spec.train
    if gpus is None or not isinstance(train.batch, int):
        return
    images = train.batch * train.devices
    if gpus > 1 and images % gpus:
        hint = f"Write a multiple of {gpus}: they share the images of a batch, {train.batch} for each of train.devices."
        yield Problem("train.batch", f"{images} images at a time cannot be shared by {gpus} GPUs.", hint)


def _reference_problems(spec: SmpSpec, lookup: Lookup) -> Iterator[Problem]:
    written = spec.model_fields_set
    if spec.checkpoint is not None:
        if useless := spec.train.model_fields_set - _OF_GIVEN:
            message = f"With `checkpoint` nothing is trained: {listed(sorted(useless), 'and')} would have no effect."
            yield Problem("train", message, f"Remove all but {listed(sorted(_OF_GIVEN), 'and')}.")
        for name in ("data", "augment", "start_from"):
            if name in written and getattr(spec, name) is not None:
                yield Problem(
                    name, f"With `checkpoint` nothing is trained, so {name} means nothing.", f"Remove {name}."
                )
        if not (Path(lookup.project_dir) / spec.checkpoint).exists():
            yield Problem("checkpoint", f"There is no file {spec.checkpoint}.", "Paths are relative to the spec.")
        return
    for name in ("classes", "background"):
        if name in written:
            yield Problem(name, f"{name} comes from the export; it is for checkpoints alone.", f"Remove {name}.")
    if spec.data is None:
        yield Problem("data", "Nothing says what to train on.", "Name an mmseg export, or give a checkpoint.")
        return
    address = Ref("exports").address(spec.data)
    kind = lookup.kind_of(address)
    if kind is not None and kind != "exports.mmseg":
        yield Problem("data", f"{address} is {kind}; this trains on exports of kind mmseg.")
    yield from start_problems(spec.start_from, Path(lookup.project_dir))
    yield from wrong_kind_problems(spec.start_from, lookup, "smp")


def _export_problems(spec: SmpSpec) -> Iterator[Problem]:
    for name, options in spec.export.items():
        if name not in _FORMATS:
            remedy = did_you_mean(name, _FORMATS, otherwise="Write") or f"Write {listed(_FORMATS)}."
            yield Problem(f"export.{name}", f'"{name}" is not a format that specrun exports.', remedy)
            continue
        for option in options:
            if option not in _FORMATS[name]:
                hint = did_you_mean(option, _FORMATS[name], otherwise="There are")
                yield Problem(f"export.{name}.{option}", f'{name} has no option "{option}".', hint)
        opset, dynamic = options.get("opset", _OPSETS[0]), options.get("dynamic", False)
        if name == "onnx" and (type(opset) is not int or not _OPSETS[0] <= opset <= _OPSETS[1]):
            message = f"opset must be a whole number from {_OPSETS[0]} to {_OPSETS[1]}, not {opset!r}."
            yield Problem("export.onnx.opset", message, "Leave it out for 17.")
        if name == "onnx" and not isinstance(dynamic, bool):
            yield Problem("export.onnx.dynamic", f"dynamic must be true or false, not {dynamic!r}.")
