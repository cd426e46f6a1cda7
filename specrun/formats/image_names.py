"""Which file names are images, and how names are compared. Light: planning imports this module."""

from __future__ import annotations

import unicodedata

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


def is_image(name: str) -> bool:
    """Whether the suffix is one of `IMAGE_SUFFIXES`, ignoring case."""
    return name.lower().endswith(IMAGE_SUFFIXES)


def name_key(name: str) -> str:
    """A file name for comparing and for keys: NFC, forward slashes."""
    return unicodedata.normalize("NFC", name.replace("\\", "/"))


def image_patterns() -> tuple[str, ...]:
    """Globs that match every image below a folder, whatever the case of its suffix."""
    return tuple("**/*" + "".join(f"[{c}{c.upper()}]" if c.isalpha() else c for c in s) for s in IMAGE_SUFFIXES)
