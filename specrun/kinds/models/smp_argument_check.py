"""Mistakes in what a model of kind smp hands on: arguments of the architecture, of the optimizer and its schedule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from specrun.spec.kind import Problem
from specrun.spec.suggest import did_you_mean, listed, nearest
from specrun.training.smp import names
from specrun.training.smp.signatures import Signature, as_written

if TYPE_CHECKING:
    from specrun.kinds.models.smp_spec import SmpSpec
    from specrun.training.smp.settings import OptimizerSpec, SchedulerSpec

_OWN_OF_ARCHITECTURE = {
    "encoder_name": "Write `encoder`.",
    "encoder_weights": "Write `encoder_weights` outside of arch_options.",
    "classes": "They come from the export.",
    "in_channels": "Images are RGB.",
    "activation": "Losses and predictions want the plain answer of the network.",
    "aux_params": "Nothing would learn from a second answer of the network.",
}
_OWN_OF_OPTIMIZER = {"params": "They are those of the network.", "lr": "Write `lr` beside `options`."}
_OWN_OF_SCHEDULER = {"optimizer": "It is the one under train.optimizer.", "last_epoch": "Training knows its epoch."}
_OF_OWN_SCHEDULER = {
    "plateau": frozenset({"factor", "patience", "min_lr"}),
    "cosine": frozenset({"min_lr"}),
    "poly": frozenset({"power", "min_lr"}),
    "step": frozenset({"factor", "every", "min_lr"}),
    "onecycle": frozenset({"min_lr"}),
    "constant": frozenset[str](),
}


def architecture_problems(spec: SmpSpec) -> Iterator[Problem]:
    """Of a known architecture and encoder. Encoders of SMP itself leave unheard what they do not know."""
    arch = names.canonical(spec.arch, names.architectures())
    signature = names.architecture_signature(arch) if arch and spec.arch_options else None
    if arch is None or signature is None:
        return
    handed_on = names.is_of_timm(spec.encoder)
    yield from _problems("arch_options", spec.arch_options, signature, arch, _OWN_OF_ARCHITECTURE, handed_on=handed_on)


def optimizer_problems(spec: OptimizerSpec) -> Iterator[Problem]:
    if unfit := names.canonical(spec.name, tuple(names.UNFIT_OPTIMIZERS)):
        why = names.UNFIT_OPTIMIZERS[unfit]
        yield Problem("train.optimizer.name", f"{unfit} cannot train this model.", f"{why} Write adamw, or sgd.")
        return
    name = names.canonical(spec.name, names.optimizers())
    if name is None:
        if names.optimizers():
            hint = did_you_mean(spec.name, names.optimizers(), otherwise="There are")
            yield Problem("train.optimizer.name", f'torch has no optimizer "{spec.name}".', hint)
        return
    signature = names.optimizer_signature(name) if spec.options or spec.weight_decay is not None else None
    if signature is None:
        return
    if spec.weight_decay is not None and "weight_decay" not in signature.arguments:
        yield Problem("train.optimizer.weight_decay", f"{name} has no weight decay.", "Remove weight_decay.")
    yield from _problems("train.optimizer.options", spec.options, signature, name, _OWN_OF_OPTIMIZER)


def scheduler_problems(spec: SchedulerSpec) -> Iterator[Problem]:
    """Names, keys that say nothing of the schedule that they stand with, and arguments of torch's."""
    known = names.schedulers()
    own = spec.name.lower() in names.OWN_SCHEDULERS
    name = spec.name.lower() if own else names.canonical(spec.name, known)
    if name is None:
        if known:
            hint = did_you_mean(spec.name, (*names.OWN_SCHEDULERS, *known), otherwise="There are")
            yield Problem("train.scheduler.name", f'There is no scheduler "{spec.name}".', hint)
        return
    useful = _OF_OWN_SCHEDULER[name] if own else frozenset({"options"})
    for key in sorted(spec.model_fields_set - {"name", "warmup_epochs"} - useful):
        hint = f"It takes {listed(sorted(useful), 'and')}." if useful else f"Remove {key}."
        yield Problem(f"train.scheduler.{key}", f"{key} means nothing for {name}.", hint)
    signature = None if own else names.scheduler_signature(name)
    if signature is not None:
        yield from _torch_schedule_problems(name, spec.options, signature)


def _torch_schedule_problems(name: str, options: Mapping[str, Any], signature: Signature) -> Iterator[Problem]:
    wanted = {key: argument for key, argument in signature.arguments.items() if key not in _OWN_OF_SCHEDULER}
    if any(not argument.writable and not argument.default for argument in wanted.values()):
        hint = f"Write one of {', '.join(names.OWN_SCHEDULERS)}."
        yield Problem("train.scheduler.name", f"{name} is made of functions or other schedulers.", hint)
        return
    yield from _problems("train.scheduler.options", options, signature, name, _OWN_OF_SCHEDULER)
    missing = [key for key, argument in wanted.items() if not argument.default and key not in options]
    if missing:
        example = ", ".join(f"{key}: …" for key in missing)
        message = f"{name} needs {listed(missing, 'and')}."
        yield Problem("train.scheduler", message, f"Write options: {{{example}}}.")
    elif name == "OneCycleLR" and not options.get("total_steps") and not {"epochs", "steps_per_epoch"} <= set(options):
        message = "OneCycleLR needs total_steps, the number of epochs."
        yield Problem("train.scheduler", message, "Write it in options, or write name: onecycle.")


def _problems(
    path: str,
    given: Mapping[str, Any],
    signature: Signature,
    whose: str,
    own: Mapping[str, str],
    *,
    handed_on: bool = False,
) -> Iterator[Problem]:
    """own: arguments that are not for the spec, and what to do instead. handed_on: whether further ones reach
    somebody else who may know them: then only what is nearly one of these is a mistake."""
    known = [*(name for name in signature.arguments if name not in own), *sorted(signature.others)]
    for name, value in given.items():
        argument = signature.arguments.get(name)
        if name in own:
            yield Problem(f"{path}.{name}", f"{name} is not for {path}.", own[name])
        elif argument is not None and not argument.takes(value):
            wanted = f"must be {argument.words}" if argument.words else "cannot be written in YAML"
            yield Problem(f"{path}.{name}", f"{name} of {whose} {wanted}, not {as_written(value)}.")
        elif argument is None and name not in known and not (handed_on and nearest(name, known) is None):
            hint = did_you_mean(name, known, otherwise="There are")
            yield Problem(f"{path}.{name}", f'{whose} has no argument "{name}".', hint)
