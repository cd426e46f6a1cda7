"""Copy the texts of the project in lower case, with progress as lines of JSON."""

import json
import sys
from pathlib import Path

texts = sorted(Path(__file__).parent.glob("*.txt"))
target = Path(sys.argv[1])
target.mkdir(parents=True)
for done, text in enumerate(texts, start=1):
    (target / text.name).write_text(text.read_text(encoding="utf-8").lower(), encoding="utf-8")
    print(json.dumps({"done": done, "total": len(texts), "unit": "texts"}))
