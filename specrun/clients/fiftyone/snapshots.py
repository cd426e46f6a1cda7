"""What was known of a dataset's parts when it was last read, so that nothing is read twice and changes have names.

    .specrun/fiftyone/parts/<dataset>/latest.json          {"look": …, "parts": {part: digest}}
    .specrun/fiftyone/parts/<dataset>/<digest>.json.gz     one part: sample key → value

A cache: every file may be deleted at any time.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from specrun.clients.fiftyone.digests import Snapshot, Values, part_digest
from specrun.model.address import path_safe
from specrun.model.digest import Json

KEPT_SNAPSHOTS = 40


class Snapshots:
    def __init__(self, root: Path, dataset: str) -> None:
        """root: `.specrun/fiftyone`."""
        self.folder = root / "parts" / path_safe(dataset)

    def parts_at(self, look: Json) -> dict[str, str] | None:
        """The digests by part, if the dataset was read when it looked like this."""
        try:
            latest = json.loads((self.folder / "latest.json").read_text())
            return dict(latest["parts"]) if latest["look"] == look else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def save(self, look: Json, snapshot: Snapshot) -> dict[str, str]:
        """Returns the digests by part."""
        parts = {part: part_digest(values) for part, values in snapshot.items()}
        self.folder.mkdir(parents=True, exist_ok=True)
        for part, values in snapshot.items():
            path = self._path(parts[part])
            if path.exists():
                os.utime(path)
            else:
                _replace(path, gzip.compress(json.dumps(values).encode(), 1))
        _replace(self.folder / "latest.json", json.dumps({"look": look, "parts": parts}).encode())
        self._prune()
        return parts

    def values(self, digest: str) -> Values | None:
        """A part as it was when it had this digest, if that is still known."""
        try:
            values: Values = json.loads(gzip.decompress(self._path(digest).read_bytes()))
        except (OSError, ValueError, EOFError):
            return None
        return values

    def _path(self, digest: str) -> Path:
        return self.folder / f"{digest}.json.gz"

    def _prune(self) -> None:
        files = sorted(self.folder.glob("*.json.gz"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
        for path in files[KEPT_SNAPSHOTS:]:
            path.unlink(missing_ok=True)


def _replace(path: Path, data: bytes) -> None:
    staged = path.with_name(f"{path.name}.{os.getpid()}")
    staged.write_bytes(data)
    staged.replace(path)


def names_of(media: Mapping[str, Any] | None) -> dict[str, str]:
    """Sample key → file name, from the `media` part."""
    return {key: str(value).rsplit("/", 1)[-1].split(" ", 1)[-1] for key, value in (media or {}).items()}
