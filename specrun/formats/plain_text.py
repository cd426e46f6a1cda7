"""Text from other people, without the characters that could do something to a terminal."""

from __future__ import annotations

import unicodedata


def plain_text(text: str) -> str:
    """Without control characters and what is no Unicode (lone surrogates)."""
    if text.isprintable():
        return text
    return "".join(character for character in text if unicodedata.category(character) not in ("Cc", "Cs"))


def whole_letters(text: str) -> str:
    """Without halves of letters (lone surrogates), as JSON can hold them and no file or database can."""
    return text.encode("utf-8", "ignore").decode("utf-8")
