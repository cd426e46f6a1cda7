"""Which networks cannot be shown one image alone."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
smp = pytest.importorskip("segmentation_models_pytorch")

from specrun.training.smp import names  # noqa: E402 (needs torch)
from specrun.training.smp.module import normalizes_one_pixel  # noqa: E402


def _refuses_one_image(net: object) -> bool:
    try:
        net.train()(torch.rand((1, 3, 128, 128)))  # type: ignore[attr-defined]
    except ValueError as error:
        return "more than 1 value per channel" in str(error)
    return False


@pytest.mark.parametrize("arch", [arch for arch in names.architectures() if arch != "DPT"])
def test_a_network_is_told_to_need_two_images_only_if_it_refuses_one(arch: str) -> None:
    net = smp.create_model(arch, "timm-mobilenetv3_small_minimal_100", encoder_weights=None)
    if _refuses_one_image(net):
        assert normalizes_one_pixel(net)
    else:
        assert not normalizes_one_pixel(net)
