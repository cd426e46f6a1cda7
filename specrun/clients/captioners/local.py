"""A transformers captioner in this process: BLIP, BLIP-2, GIT, Florence-like image-text-to-text, ViT with a decoder."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from specrun.errors import MissingDependency, NodeError


@dataclass(frozen=True, slots=True)
class LocalSettings:
    """model: a folder, or a model of the Hub. device: cpu, cuda, mps. token: for the Hub."""

    model: str
    prompt: str | None = None
    max_tokens: int = 60
    device: str = "cpu"


class LocalCaptioner:
    """Loaded when it is first asked; one picture at a time. Thread-safe."""

    def __init__(self, settings: LocalSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._loaded: tuple[Any, Any] | None = None

    def close(self) -> None:
        self._loaded = None

    def caption(self, data: bytes, kind: str) -> str:
        """data: a JPEG or PNG file, upright. Raises MissingDependency, NodeError."""
        from PIL import Image  # workers only

        picture = Image.open(BytesIO(data)).convert("RGB")
        with self._lock:
            processor, model = self._load()
            return self._generate(processor, model, picture)

    def _generate(self, processor: Any, model: Any, picture: Any) -> str:
        import torch  # seconds; workers only

        given = {"text": self._settings.prompt} if self._settings.prompt else {}
        inputs = processor(images=picture, return_tensors="pt", **given).to(self._settings.device)
        with torch.inference_mode():
            tokens = model.generate(**inputs, max_new_tokens=self._settings.max_tokens, do_sample=False)
        said = str(processor.batch_decode(tokens, skip_special_tokens=True)[0]).strip()
        prompt = self._settings.prompt or ""
        is_question = prompt.rstrip().endswith((":", "?"))
        return said.removeprefix(prompt).strip() if is_question else said

    def _load(self) -> tuple[Any, Any]:
        if self._loaded is None:
            try:
                import transformers  # seconds; workers only
            except ImportError as error:
                raise MissingDependency(
                    f"Local captioners need transformers, which is not installed ({error}).",
                    hint="Install it with `pip install 'specrun[lora]'`.",
                ) from None
            self._loaded = _load(transformers, self._settings)
        return self._loaded


def _load(transformers: Any, settings: LocalSettings) -> tuple[Any, Any]:
    """The processor and the model. Only safetensors are loaded, and no code that comes with a model."""
    name = settings.model
    safe = {"trust_remote_code": False, "local_files_only": Path(name).is_dir()}
    try:
        processor = _processor(transformers, name, safe)
        model = _model(transformers, name, {**safe, "use_safetensors": True})
    except (OSError, ValueError, ImportError, KeyError) as error:
        reason = " ".join(str(error).split())[:300]
        raise NodeError(
            f"captioner {name}: cannot be loaded ({reason}).",
            hint="Give the folder of a transformers captioner with safetensors, or a model of the Hub that can be "
            "reached from here.",
        ) from None
    return processor, model.to(settings.device).eval()


def _processor(transformers: Any, name: str, safe: dict[str, Any]) -> Any:
    found = None
    with contextlib.suppress(OSError, ValueError):
        found = transformers.AutoProcessor.from_pretrained(name, **safe)
    if found is not None and hasattr(found, "image_processor"):
        return found
    images = transformers.AutoImageProcessor.from_pretrained(name, **safe)
    return _Pair(images, transformers.AutoTokenizer.from_pretrained(name, **safe))


def _model(transformers: Any, name: str, safe: dict[str, Any]) -> Any:
    config = transformers.AutoConfig.from_pretrained(name, **{k: v for k, v in safe.items() if k != "use_safetensors"})
    if config.model_type == "vision-encoder-decoder":
        return transformers.VisionEncoderDecoderModel.from_pretrained(name, **safe)
    return transformers.AutoModelForImageTextToText.from_pretrained(name, **safe)


class _Pair:
    """An image processor and a tokenizer that were not saved as one."""

    def __init__(self, images: Any, tokenizer: Any) -> None:
        self._images, self._tokenizer = images, tokenizer

    def __call__(self, images: Any, return_tensors: str, text: str | None = None) -> Any:
        inputs = self._images(images=images, return_tensors=return_tensors)
        if text is not None:
            inputs.update(self._tokenizer(text, return_tensors=return_tensors))
        return inputs

    def batch_decode(self, tokens: Any, *, skip_special_tokens: bool) -> list[str]:
        decoded: list[str] = self._tokenizer.batch_decode(tokens, skip_special_tokens=skip_special_tokens)
        return decoded
