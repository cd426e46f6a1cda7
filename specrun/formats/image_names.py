"""Which file names are images, and how names are compared. Light: planning imports this module."""

from __future__ import annotations

import unicodedata

from specrun.formats.plain_text import plain_text

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


def is_image(name: str) -> bool:
    """Whether the suffix is one of `IMAGE_SUFFIXES`, ignoring case."""
    return name.lower().endswith(IMAGE_SUFFIXES)


def name_key(name: str) -> str:
    """A file name for comparing and for keys: NFC, forward slashes, no control characters."""
    return unicodedata.normalize("NFC", plain_text(name).replace("\\", "/"))


def is_unicode(name: str) -> bool:
    """False for names whose bytes on disk are no UTF-8; neither UTF-8 files nor MongoDB can hold them."""
    return name.isprintable() or not any("\udc80" <= character <= "\udcff" for character in name)


def image_patterns() -> tuple[str, ...]:
    """Globs that match every image below a folder, whatever the case of its suffix."""
    return tuple("**/*" + "".join(f"[{c}{c.upper()}]" if c.isalpha() else c for c in s) for s in IMAGE_SUFFIXES)
