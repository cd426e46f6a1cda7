"""Count the words of a folder of texts that have at least so many letters."""

import argparse
import json
import re
from collections import Counter
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("folder", type=Path)
parser.add_argument("--least", type=int, default=1)
arguments = parser.parse_args()

counts: Counter[str] = Counter()
for step, text in enumerate(sorted(arguments.folder.glob("*.txt")), start=1):
    words = re.findall(r"\w+", text.read_text(encoding="utf-8"))
    counts.update(word for word in words if len(word) >= arguments.least)
    print(json.dumps({"metric": "words", "step": step, "value": counts.total()}))
Path("counts.json").write_text(json.dumps(dict(sorted(counts.items())), indent=1), encoding="utf-8")
