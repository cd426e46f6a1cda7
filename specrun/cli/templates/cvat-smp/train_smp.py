"""Train a semantic segmentation model of segmentation-models-pytorch on an mmseg export.

Reads meta.json, images/<split>/ and annotations/<split>/; writes best.pt, last.pt and metrics.json.
Lines of JSON on standard output become specrun's progress bar and curves.
Needs: pip install segmentation-models-pytorch
"""

import argparse
import json
import os
import random
from pathlib import Path

import numpy as np
import segmentation_models_pytorch as smp
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

MEAN, STD = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)


class Pairs(Dataset):
    """Images and label maps of one split, cropped or padded to a square."""

    def __init__(self, root, split, size, ignore_index, augment):
        maps = sorted((root / "annotations" / split).rglob("*.png"))
        images = {
            p.relative_to(root / "images" / split).with_suffix(""): p for p in (root / "images" / split).rglob("*.*")
        }
        self.pairs = [(images[m.relative_to(root / "annotations" / split).with_suffix("")], m) for m in maps]
        self.size, self.ignore_index, self.augment = size, ignore_index, augment

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, index):
        image_path, map_path = self.pairs[index]
        image = np.asarray(Image.open(image_path).convert("RGB"), np.float32) / 255
        labels = np.asarray(Image.open(map_path), np.int64)
        pad = [(0, max(0, self.size - n)) for n in labels.shape]
        image = np.pad((image - MEAN) / STD, [*pad, (0, 0)])
        labels = np.pad(labels, pad, constant_values=self.ignore_index)
        top, left = ((n - self.size) // 2 for n in labels.shape)
        if self.augment:
            top, left = (random.randint(0, n - self.size) for n in labels.shape)
        image, labels = (a[top : top + self.size, left : left + self.size] for a in (image, labels))
        if self.augment and random.random() < 0.5:
            image, labels = image[:, ::-1], labels[:, ::-1]
        return torch.from_numpy(image.transpose(2, 0, 1).copy()), torch.from_numpy(labels.copy())


def mean_iou(model, loader, classes, ignore_index, device):
    """Mean over the classes of intersection by union, over all pixels of the split."""
    confusion = torch.zeros(classes, classes, dtype=torch.int64)
    model.eval()
    with torch.inference_mode():
        for images, labels in loader:
            found = model(images.to(device)).argmax(1).cpu()
            valid = labels != ignore_index
            confusion += torch.bincount(labels[valid] * classes + found[valid], minlength=classes**2).view(
                classes, classes
            )
    overlap = confusion.diag()
    union = confusion.sum(0) + confusion.sum(1) - overlap
    return (overlap[union > 0] / union[union > 0]).mean().item() if union.any() else 0.0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--arch", default="Unet")
    parser.add_argument("--encoder", default="resnet34")
    parser.add_argument("--encoder-weights", default="imagenet")
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    random.seed(args.seed)
    torch.manual_seed(args.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"

    meta = json.loads((args.data / "meta.json").read_text())
    classes, ignore = len(meta["classes"]), meta["ignore_index"]
    train = Pairs(args.data, "train", args.size, ignore, augment=True)
    val = Pairs(args.data, "val", args.size, ignore, augment=False)
    workers = min(4, os.cpu_count() or 1) if device == "cuda" else 0
    # A last batch of one image would stop batch normalisation.
    loader = DataLoader(train, args.batch, shuffle=True, num_workers=workers, drop_last=len(train) > args.batch)
    val_loader = DataLoader(val, args.batch, num_workers=workers)

    weights = None if args.encoder_weights == "none" else args.encoder_weights
    settings = {"arch": args.arch, "encoder_name": args.encoder, "in_channels": 3, "classes": classes}
    model = smp.create_model(**settings, encoder_weights=weights).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, args.epochs)
    dice = smp.losses.DiceLoss("multiclass", ignore_index=ignore)
    cross_entropy = torch.nn.CrossEntropyLoss(ignore_index=ignore)

    start, best, last = 0, -1.0, args.out / "last.pt"
    if os.environ.get("SPECRUN_RESUME") == "1" and last.exists():
        state = torch.load(last, map_location=device, weights_only=True)
        for part, name in ((model, "model"), (optimizer, "optimizer"), (schedule, "schedule")):
            part.load_state_dict(state[name])
        start, best = state["epoch"], state["best"]
        print(f"going on after epoch {start}")

    for epoch in range(start, args.epochs):
        model.train()
        total = 0.0
        for step, (images, labels) in enumerate(loader, start=1):
            images, labels = images.to(device), labels.to(device)
            scores = model(images)
            loss = dice(scores, labels) + cross_entropy(scores, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
            done = epoch * len(loader) + step
            print(json.dumps({"done": done, "total": args.epochs * len(loader), "unit": "steps"}), flush=True)
        schedule.step()
        iou = mean_iou(model, val_loader, classes, ignore, device)
        for name, value in (("train/loss", total / len(loader)), ("val/iou", iou)):
            print(json.dumps({"metric": name, "step": epoch + 1, "value": value}), flush=True)
        if iou > best:
            best = iou
            torch.save({"settings": settings, "meta": meta, "model": model.state_dict()}, args.out / "best.pt")
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()}
        torch.save({**state, "epoch": epoch + 1, "best": best}, args.out / "last.tmp")
        os.replace(args.out / "last.tmp", last)
        (args.out / "metrics.json").write_text(json.dumps({"val/iou": best, "epochs": epoch + 1}))


if __name__ == "__main__":
    main()
