"""The base model: where it lies, of which family it is, and what its files are. Light: no torch."""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from specrun.errors import FormatError, NodeError
from specrun.model.digest import file_digest, json_digest
from specrun.spec.suggest import did_you_mean, listed

FamilyName = Literal["sd", "sdxl", "flux"]
PIPELINES: dict[str, FamilyName] = {
    "StableDiffusionPipeline": "sd",
    "StableDiffusionImg2ImgPipeline": "sd",
    "StableDiffusionXLPipeline": "sdxl",
    "StableDiffusionXLImg2ImgPipeline": "sdxl",
    "FluxPipeline": "flux",
    "FluxImg2ImgPipeline": "flux",
}
"""Classes in model_index.json."""
FAMILY_TITLES: dict[FamilyName, str] = {
    "sd": "Stable Diffusion 1.x or 2.x",
    "sdxl": "Stable Diffusion XL",
    "flux": "FLUX.1",
}
USUAL_GUIDANCE: dict[FamilyName, float] = {"sd": 7.5, "sdxl": 7.5, "flux": 3.5}
"""How closely pictures of a generation follow their prompt where nothing is said."""
_DENOISERS: dict[FamilyName, tuple[str, int]] = {"sd": ("unet", 4), "sdxl": ("unet", 4), "flux": ("transformer", 64)}
"""Its folder, and how many channels one takes that makes pictures out of noise alone."""
_LOOKED_AT = (
    "model_index.json",
    "unet",
    "transformer",
    "vae",
    "text_encoder",
    "text_encoder_2",
    "tokenizer",
    "tokenizer_2",
    "scheduler",
)
_SINGLE = (".safetensors", ".ckpt")
_MAX_HEADER = 100 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Base:
    """place: a folder in the layout of diffusers, or a single file. written: as the spec names it.
    digest: of the files that decide the result. config: with a single file, where its configuration lies."""

    place: Path
    written: str
    family: FamilyName
    digest: str
    config: str | None = None

    @property
    def marked(self) -> tuple[str | None, bool | None]:
        """What a single file says of its prediction (see prediction), which is more than its configuration knows."""
        return marked_prediction(self.place) if self.single_file else (None, None)

    @property
    def single_file(self) -> bool:
        return self.place.is_file()


def is_local(written: str, project_dir: Path) -> bool:
    """Whether a path is meant, not a model of the Hub (`owner/name`)."""
    looks_like_one = written.startswith((".", "/", "~")) or written.endswith(_SINGLE) or written.count("/") != 1
    return looks_like_one or (project_dir / written).exists()


def local_place(written: str, project_dir: Path) -> Path:
    return (project_dir / Path(written).expanduser()).resolve()


def family_of(place: Path, written: str) -> FamilyName:
    """Raises FormatError: no base model, or one of a family that is not supported."""
    if place.is_file():
        return _family_of_file(place, written)
    index = place / "model_index.json"
    try:
        name = str(json.loads(index.read_text(encoding="utf-8"))["_class_name"])
    except (OSError, ValueError, KeyError, TypeError):
        hint = "Give a folder that save_pretrained of a diffusers pipeline wrote."
        raise FormatError(f"base_model: {written}: has no readable model_index.json.", hint=hint) from None
    if name not in PIPELINES:
        raise FormatError(f"base_model: {written} is of {name}.", hint=_supported())
    _require_plain(place, written, PIPELINES[name])
    return PIPELINES[name]


def find_base(written: str, config: str | None, project_dir: Path, *, token: str | None = None) -> Base:
    """The base model on this machine, fetched from the Hub where it must be.

    Raises NodeError: it is not here and cannot be fetched; FormatError: it is no base model that can be trained.
    """
    if is_local(written, project_dir):
        place = local_place(written, project_dir)
        if not place.exists():
            raise NodeError(f"base_model: {written}: there is no such file or folder.", hint=_HOW_TO_GIVE)
    else:
        place = _from_hub(written, token)
    family = family_of(place, written)
    local_config = config and (str(local_place(config, project_dir)) if is_local(config, project_dir) else config)
    digest = base_digest(place)
    if place.is_file() and local_config and Path(local_config).is_dir():
        digest = json_digest([digest, base_digest(Path(local_config))])
    return Base(place, written, family, digest, local_config or None)


def base_digest(place: Path) -> str:
    """Of the contents of all files that a training reads."""
    if place.is_file():
        return file_digest(place)
    files = [path for name in _LOOKED_AT for path in sorted([place / name, *(place / name).rglob("*")])]
    return json_digest({str(path.relative_to(place)): file_digest(path) for path in files if path.is_file()})


_HOW_TO_GIVE = (
    "Give a folder in the layout of diffusers (base_model: ./models/sdxl), a single .safetensors file, or a model "
    "of the Hub that this machine can reach or has in its cache."
)


def _from_hub(written: str, token: str | None) -> Path:
    from huggingface_hub import snapshot_download  # only where the Hub is meant
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    wanted = ["model_index.json", *(f"{name}/*" for name in _LOOKED_AT if "." not in name)]
    ignored = ["*.bin", "*.msgpack", "*.onnx*", "*.pb", "*fp16*", "*non_ema*", "*.xml"]
    try:
        return Path(snapshot_download(written, allow_patterns=wanted, ignore_patterns=ignored, token=token))
    except GatedRepoError:
        hint = "Accept its licence on its page, and set HF_TOKEN to a token of that account."
        raise NodeError(f"base_model: {written} is for those who accepted its licence.", hint=hint) from None
    except RepositoryNotFoundError:
        hint = _near_in_cache(written) or "Check its spelling; for a private one set HF_TOKEN."
        raise NodeError(f"base_model: the Hub has no model {written}, or it is private.", hint=hint) from None
    except LocalEntryNotFoundError:
        message = f"base_model: {written} is not on this machine, and the Hub cannot be reached."
        near = _near_in_cache(written)
        raise NodeError(message, hint=f"{near} {_HOW_TO_GIVE}" if near else _HOW_TO_GIVE) from None
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise NodeError(f"base_model: {written} cannot be fetched from the Hub: {reason}", hint=_HOW_TO_GIVE) from None
    except Exception as error:
        if not type(error).__module__.startswith(("httpx", "httpcore")):
            raise
        message = f"base_model: {written} cannot be fetched, the Hub cannot be reached ({type(error).__name__})."
        raise NodeError(message, hint=_HOW_TO_GIVE) from None


def _near_in_cache(written: str) -> str | None:
    """Did you mean one that this machine has?"""
    from huggingface_hub import constants

    folders = [path.name for path in Path(constants.HF_HUB_CACHE).glob("models--*--*")]
    known = [name.removeprefix("models--").replace("--", "/", 1) for name in folders]
    found = did_you_mean(written, known)
    return f"{found[:-1]}, which this machine has?" if found else None


def _family_of_file(place: Path, written: str) -> FamilyName:
    if place.suffix != ".safetensors":
        hint = "Convert it to .safetensors: other formats may run code when they are read."
        raise FormatError(f"base_model: {written} is no .safetensors file.", hint=hint)
    keys = _tensor_shapes(place, written)
    if any(key.startswith("lora_") or ".lora_" in key for key in keys):
        hint = "Give the base model that they belong to."
        raise FormatError(f"base_model: {written} holds LoRA weights.", hint=hint)
    if any("double_blocks.0.img_attn.qkv.weight" in key for key in keys):
        message = f"base_model: {written} is of FLUX; such a file has no text encoders."
        raise FormatError(message, hint="Give the folder of the whole model in the layout of diffusers.")
    first = keys.get("model.diffusion_model.input_blocks.0.0.weight")
    if first is None:
        raise FormatError(f"base_model: {written} holds no UNet of Stable Diffusion.", hint=_supported())
    if first[1] != 4:
        raise FormatError(f"base_model: {written} takes {first[1]} channels: it is made for inpainting or the like.")
    return "sdxl" if any(key.startswith("conditioner.embedders.1.") for key in keys) else "sd"


def _tensor_shapes(place: Path, written: str) -> dict[str, list[int]]:
    try:
        with place.open("rb") as file:
            (size,) = struct.unpack("<Q", file.read(8))
            if size > _MAX_HEADER:
                raise ValueError("the header is too long")
            header: dict[str, Any] = json.loads(file.read(size))
        return {key: entry["shape"] for key, entry in header.items() if key != "__metadata__"}
    except (OSError, ValueError, KeyError, TypeError, struct.error):
        raise FormatError(f"base_model: {written} is no readable .safetensors file.", hint=_HOW_TO_GIVE) from None


def denoiser_folder(family: FamilyName) -> str:
    return _DENOISERS[family][0]


def marked_prediction(file: Path) -> tuple[str | None, bool | None]:
    """Kind of prediction, and whether the last timestep is noise alone; None: the file does not say.

    Checkpoints that predict velocity carry tensors named `v_pred` and `ztsnr`, which ComfyUI and Forge read too.
    """
    names = _tensor_shapes(file, file.name).keys()
    return "v_prediction" if "v_pred" in names else None, True if "ztsnr" in names else None


_OTHER_PRODUCTS = ("lokr_", "hada_", "oft_", "dora_scale")
"""Endings in files of LyCORIS, and of DoRA in kohya's format, which diffusers' pipelines leave out or refuse."""

_DOWN = (".lora_A", ".lora_down", ".lora.down", ".lora_linear_layer.down", "_lora.down")
"""What PEFT, kohya's scripts, and diffusers before and after its attention processors call the first matrix."""


def lora_pairs(file: Path, written: str) -> int:
    """Pairs of matrices in a LoRA file, of whatever names. Raises FormatError: pipelines cannot load it."""
    names = _tensor_shapes(file, written)
    if wrong := next((name for name in names for other in _OTHER_PRODUCTS if f".{other}" in name), None):
        hint = "Use it in ComfyUI, or make it anew as LoRA, LoCon or DoRA of PEFT's names."
        raise FormatError(
            f"{written} holds {wrong.rpartition('.')[2]}, which pipelines of diffusers cannot load.", hint=hint
        )
    pairs = sum(f"{down}." in name for name in names for down in _DOWN)
    if not pairs:
        raise FormatError(f"{written} holds no LoRA weights.", hint="Give the file that a LoRA training wrote.")
    return pairs


def layer_widths(place: Path, component: str) -> dict[str, int]:
    """Layer of a part in the layout of diffusers → its narrower side, out of the heads of its files.

    Of linear and convolution layers; empty: it is not stored as .safetensors, or cannot be read.
    """
    found: dict[str, int] = {}
    for path in sorted((place / component).glob("*.safetensors")):
        try:
            shapes = _tensor_shapes(path, path.name)
        except FormatError:
            return {}
        for name, shape in shapes.items():
            layer, _, ending = name.rpartition(".")
            if ending == "weight" and len(shape) in (2, 4) and "embedding" not in layer.rpartition(".")[2]:
                found[layer] = min(shape[0], math.prod(shape[1:]))
    return found


def _require_plain(place: Path, written: str, family: FamilyName) -> None:
    folder, plain = _DENOISERS[family]
    try:
        channels = json.loads((place / folder / "config.json").read_text(encoding="utf-8"))["in_channels"]
    except (OSError, ValueError, KeyError, TypeError):
        raise FormatError(f"base_model: {written}: has no readable {folder}/config.json.", hint=_HOW_TO_GIVE) from None
    if channels != plain:
        raise FormatError(f"base_model: {written} takes {channels} channels: it is made for inpainting or the like.")


def _supported() -> str:
    return f"LoRA jobs train on {listed(list(FAMILY_TITLES.values()))}."
