"""A copy of an example spec that is applied by the real command against the CVAT double, while people work there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.doubles.cvat.server import CvatDouble
from tests.doubles.cvat.state import Task

SPECS = Path(__file__).parents[2] / "specs"
TIMEOUT_S = 600
Points = list[float]


class Example:
    """specs/<name> in a folder of its own, with the quickstart's images beside it."""

    def __init__(self, tmp_path: Path, name: str, server: CvatDouble) -> None:
        self.folder, self.server = tmp_path / name, server
        leave_out = shutil.ignore_patterns("outputs", ".specrun", "__pycache__", ".env*")
        for one in {name, "quickstart"}:
            shutil.copytree(SPECS / one, tmp_path / one, ignore=leave_out)
        token = server.add_token(server.admin)
        self.environ = {**os.environ, "CVAT_URL": server.url, "CVAT_ACCESS_TOKEN": token.value}

    def argv(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "specrun.cli.main", *words]

    def specrun(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.argv(*words),
            cwd=self.folder,
            env=self.environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_S,
        )

    def apply(self, *words: str, code: int) -> str:
        """What it printed."""
        done = self.specrun("apply", "--yes", "--ui", "plain", *words)
        assert done.returncode == code, f"{done.returncode}\n{done.stdout[-6000:]}\n{done.stderr[-3000:]}"
        return done.stdout + done.stderr

    def actions(self, *words: str) -> dict[str, str]:
        """Address → what plan would do."""
        done = self.specrun("plan", "--json", *words)
        assert done.returncode == 0, done.stderr
        return {node["address"]: node["action"] for node in json.loads(done.stdout)["nodes"]}

    def facts(self, node: str) -> Mapping[str, Any]:
        """node: its folder below outputs."""
        manifest = json.loads((self.folder / "outputs" / node / "manifest.json").read_text())
        facts: Mapping[str, Any] = manifest["facts"]
        return facts

    def samples(self, node: str) -> list[dict[str, Any]]:
        lines = (self.folder / "outputs" / node / "samples.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    # On the server.

    def tasks(self, project: str) -> list[Task]:
        """Of the only project of that name, by id."""
        (found,) = [one for one in self.server.state.projects.values() if one.name == project]
        return sorted(self.server.state.tasks_of(found.id), key=lambda task: task.id)

    def finish(self, *tasks: Task) -> None:
        for task in tasks:
            self.server.person.finish_task(task.id)

    def job_links(self, *tasks: Task) -> list[str]:
        """Where people find their work."""
        return [f"{self.server.url}/tasks/{task.id}" for task in tasks]

    def counts(self) -> tuple[int, ...]:
        """Projects, labels, tasks, jobs, shapes, tags."""
        state = self.server.state
        jobs = state.jobs.values()
        shapes, tags = sum(len(job.shapes) for job in jobs), sum(len(job.tags) for job in jobs)
        return (len(state.projects), len(state.labels), len(state.tasks), len(jobs), shapes, tags)


def frame_names(task: Task) -> list[str]:
    assert task.media is not None
    return [frame.name for frame in task.media.frames]


Drawn = tuple[str, str, tuple[float, ...]]
"""Frame, label and coordinates; of skeletons those of the points that are there, in the order of their names."""


def drawn(example: Example, *tasks: Task) -> list[Drawn]:
    """Every shape that the server has, sorted."""
    labels = {label.id: label.name for label in example.server.state.labels.values()}
    found: list[Drawn] = []
    for task in tasks:
        names = frame_names(task)
        for shape in example.server.person.shapes(task.id):
            points = list(shape["points"])
            for element in sorted(shape["elements"], key=lambda one: labels[one["label_id"]]):
                points += [] if element["outside"] else element["points"]
            found.append((names[shape["frame"]], labels[shape["label_id"]], _rounded(points)))
    return sorted(found)


def pulled(example: Example, node: str) -> list[Drawn]:
    """Every label that a source has, sorted as `drawn`."""
    found: list[Drawn] = []
    for sample in example.samples(node):
        for label in sample.get("labels", ()):
            found.append((Path(sample["name"]).name, label["label"], _rounded(_coordinates(label))))
    return sorted(found)


def _coordinates(label: Mapping[str, Any]) -> Points:
    if label["type"] == "polygon":
        ((ring,),) = label["parts"]
        return list(ring)
    assert label["type"] == "keypoints"
    places = zip(label["names"], label["visibility"], label["points"][::2], label["points"][1::2], strict=True)
    return [value for _, visible, x, y in sorted(places) if visible for value in (x, y)]


def _rounded(points: Points) -> tuple[float, ...]:
    return tuple(round(value, 2) for value in points)
