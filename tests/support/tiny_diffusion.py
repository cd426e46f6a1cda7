"""Tiny base models with random weights, through the real classes and `save_pretrained`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_MARKS = ("<|startoftext|>", "<|endoftext|>")


def tiny_tokenizer() -> Any:
    """A CLIP tokenizer that knows every byte and merges nothing."""
    from transformers import CLIPTokenizer
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    letters = list(bytes_to_unicode().values())
    words = [*letters, *(f"{letter}</w>" for letter in letters), *_MARKS]
    vocabulary = {word: number for number, word in enumerate(words)}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=77)


def tiny_sd(folder: Path, *, seed: int = 0, **scheduler: Any) -> Path:
    """Stable Diffusion 1.x. scheduler: settings such as prediction_type."""
    import torch
    from diffusers import StableDiffusionPipeline
    from transformers import CLIPTextModel

    torch.manual_seed(seed)
    tokenizer = tiny_tokenizer()
    pipe = StableDiffusionPipeline(
        unet=_unet(cross_attention_dim=16),
        vae=_vae(),
        text_encoder=CLIPTextModel(_text_config(tokenizer)),
        tokenizer=tokenizer,
        scheduler=_scheduler(**scheduler),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.save_pretrained(folder)
    return folder


def tiny_sdxl(folder: Path, *, seed: int = 0, second: int = 16, **scheduler: Any) -> Path:
    """Stable Diffusion XL. second: width of the second text encoder. scheduler: settings such as prediction_type."""
    import torch
    from diffusers import StableDiffusionXLPipeline
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    torch.manual_seed(seed)
    tokenizer = tiny_tokenizer()
    unet = _unet(
        cross_attention_dim=16 + second,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 16,
        transformer_layers_per_block=(1, 2),
        use_linear_projection=True,
    )
    pipe = StableDiffusionXLPipeline(
        unet=unet,
        vae=_vae(),
        text_encoder=CLIPTextModel(_text_config(tokenizer)),
        text_encoder_2=CLIPTextModelWithProjection(_text_config(tokenizer, second)),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        scheduler=_scheduler(**scheduler),
        add_watermarker=False,
    )
    pipe.save_pretrained(folder)
    return folder


def tiny_flux(folder: Path, *, seed: int = 0, guidance: bool = True, **changes: Any) -> Path:
    """FLUX.1, dev (which is told of guidance) or schnell. changes: of the transformer."""
    import torch
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
    from transformers import CLIPTextModel, T5EncoderModel

    torch.manual_seed(seed)
    tokenizer, words = tiny_tokenizer(), tiny_t5_tokenizer()
    sizes = {"num_layers": 2, "num_single_layers": 2, "attention_head_dim": 16, "num_attention_heads": 2}
    transformer = FluxTransformer2DModel(
        **{**sizes, **changes}, joint_attention_dim=24, pooled_projection_dim=16, guidance_embeds=guidance,
        axes_dims_rope=(4, 6, 6) if "attention_head_dim" not in changes else (16, 56, 56),
    )  # fmt: skip
    pipe = FluxPipeline(
        transformer=transformer,
        vae=_vae(latent_channels=16, shift_factor=0.1159, scaling_factor=0.3611, use_quant_conv=False,
                 use_post_quant_conv=False, force_upcast=True),
        text_encoder=CLIPTextModel(_text_config(tokenizer)),
        text_encoder_2=T5EncoderModel(_t5_config(words)),
        tokenizer=tokenizer,
        tokenizer_2=words,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
    )  # fmt: skip
    pipe.save_pretrained(folder)
    return folder


def tiny_t5_tokenizer() -> Any:
    """A T5 tokenizer that knows letters and no words; short, so that tests are quick."""
    from transformers import T5Tokenizer

    letters = [(letter, -3.0) for letter in "▁abcdefghijklmnopqrstuvwxyz0123456789,."]
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *letters]
    return T5Tokenizer(vocab=vocabulary, extra_ids=0, model_max_length=40)


def _t5_config(tokenizer: Any) -> Any:
    from transformers import T5Config

    return T5Config(
        vocab_size=len(tokenizer), d_model=24, d_kv=8, d_ff=32, num_layers=2, num_heads=2,
        feed_forward_proj="gated-gelu",
    )  # fmt: skip


def _unet(**changes: Any) -> Any:
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        block_out_channels=(16, 32),
        layers_per_block=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=8,
        norm_num_groups=8,
        **changes,
    )


def _vae(latent_channels: int = 4, **changes: Any) -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=latent_channels,
        sample_size=64,
        **changes,
    )


def _text_config(tokenizer: Any, width: int = 16) -> Any:
    from transformers import CLIPTextConfig

    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        max_position_embeddings=77,
        projection_dim=16,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _scheduler(**changes: Any) -> Any:
    from diffusers import DDIMScheduler

    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        **changes,
    )
