"""Digests: BLAKE2b, 128 bits, as 32 hexadecimal digits.

128 bits are far beyond accident for the file counts of a project; BLAKE2b needs no special
instructions to be fast and is in the standard library.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]

DIGEST_BYTES = 16
_CHUNK_BYTES = 1 << 20


def canonical_json(value: object) -> str:
    """JSON whose text depends on the value alone: sorted keys, no white space, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def bytes_digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES).hexdigest()


def json_digest(value: object) -> str:
    return bytes_digest(canonical_json(value).encode("utf-8", "surrogatepass"))


def file_digest(path: Path | str) -> str:
    """Digest of a file's bytes; raises OSError."""
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    with open(path, "rb", buffering=0) as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def files_digest(files: Iterable[tuple[str, str]]) -> str:
    """Digest of a tree: (relative posix path, digest of the bytes) pairs in any order."""
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for path, content in sorted(files):
        # File names that are no UTF-8 arrive as lone surrogates.
        digest.update(f"{path}\0{content}\n".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def parts_digest(parts: Mapping[str, str], wanted: Iterable[str] = ()) -> str:
    """Digest of the named parts of an output, or of all of them when none are named."""
    names = sorted(wanted) or sorted(parts)
    return json_digest({name: parts.get(name) for name in names})
