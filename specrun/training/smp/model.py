"""The network: built from its description, its weights as safetensors."""

from __future__ import annotations

import inspect
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from specrun.errors import FormatError, NodeError
from specrun.training.smp import names
from specrun.training.smp.description import ModelDescription
from specrun.training.smp.dinov2 import PatchDPT

State = dict[str, torch.Tensor]


def build_model(described: ModelDescription, *, pretrained: str | bool | None = None) -> nn.Module:
    """Gives logits (n, channels, height, width). pretrained: the name of weights on the Hub, or True for timm's.

    Raises NodeError: the library refuses the combination, or the weights cannot be had.
    """
    import segmentation_models_pytorch as smp

    arch = names.canonical(described.arch, names.architectures()) or described.arch
    options = dict(described.arch_options)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if arch == "DPT" and _patch_of(described.encoder) not in (None, 16):
                return PatchDPT(
                    described.encoder,
                    len(described.channels),
                    in_channels=described.in_channels,
                    pretrained=bool(pretrained),
                    options=options,
                )
            if arch == "DPT" and "dynamic_img_size" not in options and _takes_any_size(described.encoder):
                options["dynamic_img_size"] = True
            model: nn.Module = smp.create_model(
                arch,
                encoder_name=described.encoder,
                encoder_weights=_weights_argument(described.encoder, pretrained),
                in_channels=described.in_channels,
                classes=len(described.channels),
                **options,
            )
            return model
    except (OSError, ConnectionError) as error:
        raise NodeError(_download_message(described.encoder, error), hint=_download_hint()) from error
    except (KeyError, ValueError, TypeError, RuntimeError, AssertionError) as error:
        if _is_network(error):
            raise NodeError(_download_message(described.encoder, error), hint=_download_hint()) from error
        raise NodeError(
            f"{arch} with the encoder {described.encoder}: {str(error).strip()}",
            hint="Choose another encoder, or other arch_options.",
        ) from error


def _weights_argument(encoder: str, pretrained: str | bool | None) -> Any:
    if not pretrained:
        return None
    timm = encoder.startswith("tu-") or encoder not in names.smp_encoders()
    return True if timm else pretrained


def _patch_of(encoder: str) -> int | None:
    """The side of a vision transformer's patch, from its name; None: the name does not say."""
    import re

    found = re.search(r"_patch(\d+)|_p(\d+)", encoder)
    return int(found[1] or found[2]) if found else None


def _takes_any_size(encoder: str) -> bool:
    import timm

    try:
        entry = timm.model_entrypoint(encoder.removeprefix("tu-"))
    except (KeyError, RuntimeError):
        return False
    module = inspect.getmodule(entry)
    return module is not None and "dynamic_img_size" in inspect.getsource(module)


def _is_network(error: Exception) -> bool:
    kinds = {cls.__name__ for cls in type(error).__mro__}
    return bool(kinds & {"LocalEntryNotFoundError", "HfHubHTTPError", "OfflineModeIsEnabled", "ConnectError"})


def _download_message(encoder: str, error: Exception) -> str:
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return f"encoder_weights: the weights of {encoder} are not on this machine and could not be had: {first}"


def _download_hint() -> str:
    return (
        "Write encoder_weights: path/to/model.safetensors for a file that is here, or encoder_weights: null to start "
        "from random weights."
    )


def input_stride(model: nn.Module) -> int:
    """What height and width of an input must be multiples of: decoders want even halves down to the deepest map."""
    stride: Any = getattr(model.encoder, "output_stride", 32)
    return max(int(stride), 32)


def probe(model: nn.Module, described: ModelDescription) -> None:
    """Raises NodeError: the network does not take images of this size."""
    was_training = model.training
    try:
        with torch.inference_mode():
            found = model.eval()(torch.zeros((1, described.in_channels, *described.image_size)))
    except (RuntimeError, AssertionError, ValueError) as error:
        height, width = described.image_size
        raise NodeError(
            f"train.image_size: {described.arch} with {described.encoder} does not take {height}x{width}: "
            f"{(str(error).strip().splitlines() or [type(error).__name__])[0]}",
            hint="Change image_size, or give the encoder arguments in arch_options.",
        ) from error
    finally:
        model.train(was_training)
    if tuple(found.shape[-2:]) != described.image_size:
        raise NodeError(
            f"{described.arch} with {described.encoder} gives {tuple(found.shape[-2:])} for {described.image_size}."
        )


def save_weights(state: Mapping[str, torch.Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Written beside and moved into place."""
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.part")
    save_file({name: value.detach().cpu().contiguous().clone() for name, value in state.items()}, partial, metadata)
    os.replace(partial, path)


def load_state(path: Path) -> State:
    """The tensors of a weights file: safetensors, or what torch saved, read without running any code of it.

    Raises FormatError: it holds no weights.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(path))
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a foreign file makes the readers raise
        raise FormatError(
            f"{path}: cannot be read as weights: {str(error).strip().splitlines()[0]}",
            hint="Give a .safetensors file, or a checkpoint of tensors and plain values alone.",
        ) from error
    return find_state(loaded, path)


def find_state(loaded: Any, path: Path) -> State:
    """The weights inside a checkpoint of Lightning or of a plain loop."""
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
            break
    state = (
        {str(name): value for name, value in loaded.items() if isinstance(value, torch.Tensor)}
        if isinstance(loaded, dict)
        else {}
    )
    if not state:
        raise FormatError(f"{path}: holds no weights.")
    return state


def load_weights(model: nn.Module, state: State, place: Path) -> None:
    """All of them, under whatever prefix. Raises FormatError: they are of another model."""
    wanted = model.state_dict()
    fitted = without_prefix(state, wanted)
    missing = [name for name in wanted if name not in fitted and not name.endswith("num_batches_tracked")]
    wrong = [name for name in wanted if name in fitted and fitted[name].shape != wanted[name].shape]
    if missing or wrong:
        first = (missing or wrong)[0]
        what = (
            f"lacks {first}"
            if missing
            else f"has {tuple(fitted[first].shape)} for {first}, not {tuple(wanted[first].shape)}"
        )
        raise FormatError(
            f"{place}: are weights of another model: the file {what} ({len(missing) + len(wrong)} of {len(wanted)} "
            "tensors do not fit).",
            hint="Look at arch, encoder and arch_options, and at the number of classes.",
        )
    model.load_state_dict({name: fitted[name] for name in wanted if name in fitted}, strict=False)


def without_prefix(state: State, wanted: Mapping[str, torch.Tensor]) -> State:
    """Wrappers put `model.`, `net.`, `module.` or `_orig_mod.` before every name; the prefix that fits best goes."""
    prefixes = {""} | {name[: -len(key)] for key in list(wanted)[:1] for name in state if name.endswith(key)}
    best = max(prefixes, key=lambda prefix: (sum(prefix + key in state for key in wanted), -len(prefix)))
    return {name[len(best) :]: value for name, value in state.items() if name.startswith(best)}


def load_encoder_weights(model: nn.Module, path: Path) -> None:
    """A local file instead of the Hub. Raises FormatError: nothing of it fits the encoder."""
    encoder: Any = model.encoder
    wanted = encoder.state_dict()
    state = load_state(path)
    candidates = [without_prefix(state, wanted)]
    # timm's own files name the model inside the encoder without the wrapper.
    candidates.append({f"model.{name}": value for name, value in state.items()})
    fitting = max(
        ({k: v for k, v in found.items() if k in wanted and v.shape == wanted[k].shape} for found in candidates),
        key=len,
    )
    if len(fitting) < len(wanted) / 2:
        raise FormatError(
            f"encoder_weights: {path}: {len(fitting)} of the encoder's {len(wanted)} tensors are in the file.",
            hint="Give the weights of the encoder that the model names.",
        )
    nn.Module.load_state_dict(encoder, fitting, strict=False)
