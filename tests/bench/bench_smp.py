"""Training under specrun beside the same loop written out with torch, in one run: `python -m tests.bench.bench_smp`.

Both train one network on the same generated shapes, in this process, in turns; the budget is 2% more.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from specrun.training.smp.description import ModelDescription
from specrun.training.smp.losses import SumOfLosses, loss_terms
from specrun.training.smp.model import build_model
from tests.bench.measure import medians_s, show
from tests.support.shapes import TINY, run_smp, shapes_context, write_shapes

EPOCHS, BATCH, IMAGES, SIDE = 3, 8, 64, 128


def plain(export: Path) -> None:
    """Decoded once, flipped at random, validated each epoch, the best weights saved."""
    read = {
        split: [
            (
                torch.from_numpy(np.asarray(Image.open(image)).copy()).permute(2, 0, 1),
                torch.from_numpy(np.asarray(Image.open(export / "annotations" / split / image.name)).astype(np.int64)),
            )
            for image in sorted((export / "images" / split).glob("*.png"))
        ]
        for split in ("train", "val")
    }
    described = ModelDescription(
        arch="Unet",
        encoder=TINY["encoder"],
        classes=("box", "disc"),
        background=0,
        ignore_index=255,
        activation="softmax",
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        image_size=(SIDE, SIDE),
        stride=32,
        arch_options=TINY["arch_options"],
    )
    net, loss = build_model(described), SumOfLosses(loss_terms("dice_ce"), "softmax", 255, None, 3)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) * 255 for values in (described.mean, described.std))
    for _ in range(EPOCHS):
        net.train()
        for part in torch.randperm(IMAGES).split(BATCH):
            pairs = [read["train"][index] for index in part.tolist()]
            pairs = [(i.flip(-1), m.flip(-1)) if float(torch.rand(())) < 0.5 else (i, m) for i, m in pairs]
            images, masks = torch.stack([i for i, _ in pairs]), torch.stack([m for _, m in pairs])
            optimizer.zero_grad()
            loss(net((images.float() - mean) / std), masks).backward()
            optimizer.step()
        net.eval()
        with torch.no_grad():
            for start in range(0, len(read["val"]), BATCH):
                images = torch.stack([image for image, _ in read["val"][start : start + BATCH]])
                net((images.float() - mean) / std).argmax(1)
        torch.save({"net": net.state_dict(), "optimizer": optimizer.state_dict()}, export / "last.pt")


def main(rounds: int) -> None:
    torch.set_num_threads(1)
    folder = Path(tempfile.mkdtemp())
    export = write_shapes(folder / "export", train=IMAGES, val=BATCH, size=SIDE)

    def ours() -> None:
        shutil.rmtree(folder / "run", ignore_errors=True)
        train = {"epochs": EPOCHS, "batch": BATCH, "image_size": [SIDE, SIDE], "normalize": "imagenet", "pictures": 0}
        run_smp(shapes_context(folder / "run", export), train=train)

    medians = medians_s({"plain torch loop": lambda: plain(export), "models.smp": ours}, rounds=rounds)
    show(f"{EPOCHS} epochs of {IMAGES} images, {SIDE}x{SIDE}", medians, "2% more than the plain loop")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
