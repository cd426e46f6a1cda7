"""Observing: what the world says now about every node, all at once and bounded, read-only."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio

from specrun.errors import SpecrunError, TransientError
from specrun.model.address import Address, parse_address
from specrun.model.artifact import MANIFEST_NAME
from specrun.model.digest import Json
from specrun.model.node import Node
from specrun.model.state import Attempt, NodeRecord, Observation, Outcome, Unreachable
from specrun.model.work import Listing
from specrun.planner.world import Begun, World
from specrun.run.patience import SAY_AFTER_S, Patience, asking_text, servers_of
from specrun.run.secrets import Revealing
from specrun.spec.kind import Kind, Registry, kind_of
from specrun.store.listing import ListingCache
from specrun.store.locks import ProjectLock
from specrun.store.manifest import read_manifest
from specrun.store.paths import ProjectPaths
from specrun.store.staging import left_work, staging_folders, was_cut_off
from specrun.store.state import State

PARALLEL = 16
ANEW = "begins anew"


@dataclass(frozen=True)
class LookedAt:
    """Files and folders of this machine that an observation depends on."""

    files: set[Path] = field(default_factory=set)
    folders: set[Path] = field(default_factory=set)


@dataclass(frozen=True)
class Known:
    """A look that was made a moment ago; only what concerns `anew` is looked at again."""

    world: World
    anew: frozenset[Address] = frozenset()

    @property
    def observations(self) -> dict[Address, Observation]:
        return {a: found for a, found in self.world.observations.items() if a not in self.anew}

    @property
    def unreachable(self) -> dict[Address, Unreachable]:
        return {a: why for a, why in self.world.unreachable.items() if a not in self.anew}


@dataclass(kw_only=True)
class NodeLook:
    """Implements model.work.Look for one node. looked_at: where every file and folder that it asks for is noted.
    reveal: reference → secret. records: of all nodes."""

    address: Address
    project_dir: Path
    output_root: Path
    state_dir: Path
    settings: Mapping[str, Any]
    declarations: Mapping[str, Any]
    record: NodeRecord | None
    cache: ListingCache
    remembered: Callable[[str, str], Json] = field(repr=False)
    reveal: Callable[[Json], str] = field(repr=False)
    records: Mapping[Address, NodeRecord] = field(default_factory=dict, repr=False)
    looked_at: LookedAt = field(default_factory=LookedAt, repr=False)

    def listing(self, folder: Path, include: Sequence[str] = ("**/*",), exclude: Sequence[str] = ()) -> Listing:
        self.looked_at.folders.add(folder)
        since = set(_digests_in(self.record.observation)) if self.record else ()
        return self.cache.listing(folder, include, exclude, since=since)

    def file_digest(self, path: Path) -> str | None:
        self.looked_at.files.add(path)
        return self.cache.file_digest(path)

    def file_digests(self, paths: Sequence[Path]) -> Mapping[Path, str | None]:
        self.looked_at.files.update(paths)
        return self.cache.file_digests(paths)

    def recall(self, key: str) -> Json:
        return self.remembered(str(self.address), key)

    def secret(self, reference: Json) -> str:
        return self.reveal(reference)

    def facts(self, address: str) -> Mapping[str, Any] | None:
        record = self.records.get(parse_address(address))
        return None if record is None else record.facts


def _digests_in(value: Json) -> Iterator[str]:
    """The values of all keys called `digest` in a recorded observation."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "digest" and isinstance(inner, str):
                yield inner
            else:
                yield from _digests_in(inner)


def look_around(
    nodes: Sequence[Node],
    paths: ProjectPaths,
    state: State | None,
    settings: Mapping[str, Any],
    registry: Registry,
    *,
    looked_at: LookedAt | None = None,
    environ: Mapping[str, str] | None = None,
    known: Known | None = None,
    patience: Patience | None = None,
) -> World:
    """Everything that the planner needs to know. state: None for a project that was never applied.
    looked_at: is told what the observations depend on. environ: where secrets are looked up besides the spec's
    .env files; None: this process's. known: what need not be asked again. patience: with what does not answer."""
    busy = others_run(paths)
    records = dict(state.records()) if state else {}
    attempts = dict(state.attempts()) if state else {}
    cache = ListingCache(paths.cache_db)
    noted = looked_at if looked_at is not None else LookedAt()
    # An observation is made against the record of its node and of others.
    kept = known if known is not None and known.world.records == records else Known(World())
    observations, unreachable = kept.observations, kept.unreachable

    reveal = Revealing(paths.project_dir, environ)
    patient = patience or Patience()
    waiting: dict[Address, Node] = {}

    def look_of(node: Node) -> NodeLook:
        return NodeLook(
            address=node.address,
            project_dir=paths.project_dir,
            output_root=paths.output_root,
            state_dir=paths.state_dir,
            settings=settings,
            declarations=node.declarations,
            record=records.get(node.address),
            cache=cache,
            remembered=state.recall if state else lambda _address, _key: None,
            reveal=reveal,
            records=records,
            looked_at=noted,
        )

    async def observe(node: Node, kind: Kind, limit: anyio.CapacityLimiter) -> None:
        async with limit:
            waiting[node.address] = node
            try:
                spec = kind.Spec.model_validate(dict(node.config))
                observations[node.address] = await kind.observe(spec, look_of(node))
            except SpecrunError as error:
                unreachable[node.address] = Unreachable(error.message, error.hint or "", int(error.exit_code))
                if isinstance(error, TransientError):
                    patient.away.update(dict.fromkeys(servers_of(node), error.message))
            except OSError as error:
                unreachable[node.address] = Unreachable(f"{error.filename or node.address}: {error.strerror}")
            del waiting[node.address]
            patient.asked.update(servers_of(node))

    async def say_what_takes_long() -> None:
        await anyio.sleep(SAY_AFTER_S)
        patient.say(asking_text([*waiting.values()]))

    async def observe_all() -> None:
        limit = anyio.CapacityLimiter(PARALLEL)
        async with anyio.create_task_group() as teller:
            teller.start_soon(say_what_takes_long)
            async with anyio.create_task_group() as tasks:
                for node in nodes:
                    kind = kind_of(node.kind, registry)
                    asked = node.address not in observations and node.address not in unreachable
                    if node.enabled and asked and observes(kind):
                        tasks.start_soon(observe, node, kind, limit)
            teller.cancel_scope.cancel()

    def look() -> None:
        with closing(cache):
            anyio.run(observe_all)

    patient.wait_for(look)
    # While somebody else's run goes on, its staging folders say nothing about a crash; when it ended during the
    # look, what it said of them came after the attempts were read.
    names = set() if busy or others_run(paths) else begun_names(paths)
    for node in nodes:
        address = node.address
        if (address.section, address.name) in names and address not in attempts and begun(paths, address):
            attempts[node.address] = Attempt(
                node.address, Outcome.INTERRUPTED, "", "", "", "specrun was killed while it ran"
            )
    gone = {a: text for a, r in records.items() if (text := what_is_gone(paths, r))}
    tried = [node for node in nodes if node.address in attempts]
    return World(
        records=records,
        attempts=attempts,
        observations=observations,
        gone=gone,
        begun={node.address: left for node in tried if (left := _left_by(node, paths, registry))},
        unreachable=unreachable,
    )


def _left_by(node: Node, paths: ProjectPaths, registry: Registry) -> Begun | None:
    """What the attempt left of which `attempts` tells."""
    left = left_work(paths, node.address, node.resume)
    if left is None:
        return None
    if node.resume is not None and left.folder is None:
        return Begun(left.config, left.read, ANEW)
    return Begun(left.config, left.read, _words_going_on(node, left.folder, registry))


def _words_going_on(node: Node, folder: Path | None, registry: Registry) -> str:
    kind = kind_of(node.kind, registry)
    return "" if folder is None else kind.goes_on(kind.Spec.model_validate(dict(node.config)), folder)


def what_is_saved(node: Node, staging: Path, registry: Registry) -> str:
    """What to know of work that was stopped just now; "" where nobody can tell."""
    said = _words_going_on(node, staging if node.resume is not None else None, registry)
    if said == ANEW:
        return "Nothing was saved yet: `specrun apply` begins it anew."
    return f"What it has done is saved: `specrun apply` {said}." if said else ""


def others_run(paths: ProjectPaths) -> bool:
    try:
        holder = ProjectLock(paths.lock).holder()
    except OSError:  # a read-only project: nobody can run there
        return False
    return holder is not None and holder.pid != os.getpid()


def begun_names(paths: ProjectPaths) -> set[tuple[str, str]]:
    """Section and name of everything that has a staging folder: mostly none, and one look for all."""
    sections = _names(paths.staging_root)
    return {(section, name) for section in sections for name in _names(paths.staging_root / section)}


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


def begun(paths: ProjectPaths, address: Address) -> bool:
    """A staging folder that nobody publishes: a run was killed there."""
    return any(was_cut_off(folder) for folder in staging_folders(paths, address))


def observes(kind: Kind) -> bool:
    return type(kind).observe is not Kind.observe


def what_is_gone(paths: ProjectPaths, record: NodeRecord) -> str:
    """What is missing of an output, in words; "" when all of it is there.

    Every file of the manifest must exist with its size: a deleted or truncated file is noticed, an
    edit that keeps the size is not (outputs are specrun's own; that would cost reading them all).
    """
    folder = paths.output_root / record.folder
    shown = os.path.relpath(folder, paths.project_dir)
    manifest = read_manifest(folder)
    if manifest is None:
        return f"{shown} was deleted" if not folder.exists() else f"{shown}/{MANIFEST_NAME} is gone"
    if manifest.fingerprint != record.fingerprint and record.accepted is None:
        return f"{shown} holds something else than what was made last"
    for file in manifest.files:
        try:
            found = os.lstat(f"{folder}/{file.path}")
        except OSError:
            return f"{shown}/{file.path} was deleted"
        if found.st_size != file.size and not stat.S_ISLNK(found.st_mode):
            return f"{shown}/{file.path} was changed by hand"
    return ""
