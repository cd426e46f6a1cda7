"""What a kind's `observe` is handed, on a temporary project."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from specrun.model.address import Address, parse_address
from specrun.model.state import NodeRecord
from specrun.run.refresh import NodeLook
from specrun.store.listing import ListingCache


def make_record(address: Address, observation: Any) -> NodeRecord:
    """As if the node had been made when the world looked like that."""
    return NodeRecord(
        address=address,
        kind="sources.images",
        kind_version=1,
        fingerprint="f",
        result_config={},
        inputs={},
        observation=observation,
        digest="d",
        parts={},
        facts={},
        folder=address.folder,
        run="r",
        made_at="2026-01-01T00:00:00Z",
        duration_s=1.0,
    )


def make_look(tmp_path: Path, address: str, *, observed: Any = None) -> NodeLook:
    """observed: the recorded value; None: the node was never made."""
    where = parse_address(address)
    state_dir = tmp_path / ".specrun"
    state_dir.mkdir(exist_ok=True)
    return NodeLook(
        address=where,
        project_dir=tmp_path,
        output_root=tmp_path / "outputs",
        state_dir=state_dir,
        settings={},
        declarations={},
        record=None if observed is None else make_record(where, observed),
        cache=ListingCache(state_dir / "cache.db"),
        remembered=lambda _address, _key: None,
    )
