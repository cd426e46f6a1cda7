"""Going back to an earlier output that `keep` left."""

from __future__ import annotations

from specrun.errors import NodeError, UsageError
from specrun.model.address import Address
from specrun.model.artifact import MANIFEST_NAME
from specrun.model.state import NodeRecord
from specrun.store.manifest import is_whole, manifest_digest, read_manifest
from specrun.store.moves import Step, carry_out, no_step, place_aside
from specrun.store.paths import ProjectPaths
from specrun.store.publish import check_place
from specrun.store.rows import Earlier, Intent
from specrun.store.state import State


def rollback(
    state: State,
    paths: ProjectPaths,
    address: Address,
    *,
    to: str | None = None,
    now: str,
    step: Step = no_step,
) -> NodeRecord:
    """Swaps the output with an earlier one, durably, and returns that one's record; again, and it is undone.

    to: the run that made it, or the beginning of its fingerprint; None: the newest.
    Raises UsageError: there is no such earlier output; NodeError: it is damaged or cannot be moved.
    """
    earlier = _choose(state.earlier(address), address, to)
    folder = paths.output_root / earlier.folder
    manifest, known_by = read_manifest(folder), manifest_digest(folder)
    if manifest is None or known_by is None or not is_whole(folder, manifest):
        raise NodeError(f"{address}: the earlier output in {folder} is no longer whole.", hint="Choose another one.")
    output = paths.output(address)
    check_place(state, paths, address, recorded=state.record(address) is not None)
    old = state.record(address) if (output / MANIFEST_NAME).exists() else None
    intent = Intent(
        record=earlier.record,
        staging=earlier.folder,
        output=paths.relative(output),
        aside=place_aside(paths, old, address),
        manifest=known_by,
        old=old,
        keep=len(state.earlier(address)),
        restored=earlier.folder,
        at=now,
    )
    failures = carry_out(state, paths, [intent], step)
    if failures:
        raise failures[address]
    return earlier.record


def _choose(found: tuple[Earlier, ...], address: Address, to: str | None) -> Earlier:
    if not found:
        raise UsageError(
            f"{address}: no earlier output was kept.", hint="Set keep: 1 or more to keep some from now on."
        )
    if to is None:
        return found[0]
    for earlier in found:
        if to in (earlier.record.run, earlier.folder) or earlier.record.fingerprint.startswith(to):
            return earlier
    known = ", ".join(f"{earlier.record.run} ({earlier.record.fingerprint[:8]})" for earlier in found)
    raise UsageError(f"{address}: no earlier output {to}.", hint=f"There are: {known}.")
