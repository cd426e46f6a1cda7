"""The tokenizer of a text encoder, or the rule that stands for it. Imported by workers only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from specrun.errors import NodeError
from specrun.kinds.captions.text import CLIP_WINDOW, Tokens, rule_count

_BASE_MODEL_PART = "tokenizer"
_UNBOUNDED = 100_000
"""Tokenizers without a window of their own say a very large number."""


def load_tokens(named: str | None, project_dir: Path) -> tuple[Tokens, list[str]]:
    """The tokens, and notes. named: a folder or a model of the Hub; one that cannot be reached is replaced by the rule.

    Raises NodeError: the folder holds no tokenizer.
    """
    if named is None:
        return Tokens(rule_count), []
    folder = project_dir / named
    part = folder / _BASE_MODEL_PART
    place = part if part.is_dir() else folder
    try:
        tokenizer = _load(str(place) if folder.is_dir() else named, local=folder.is_dir())
    except (OSError, ValueError, ImportError, KeyError) as error:
        reason = " ".join(str(error).split())[:160]
        if folder.is_dir():
            raise NodeError(f"captions.tokenizer: {place} holds no tokenizer ({reason}).") from None
        return Tokens(rule_count), [f"the tokenizer {named} cannot be loaded; tokens are counted by rule"]
    window = int(getattr(tokenizer, "model_max_length", 0) or 0)
    return Tokens(_counter(tokenizer), window if 0 < window < _UNBOUNDED else CLIP_WINDOW), []


def _load(name: str, *, local: bool) -> Any:
    from transformers import AutoTokenizer, CLIPTokenizer  # seconds; workers only

    try:
        return AutoTokenizer.from_pretrained(name, local_files_only=local, trust_remote_code=False)
    except (ValueError, KeyError):
        # A folder of a base model has no config.json beside its tokenizer.
        return CLIPTokenizer.from_pretrained(name, local_files_only=local)


def _counter(tokenizer: Any) -> Any:
    def count(text: str) -> int:
        return len(tokenizer(text, truncation=False, verbose=False)["input_ids"])

    return count
