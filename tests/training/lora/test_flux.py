"""What is FLUX's own: names of the original code, flow matching, two text encoders of different sorts."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FluxPipeline
from safetensors import safe_open
from safetensors.torch import load_file

from specrun.errors import FormatError, NodeError
from specrun.training.lora import kohya_flux
from specrun.training.lora.flow import FlowMatching
from specrun.training.lora.loop import train
from specrun.training.lora.noise import loss_of
from specrun.training.lora.rules import family_problems
from specrun.training.lora.sampling import Wish
from specrun.training.lora.trainer import Training
from tests.support.lora_training import make_job, pictures, small_spec
from tests.support.tiny_diffusion import tiny_flux
from tests.training.lora.test_formats import Trained, flux_output, layers_with_lora

GRID = [
    *itertools.product(["lora"], ["attention", "all"], [(1, 4.0), (4, 1.0), (8, 3.0)]),
    ("dora", "all", (4, 1.0)),
    ("lora", ["to_q", "ff.net.2", "norm_out.linear"], (2, 3.0)),
]


def joined_weights(transformer: Any) -> dict[str, torch.Tensor]:
    """The transformer's weights as the original code keeps them, by the names of kohya's format."""
    found = {}
    for path, layer in transformer.named_modules():
        if not isinstance(layer, torch.nn.Linear):
            continue
        name, parts = kohya_flux.original_layer(path)
        rows = torch.cat([transformer.get_submodule(part).weight.data for part in parts])
        if path == "norm_out.linear":
            rows = torch.cat(rows.chunk(2)[::-1])
        found["lora_unet_" + name.replace(".", "_")] = rows
    return found


def take_back(transformer: Any, joined: dict[str, torch.Tensor]) -> None:
    for path, layer in transformer.named_modules():
        if not isinstance(layer, torch.nn.Linear):
            continue
        name, parts = kohya_flux.original_layer(path)
        rows = joined["lora_unet_" + name.replace(".", "_")]
        if path == "norm_out.linear":
            rows = torch.cat(rows.chunk(2)[::-1])
        heights = [transformer.get_submodule(part).weight.shape[0] for part in parts]
        layer.weight.data = rows.split(heights)[parts.index(path)].clone()


def add_kohya(joined: dict[str, torch.Tensor], weights: dict[str, torch.Tensor]) -> int:
    """W + alpha / rank * up @ down, and DoRA's length of each row, on joined weights."""
    names = sorted({key.partition(".")[0] for key in weights})
    for name in names:
        down, up = weights[f"{name}.lora_down.weight"].double(), weights[f"{name}.lora_up.weight"].double()
        merged = joined[name].double() + float(weights[f"{name}.alpha"]) / down.shape[0] * up @ down
        if f"{name}.dora_scale" in weights:
            length = joined[name].double().norm(dim=1, keepdim=True)  # of the base, as ComfyUI reads it
            merged *= weights[f"{name}.dora_scale"].double() / length
        joined[name] = merged.float()
    return len(names)


@pytest.mark.parametrize(("kind", "targets", "rank_alpha"), GRID)
def test_every_loader_gives_the_output_that_was_trained(
    flux: Path, tmp_path: Path, kind: str, targets: Any, rank_alpha: tuple[int, float]
) -> None:
    rank, alpha = rank_alpha
    found = Trained(flux, tmp_path, "flux", network=kind, rank=rank, alpha=alpha, target_modules=targets)
    wanted, plain = flux_output(found.pipe.transformer), flux_output(found.fresh().transformer)
    assert (wanted - plain).abs().max() > 1e-3

    by_diffusers = found.fresh()
    by_diffusers.load_lora_weights(found.peft_file)
    assert layers_with_lora(by_diffusers.transformer) == len(found.layers)
    torch.testing.assert_close(flux_output(by_diffusers.transformer), wanted, atol=1e-5, rtol=0)
    if kind == "lora":
        by_diffusers.set_adapters("default_0", 0.0)
        torch.testing.assert_close(flux_output(by_diffusers.transformer), plain, atol=1e-6, rtol=0)

    by_hand = found.fresh()
    joined = joined_weights(by_hand.transformer)
    wanted_names = {kohya_flux.original_layer(layer.removeprefix("transformer."))[0] for layer in found.layers}
    assert add_kohya(joined, load_file(found.kohya_file)) == len(wanted_names)
    take_back(by_hand.transformer, joined)
    torch.testing.assert_close(flux_output(by_hand.transformer), wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("rank_alpha", [(4, 1.0), (3, 6.0)])
def test_diffusers_reads_the_file_of_kohya(tmp_path: Path, rank_alpha: tuple[int, float]) -> None:
    """Of double blocks alone: diffusers splits single ones by the sizes of the published model."""
    base = tiny_flux(tmp_path / "base", num_single_layers=0)
    rank, alpha = rank_alpha
    found = Trained(base, tmp_path, "flux", text=True, rank=rank, alpha=alpha, target_modules="all")
    pipe = found.fresh()
    pipe.load_lora_weights(found.kohya_file)
    assert layers_with_lora(pipe.transformer) + layers_with_lora(pipe.text_encoder) == len(found.layers)
    torch.testing.assert_close(flux_output(pipe.transformer), flux_output(found.pipe.transformer), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.text_output(pipe), found.text_output(found.pipe), atol=1e-5, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("targets", ["attention", "all"])
def test_diffusers_reads_single_blocks_of_the_published_width(tmp_path: Path, targets: str) -> None:
    sizes = {"num_layers": 0, "num_single_layers": 1, "attention_head_dim": 128, "num_attention_heads": 24}
    found = Trained(
        tiny_flux(tmp_path / "base", **sizes), tmp_path, "flux", rank=4, alpha=1.0, target_modules=targets
    )  # fmt: skip
    pipe = found.fresh()
    pipe.load_lora_weights(found.kohya_file)
    # What learnt nothing is there as zeros, since linear1 joins it with what did.
    assert layers_with_lora(pipe.transformer) == (4 if targets == "attention" else 5)
    torch.testing.assert_close(flux_output(pipe.transformer), flux_output(found.pipe.transformer), atol=1e-5, rtol=0)


def test_kronecker_products_have_the_names_of_lycoris(flux: Path, tmp_path: Path) -> None:
    found = Trained(flux, tmp_path, "flux", network="lokr", rank=8, alpha=8.0)
    weights, by_hand = load_file(found.kohya_file), found.fresh()
    for layer in found.layers:
        name = "lycoris_" + layer.removeprefix("transformer.").replace(".", "_")
        change = torch.kron(weights[f"{name}.lokr_w1"], weights[f"{name}.lokr_w2"])
        by_hand.transformer.get_submodule(layer.removeprefix("transformer.")).weight.data += change
    torch.testing.assert_close(flux_output(by_hand.transformer), flux_output(found.pipe.transformer), atol=1e-5, rtol=0)


def test_names_are_those_of_the_original_code(flux: Path, tmp_path: Path) -> None:
    found = Trained(flux, tmp_path, "flux", rank=4, alpha=2.0, target_modules="all", text=True)
    weights = load_file(found.kohya_file)
    assert weights["lora_unet_double_blocks_0_txt_attn_qkv.lora_down.weight"].shape == (12, 32)
    assert weights["lora_unet_single_blocks_1_linear1.lora_up.weight"].shape == (7 * 32, 16)
    assert "lora_te1_text_model_encoder_layers_0_self_attn_q_proj.alpha" in weights
    assert "lora_unet_single_blocks_1_linear2.alpha" in weights
    assert not any("final_layer" in name for name in weights)
    with safe_open(found.kohya_file, "pt") as file:
        told = file.metadata()
    assert (told["ss_base_model_version"], told["ss_network_module"]) == ("flux1", "networks.lora_flux")
    with safe_open(found.peft_file, "pt") as file:
        assert json.loads(file.metadata()["lora_adapter_metadata"])["transformer.lora_alpha"] == 2


def test_a_layer_that_the_original_code_has_not_is_named() -> None:
    with pytest.raises(FormatError, match=r"single_transformer_blocks\.0\.attn\.to_out"):
        kohya_flux.original_layer("single_transformer_blocks.0.attn.to_out.0")


@pytest.mark.parametrize("weighting", ["none", "sigma_sqrt", "logit_normal", "mode", "cosmap"])
def test_timesteps_and_loss_are_those_of_diffusers_example(flux: Path, weighting: str) -> None:
    from diffusers import FlowMatchEulerDiscreteScheduler
    from diffusers.training_utils import compute_density_for_timestep_sampling, compute_loss_weighting_for_sd3

    scheduler = FlowMatchEulerDiscreteScheduler.from_pretrained(flux, subfolder="scheduler")
    found = FlowMatching(scheduler, weighting)
    torch.manual_seed(3)
    latents, predicted = torch.randn(4, 16, 8, 8), torch.randn(4, 16, 8, 8)
    noise, timesteps = found.draw(latents.shape, torch.Generator().manual_seed(5))

    source = torch.Generator().manual_seed(5)
    assert torch.equal(noise, torch.randn(latents.shape, generator=source))
    density = compute_density_for_timestep_sampling(weighting, 4, 0.0, 1.0, 1.29, generator=source)
    assert torch.equal(timesteps, scheduler.timesteps[(density * 1000).long()])
    places = [(scheduler.timesteps == t).nonzero().item() for t in timesteps]
    sigmas = scheduler.sigmas[places].view(-1, 1, 1, 1)
    torch.testing.assert_close(found.noisy(latents, noise, timesteps), (1 - sigmas) * latents + sigmas * noise)
    weights = compute_loss_weighting_for_sd3(weighting, sigmas)
    wanted = (weights.float() * (predicted - (noise - latents)) ** 2).reshape(4, -1).mean(1)
    torch.testing.assert_close(
        loss_of(found, predicted, found.target(latents, noise, timesteps), timesteps), wanted, atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("guidance", [True, False], ids=["dev", "schnell"])
def test_pictures_are_those_of_the_pipeline(tmp_path: Path, guidance: bool) -> None:
    base = tiny_flux(tmp_path / "base", guidance=guidance)
    training = Training(*make_job(tmp_path, small_spec(base), pictures(tmp_path / "images")))
    with torch.no_grad():
        wanted = training.family.encode(training.parts, ["a reef"], 0)
    ours = training.painter().paint(Wish(wanted, wanted, (96, 64), 7, 3, 2.0), lambda: None)

    pipe = FluxPipeline.from_pretrained(base, local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    from specrun.training.lora.noise import generator

    latents = torch.randn((1, 16, 8, 12), generator=generator(7))
    packed = FluxPipeline._pack_latents(latents, 1, 16, 8, 12)
    theirs = pipe("a reef", latents=packed, width=96, height=64, num_inference_steps=3, guidance_scale=2.0,
                  max_sequence_length=40).images[0]  # fmt: skip
    assert ours.size == theirs.size == (96, 64)
    assert np.abs(np.asarray(ours, int) - np.asarray(theirs, int)).max() <= 1
    assert np.asarray(ours).std() > 1


def test_a_training_with_pictures_runs_to_its_end(flux: Path, tmp_path: Path) -> None:
    fields: dict[str, Any] = {
        "samples": {"steps": 2, "prompts": ["a"]},
        "validation": {"split": 0.3, "every": 2},
        "train_text_encoder": True,
        "gradient_checkpointing": True,
        "prior_preservation": {"class_prompt": "a reef", "images": 2},
    }
    job, ctx = make_job(tmp_path, small_spec(flux, **fields), pictures(tmp_path / "images"))
    training = train(job, ctx)
    assert (job.folder / "samples" / "contact_sheet.png").is_file()
    assert set(training.weights()) == {"transformer", "text_encoder"}


def test_captions_may_be_as_long_as_t5_reads(flux: Path, tmp_path: Path) -> None:
    samples = pictures(tmp_path / "images")
    samples[1].fields["caption"] = "coral " * 30  # type: ignore[index]
    with pytest.raises(FormatError, match=r"more than 40 tokens"):
        Training(*make_job(tmp_path, small_spec(flux), samples))


def test_what_means_nothing_to_flux_is_refused(flux: Path) -> None:
    quality = small_spec(flux, preset="quality")
    assert {problem.path: problem.hint for problem in family_problems(quality, "flux")} == {
        "min_snr_gamma": "Write min_snr_gamma: null."
    }
    strange = small_spec(flux, network="locon", clip_skip=1, noise_offset=0.1, bucket_step=8)
    assert {p.path for p in family_problems(strange, "flux")} == {"network", "clip_skip", "noise_offset", "bucket_step"}
    assert {p.path for p in family_problems(small_spec(flux, network="dora"), "flux")} == {"target_modules"}
    assert not list(family_problems(small_spec(flux, preset="flux"), "flux"))
    assert {p.path for p in family_problems(small_spec(flux, timestep_weighting="mode"), "sd")} == {
        "timestep_weighting"
    }


def test_a_folder_that_lacks_the_transformer_is_refused(flux: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(flux, tmp_path / "base")
    shutil.rmtree(tmp_path / "base" / "transformer")
    with pytest.raises((FormatError, NodeError), match=r"transformer/config\.json"):
        make_job(tmp_path, small_spec(tmp_path / "base"), pictures(tmp_path / "images"))
