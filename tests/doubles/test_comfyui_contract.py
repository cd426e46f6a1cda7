"""The double against what real ComfyUI servers said: 0.3.64 (October 2025) and 0.28.0 (July 2026), on a CPU.

SPECRUN_TEST_COMFYUI_URL and SPECRUN_TEST_COMFYUI_CHECKPOINT: a real server to compare with what was recorded.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.comfyui import comfy_double
from tests.support.comfy_talk import Talk

_GOLDEN = Path(__file__).parents[1] / "golden" / "comfyui"
_VERSIONS = {"0.3.64": "0.3.64", "0.28": "0.28.0"}


def recorded(version: str) -> dict[str, Any]:
    return dict(json.loads((_GOLDEN / f"{_VERSIONS[version]}.json").read_text()))


def differences(ours: Any, theirs: Any, where: str = "") -> list[str]:
    """What the double says and the real server does not. A list that was empty there may hold anything."""
    if ours == theirs or theirs == "open" or ours is None or theirs is None:
        return []
    if missing := [one for one in options(ours) if json.dumps(one) not in map(json.dumps, options(theirs))]:
        if len(options(theirs)) > 1 or len(options(ours)) > 1:
            return [f"{where}: {one} is not among {options(theirs)}" for one in missing]
    else:
        return []
    if isinstance(ours, dict) and isinstance(theirs, dict):
        more = [f"{where}.{key} is not there" for key in ours if key not in theirs]
        return more + [
            line
            for key in ours.keys() & theirs.keys()
            for line in differences(ours[key], theirs[key], f"{where}.{key}")
        ]
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        return [line for one, other in zip(ours, theirs, strict=True) for line in differences(one, other, f"{where}[]")]
    return [f"{where}: {ours} is {theirs} there"]


def options(found: Any) -> list[Any]:
    return [json.loads(one) for one in found["one of"]] if isinstance(found, dict) and "one of" in found else [found]


@pytest.fixture(scope="module", params=list(_VERSIONS))
def both(request: pytest.FixtureRequest) -> tuple[dict[str, Any], dict[str, Any]]:
    with comfy_double(version=request.param) as server:
        server.pace = 0.002
        return Talk(server.url, "tiny.safetensors").whole(), recorded(request.param)


def test_the_double_answers_in_the_shapes_of_a_real_server(both: Any) -> None:
    ours, theirs = both
    assert ours["answers"].keys() == theirs["answers"].keys()
    assert not differences(ours["answers"], theirs["answers"])


def test_the_double_sends_the_messages_of_a_real_server(both: Any) -> None:
    ours, theirs = both
    assert not differences(ours["messages"], theirs["messages"])


def test_messages_come_in_the_order_of_a_real_server(both: Any) -> None:
    ours, theirs = both
    for what, order in ours["order"].items():
        told = [kind for kind in dict.fromkeys(theirs["order"][what]) if kind in order and kind not in _BESIDE]
        assert [kind for kind in dict.fromkeys(order) if kind not in _BESIDE] == told, what


_BESIDE = ("status", "executing")
"""`status` comes in between at any time; `executing` also ends the prompt before, later."""


@pytest.mark.slow
@pytest.mark.skipif("SPECRUN_TEST_COMFYUI_URL" not in os.environ, reason="needs a real ComfyUI server")
def test_a_real_server_still_says_what_was_recorded() -> None:
    talk = Talk(os.environ["SPECRUN_TEST_COMFYUI_URL"], os.environ["SPECRUN_TEST_COMFYUI_CHECKPOINT"])
    assert not differences(recorded("0.28"), talk.whole())
