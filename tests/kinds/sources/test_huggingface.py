from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from PIL import Image

from specrun.errors import FormatError, NodeError
from specrun.formats.samples import load_samples
from specrun.kinds.sources.huggingface import HuggingFaceSource
from specrun.kinds.sources.huggingface_spec import HuggingFaceSourceSpec
from specrun.model.artifact import Outputs
from tests.doubles.hub import HubDouble, hub_double
from tests.support.hub import declared, hub_context, reachable_hub
from tests.support.look import make_look

__all__ = ["reachable_hub"]
pytestmark = pytest.mark.usefixtures("reachable_hub")


def png(color: str, side: int = 8) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (side, side), color).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def hub() -> Iterator[HubDouble]:
    with hub_double() as double:
        files = {f"train/{i:02}.png": png("red", 8 + i) for i in range(12)}
        double.make("org/plants", "dataset", {**files, "train/00.txt": b"a plant", "raw/x.bin": b"\0" * 5000})
        yield double


def spec_of(**fields: Any) -> HuggingFaceSourceSpec:
    return HuggingFaceSourceSpec(**{"connection": "hub", "repo": "org/plants", **fields})


def fetched(tmp_path: Path, hub: HubDouble, *, previous: Path | None = None, **fields: Any) -> tuple[Outputs, Path]:
    ctx = hub_context(tmp_path, "sources.plants", hub, "hf_reader", previous=previous)
    return HuggingFaceSource().run(spec_of(**fields), ctx), ctx.staging


def test_images_become_samples_and_other_files_lie_beside_them(tmp_path: Path, hub: HubDouble) -> None:
    outputs, staging = fetched(tmp_path, hub)
    samples = list(load_samples(staging / "samples.jsonl", tmp_path))
    assert len(samples) == 12
    assert samples[0].key == "plants/train/00.png"
    assert samples[3].size_wh == (11, 11)
    assert (staging / "files/train/00.txt").read_bytes() == b"a plant"
    assert (staging / "files/raw/x.bin").stat().st_size == 5000
    assert not (staging / "files/.cache").exists()
    assert outputs.facts["commit"] == hub.repos["org/plants"].head.oid


def test_only_what_is_included_is_fetched(tmp_path: Path, hub: HubDouble) -> None:
    outputs, staging = fetched(tmp_path, hub, include=["train/0[0-3].png"])
    assert outputs.facts["files"] == 4
    assert not (staging / "files/raw").exists()


def test_a_new_commit_fetches_only_what_changed(tmp_path: Path, hub: HubDouble) -> None:
    _, before = fetched(tmp_path / "a", hub)
    hub.person_commits("org/plants", {"train/03.png": png("blue")})
    outputs, staging = fetched(tmp_path / "b", hub, previous=before)
    assert outputs.facts["fetched"] == 1
    assert (staging / "files/train/03.png").read_bytes() == png("blue")


def test_an_interrupted_fetch_goes_on(tmp_path: Path, hub: HubDouble) -> None:
    hub.faults.append(("HEAD", r"train/05\.png", 404))
    with pytest.raises(NodeError):
        fetched(tmp_path, hub)
    outputs, _ = fetched(tmp_path, hub)
    assert 0 < int(str(outputs.facts["fetched"])) < 14


def test_a_file_that_would_lie_elsewhere_is_refused(tmp_path: Path, hub: HubDouble) -> None:
    hub.person_commits("org/plants", {"train/../../evil.png": png("red")})
    with pytest.raises(FormatError, match="outside"):
        fetched(tmp_path, hub, include=["**"])
    assert not list(tmp_path.rglob("evil.png"))


def test_an_unknown_repository_is_told_so(tmp_path: Path, hub: HubDouble) -> None:
    with pytest.raises(NodeError, match="no such dataset repository"):
        fetched(tmp_path, hub, repo="org/none")


@pytest.mark.parametrize(("sync", "requests"), [("never", 0), ("if_changed", 1), ("always", 1)])
def test_looking_costs_one_request_at_most(tmp_path: Path, hub: HubDouble, sync: str, requests: int) -> None:
    commit = hub.repos["org/plants"].head.oid
    recorded = {"commit": commit, "host": hub.url.removeprefix("http://")}
    look = make_look(
        tmp_path, "sources.plants", observed=recorded, declarations=declared(hub), environ={"HF_TOKEN": "hf_reader"}
    )
    hub.person_commits("org/plants", {"train/12.png": png("green")})
    seen = anyio.run(HuggingFaceSource().observe, spec_of(sync=sync), look)
    assert len(hub.seen) == requests
    assert (seen.value == recorded) == (sync == "never")
    if sync != "never":
        assert f"main is {hub.repos['org/plants'].head.oid[:8]} now, it was {commit[:8]}" in seen.differences[0]
