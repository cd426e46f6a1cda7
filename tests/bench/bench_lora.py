"""LoRA training, beside the algorithm of diffusers' example script at the same settings.

    python -m tests.bench.bench_lora [--base medium|sdxl] [--steps 20] [--batch 2] [--size 256] [--precision no|bf16]
                                     [--rounds 3]

The example's algorithm: every step each picture goes through the VAE and each caption through the text encoder, then
noise, UNet, mean squared error, backward pass, clipping and AdamW, with accelerate around them. Its case stands beside
ours without caches (the same work) and with them. Each case is a process of its own; rounds alternate. Memory is the
highest of the process, or on a GPU what torch had allocated. `medium`: a Stable Diffusion of 30 million weights;
`sdxl`: the layer sizes of Stable Diffusion XL with random weights, for a GPU, with ours compiled as another case.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

CASES = {
    "diffusers' example": {},
    "specrun, nothing cached": {"cache_latents": False, "cache_text_embeddings": False},
    "specrun, cached": {},
    "specrun, cached and compiled": {"compile": True},
}
_WARM = 3


def make_base(folder: Path, name: str) -> None:
    """Random weights through the real classes."""
    import torch

    from tests.support import tiny_diffusion as tiny

    torch.manual_seed(0)
    if name == "medium":
        from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
        from transformers import CLIPTextConfig, CLIPTextModel

        tokenizer = tiny.tiny_tokenizer()
        text = CLIPTextConfig(vocab_size=len(tokenizer), hidden_size=256, num_hidden_layers=6, num_attention_heads=4,
                              intermediate_size=1024, eos_token_id=tokenizer.eos_token_id)  # fmt: skip
        unet = UNet2DConditionModel(block_out_channels=(64, 128, 256), cross_attention_dim=256, attention_head_dim=8,
                                    down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
                                    up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
                                    )  # fmt: skip
        vae = AutoencoderKL(block_out_channels=(32, 64, 64, 64), down_block_types=("DownEncoderBlock2D",) * 4,
                            up_block_types=("UpDecoderBlock2D",) * 4)  # fmt: skip
        pipe: Any = StableDiffusionPipeline(
            unet=unet, vae=vae, text_encoder=CLIPTextModel(text), tokenizer=tokenizer, scheduler=tiny._scheduler(),
            safety_checker=None, feature_extractor=None, requires_safety_checker=False,
        )  # fmt: skip
    else:
        pipe = _sdxl(tiny)
    pipe.save_pretrained(folder)


def _sdxl(tiny: Any) -> Any:
    import torch
    from diffusers import AutoencoderKL, StableDiffusionXLPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    tokenizer = tiny.tiny_tokenizer()
    sizes = {"vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id, "projection_dim": 1280}
    first = CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12,
                           **sizes)  # fmt: skip
    second = CLIPTextConfig(hidden_size=1280, intermediate_size=5120, num_hidden_layers=32, num_attention_heads=20,
                            **sizes)  # fmt: skip
    torch.set_default_dtype(torch.bfloat16)
    unet = UNet2DConditionModel(
        sample_size=128, block_out_channels=(320, 640, 1280), transformer_layers_per_block=(1, 2, 10),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(5, 10, 20), cross_attention_dim=2048, use_linear_projection=True,
        addition_embed_type="text_time", addition_time_embed_dim=256, projection_class_embeddings_input_dim=2816,
    )  # fmt: skip
    vae = AutoencoderKL(block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=4,
                        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
                        scaling_factor=0.13025)  # fmt: skip
    pipe = StableDiffusionXLPipeline(
        unet=unet, vae=vae, text_encoder=CLIPTextModel(first), text_encoder_2=CLIPTextModelWithProjection(second),
        tokenizer=tokenizer, tokenizer_2=tokenizer, scheduler=tiny._scheduler(), add_watermarker=False,
    )  # fmt: skip
    torch.set_default_dtype(torch.float32)
    return pipe


def make_training(folder: Path, options: argparse.Namespace, changes: dict[str, Any]) -> Any:
    import torch

    from specrun.training.lora.trainer import Training
    from tests.support.lora_training import make_job, pictures, small_spec

    side = (options.size, options.size)
    samples = pictures(folder / "images", (side,) * (2 * options.batch))
    fields = {"resolution": side, "rank": 16, "alpha": 16, "batch": options.batch, "max_steps": options.steps + _WARM,
              "mixed_precision": options.precision, "learning_rate": 1e-4, "caption_dropout": 0.0}  # fmt: skip
    job, ctx = make_job(folder, small_spec(folder / "base", **{**fields, **changes}), samples, cpus=2)
    on_gpu = torch.cuda.is_available()
    return Training(replace(job, on_gpu=on_gpu), ctx)


def ours(folder: Path, options: argparse.Namespace, changes: dict[str, Any]) -> Any:
    training = make_training(folder, options, changes)
    training.set_learning(True)

    def step() -> None:
        training.step()
        training.progress.step += 1

    return step


def example(folder: Path, options: argparse.Namespace) -> Any:
    """One step of the example's algorithm, on the same parts and with the same network and rate."""
    import torch
    from accelerate import Accelerator
    from torch.nn import functional

    from specrun.training.lora.buckets import epoch_batches
    from specrun.training.lora.families import Condition
    from specrun.training.lora.pictures import prepare

    plain = make_training(folder, options, {"cache_latents": False, "cache_text_embeddings": False})
    accelerator = Accelerator(mixed_precision=options.precision, cpu=not torch.cuda.is_available())
    parts, dtype = plain.parts, plain.dtype
    scheduler = plain.noising.scheduler
    unet, optimizer = accelerator.prepare(parts.denoiser, plain.optimizer)
    unet.train()
    state = {"step": 0}

    def step() -> None:
        epoch, place = divmod(state["step"], plain.steps_an_epoch)
        state["step"] += 1
        batch = epoch_batches(plain.sizes, options.batch, 0, epoch)[place]
        records = [plain.records.train[index] for index in batch]
        made = [prepare(record, plain.spec, plain.job.pixels, None) for record in records]
        pixels = torch.stack([one.pixels for one in made]).to(plain.device, parts.vae.dtype)
        with torch.no_grad():
            latents = parts.vae.encode(pixels).latent_dist.sample() * parts.vae.config.scaling_factor
        noise = torch.randn_like(latents)
        timesteps = torch.randint(0, 1000, (len(latents),), device=latents.device)
        noisy = scheduler.add_noise(latents, noise, timesteps)
        with torch.no_grad():
            text = plain.family.encode(parts, [record.caption for record in records], 0)
        sizes = torch.tensor([one.sizes for one in made], device=plain.device)
        with accelerator.autocast():
            predicted = plain.family.predict(unet, noisy.to(dtype), timesteps, text, Condition(sizes, 0.0))
        loss = functional.mse_loss(predicted.float(), noise.float(), reduction="mean")
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(plain.parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        loss.item()

    return step


def measure(folder: Path, options: argparse.Namespace, case: str) -> dict[str, float]:
    import torch

    torch.set_num_threads(1)  # busy waiting of threads would be counted on a machine that others use
    step = example(folder, options) if case.startswith("diffusers") else ours(folder, options, CASES[case])
    for _ in range(_WARM):
        step()
    gpu = torch.cuda.is_available()
    started, busy = time.perf_counter(), time.process_time()
    for _ in range(options.steps):
        step()
    if gpu:
        torch.cuda.synchronize()
    wall, cpu = time.perf_counter() - started, time.process_time() - busy
    memory = (
        torch.cuda.max_memory_allocated() / 2**20 if gpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    )
    return {"steps_s": options.steps / wall, "cpu_s": cpu / options.steps, "mib": memory}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", choices=["medium", "sdxl"], default="medium")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--precision", choices=["no", "bf16"], default="no")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        with tempfile.TemporaryDirectory() as place:
            (Path(place) / "base").symlink_to(options.folder / "base")
            print("RESULT " + json.dumps(measure(Path(place), options, options.case)))
        return
    with tempfile.TemporaryDirectory() as place:
        make_base(Path(place) / "base", options.base)
        cases = [case for case in CASES if "compiled" not in case or options.base == "sdxl"]
        found: dict[str, list[dict[str, float]]] = {case: [] for case in cases}
        for _ in range(options.rounds):
            for case in cases:
                argv = [
                    sys.executable,
                    "-m",
                    "tests.bench.bench_lora",
                    *sys.argv[1:],
                    "--case",
                    case,
                    "--folder",
                    place,
                ]
                done = subprocess.run(argv, capture_output=True, text=True, check=False)
                lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
                if not lines:
                    raise SystemExit(done.stdout + done.stderr)
                found[case].append(json.loads(lines[-1][7:]))
                print(f"{case}: {lines[-1][7:]}", file=sys.stderr)
    print(
        f"\nLoRA training, {options.base}, batch {options.batch}, {options.size} pixels "
        "(budget: no slower than the example)"
    )
    for case, rows in found.items():
        steps, cpu, mib = (statistics.median(row[key] for row in rows) for key in ("steps_s", "cpu_s", "mib"))
        print(f"  {steps:7.2f} steps/s  {cpu:7.3f} s of processor a step  {mib:8,.0f} MiB  {case}")


if __name__ == "__main__":
    main()
