"""A YOLO model: trained with Ultralytics on a YOLO export, or a checkpoint that exists already."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import anyio.to_thread

from specrun.errors import FormatError, NodeError
from specrun.kinds.models.ultralytics_spec import DEFAULT_EPOCHS, UltralyticsSpec
from specrun.model.artifact import Artifact, Outputs
from specrun.model.digest import Json, file_digest, json_digest
from specrun.model.node import Resources
from specrun.model.plan import Estimate
from specrun.model.state import NodeRecord, Observation
from specrun.model.work import Context, Look, Made
from specrun.spec.kind import Kind, Lookup, Need, Problem, Ref
from specrun.training.less_work import estimate_of_change

if TYPE_CHECKING:
    from specrun.training.ultralytics.checkpoints import TrainingState


class Ultralytics(Kind):
    Spec = UltralyticsSpec
    worker = "process"
    uses_seed = True
    keeps = 2
    # As many cores as there are, up to eight: on the CPU it is all that counts, on a GPU they load the data.
    resources: ClassVar[Resources] = Resources(gpus=1, cpus=8.0)
    packages = ("ultralytics", "torch", "torchvision")

    def check(self, spec: UltralyticsSpec, lookup: Lookup) -> Sequence[Problem]:
        from specrun.kinds.models.ultralytics_check import all_problems

        return all_problems(spec, lookup)

    def reports(self, spec: UltralyticsSpec) -> Sequence[str]:
        # Reads a small table only.
        from specrun.training.ultralytics.weights import metrics_of_task, task_by_name

        task = task_by_name(spec.weights)
        return metrics_of_task(task) if task else ()

    def inputs(self, spec: UltralyticsSpec) -> Sequence[Need]:
        from specrun.training.warm_start import start_needs

        of_data = [Need("data", Ref("exports").address(spec.data))] if spec.data else []
        return [*of_data, *start_needs(spec.start_from)]

    async def observe(self, spec: UltralyticsSpec, look: Look) -> Observation:
        """The content of the files that the spec names: weights and, where given by path, `pretrained`."""
        from specrun.training.ultralytics.weights import written_path

        value: dict[str, Json] = {}
        differences = []
        before = look.record.observation if look.record else None
        for name, text in _named_files(spec).items():
            digest = await anyio.to_thread.run_sync(look.file_digest, written_path(text, look.project_dir))
            value[name] = digest
            if isinstance(before, dict) and before.get(name) != digest:
                differences.append(f"{name}: {text} changed")
        return Observation(value=value, differences=tuple(differences))

    def estimate(self, spec: UltralyticsSpec, last: NodeRecord | None) -> Estimate:
        """The last duration, in proportion to the epochs."""
        found = super().estimate(spec, last)
        before, now = (last.facts.get("epochs") if last else None), spec.train.get("epochs", DEFAULT_EPOCHS)
        if found.seconds is None or not isinstance(before, int) or not isinstance(now, int) or before in (0, now):
            return found
        return Estimate(seconds=found.seconds * now / before, source=f"last run: {before} epoch{'s' * (before != 1)}")

    def estimate_of_change(self, spec: UltralyticsSpec, last: NodeRecord, changed: Sequence[str]) -> Estimate | None:
        epochs = spec.train.get("epochs", DEFAULT_EPOCHS)
        return estimate_of_change(last, changed, epochs=epochs, resume=spec.resume)

    def result(self, config: dict[str, Json]) -> dict[str, Json]:
        from specrun.training.ultralytics.arguments import deciding_arguments

        train = config["train"]
        return {**config, "train": deciding_arguments(train)} if isinstance(train, dict) else config

    def resume_key(self, spec: UltralyticsSpec) -> Json:
        """All that decides the weights but the epochs: a checkpoint goes on only under the settings that it began
        with."""
        train = _training_arguments(spec)
        return {"weights": spec.weights, "data": spec.data, "start_from": spec.start_from, "train": train}

    def goes_on(self, spec: UltralyticsSpec, staging: Path) -> str:
        from specrun.training.ultralytics.checkpoints import load_state

        state, wanted = load_state(staging), spec.train.get("epochs", DEFAULT_EPOCHS)
        if spec.resume == "never" or state is None or state.epochs == 0 or not isinstance(wanted, int):
            return "begins anew"
        return f"goes on after epoch {state.epochs}" if state.serves(wanted) else "begins anew"

    def adopt(self, spec: UltralyticsSpec, place: Path, staging: Path) -> Outputs:
        """A checkpoint (.pt) that was trained elsewhere."""
        from specrun.training.ultralytics.adopting import adopt_checkpoint

        if not place.is_file():
            raise NodeError(f"{place} is no checkpoint", hint="Give the .pt file itself.")
        facts = adopt_checkpoint(place, staging)
        artifacts = (Artifact("best", "checkpoint", "weights/best.pt"), Artifact("model", "file", "model.json"))
        return Outputs(artifacts=artifacts, facts=facts)

    def run(self, spec: UltralyticsSpec, ctx: Context) -> Outputs:
        # Ultralytics reads its environment at import; these modules import it only when they are called.
        from specrun.training.ultralytics import checkpoints, exporting
        from specrun.training.ultralytics.environment import load_ultralytics

        exporting.require_packages(spec.export)
        weights = _start_path(spec, ctx) or _weights_path(spec, ctx)
        ctx.progress(0, None, "epochs", "starting PyTorch and Ultralytics")
        load_ultralytics(ctx.staging / checkpoints.WORK, ctx.cache_dir, max(1, ctx.cpus))
        return _trained(spec, ctx, weights) if spec.data else _given(spec, ctx, weights)


def _named_files(spec: UltralyticsSpec) -> dict[str, str]:
    from specrun.training.ultralytics.arguments import FILE_ARGUMENTS
    from specrun.training.warm_start import start_file

    files = {"weights": spec.weights}
    if path := start_file(spec.start_from):
        files["start_from"] = path
    for name in FILE_ARGUMENTS:
        value = spec.train.get(name)
        if isinstance(value, str):
            files[f"train.{name}"] = value
    return files


def _trained(spec: UltralyticsSpec, ctx: Context, weights: str) -> Outputs:
    from specrun.training.trackers import tracked
    from specrun.training.ultralytics import checkpoints, finishing
    from specrun.training.ultralytics.epochs import Training
    from specrun.training.ultralytics.trainer import train
    from specrun.training.ultralytics.view import make_view

    export = ctx.input("data")
    seed = spec.train.get("seed", ctx.seed)
    arguments: dict[str, Any] = {**spec.train, "seed": seed}
    arguments |= _paths_in_arguments(spec, ctx)
    task = _task(spec, weights, export)
    key = _training_key(spec, ctx, export, weights)
    _take_over_previous(spec, ctx, key)
    ctx.progress(0, None, "epochs", "linking the data")
    view = make_view(export.folder, ctx.staging / checkpoints.WORK / "view", task=task)
    classes = _class_names(view.classes, export)
    ctx.log(
        f"{', '.join(f'{count} {split}' for split, count in view.images.items())} images, classes: {', '.join(classes)}"
    )
    if view.unused:
        ctx.log(f"no training image has a label of {', '.join(classes[view.classes.index(n)] for n in view.unused)}")
    ctx.progress(0, None, "epochs", "starting the training")
    training = Training(
        weights=weights,
        task=task,
        data=view.data,
        arguments=arguments,
        folder=ctx.staging,
        device=_device(spec, ctx),
        key=key,
        resume=spec.resume == "auto",
        on_oom=spec.on_oom,
    )
    with tracked(ctx, {"weights": spec.weights, "task": task, "classes": [*classes], **spec.train}) as watched:
        state = train(training, watched)
    ctx.progress(state.epochs, state.epochs, "epochs", "saving the checkpoints")
    # What it says of itself: a warm start brings its own image size, and the library rounds sizes to strides.
    _, _, size = finishing.make_portable(ctx.staging)
    return _outputs(spec, ctx, _Model(task, classes, size, state))


def _given(spec: UltralyticsSpec, ctx: Context, weights: str) -> Outputs:
    """A checkpoint as it is: loaded once to prove that it can be, and copied."""
    from specrun.training.ultralytics import finishing

    source = Path(weights)
    task, classes, imgsz = finishing.checkpoint_facts(finishing.load_checkpoint(source))
    (ctx.staging / "weights").mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, ctx.staging / "weights" / "best.pt")
    return _outputs(spec, ctx, _Model(task, classes, imgsz))


@dataclass(frozen=True, slots=True)
class _Model:
    """training: None for a given checkpoint."""

    task: str
    classes: Sequence[str]
    imgsz: int
    training: TrainingState | None = None


def _outputs(spec: UltralyticsSpec, ctx: Context, model: _Model) -> Outputs:
    from specrun.training.ultralytics import exporting, finishing

    if spec.export:
        ctx.progress(0, None, phase=f"exporting to {', '.join(spec.export)}")
    exported = exporting.export_formats(ctx.staging, spec.export, model.imgsz, model.classes, ctx.log)
    finishing.ModelFacts(
        task=model.task,
        classes=tuple(model.classes),
        imgsz=model.imgsz,
        architecture=Path(spec.weights).name,
        trained_on=ctx.input("data").digest if spec.data else None,
        exports={name: dict(arguments) for name, arguments in spec.export.items()},
    ).save(ctx.staging)
    finishing.remove_work(ctx.staging)
    facts: dict[str, Json] = {"task": model.task, "classes": list(model.classes), "imgsz": model.imgsz}
    facts["metrics"] = dict(model.training.metrics) if model.training else {}
    if model.training is not None:
        facts |= {"epochs": model.training.epochs, "batch": model.training.batch}
    artifacts = [Artifact("best", "checkpoint", "weights/best.pt"), Artifact("model", "file", finishing.MODEL_NAME)]
    artifacts += [Artifact(Path(place).suffix[1:], "file", place) for place in exported]
    if (ctx.staging / "weights" / "last.pt").is_file():
        artifacts.append(Artifact("last", "checkpoint", "weights/last.pt"))
    for picture in sorted([*ctx.staging.glob("*.png"), *ctx.staging.glob("*.jpg")]):
        artifacts.append(Artifact(picture.stem, "file", picture.name))
    return Outputs(artifacts=tuple(artifacts), facts=facts)


def _weights_path(spec: UltralyticsSpec, ctx: Context) -> str:
    """A path on this machine, or the name of an architecture that the package ships.

    Asked before the library is loaded, which is told to download nothing by itself.
    """
    from specrun.training.ultralytics.weights import checkpoint_file, is_architecture, local_file

    if found := local_file(spec.weights, ctx.project_dir):
        return str(found)
    if is_architecture(spec.weights):
        return spec.weights
    offline = os.environ.get("YOLO_OFFLINE", "") == "1"
    return str(checkpoint_file(spec.weights, ctx.project_dir, ctx.cache_dir, offline=offline))


def _paths_in_arguments(spec: UltralyticsSpec, ctx: Context) -> dict[str, str]:
    from specrun.training.ultralytics.weights import local_file

    paths = {}
    for name, text in _named_files(spec).items():
        if name.startswith("train."):
            found = local_file(text, ctx.project_dir)
            if found is None:
                raise NodeError(f"{name}: {text}: there is no such file.", hint="Paths are relative to the spec.")
            paths[name.removeprefix("train.")] = str(found)
    return paths


def _task(spec: UltralyticsSpec, weights: str, export: Made) -> str:
    """The weights decide; raises FormatError: the export is written for another task."""
    from specrun.training.ultralytics.finishing import weights_task  # heavy, in the prepared environment

    task = weights_task(weights)
    wanted = export.facts.get("task")
    if wanted and wanted != task:
        raise FormatError(
            f"{spec.weights} is a model for {task}; {export.address} is written for {wanted}.",
            hint=f"Use weights for {wanted}, or write task: {task} in {export.address}.",
        )
    return task


def _class_names(seen: Sequence[str], export: Made) -> tuple[str, ...]:
    """The classes as the data set calls them. For classification the library sees folders, in whose order the export
    tells the classes; a name that no folder can have is written otherwise there."""
    told = export.facts.get("classes")
    if export.facts.get("task") == "classify" and isinstance(told, list) and len(told) == len(seen):
        return tuple(str(name) for name in told)
    return tuple(seen)


def _training_arguments(spec: UltralyticsSpec) -> dict[str, Json]:
    from specrun.training.ultralytics.arguments import deciding_arguments

    return {name: value for name, value in deciding_arguments(spec.train).items() if name != "epochs"}


def _training_key(spec: UltralyticsSpec, ctx: Context, export: Made, weights: str) -> str:
    """A start from the previous output is in it by that word: after the training, the previous output is another one,
    and a training that is over must still be known as the one that is wanted."""
    from specrun.training.ultralytics.weights import local_file
    from specrun.training.warm_start import PREVIOUS

    warm = spec.start_from == PREVIOUS
    file = local_file(spec.weights if warm else weights, ctx.project_dir)
    begin = file_digest(file) if file else spec.weights
    given = {name: file_digest(Path(path)) for name, path in _paths_in_arguments(spec, ctx).items()}
    train = {**_training_arguments(spec), **given}
    start = PREVIOUS if warm else None
    return json_digest({"weights": begin, "start": start, "data": export.digest, "train": train, "seed": ctx.seed})


def _take_over_previous(spec: UltralyticsSpec, ctx: Context, key: str) -> None:
    """Of last time's training, what is still right: only `export` changed, so nothing is trained again, or more
    epochs are wanted, so it goes on.

    With equal settings nothing is taken over, since then the user asked for a new training (--replace).
    """
    from specrun.training.ultralytics import checkpoints, finishing

    if ctx.previous is None or spec.resume == "never" or checkpoints.load_state(ctx.staging) is not None:
        return
    state = checkpoints.load_state(ctx.previous)
    before = finishing.exports_of(ctx.previous)
    if state is None or not state.finished or state.key != key or before is None:
        return
    wanted = spec.train.get("epochs", DEFAULT_EPOCHS)
    more = isinstance(wanted, int) and wanted > state.wanted > 0
    if not more and (before == dict(spec.export) or wanted != state.wanted):
        return
    left_out = shutil.ignore_patterns("manifest.json", "best.onnx", "best.torchscript", checkpoints.STATE_NAME)
    shutil.copytree(ctx.previous, ctx.staging, dirs_exist_ok=True, ignore=left_out)
    state.save(ctx.staging)
    ctx.log("the training of last time is taken over" if more else "only `export` changed: the weights are taken over")


def _start_path(spec: UltralyticsSpec, ctx: Context) -> str | None:
    """The checkpoint of `start_from`; None: there is nothing to start from, so `weights` it is."""
    from specrun.training.warm_start import find_start

    start = find_start(spec.start_from, ctx, kind="ultralytics")
    if start is None:
        return None
    ctx.log(f"starting from {start.where}" + (f", trained for {', '.join(start.classes)}" if start.classes else ""))
    return str(start.checkpoint)


def _device(spec: UltralyticsSpec, ctx: Context) -> str:
    """The lease sets CUDA_VISIBLE_DEVICES, so that the leased GPUs are numbered from 0."""
    if spec.train.get("device") == "mps":
        return "mps"
    return ",".join(str(number) for number in range(len(ctx.gpus))) or "cpu"
