"""DPT over vision transformers whose patches are no power of two pixels wide (DINOv2: 14).

SMP's DPT makes its feature maps 1/4, 1/8, 1/16 and 1/32 of the image from the encoder's stride, which needs
stride 16: with 14 the upsampling factors (3.5, 1.75, ...) are refused. Here the image is scaled by 14/16 before the
encoder, so that a patch covers 16 pixels of the original, and the decoder is built for stride 16. The output has
the size of the original image.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional

_DECODER_STRIDE = 16


class PatchDPT(nn.Module):
    """A DPT for any patch size; its parts carry the names that SMP gives them."""

    def __init__(self, encoder: str, classes: int, *, in_channels: int, pretrained: bool, options: Mapping[str, Any]):
        super().__init__()
        # Private to SMP's DPT, which fails before it could be asked for them.
        from segmentation_models_pytorch.base import initialization
        from segmentation_models_pytorch.decoders.dpt.decoder import DPTDecoder, DPTSegmentationHead
        from segmentation_models_pytorch.encoders.timm_vit import TimmViTEncoder

        own = dict(options)
        fusion = int(own.pop("decoder_fusion_channels", 256))
        middle = tuple(own.pop("decoder_intermediate_channels", (256, 512, 1024, 1024)))
        readout = own.pop("decoder_readout", "cat")
        depth = int(own.pop("encoder_depth", len(middle)))
        indices = own.pop("encoder_output_indices", None)
        self.encoder = TimmViTEncoder(
            name=encoder.removeprefix("tu-"),
            in_channels=in_channels,
            depth=depth,
            pretrained=pretrained,
            output_indices=indices,
            **{"dynamic_img_size": True, **own},
        )
        self.patch = int(self.encoder.output_stride)
        self.encoder.output_stride = _DECODER_STRIDE
        self.decoder = DPTDecoder(
            encoder_out_channels=self.encoder.out_channels,
            encoder_output_strides=[_DECODER_STRIDE] * depth,
            encoder_has_prefix_tokens=self.encoder.has_prefix_tokens,
            readout=readout if self.encoder.has_prefix_tokens else "ignore",
            intermediate_channels=middle,
            fusion_channels=fusion,
        )
        self.segmentation_head = DPTSegmentationHead(in_channels=fusion, out_channels=classes, upsampling=2.0)
        initialization.initialize_decoder(self.decoder)
        initialization.initialize_head(self.segmentation_head)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        height, width = images.shape[-2:]
        size = (height // _DECODER_STRIDE * self.patch, width // _DECODER_STRIDE * self.patch)
        scaled = functional.interpolate(images, size=size, mode="bilinear", align_corners=False, antialias=True)
        features, prefix_tokens = self.encoder(scaled)
        logits: torch.Tensor = self.segmentation_head(self.decoder(features, prefix_tokens))
        return logits
