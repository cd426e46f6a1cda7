"""What the installed packages offer, read from their files: importing them costs seconds and torch.

Encoders of segmentation-models-pytorch stand in dictionaries at the top of its `encoders/*.py`, architectures are
imported in its `__init__.py`; timm's models are functions under `@register_model`; torch lists its optimizers and
schedulers in `optim`. The lists are held against the imported packages by a test.
"""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from specrun.spec.suggest import did_you_mean
from specrun.training.smp.signatures import Signature, read_signature

_REGISTERED = re.compile(r"^@register_model\s*\ndef (\w+)\(", re.MULTILINE)
_CONFIGURED = re.compile(r"^\s+'([\w-]+\.[\w-]+)':", re.MULTILINE)
_OPTIMIZER = re.compile(r"^from torch\.optim\.\w+ import (\w+) as \1$", re.MULTILINE)
_SCHEDULER = re.compile(r"^class ([A-Z]\w+)\(LRScheduler\)", re.MULTILINE)
_TIMM_BY_OTHER_NAME = ("timm-regnet", "timm-res2", "timm-resnest", "timm-mobilenetv3", "timm-gernet")
_VIT = "tu-"

OWN_SCHEDULERS = ("plateau", "cosine", "poly", "step", "onecycle", "constant")
UNFIT_OPTIMIZERS = {
    "LBFGS": "It asks for the loss several times a step, which this training does not answer.",
    "Muon": "It takes matrices alone, and a segmentation network has other weights too.",
    "SparseAdam": "It takes sparse gradients alone, and those of a segmentation network are dense.",
}
"""Optimizers of torch that cannot train these networks, and why."""

METRICS = ("val/iou", "val/dice", "val/loss", "train/loss")
METRICS_BY_CLASS = "val/iou/"
"""Begins the name of a class's own."""


def installed_folder(package: str) -> Path | None:
    try:
        found = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return None
    places = list(found.submodule_search_locations or ()) if found else []
    return Path(places[0]) if places else None


@cache
def architectures() -> tuple[str, ...]:
    folder = installed_folder("segmentation_models_pytorch")
    if folder is None:
        return ()
    tree = ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if (
            isinstance(node, ast.Assign)
            and _target(node) == "_MODEL_ARCHITECTURES"
            and isinstance(node.value, ast.List)
        ):
            return tuple(element.id for element in node.value.elts if isinstance(element, ast.Name))
    return ()


@cache
def smp_encoders() -> Mapping[str, tuple[str, ...]]:
    """Encoder → names of its pretrained weights."""
    folder = installed_folder("segmentation_models_pytorch")
    found: dict[str, tuple[str, ...]] = {}
    for path in sorted((folder / "encoders").glob("*.py")) if folder else []:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if (
                isinstance(node, ast.Assign)
                and _target(node).endswith("_encoders")
                and isinstance(node.value, ast.Dict)
            ):
                found.update(_entries(node.value))
    return found


def _target(node: ast.Assign) -> str:
    return node.targets[0].id if isinstance(node.targets[0], ast.Name) else ""


def _entries(table: ast.Dict) -> Iterator[tuple[str, tuple[str, ...]]]:
    for key, value in zip(table.keys, table.values, strict=True):
        if isinstance(key, ast.Constant) and isinstance(value, ast.Dict):
            yield str(key.value), tuple(_pretrained(value))


def _pretrained(entry: ast.Dict) -> Iterator[str]:
    for key, value in zip(entry.keys, entry.values, strict=True):
        if isinstance(key, ast.Constant) and key.value == "pretrained_settings" and isinstance(value, ast.Dict):
            yield from (str(name.value) for name in value.keys if isinstance(name, ast.Constant))


@cache
def timm_models() -> frozenset[str]:
    folder = installed_folder("timm")
    texts = (path.read_text(encoding="utf-8") for path in (folder / "models").glob("*.py")) if folder else ()
    return frozenset(name for text in texts for name in _REGISTERED.findall(text))


@cache
def _timm_tags() -> frozenset[str]:
    folder = installed_folder("timm")
    texts = (path.read_text(encoding="utf-8") for path in (folder / "models").glob("*.py")) if folder else ()
    return frozenset(name for text in texts for name in _CONFIGURED.findall(text))


@cache
def optimizers() -> tuple[str, ...]:
    """Those that can train here."""
    folder = installed_folder("torch")
    text = (folder / "optim" / "__init__.py").read_text(encoding="utf-8") if folder else ""
    return tuple(name for name in _OPTIMIZER.findall(text) if name != "Optimizer" and name not in UNFIT_OPTIMIZERS)


@cache
def schedulers() -> tuple[str, ...]:
    folder = installed_folder("torch")
    text = (folder / "optim" / "lr_scheduler.py").read_text(encoding="utf-8") if folder else ""
    return tuple(name for name in _SCHEDULER.findall(text) if not name.startswith("_"))


@cache
def architecture_signature(arch: str) -> Signature | None:
    """arch: as `architectures` writes it."""
    folder = installed_folder("segmentation_models_pytorch")
    return read_signature(sorted((folder / "decoders").glob("*/model.py")), arch) if folder else None


@cache
def optimizer_signature(name: str) -> Signature | None:
    folder = installed_folder("torch")
    return read_signature(sorted((folder / "optim").glob("*.py")), name) if folder else None


@cache
def scheduler_signature(name: str) -> Signature | None:
    folder = installed_folder("torch")
    return read_signature([folder / "optim" / "lr_scheduler.py"], name) if folder else None


def is_of_timm(encoder: str) -> bool:
    """Whether timm makes it: further arguments of the architecture reach it, and its weights are named in it."""
    return encoder.startswith(("tu-", *_TIMM_BY_OTHER_NAME))


def canonical(name: str, known: tuple[str, ...]) -> str | None:
    """The way that `known` writes a name, whatever its case and with or without `LR`."""
    folded = {other.lower(): other for other in known} | {other.lower().removesuffix("lr"): other for other in known}
    return folded.get(name.lower().replace("_", ""))


def unknown_architecture(arch: str) -> str | None:
    """What is wrong with the name, and the nearest; None: nothing."""
    known = architectures()
    if not known or arch.lower() in (name.lower() for name in known):
        return None
    return did_you_mean(arch, known, otherwise="There are") or f"There are {', '.join(known)}."


def unknown_encoder(encoder: str) -> str | None:
    """A remedy for a name that neither package knows; None: one does."""
    if encoder.startswith("tu-"):
        name, _, tag = encoder.removeprefix("tu-").partition(".")
        name = name.split("/")[-1]
        if name not in timm_models():
            return did_you_mean(encoder, [f"tu-{known}" for known in timm_models()]) or "timm has no such model."
        if tag and f"{name}.{tag}" not in _timm_tags():
            tags = sorted(known for known in _timm_tags() if known.startswith(f"{name}."))
            return did_you_mean(encoder, [f"tu-{known}" for known in tags], otherwise="There are")
        return None
    if encoder in smp_encoders():
        return None
    if encoder.startswith(_TIMM_BY_OTHER_NAME):
        plain = encoder.removeprefix("timm-")
        plain = f"tf_{plain}" if "mobilenetv3" in plain else plain
        if plain in timm_models():
            return None
    if encoder in timm_models():
        return f'Did you mean "tu-{encoder}"? Models of timm are written with tu- before the name.'
    return did_you_mean(encoder, smp_encoders()) or "See the list of encoders of segmentation-models-pytorch and timm."


def is_vit(encoder: str) -> bool:
    """By its name: one that DPT takes and the other architectures do not."""
    return encoder.startswith(_VIT) and bool(re.match(r"tu-(vit|deit|beit|eva|flexivit|dino)", encoder))
