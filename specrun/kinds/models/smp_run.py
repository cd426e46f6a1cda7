"""The work of a model of kind smp."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from specrun.errors import NodeError
from specrun.formats.images import read_upright_rgb
from specrun.kinds.models import smp_job
from specrun.kinds.models.smp_job import TrainingJob, training_of
from specrun.kinds.models.smp_spec import SmpSpec, artifacts, named_files, result_config
from specrun.model.artifact import Outputs
from specrun.model.digest import Json, file_digest, json_digest
from specrun.model.work import Context
from specrun.training.smp import checkpoints, preparing
from specrun.training.smp.checkpoints import BEST, TrainingState
from specrun.training.smp.data import Export, Frames, class_pixels, read_export
from specrun.training.smp.description import MODEL_NAME, ModelDescription
from specrun.training.smp.exporting import export_formats
from specrun.training.smp.model import (
    build_model,
    input_stride,
    load_weights,
    probe,
    save_weights,
)
from specrun.training.smp.monitoring import Shown, watch_what_tells
from specrun.training.smp.pictures import save_rows, tinted
from specrun.training.smp.predictor import SmpPredictor
from specrun.training.smp.starting import channel_count, given_state
from specrun.training.smp.tracking import FILES
from specrun.training.smp.trainer import Ranks, fits_in_memory, require_images, train
from specrun.training.trackers import tracked
from specrun.training.warm_start import PREVIOUS, find_start

_READ_AHEAD = 2000
"""Up to this many label maps are looked through before training; more are looked at as they come."""


def trained(spec: SmpSpec, ctx: Context) -> Outputs:
    torch.set_num_threads(max(1, ctx.cpus))
    made = ctx.input("data")
    export = read_export(made.folder)
    require_images(export)
    key = training_key(spec, ctx, made.digest)
    _take_over_previous(spec, ctx, key)
    ctx.progress(0, None, phase="looking at the data")
    described = _described(spec, export, ctx)
    frames = {split: preparing.frames_of(export, split, described, read_upright_rgb) for split in ("train", "val")}
    notes, pixels = _looked_through(spec, frames, export, ctx)
    spec, replaced = _watched(spec, described, frames["val"], pixels.get("val"), ctx)
    counts = ", ".join(f"{len(found.items)} {split}" for split, found in frames.items() if found)
    answers = "yes or no for each" if described.activation == "sigmoid" else "one for each pixel"
    ctx.log(f"{counts} images, classes: {', '.join(described.names)} ({answers}: {described.activation})")
    start = find_start(spec.start_from, ctx, kind="smp")
    if spec.start_from == PREVIOUS and start is None:
        ctx.log("start_from: previous: there is no earlier output, so this training begins anew")
    job = TrainingJob(
        spec=spec,
        described=described,
        export=made.folder,
        weights=preparing.class_weights(spec.train.class_weights, described, pixels.get("train")),
        cached=_cached(spec, frames, ctx),
        start=start,
        local=preparing.local_weights(spec.encoder_weights, ctx.project_dir),
        folder=ctx.staging,
        key=key,
        gpus=len(ctx.gpus),
        cpus=max(1, ctx.cpus),
        seed=ctx.seed,
        tracking={name: told for name, told in (ctx.settings.get("tracking") or {}).items() if name in FILES},
    )
    with tracked(ctx, _told(spec, export)) as watched:
        state = train(training_of(job, ctx.log), Ranks(smp_job.PROGRAM, job.to_json()), watched)
    ctx.progress(
        spec.train.epochs, spec.train.epochs, "epochs", "drawing predictions" if spec.train.pictures else "saving"
    )
    return _finished(spec, ctx, described, state, (*notes, *replaced), _pictures(spec, ctx, described, frames, export))


def _told(spec: SmpSpec, export: Export) -> dict[str, Json]:
    """What trackers describe the training by."""
    written = spec.model_dump(mode="json", include={"arch", "encoder", "train", "augment"})
    return {**written, "classes": list(export.classes)}


def _described(spec: SmpSpec, export: Export, ctx: Context) -> ModelDescription:
    mean, std = preparing.normalization(
        spec.train.normalize, export, spec.encoder, spec.encoder_weights, read_upright_rgb
    )
    described = ModelDescription(
        arch=spec.arch,
        encoder=spec.encoder,
        classes=export.classes,
        background=export.background,
        ignore_index=export.ignore_index,
        activation=preparing.activation_of(spec.mode, export, ctx.log),
        mean=mean,
        std=std,
        image_size=spec.train.image_size,
        stride=32,
        fit=spec.train.fit,
        arch_options=spec.arch_options,
    )
    torch.manual_seed(ctx.seed)
    model = build_model(described)
    stride = input_stride(model)
    described = replace(described, stride=stride, image_size=preparing.wanted_size(spec.train, stride, ctx.log))
    probe(model, described)
    return described


def _looked_through(
    spec: SmpSpec, frames: Mapping[str, Frames | None], export: Export, ctx: Context
) -> tuple[tuple[str, ...], dict[str, NDArray[np.int64]]]:
    """What is noteworthy in the label maps, and how many pixels each value has in each split; {}: not looked."""
    total = sum(len(found.items) for found in frames.values() if found)
    if total > _READ_AHEAD and spec.train.class_weights != "auto":
        return (), {}
    pixels: dict[str, NDArray[np.int64]] = {}
    for split, found in frames.items():
        if found is not None:

            def check(index: int, split: str = split, count: int = len(found.items)) -> None:
                ctx.progress(index + 1, count, "images", f"reading label maps, {split}", part=True)
                ctx.check_stop()

            pixels[split] = class_pixels(found, check)
    preparing.require_classes(pixels["train"], export)
    notes = preparing.say_absent(pixels, export)
    for note in notes:
        ctx.log(note)
    return notes, pixels


def _watched(
    spec: SmpSpec, described: ModelDescription, val: Frames | None, pixels: NDArray[np.int64] | None, ctx: Context
) -> tuple[SmpSpec, tuple[str, ...]]:
    """With metrics that the validation split can tell."""
    drawn = None if pixels is None else [name for value, name in enumerate(described.names) if pixels[value]]
    shown = Shown(channels=described.channels, drawn=drawn, validates=val is not None)
    train, notes = watch_what_tells(spec.train, shown)
    for note in notes:
        ctx.log(note)
    return spec.model_copy(update={"train": train}), notes


def _cached(spec: SmpSpec, frames: Mapping[str, Frames | None], ctx: Context) -> bool:
    """Whether decoded images stay in memory; each process keeps its own."""
    processes = len(ctx.gpus) or spec.train.devices
    needed = sum(found.bytes_needed() for found in frames.values() if found) * processes
    return spec.train.cache == "memory" or (spec.train.cache == "auto" and fits_in_memory(needed))


def _finished(
    spec: SmpSpec,
    ctx: Context,
    described: ModelDescription,
    state: TrainingState | None,
    notes: tuple[str, ...],
    pictures: list[str],
) -> Outputs:
    if spec.export:
        ctx.progress(0, None, phase=f"exporting to {', '.join(spec.export)}")
    made = export_formats(ctx.staging, ctx.staging / BEST, described, spec.export)
    last = ctx.staging / checkpoints.LAST
    if not spec.train.checkpoints.last:
        last.unlink(missing_ok=True)
    trained_on = ctx.input("data").digest if spec.data else None
    described.save(ctx.staging, trained_on=trained_on, exports=dict(spec.export))
    facts: dict[str, Json] = {
        "task": described.task,
        "classes": list(described.classes),
        "arch": described.arch,
        "encoder": described.encoder,
        "image_size": list(described.image_size),
    }
    metrics = {name: value for name, value in (state.best if state else {}).items() if name != "epoch"}
    facts["metrics"] = dict(metrics)
    if state is not None:
        facts |= {"epochs": len(state.rows), "best_epoch": int(state.best.get("epoch", 0)), "monitor": state.monitor}
        facts |= {"batch": state.batch, "accumulate": state.accumulate, "devices": state.world}
    return Outputs(artifacts=artifacts([*made, *pictures], last=last.is_file()), facts=facts, notes=notes)


def _pictures(
    spec: SmpSpec,
    ctx: Context,
    described: ModelDescription,
    frames: Mapping[str, Frames | None],
    export: Export,
) -> list[str]:
    """Image, label and prediction side by side, of the first images of the validation split."""
    found = frames["val"] or frames["train"]
    assert found is not None
    if not spec.train.pictures:
        return []
    from specrun.training.predictor import PredictionSettings

    settings = PredictionSettings(threshold=0.5, min_area=0, batch=1, device="0" if ctx.gpus else "cpu")
    content = described.to_json()
    predictor = SmpPredictor(ctx.staging / BEST, content, settings, read_upright_rgb, ctx)
    rows = []
    for index in range(min(spec.train.pictures, len(found.items))):
        image, mask = found.whole(index)
        shares = predictor.probabilities(np.ascontiguousarray(image[None, :, :, ::-1]))[0]
        values = _values(shares, described)
        colors = export.colors
        rows.append([image, *(tinted(image, labels, export.background, colors) for labels in (mask, values))])
    save_rows(ctx.staging / "predictions.png", rows)
    return ["predictions.png"]


def _values(shares: NDArray[np.float32], described: ModelDescription) -> NDArray[np.uint8]:
    """Class numbers of the likeliest; of classes that may overlap the likeliest above a half."""
    best = shares.argmax(0)
    if len(shares) == len(described.names):
        return np.asarray(best, dtype=np.uint8)
    values = [value for value in range(len(described.names)) if value != described.background]
    found = np.asarray(values, dtype=np.uint8)[best]
    found[shares.max(0) < 0.5] = described.background if described.background is not None else 255
    return np.asarray(found, dtype=np.uint8)


def training_key(spec: SmpSpec, ctx: Context, data: str) -> str:
    files = {}
    for name, text in named_files(spec).items():
        path = ctx.project_dir / text
        files[name] = file_digest(path) if path.is_file() else text
    start = [made.digest for made in ctx.inputs("start")]
    return json_digest({"spec": result_config(spec), "data": data, "seed": ctx.seed, "files": files, "start": start})


def _take_over_previous(spec: SmpSpec, ctx: Context, key: str) -> None:
    """Of last time's training, what is still right: only `export` changed, so nothing is trained again, or more
    epochs are wanted, so it goes on.

    With equal settings nothing is taken over, since then the user asked for a new training (--replace).
    """
    if ctx.previous is None or spec.resume == "never" or checkpoints.load_state(ctx.staging) is not None:
        return
    if spec.start_from == PREVIOUS:
        return
    state = checkpoints.load_state(ctx.previous)
    try:
        before = json.loads((ctx.previous / MODEL_NAME).read_text(encoding="utf-8"))["exports"]
    except (OSError, ValueError, KeyError):
        return
    if state is None or not state.finished or state.key != key:
        return
    more = spec.train.epochs > state.wanted and (ctx.previous / checkpoints.LAST).is_file()
    if not more and (before == dict(spec.export) or spec.train.epochs != state.wanted):
        return
    left_out = shutil.ignore_patterns("manifest.json", "best.onnx", "best.torchscript", checkpoints.STATE_NAME)
    shutil.copytree(ctx.previous, ctx.staging, dirs_exist_ok=True, ignore=left_out)
    state.save(ctx.staging)
    ctx.log("the training of last time is taken over" if more else "only `export` changed: the weights are taken over")


def given(spec: SmpSpec, ctx: Context) -> Outputs:
    """A checkpoint as it is: loaded once to prove that it fits, and saved as weights alone."""
    torch.set_num_threads(max(1, ctx.cpus))
    assert spec.checkpoint is not None
    place = ctx.project_dir / spec.checkpoint
    if not place.exists():
        raise NodeError(
            f"checkpoint: {spec.checkpoint}: there is no such file.", hint="Paths are relative to the spec."
        )
    state, said = given_state(place)
    described = _given_description(spec, said, channel_count(state), ctx)
    model = build_model(described)
    load_weights(model, state, place)
    described = replace(described, stride=input_stride(model))
    probe(model, described)
    save_weights(model.state_dict(), ctx.staging / BEST)
    return _finished(spec, ctx, described, None, (), [])


def _given_description(spec: SmpSpec, said: Mapping[str, Any], channels: int, ctx: Context) -> ModelDescription:
    """What the spec writes wins over what the checkpoint says. Raises NodeError: nobody names the classes."""
    written = spec.model_fields_set
    classes = spec.classes or said.get("classes")
    background = spec.background if "background" in written or "background" not in said else said["background"]
    if classes is None:
        raise NodeError(
            f"checkpoint: {spec.checkpoint} has {channels} channels and no names for them.",
            hint="Write classes: [...], in the order of the channels without the background.",
        )
    sigmoid = said.get("activation") == "sigmoid" or spec.mode in ("binary", "multilabel")
    sigmoid = sigmoid or (channels == 1 and len(classes) == 1)
    expected = len(classes) + (0 if sigmoid or background is None else 1)
    if channels != expected:
        raise NodeError(
            f"checkpoint: {spec.checkpoint} has {channels} channels; {len(classes)} classes"
            f"{'' if sigmoid or background is None else ' and the background'} are {expected}.",
            hint="Look at classes, background and mode.",
        )
    wanted = spec.train.normalize
    mean, std = preparing.IMAGENET
    if "mean" in said:
        mean, std = tuple(said["mean"]), tuple(said["std"])
    if not isinstance(wanted, str):
        mean, std = wanted.mean, wanted.std
    ctx.log(f"normalised with mean {list(mean)}, std {list(std)}")
    return ModelDescription(
        arch=spec.arch if "arch" in written else said.get("arch", spec.arch),
        encoder=spec.encoder if "encoder" in written else said.get("encoder", spec.encoder),
        classes=tuple(classes),
        background=background,
        ignore_index=int(said.get("ignore_index", 255)),
        activation="sigmoid" if sigmoid else "softmax",
        mean=mean,
        std=std,
        image_size=tuple(said.get("image_size", spec.train.image_size)),  # type: ignore[arg-type]
        stride=32,
        fit=said.get("fit", "crop"),
        in_channels=int(said.get("in_channels", 3)),
        arch_options=spec.arch_options or said.get("arch_options", {}),
    )
