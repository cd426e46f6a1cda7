"""Names for exported files: readable, unique without regard to case, the same whatever the order.

1. The file name of the sample, if no other sample has its stem (`a.jpg` beside `a.png` would share
   a label file).
2. Otherwise with the folders before it, joined by two underscores: `reef__2021__a`.
3. Otherwise with the suffix behind: `reef__2021__a_png`.
4. Otherwise with eight digits of the digest of the sample's key, which is unique.

Unicode is kept (NFC); what a file system or a URL trips over becomes an underscore.
Rejected: numbering, since one new image would rename the rest; hashes alone, since nobody can read them.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence

from specrun.model.digest import bytes_digest
from specrun.model.labels import Sample

_UNSAFE = re.compile(r'[\x00-\x1f\x7f-\x9f\\/:*?"<>|\ud800-\udfff\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]')
_WINDOWS_NAMES = re.compile(r"^(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)
_LONGEST_BYTES = 180
_HASH_DIGITS = 8


def export_stems(samples: Sequence[Sample]) -> list[str]:
    """A stem for each sample, unique within all of them; the suffix is the writer's."""
    levels: tuple[Callable[[Sample], str], ...] = (_file_stem, _path_stem, _path_stem_and_suffix, _with_hash)
    stems = [""] * len(samples)
    taken: set[str] = set()
    waiting = list(range(len(samples)))
    for level in levels:
        proposed = {i: safe_name(level(samples[i])) for i in waiting}
        wanted = Counter(stem.casefold() for stem in proposed.values())
        free = [i for i in waiting if wanted[proposed[i].casefold()] == 1 and proposed[i].casefold() not in taken]
        for i in free:
            stems[i] = proposed[i]
        taken.update(wanted)
        waiting = [i for i in waiting if not stems[i]]
    assert not waiting, "sample keys are not unique"
    return stems


def folder_names(classes: Sequence[str]) -> dict[str, str]:
    """A folder name for each class; classes that would share one get eight digits of their digest."""
    names = {name: safe_name(name) for name in classes}
    wanted = Counter(folder.casefold() for folder in names.values())
    return {
        name: folder if wanted[folder.casefold()] == 1 else f"{folder}-{_hash(name)}" for name, folder in names.items()
    }


def safe_name(text: str) -> str:
    """Text as one path component."""
    safe = _UNSAFE.sub("_", unicodedata.normalize("NFC", text)).strip(" ").rstrip(".")
    if not safe or not safe.strip("."):
        return "_" + safe.replace(".", "_")
    if _WINDOWS_NAMES.match(safe):
        safe = "_" + safe
    encoded = safe.encode()
    if len(encoded) <= _LONGEST_BYTES:
        return safe
    return encoded[: _LONGEST_BYTES - _HASH_DIGITS - 1].decode(errors="ignore") + "-" + _hash(text)


def _hash(text: str) -> str:
    return bytes_digest(text.encode("utf-8", "surrogatepass"))[:_HASH_DIGITS]


def _split_name(name: str) -> tuple[str, str, str]:
    """Folders joined by `__`, stem, suffix without its dot."""
    folders, _, file = name.rpartition("/")
    stem, dot, suffix = file.rpartition(".")
    return "__".join(folders.split("/")) if folders else "", stem if dot and stem else file, suffix if stem else ""


def _file_stem(sample: Sample) -> str:
    return _split_name(sample.name)[1]


def _path_stem(sample: Sample) -> str:
    folders, stem, _ = _split_name(sample.name)
    return f"{folders}__{stem}" if folders else stem


def _path_stem_and_suffix(sample: Sample) -> str:
    suffix = _split_name(sample.name)[2]
    return f"{_path_stem(sample)}_{suffix}" if suffix else _path_stem(sample)


def _with_hash(sample: Sample) -> str:
    return f"{_path_stem(sample)}-{_hash(sample.key)}"
