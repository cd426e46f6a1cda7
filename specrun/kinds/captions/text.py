"""Captions finished: cleaned, with trigger, prefix and suffix, no longer than so many tokens."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from dataclasses import dataclass

from specrun.formats.plain_text import plain_text

CLIP_WINDOW = 77
"""Tokens that the text encoders of Stable Diffusion see, with the marks at both ends."""
_WORD = re.compile(r"\w+|[^\w\s]")
_LEAD_IN = re.compile(
    r"^(?:sure[,!.]?\s+)?(?:here(?:'s| is) (?:a|the) (?:caption|description)[^:]*:\s*|"
    r"(?:caption|description)\s*:\s*|"
    r"in (?:the|this) (?:image|picture|photo|photograph),?\s+|"
    r"(?:the|this) (?:image|picture|photo|photograph)"
    r"(?: is(?= (?:an?|the|of) )| shows| depicts| features| captures| displays| contains| presents| of)(?: of)?\s+)",
    re.IGNORECASE,
)
_HTML = re.compile(r"<\s*(?:!doctype|html|head|body|script|div|p|h1|title)\b", re.IGNORECASE)
_LONGEST_ANSWER = 8000
_QUOTES = {'"': '"', "'": "'", "“": "”", "«": "»"}


@dataclass(frozen=True, slots=True)
class Tokens:
    """count: tokens of a text with the marks at both ends. window: how many the text encoder sees."""

    count: Callable[[str], int]
    window: int = CLIP_WINDOW


def rule_count(text: str) -> int:
    """Tokens by rule, for want of a tokenizer: see CaptionsSpec.tokenizer."""
    return 2 + sum(1 + (len(word) - 1) // 8 if word[0].isalnum() else 1 for word in _WORD.findall(text))


@dataclass(frozen=True, slots=True)
class Finish:
    trigger: str | None
    prefix: str
    suffix: str
    clean: bool
    max_length: int
    tokens: Tokens

    def apply(self, raw: str, *, by_model: bool) -> tuple[str, bool]:
        """The caption, and whether it had to be shortened. raw: as somebody wrote it."""
        body = cleaned(raw) if by_model and self.clean else one_line(raw)
        caption = self._dressed(body)
        if self.tokens.count(caption) <= self.max_length:
            return caption, False
        words = body.split(" ")
        least, most = 0, len(words)
        while least < most:
            middle = (least + most + 1) // 2
            if self.tokens.count(self._dressed(_cut(words, middle))) <= self.max_length:
                least = middle
            else:
                most = middle - 1
        return self._dressed(_cut(words, least)), True

    def _dressed(self, body: str) -> str:
        text = f"{self.prefix}{body}{self.suffix}"
        if self.trigger and not re.search(rf"(?<!\w){re.escape(self.trigger)}(?!\w)", text, re.IGNORECASE):
            text = f"{self.trigger}, {text}" if text.strip() else self.trigger
        return text.strip()


def _cut(words: list[str], count: int) -> str:
    return " ".join(words[:count]).rstrip(" ,;:-")


def one_line(text: str) -> str:
    """White space and line breaks become one space; control characters go."""
    return plain_text(" ".join(text.split()))


def cleaned(text: str) -> str:
    """What a model said, without quotes around it, its lead-in, and sentences that it says twice."""
    text = one_line(html.unescape(text))
    if len(text) > 1 and _QUOTES.get(text[0]) == text[-1]:
        text = text[1:-1].strip()
    shorter = _LEAD_IN.sub("", text, count=1)
    if shorter != text and shorter:
        text = shorter[0].upper() + shorter[1:] if text[0].isupper() else shorter
    sentences = re.split(r"(?<=[.!?])\s+", text)
    return " ".join(dict.fromkeys(sentences))


def why_no_caption(text: str) -> str | None:
    """What speaks against taking a text for a caption; None: nothing."""
    if not text.strip():
        return "is empty"
    if _HTML.search(text[:2000]):
        return "is a web page"
    if text.lstrip()[:1] in "{[" and text.rstrip()[-1:] in "}]":
        return "is data and no sentence"
    if len(text) > _LONGEST_ANSWER:
        return f"is {len(text):,} characters long"
    if "\0" in text or text.count("\ufffd") > 3:
        return "is no text"
    return None


def is_label_file(text: str) -> bool:
    """Whether a .txt holds YOLO labels: a class and at least four numbers on every line."""
    lines = [line.split() for line in text.splitlines() if line.strip()]
    return bool(lines) and all(
        len(words) >= 5 and words[0].isdecimal() and all(_is_number(word) for word in words) for words in lines
    )


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
