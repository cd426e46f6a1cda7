"""First runs, unchanged plans and their growth: python tests/bench/planning.py [nodes] [files]

A project of trivial `steps`, each with its own source files. Peers: an empty Python, a bare walk over the same
files, and the same programs started one after the other without specrun.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from measure import PASS, SPECRUN, command, medians_s, show

WALK = "import os, sys\nfor f, _, names in os.walk(sys.argv[1]):\n    for n in names: os.stat(os.path.join(f, n))"
ROUNDS = 7


def write_project(folder: Path, nodes: int, files: int) -> Path:
    """nodes: steps in chains of ten. files: source files, shared out evenly."""
    lines = ["specrun: 1", "project: {name: bench}", "settings: {executor: {max_parallel: 4}}", "steps:"]
    for number in range(nodes):
        source = folder / "data" / f"{number:05d}"
        source.mkdir(parents=True)
        for file in range(files // nodes):
            (source / f"{file}.txt").write_text(f"{number} {file}\n")
        inputs = f"{{before: steps.s{number - 1:05d}}}" if number % 10 else "{}"
        lines += [
            f"  s{number:05d}:",
            "    argv: [touch, made]",
            f"    inputs: {inputs}",
            "    outputs: {made: made}",
            f'    files: ["data/{number:05d}/*.txt"]',
        ]
    spec = folder / "project.yaml"
    spec.write_text("\n".join(lines) + "\n")
    return spec


def first_run(spec: Path, nodes: int) -> None:
    started = time.perf_counter()
    command([SPECRUN, "apply", str(spec), "--ui", "quiet"])()
    ours = time.perf_counter() - started
    started = time.perf_counter()
    for number in range(nodes):
        folder = spec.parent / "peer" / str(number)
        folder.mkdir(parents=True)
        subprocess.run(["touch", "made"], cwd=folder, check=True)
    peer = time.perf_counter() - started
    medians = {"specrun apply": ours, "the same programs, one after the other": peer}
    show(f"first run of {nodes} trivial nodes", medians, "3 s for 1,000 nodes")


def unchanged(spec: Path, nodes: int, files: int) -> None:
    cases = {
        "python -c pass": command(PASS),
        "python, walk and stat": command([sys.executable, "-c", WALK, str(spec.parent / "data")]),
        "specrun plan": command([SPECRUN, "plan", str(spec), "--detailed-exitcode"]),
        "specrun apply": command([SPECRUN, "apply", str(spec)]),
    }
    title = f"nothing changed, {nodes} nodes, {files} files"
    show(title, medians_s(cases, rounds=ROUNDS), "plan 0.5 s for 1,000 and 10,000, going for 0.25 s")


def growth(sizes: Sequence[int]) -> None:
    """A plan of nodes that were never made, the spec compiled before and not."""
    medians = {}
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            spec = write_project(Path(folder), size, 0)
            started = time.perf_counter()
            command([SPECRUN, "plan", str(spec)])()
            medians[f"{size} nodes, first plan"] = time.perf_counter() - started
            medians |= medians_s({f"{size} nodes, again": command([SPECRUN, "plan", str(spec)])}, rounds=3)
    show("planning grows", medians, "linearly to 10,000 nodes")


def main() -> None:
    nodes, files = (int(word) for word in (*sys.argv[1:], "1000", "10000")[:2])
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        spec = write_project(Path(folder), nodes, files)
        first_run(spec, nodes)
        unchanged(spec, nodes, files)
    growth((nodes // 10, nodes, nodes * 10))


if __name__ == "__main__":
    main()
