"""What a program left in its output folder: the declared outputs, and links that must outlive the staging."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from specrun.errors import NodeError
from specrun.model.artifact import Artifact


def made(name: str, place: str, folder: Path) -> Artifact:
    """A declared output. Raises NodeError: it is not there."""
    path = folder / place
    if not path.exists():
        raise NodeError(
            f"there is no {place} (outputs.{name}) in what was made",
            hint="It runs inside its output folder: write there by relative path, or to ${outputs." + name + "}.",
        )
    return Artifact(name, "folder" if path.is_dir() else "file", place)


def mend_links(staging: Path) -> None:
    """Make absolute links into the staging folder relative: it is moved when it is published.

    Raises NodeError: a relative link that leads out of it, and so would lead elsewhere then.
    """
    links = list(_links(staging))
    roots = {str(staging), os.path.realpath(staging)} if links else set()
    for link in links:
        written = os.readlink(link)
        folder = os.path.dirname(link)
        target = os.path.normpath(os.path.join(folder, written))
        root = next((root for root in roots if target == root or target.startswith(root + os.sep)), None)
        if root is not None and os.path.isabs(written):
            inside = os.path.relpath(target, root)
            os.unlink(link)
            os.symlink(os.path.relpath(os.path.join(staging, inside), folder), link)
        elif root is None and not os.path.isabs(written):
            raise NodeError(
                f"the link {os.path.relpath(link, staging)} leads out of the output folder ({written})",
                hint="Make it absolute or copy the file: the folder is moved when it is published.",
            )


def _links(folder: Path) -> Iterator[str]:
    stack = [str(folder)]
    while stack:
        with os.scandir(stack.pop()) as entries:
            for entry in entries:
                if entry.is_symlink():
                    yield entry.path
                elif entry.is_dir(follow_symlinks=False):
                    stack.append(entry.path)
