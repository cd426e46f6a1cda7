"""Train a LoRA of a Stable Diffusion 1.x or 2.x model on images with captions (a.jpg beside a.txt).

Writes pytorch_lora_weights.safetensors, which diffusers and most other programs load.
Lines of JSON on standard output become specrun's progress bar and curves.
Needs: pip install diffusers transformers peft safetensors
"""

import argparse
import json
import random
from pathlib import Path

import numpy as np
import torch
from diffusers import DDPMScheduler, StableDiffusionPipeline
from diffusers.utils import convert_state_dict_to_diffusers
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from PIL import Image, ImageOps
from torch.nn.functional import mse_loss

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


def captioned(folder, trigger):
    """(image, caption) of every image; one without a caption has the trigger alone."""
    pairs = []
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES):
        text = path.with_suffix(".txt")
        caption = text.read_text(encoding="utf-8").strip() if text.exists() else ""
        pairs.append((path, ", ".join(part for part in (trigger, caption) if part)))
    if not pairs:
        raise SystemExit(f"no images in {folder}")
    return pairs


def pixels(path, resolution):
    """The middle square, in [-1, 1]."""
    image = ImageOps.fit(ImageOps.exif_transpose(Image.open(path)).convert("RGB"), (resolution, resolution))
    return torch.from_numpy(np.asarray(image, np.float32) / 127.5 - 1).permute(2, 0, 1)


def encoded(pipe, pairs, resolution, device):
    """Latents and text states of every image, once: neither the VAE nor the text encoder is trained."""
    rows = []
    for done, (path, caption) in enumerate(pairs, start=1):
        tokens = pipe.tokenizer(
            caption,
            padding="max_length",
            max_length=pipe.tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        )
        with torch.inference_mode():
            latents = pipe.vae.encode(pixels(path, resolution)[None].to(device)).latent_dist.sample()
            text = pipe.text_encoder(tokens.input_ids.to(device))[0]
        rows.append((latents.cpu() * pipe.vae.config.scaling_factor, text.cpu()))
        print(json.dumps({"done": done, "total": len(pairs), "unit": "images", "phase": "encode"}), flush=True)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--base-model", required=True)
    parser.add_argument("--trigger", default="")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--alpha", type=float, default=16)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--resolution", type=int, default=512)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    random.seed(args.seed)
    torch.manual_seed(args.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    half = device == "cuda" and torch.cuda.is_bf16_supported()

    pipe = StableDiffusionPipeline.from_pretrained(args.base_model, safety_checker=None).to(device)
    noise_schedule = DDPMScheduler.from_config(pipe.scheduler.config)
    for part in (pipe.vae, pipe.text_encoder, pipe.unet):
        part.requires_grad_(False)
    rows = encoded(pipe, captioned(args.images, args.trigger), args.resolution, device)
    pipe.vae.cpu()
    pipe.text_encoder.cpu()

    targets = ["to_q", "to_k", "to_v", "to_out.0"]
    lora = LoraConfig(r=args.rank, lora_alpha=args.alpha, init_lora_weights="gaussian", target_modules=targets)
    pipe.unet.add_adapter(lora)
    pipe.unet.train()
    trained = [parameter for parameter in pipe.unet.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=args.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, args.steps)

    for step in range(1, args.steps + 1):
        chosen = random.choices(rows, k=args.batch)
        latents = torch.cat([row[0] for row in chosen]).to(device)
        text = torch.cat([row[1] for row in chosen]).to(device)
        noise = torch.randn_like(latents)
        times = torch.randint(0, noise_schedule.config.num_train_timesteps, (len(latents),), device=device)
        noisy = noise_schedule.add_noise(latents, noise, times)
        wanted = noise
        if noise_schedule.config.prediction_type == "v_prediction":
            wanted = noise_schedule.get_velocity(latents, noise, times)
        with torch.autocast(device, dtype=torch.bfloat16, enabled=half):
            found = pipe.unet(noisy, times, text).sample
        loss = mse_loss(found.float(), wanted)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        schedule.step()
        print(json.dumps({"done": step, "total": args.steps, "unit": "steps", "phase": "train"}), flush=True)
        if step % 10 == 0 or step == args.steps:
            print(json.dumps({"metric": "train/loss", "step": step, "value": loss.item()}), flush=True)

    layers = convert_state_dict_to_diffusers(get_peft_model_state_dict(pipe.unet))
    # With the adapter's settings as metadata, so that an alpha other than the rank is kept.
    settings = pipe.unet.peft_config["default"].to_dict()
    metadata = {"r": args.rank, "lora_alpha": args.alpha, "target_modules": sorted(settings["target_modules"])}
    StableDiffusionPipeline.save_lora_weights(args.out, unet_lora_layers=layers, unet_lora_adapter_metadata=metadata)


if __name__ == "__main__":
    main()
