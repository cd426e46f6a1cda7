"""What is made so far, during a run: records and observations, and what follows from them for a node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from specrun.errors import NodeError
from specrun.model.address import Address
from specrun.model.artifact import Manifest
from specrun.model.node import Node
from specrun.model.state import NodeRecord, Observation
from specrun.model.work import Made
from specrun.planner.choosing import choose_best
from specrun.planner.fingerprint import fingerprint, read_digests
from specrun.run.job import Job
from specrun.store.manifest import read_manifest
from specrun.store.paths import ProjectPaths


class Ledger:
    """Begins with the state and the plan's observations; `add` is called for every node that was published."""

    def __init__(self, job: Job, paths: ProjectPaths, records: Mapping[Address, NodeRecord]) -> None:
        self.records = dict(records)
        self._job = job
        self._paths = paths
        self._observations: dict[Address, Observation] = dict(job.observations)
        self._gone = set(job.gone)
        self._nodes = {node.address: node for node in job.nodes}

    def renew(self, job: Job) -> None:
        """Go on with another plan. What was made after the world was looked at for it is known better here."""
        newer = {a for a, record in self.records.items() if job.made.get(a) != record.made_at}
        own = {a: seen for a, seen in self._observations.items() if a in newer or a in job.unreachable}
        self._job = job
        self._observations = {**job.observations, **own}
        self._gone = {a for a in job.gone if a not in newer}
        self._nodes = {node.address: node for node in job.nodes}

    def wanted(self, node: Node) -> tuple[dict[str, str], str]:
        """Digests of what the node reads, and its fingerprint. Raises NodeError: an input was never made."""
        missing = [used.address for used in node.inputs if used.address not in self.records]
        if missing:
            raise NodeError(f"it needs {missing[0]}, which was never made")
        read = read_digests(node, self.records.__getitem__, self._observations.get)
        return read, fingerprint(node, read, self._observations.get(node.address, Observation()).value)

    def add(self, record: NodeRecord, *, overtaken: bool = False) -> None:
        """overtaken: the world was looked at anew while it was made; what was seen then stays."""
        self.records[record.address] = record
        if not overtaken:
            self._observations[record.address] = Observation(value=record.observation)
        self._gone.discard(record.address)

    def inputs(self, node: Node) -> dict[str, list[Made]]:
        """Of instances of which the best is asked for, that one. Raises NodeError: none reports the metric."""
        found: dict[str, list[Made]] = {}
        for used in node.inputs:
            record, declared = self.records[used.address], self._nodes.get(used.address)
            folder = self._paths.output_root / record.folder
            manifest = read_manifest(folder)
            found.setdefault(used.role, []).append(
                Made(
                    address=used.address,
                    kind=record.kind,
                    folder=folder,
                    digest=record.digest,
                    facts=record.facts,
                    parts=record.parts,
                    artifacts=manifest.artifacts if manifest else (),
                    config=declared.config if declared else {},
                )
            )
        for role, best in {used.role: used.best for used in node.inputs if used.best}.items():
            found[role] = [choose_best(found[role], *best)]
        return found

    def is_made(self, address: Address, wanted: str) -> bool:
        record = self.records.get(address)
        asked_anew = address in self._gone or address in self._job.replace
        return record is not None and record.fingerprint == wanted and not asked_anew

    def lived_on(self) -> list[NodeRecord]:
        """Records of outputs that people changed by hand, with the parts as they are now.

        What they changed has reached those who read it, so the next difference starts from here.
        """
        return [
            replace(record, parts=observed.parts)
            for address, observed in self._observations.items()
            if observed.parts is not None
            and (record := self.records.get(address)) is not None
            and dict(record.parts) != dict(observed.parts)
        ]


def record_of(node: Node, manifest: Manifest, *, duration_s: float, accepted: str | None = None) -> NodeRecord:
    """What the state keeps of an output. accepted: why it counts although no run made it so."""
    return NodeRecord(
        address=node.address,
        kind=node.kind,
        kind_version=node.kind_version,
        fingerprint=manifest.fingerprint,
        result_config=node.result_config,
        inputs=manifest.inputs,
        observation=manifest.observation,
        digest=manifest.digest,
        parts=manifest.parts,
        facts=manifest.facts,
        folder=node.address.folder,
        run=manifest.run,
        made_at=manifest.made_at,
        duration_s=duration_s,
        notes=manifest.notes,
        accepted=accepted,
    )
