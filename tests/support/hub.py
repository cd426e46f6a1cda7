"""Nodes that publish to, or read from, the double of the Hub."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from specrun.model.address import parse_address
from specrun.model.work import Made
from specrun.run.context import WorkerContext
from tests.doubles.hub import HubDouble
from tests.support.context import DictMemory, make_context

REFERENCE = {"env": "HF_TOKEN"}


@pytest.fixture
def reachable_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library reads its settings when it is imported. The double speaks git-lfs, not Xet."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)


def declared(hub: HubDouble) -> dict[str, Any]:
    return {"connections.hub": {"token": REFERENCE, "endpoint": hub.url}}


def made_output(folder: Path, files: Mapping[str, bytes], address: str = "exports.coins", **facts: Any) -> Made:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    (folder / "manifest.json").write_text("{}")
    return Made(parse_address(address), "x.y", folder, "digest", facts=facts)


def hub_context(
    tmp_path: Path,
    address: str,
    hub: HubDouble,
    token: str,
    *inputs: Made,
    memory: DictMemory | None = None,
    **more: Any,
) -> WorkerContext:
    from specrun.model.digest import canonical_json

    return make_context(
        tmp_path,
        address,
        declarations=declared(hub),
        secrets={canonical_json(REFERENCE): token},
        made={"artifact": inputs} if inputs else {},
        memory=memory or DictMemory(),
        **more,
    )
