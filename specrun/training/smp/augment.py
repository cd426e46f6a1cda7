"""Random changes of one image and its label map, drawn by a generator of ours; and of whole batches.

torchvision's v2 transforms draw from the global generator and once for a batch; here each sample draws its own
numbers first, and v2's functionals carry them out, on the device where the sample lies.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as v2

from specrun.training.smp.data import IGNORED
from specrun.training.smp.settings import AugmentSpec

_FILL = 114.0


@dataclass(frozen=True)
class Augment:
    """Callable on (3, h, w) uint8 and (h, w) uint8, the size stays."""

    spec: AugmentSpec

    def __call__(self, image: Tensor, mask: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
        image, mask = self._geometry(image, mask, random)
        return self._colors(image, random), mask

    def _geometry(self, image: Tensor, mask: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
        spec = self.spec
        if _happens(spec.flip, random):
            image, mask = v2.horizontal_flip(image), v2.horizontal_flip(mask)
        if _happens(spec.flip_vertical, random):
            image, mask = v2.vertical_flip(image), v2.vertical_flip(mask)
        if spec.crop is not None:
            image, mask = _crop(image, mask, spec.crop, random)
        if spec.rotate or spec.scale is not None:
            angle = _between(-spec.rotate, spec.rotate, random)
            low, high = spec.scale or (1.0, 1.0)
            zoom = math.exp(_between(math.log(low), math.log(high), random))
            image = _affine(image, angle, zoom, InterpolationMode.BILINEAR, [_FILL] * 3)
            mask = _affine(mask[None], angle, zoom, InterpolationMode.NEAREST, [float(IGNORED)])[0]
        return image, mask

    def _colors(self, image: Tensor, random: torch.Generator) -> Tensor:
        spec = self.spec
        if spec.color_jitter:
            amount = spec.color_jitter
            brightness, contrast, saturation = (_between(1 - amount, 1 + amount, random) for _ in range(3))
            hue = _between(-amount / 10, amount / 10, random)
            image = v2.adjust_brightness(image, max(0.0, brightness))
            image = v2.adjust_contrast(image, max(0.0, contrast))
            image = v2.adjust_saturation(image, max(0.0, saturation))
            image = v2.adjust_hue(image, hue)
        if _happens(spec.blur, random):
            image = v2.gaussian_blur(image, [5, 5], [_between(0.3, 1.5, random)] * 2)
        if spec.noise:
            level = _between(0.0, spec.noise, random) * 255
            grain = torch.randn(image.shape, generator=random).to(image.device)
            image = (image.float() + level * grain).round_().clamp_(0, 255).to(torch.uint8)
        return image


def _happens(chance: float, random: torch.Generator) -> bool:
    return chance > 0 and float(torch.rand((), generator=random)) < chance


def _between(low: float, high: float, random: torch.Generator) -> float:
    return low + (high - low) * float(torch.rand((), generator=random))


def _affine(pixels: Tensor, angle: float, zoom: float, how: InterpolationMode, fill: list[float]) -> Tensor:
    return v2.affine(pixels, angle, [0, 0], zoom, [0.0, 0.0], interpolation=how, fill=fill)


def _crop(image: Tensor, mask: Tensor, sides: tuple[float, float], random: torch.Generator) -> tuple[Tensor, Tensor]:
    height, width = mask.shape
    side = _between(*sides, random)
    inner = max(1, round(height * side)), max(1, round(width * side))
    top = int(torch.randint(0, height - inner[0] + 1, (1,), generator=random))
    left = int(torch.randint(0, width - inner[1] + 1, (1,), generator=random))
    size = [height, width]
    image = v2.resized_crop(image, top, left, *inner, size, InterpolationMode.BILINEAR, antialias=True)
    mask = v2.resized_crop(mask[None], top, left, *inner, size, InterpolationMode.NEAREST, antialias=False)[0]
    return image, mask


@dataclass(frozen=True)
class Mixed:
    """A batch after mixup and cutmix. other: the labels that count `1 - share`, None without mixup."""

    images: Tensor
    labels: Tensor
    other: Tensor | None = None
    share: float = 1.0


def mix_batch(
    images: Tensor, labels: Tensor, spec: AugmentSpec, random: torch.Generator, together: torch.Generator
) -> Mixed:
    """images: (n, 3, h, w) float. together: draws the same in every process of a training, so that all of them have
    two losses or one; a batch of one is mixed with itself."""
    if spec.cutmix and len(images) > 1:
        images, labels = _cutmix(images, labels, spec.cutmix, random)
    if not _happens(spec.mixup, together):
        return Mixed(images, labels)
    order = torch.randperm(len(images), generator=random).to(images.device)
    # Uniform in [0.5, 1]: the labels of an image always count at least as much as those of the other.
    share = _between(0.5, 1.0, together)
    return Mixed(share * images + (1 - share) * images[order], labels, labels[order], share)


def _cutmix(images: Tensor, labels: Tensor, chance: float, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Rectangles of the batch in another order, pixels and labels together."""
    count, height, width = len(images), images.shape[-2], images.shape[-1]
    order = torch.randperm(count, generator=random).tolist()
    new_images, new_labels = images.clone(), labels.clone()
    for index, other in enumerate(order):
        if not _happens(chance, random):
            continue
        side = math.sqrt(_between(0.1, 0.5, random))
        inner = max(1, round(height * side)), max(1, round(width * side))
        top = int(torch.randint(0, height - inner[0] + 1, (1,), generator=random))
        left = int(torch.randint(0, width - inner[1] + 1, (1,), generator=random))
        part = (..., slice(top, top + inner[0]), slice(left, left + inner[1]))
        new_images[index][part] = images[other][part]
        new_labels[index][part] = labels[other][part]
    return new_images, new_labels
