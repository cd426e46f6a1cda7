"""What is no longer wanted: moved to the trash under the lock, deleted from there at leisure.

Names in the trash are unique, so a place that was once found to be free to delete stays so without the lock.
What the state does not know is never deleted.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path

from specrun.errors import NodeError
from specrun.model.address import Address
from specrun.store.filesystem import sync_filesystem
from specrun.store.kept import is_output_of
from specrun.store.paths import ProjectPaths
from specrun.store.staging import remove, staging_folders, throw_away
from specrun.store.state import State


def collect_trash(state: State, paths: ProjectPaths) -> tuple[Path, ...]:
    """Moves kept outputs that no longer count to the trash, and returns all there that `sweep_trash` may delete.

    Under the project lock. What an unfinished publish still needs stays.
    """
    needed = {place for intent in state.intents() for place in (intent.aside, intent.staging)}
    for folder, address in state.given_up().items():
        if folder in needed:
            continue
        with suppress(OSError):
            throw_away(paths, paths.output_root / folder, address)
            state.drop_earlier(address, folder)
    if not paths.trash.is_dir():
        return ()
    return tuple(place for place in sorted(paths.trash.iterdir()) if paths.relative(place) not in needed)


def sweep_trash(places: Iterable[Path]) -> None:
    """Deletes what `collect_trash` returned; needs no lock. What cannot be deleted stays for the next time."""
    for place in places:
        remove(place)


def empty_trash(state: State, paths: ProjectPaths) -> None:
    """Both in one go, for those who need not hurry to let go of the lock."""
    sweep_trash(collect_trash(state, paths))


def discard(state: State, paths: ProjectPaths, address: Address) -> tuple[Path, ...]:
    """Moves everything that was made for a node to the trash and forgets it, for `specrun prune`.

    Returns what was left in its place because it is not the node's output.
    Raises NodeError: something cannot be moved, or another's output lies inside; then nothing is forgotten.
    """
    output = paths.output(address)
    ours = is_output_of(output, address)
    for other in state.nested(address) if ours else ():
        if paths.output(other).is_relative_to(output) and is_output_of(paths.output(other), other):
            raise NodeError(
                f"{address}: the output of {other} lies inside {output}.",
                hint=f"Move {paths.output(other)} away first.",
            )
    places = [paths.output_root / earlier.folder for earlier in state.earlier(address)]
    places += [paths.output_root / folder for folder, whose in state.given_up().items() if whose == address]
    places += [output] if ours else []
    try:
        for place in places:
            throw_away(paths, place, address)
    except OSError as error:
        raise NodeError(f"{address}: {error.filename} cannot be moved away ({error.strerror}).") from error
    discard_staging(paths, staging_folders(paths, address))
    if paths.output_root.exists():
        sync_filesystem(paths.output_root)
    state.forget(address)
    return (output,) if os.path.lexists(output) else ()


def leftover_staging(paths: ProjectPaths, declared: Collection[Address]) -> tuple[Path, ...]:
    """Staging folders of nodes that are no longer declared."""
    wanted = {paths.staging_root / address.folder for address in declared}
    found: list[Path] = []
    for name in paths.staging_root.glob("*/*/"):
        waiting = [name]
        while waiting:
            node = waiting.pop()
            inside = sorted(folder for folder in node.iterdir() if folder.is_dir())
            waiting += [folder for folder in inside if "=" in folder.name]
            found += [folder for folder in inside if "=" not in folder.name and node not in wanted]
    return tuple(sorted(found))


def discard_staging(paths: ProjectPaths, folders: Iterable[Path]) -> None:
    """Moves staging folders to the trash and removes the empty folders above.

    Raises NodeError: one cannot be moved.
    """
    for folder in folders:
        section, name = folder.relative_to(paths.staging_root).parts[:2]
        address = Address(section, name)
        try:
            throw_away(paths, folder, address)
        except OSError as error:
            raise NodeError(f"{address}: {folder} cannot be moved away ({error.strerror}).") from error
        for above in folder.parents:
            if above == paths.staging_root:
                break
            with suppress(OSError):
                above.rmdir()
