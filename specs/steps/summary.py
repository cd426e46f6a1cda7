"""A table of both counts. Inputs are also in the environment: SPECRUN_INPUT_<NAME>."""

import json
import os
from pathlib import Path

lines = ["| which words | different | in all |", "|---|---|---|"]
for title, name in (("all", "ALL"), ("long ones", "LONG")):
    counts = json.loads((Path(os.environ[f"SPECRUN_INPUT_{name}"]) / "counts.json").read_text(encoding="utf-8"))
    lines.append(f"| {title} | {len(counts)} | {sum(counts.values())} |")
    print(lines[-1])
Path("summary.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
