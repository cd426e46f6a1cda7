"""Looking around: what folders of unfinished work say, and when they say nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from specrun.kinds.registry import REGISTRY
from specrun.run import refresh
from specrun.store.paths import ProjectPaths
from specrun.store.staging import open_staging
from tests.support.jobs import python, step


@pytest.mark.parametrize(("busy", "found"), [((True, False), []), ((False, True), []), ((False, False), ["steps.one"])])
def test_a_run_that_ended_during_the_look_was_not_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, busy: tuple[bool, bool], found: list[str]
) -> None:
    paths = ProjectPaths(tmp_path, tmp_path / "outputs")
    node = step("one", python("pass"))
    open_staging(paths, node.address, "f1", None)
    answers = iter(busy)
    monkeypatch.setattr(refresh, "others_run", lambda _paths: next(answers))
    world = refresh.look_around([node], paths, None, {}, REGISTRY)
    assert list(map(str, world.attempts)) == found
