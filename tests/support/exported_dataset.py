"""Run as a program, since FiftyOne binds a process to one database:

    python exported_dataset.py FOLDER

Makes a dataset of the mixed samples, exports it with every kind, and prints as JSON what came out.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from specrun.formats.samples import save_samples
from specrun.kinds.datasets.dataset import Dataset
from specrun.kinds.datasets.spec import DatasetSpec
from specrun.kinds.exports.coco import Coco, CocoSpec
from specrun.kinds.exports.fiftyone import FiftyOneExport, FiftyOneExportSpec
from specrun.kinds.exports.mmseg import MMSeg, MMSegSpec
from specrun.kinds.exports.yolo import Yolo, YoloSpec
from specrun.model.address import parse_address
from specrun.model.work import Made
from tests.support.context import make_context
from tests.support.fake_dataset import publish
from tests.support.mixed_dataset import CLASSES, mixed_dataset

EXPORTS = {
    "yolo": (Yolo(), YoloSpec(dataset="reef")),
    "coco": (Coco(), CocoSpec(dataset="reef")),
    "mmseg": (MMSeg(), MMSegSpec(dataset="reef")),
    "voc": (FiftyOneExport(), FiftyOneExportSpec(dataset="reef", type="VOCDetectionDataset")),
    "misspelt": (FiftyOneExport(), FiftyOneExportSpec(dataset="reef", type="VOCDetectionDatset")),
}


def main(tmp_path: Path) -> dict[str, Any]:
    folder = tmp_path / "outputs" / "sources" / "reef"
    folder.mkdir(parents=True)
    samples = mixed_dataset(tmp_path / "media")
    counts = save_samples(folder / "samples.jsonl", samples, tmp_path)
    facts = {"images": len(samples), "classes": list(CLASSES), "labels": counts, "splits": {"train": 3, "val": 3}}
    source = Made(parse_address("sources.reef"), "sources.annotations", folder, "d", facts)
    spec = DatasetSpec(from_="sources.reef", name="exported.reef")
    context = make_context(tmp_path, "datasets.reef", made={"source": [source]})
    outputs = Dataset().run(spec, context)
    dataset = Made(
        parse_address("datasets.reef"),
        "datasets.dataset",
        context.output,
        "d",
        facts=outputs.facts,
        parts=outputs.parts,
        artifacts=outputs.artifacts,
        config=spec.model_dump(mode="json", by_alias=True),
    )
    seen: dict[str, Any] = {"dataset": dict(outputs.facts)}
    for name, (kind, wanted) in EXPORTS.items():
        ctx = make_context(tmp_path, f"exports.{name}", made={"dataset": [dataset]})
        try:
            made = kind.run(wanted, ctx)
        except Exception as error:
            seen[name] = {"error": f"{type(error).__name__}: {error}"}
            continue
        output = publish(ctx, made)
        paths = [path for path in output.rglob("*") if path.is_file() and path.name != "manifest.json"]
        files = {path.relative_to(output).as_posix(): path.read_bytes().decode("latin-1") for path in paths}
        links = [place for place, path in zip(files, paths, strict=True) if path.is_symlink()]
        seen[name] = {"notes": list(made.notes), "facts": dict(made.facts), "files": files, "links": links}
    return seen


if __name__ == "__main__":
    print("RESULT " + json.dumps(main(Path(sys.argv[1]))))
