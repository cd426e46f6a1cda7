"""What a kind's `observe` is handed, on a temporary project."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from specrun.model.address import Address, parse_address
from specrun.model.state import NodeRecord
from specrun.run.refresh import NodeLook
from specrun.run.secrets import Revealing
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


def make_look(
    tmp_path: Path,
    address: str,
    *,
    observed: Any = None,
    declarations: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    remembered: Mapping[str, Any] | None = None,
    facts: Mapping[str, Mapping[str, Any]] | None = None,
) -> NodeLook:
    """observed: the recorded value; None: the node was never made. environ: where secrets are looked up.
    remembered: of this node's own. facts: address of another node → what it told of its output."""
    where = parse_address(address)
    state_dir = tmp_path / ".specrun"
    state_dir.mkdir(exist_ok=True)
    return NodeLook(
        address=where,
        project_dir=tmp_path,
        output_root=tmp_path / "outputs",
        state_dir=state_dir,
        settings={},
        declarations=declarations or {},
        record=None if observed is None else make_record(where, observed),
        cache=ListingCache(state_dir / "cache.db"),
        remembered=lambda asked, key: (remembered or {}).get(key) if asked == str(where) else None,
        reveal=Revealing(tmp_path, environ or {}),
        records={
            other: replace(make_record(other, None), facts=told)
            for other, told in ((parse_address(name), told) for name, told in (facts or {}).items())
        },
    )
