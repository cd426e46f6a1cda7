from __future__ import annotations

import copy
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FluxPipeline, StableDiffusionPipeline, StableDiffusionXLPipeline
from safetensors import safe_open
from safetensors.torch import load_file

from specrun.errors import NodeError
from specrun.training.lora import dora, families, formats, layers, network
from specrun.training.lora.finishing import save_lora
from tests.support.kohya import apply_kohya
from tests.support.lora_training import small_spec

GRID = [
    *itertools.product(["sd", "sdxl"], ["lora", "dora"], [(1, 4.0), (4, 1.0), (4, 4.0), (8, 3.0)]),
    ("sd", "locon", (4, 2.0)),
    ("sdxl", "locon", (4, 2.0)),
]
PIPELINES: dict[str, Any] = {
    "sd": StableDiffusionPipeline,
    "sdxl": StableDiffusionXLPipeline,
    "flux": FluxPipeline,
}


class Trained:
    """A base model with a network of random weights, as if it had been trained, and its files."""

    def __init__(self, base: Path, folder: Path, family: Any, *, text: bool = False, **fields: Any) -> None:
        self.family, self.base = family, base
        self.spec = small_spec(base, train_text_encoder=text, **fields)
        self.pipe = self.fresh()
        self.component = "transformer" if family == "flux" else "unet"
        denoiser = getattr(self.pipe, self.component)
        parts = {self.component: denoiser}
        if text:
            parts |= {
                name: getattr(self.pipe, name) for name in ("text_encoder", "text_encoder_2")[: 1 + (family == "sdxl")]
            }
        configs = {}
        torch.manual_seed(1)
        for name, module in parts.items():
            targets = layers.text_targets(self.spec)
            if module is denoiser:
                targets = network.denoiser_targets(self.spec, families.family(family), denoiser)
            configs[name] = network.inject(module, self.spec, targets, 0, name)
            for key, parameter in network.trainable(module):
                change = torch.randn_like(parameter) * 0.1
                parameter.data = parameter.data * (1 + change) if "magnitude" in key else parameter.data + change
        self.weights = formats.packed({name: network.adapter_state(module) for name, module in parts.items()})
        self.layers = {name.rsplit(".lo", 1)[0] for name in self.weights}
        described = {
            "family": family, "base_model": "b", "base_digest": "d", "trigger": "reefx", "rank": self.spec.rank,
            "alpha": self.spec.alpha, "network": self.spec.network, "resolution": [64, 64], "steps": 3,
        }  # fmt: skip
        metadata = network.metadata(configs)
        scale = self.spec.scale
        self.magnitudes = dora.magnitudes_for_readers(self.weights, parts, scale)
        changed = self.magnitudes
        save_lora(folder, self.weights, described, scale=scale, adapter_metadata=metadata, magnitudes=changed)
        self.peft_file, self.kohya_file = folder / formats.PEFT_NAME, folder / formats.KOHYA_NAME

    def unet_metadata(self) -> Any:
        with safe_open(self.peft_file, "pt") as file:
            return json.loads(file.metadata()["lora_adapter_metadata"])

    def fresh(self) -> Any:
        return PIPELINES[self.family].from_pretrained(self.base, local_files_only=True)

    def output(self, pipe: Any) -> torch.Tensor:
        if self.family == "flux":
            return flux_output(pipe.transformer)
        width = pipe.unet.config.cross_attention_dim
        torch.manual_seed(7)
        noisy, hidden = torch.randn(2, 4, 8, 8), torch.randn(2, 77, width)
        added = {"text_embeds": torch.randn(2, 16), "time_ids": torch.tensor([[64.0, 64, 0, 0, 64, 64]] * 2)}
        kwargs = {"added_cond_kwargs": added} if self.family == "sdxl" else {}
        pipe.unet.eval()
        with torch.no_grad():
            return pipe.unet(noisy, torch.tensor([3, 700]), encoder_hidden_states=hidden, **kwargs).sample

    def text_output(self, pipe: Any, part: str = "text_encoder") -> torch.Tensor:
        with torch.no_grad():
            return getattr(pipe, part).eval()(torch.arange(40)[None]).last_hidden_state


def flux_output(transformer: Any) -> torch.Tensor:
    torch.manual_seed(7)
    words, pooled = torch.randn(2, 8, 24), torch.randn(2, 16)
    noisy = torch.randn(2, 16, 64)
    transformer.eval()
    with torch.no_grad():
        found: torch.Tensor = transformer(
            hidden_states=noisy, timestep=torch.tensor([0.3, 0.9]), guidance=torch.tensor([3.5, 1.0]),
            pooled_projections=pooled, encoder_hidden_states=words, txt_ids=torch.zeros(8, 3),
            img_ids=FluxPipeline._prepare_latent_image_ids(2, 4, 4, "cpu", torch.float32), return_dict=False,
        )[0]  # fmt: skip
    return found


def layers_with_lora(module: Any) -> int:
    return sum(1 for name, _ in module.named_parameters() if ".lora_A." in name)


@pytest.fixture
def trained(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    def make(family: str, **fields: Any) -> Trained:
        return Trained(request.getfixturevalue(family), tmp_path, family, **fields)

    return make


@pytest.mark.parametrize(("family", "kind", "rank_alpha"), GRID)
def test_every_loader_gives_the_output_that_was_trained(
    trained: Any, family: str, kind: str, rank_alpha: tuple[int, float]
) -> None:
    rank, alpha = rank_alpha
    found = trained(family, network=kind, rank=rank, alpha=alpha)
    wanted, plain = found.output(found.pipe), found.output(found.fresh())
    assert (wanted - plain).abs().max() > 1e-3

    by_diffusers = found.fresh()
    by_diffusers.load_lora_weights(found.peft_file)
    assert layers_with_lora(by_diffusers.unet) == len(found.layers)
    torch.testing.assert_close(found.output(by_diffusers), wanted, atol=1e-5, rtol=0)
    if kind != "dora":
        by_diffusers.set_adapters("default_0", 0.0)
        torch.testing.assert_close(found.output(by_diffusers), plain, atol=1e-6, rtol=0)

    by_hand = found.fresh()
    names = {formats._layer_to_kohya(layer, family): layer.removeprefix("unet.") for layer in found.layers}
    assert apply_kohya(by_hand.unet, load_file(found.kohya_file), names) == len(found.layers)
    torch.testing.assert_close(found.output(by_hand), wanted, atol=1e-5, rtol=0)

    if kind != "dora":
        by_kohya = found.fresh()
        by_kohya.load_lora_weights(found.kohya_file)
        assert layers_with_lora(by_kohya.unet) == len(found.layers)
        torch.testing.assert_close(found.output(by_kohya), wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("rank", [2, 8])
def test_kronecker_products_are_the_same_in_both_files(trained: Any, rank: int) -> None:
    found = trained("sd", network="lokr", rank=rank, alpha=1.0)
    wanted = found.output(found.pipe)
    pipe = found.fresh()
    pipe.unet.load_lora_adapter(load_file(found.peft_file), prefix="unet", metadata=found.unet_metadata())
    torch.testing.assert_close(found.output(pipe), wanted, atol=1e-5, rtol=0)

    weights, by_hand = load_file(found.kohya_file), found.fresh()
    layers = dict(by_hand.unet.named_modules())
    assert len(found.layers) == 48
    for layer in found.layers:
        name = formats._layer_to_kohya(layer, "sd")
        scale = 1.0
        factors = []
        for factor in ("lokr_w1", "lokr_w2"):
            whole = weights.get(f"{name}.{factor}")
            if whole is None:
                down = weights[f"{name}.{factor}_b"]
                whole = weights[f"{name}.{factor}_a"] @ down
                scale = float(weights[f"{name}.alpha"]) / down.shape[0]
            factors.append(whole)
        layers[layer.removeprefix("unet.")].weight.data += scale * torch.kron(*factors)
    torch.testing.assert_close(found.output(by_hand), wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", ["sd", "sdxl"])
def test_text_encoders_come_back_from_both_files(trained: Any, family: str) -> None:
    found = trained(family, text=True, rank=4, alpha=1.0)
    parts = ("text_encoder", "text_encoder_2")[: 1 + (family == "sdxl")]
    for file in (found.peft_file, found.kohya_file):
        pipe = found.fresh()
        pipe.load_lora_weights(file)
        for part in parts:
            assert layers_with_lora(getattr(pipe, part)) == 12
            wanted = found.text_output(found.pipe, part)
            assert (wanted - found.text_output(found.fresh(), part)).abs().max() > 1e-3
            torch.testing.assert_close(found.text_output(pipe, part), wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", ["sd", "sdxl"])
def test_magnitudes_of_text_encoders_come_back(trained: Any, family: str) -> None:
    """transformers loads them, and leaves out what it does not know without a word."""
    found = trained(family, text=True, network="dora", rank=4, alpha=1.0)
    pipe = found.fresh()
    pipe.load_lora_weights(found.peft_file)
    for part in ("text_encoder", "text_encoder_2")[: 1 + (family == "sdxl")]:
        wanted = found.text_output(found.pipe, part)
        assert (wanted - found.text_output(found.fresh(), part)).abs().max() > 1e-3
        torch.testing.assert_close(found.text_output(pipe, part), wanted, atol=1e-5, rtol=0)


def test_the_same_weights_give_the_same_bytes(tmp_path: Path) -> None:
    weights = {name: torch.ones(2) for name in "ab"}
    metadata = {f"key{number}": f"é{number}\n/" for number in range(12)}
    files = [tmp_path / f"{number}.safetensors" for number in range(6)]
    for file in files:
        formats.save_weights(file, weights, metadata)
    assert len({file.read_bytes() for file in files}) == 1
    with safe_open(files[0], "pt") as read:
        assert read.metadata() == {"format": "pt", **metadata}
    assert load_file(files[0]).keys() == weights.keys()


@pytest.mark.parametrize(("family", "layer"), [("sd", "time_emb_proj"), ("sdxl", "emb_layers_1")])
def test_locon_learns_in_all_layers_of_residual_blocks_as_kohyas_scripts(trained: Any, family: str, layer: str) -> None:
    names = load_file(trained(family, network="locon", rank=4, alpha=2.0).kohya_file)
    assert sum(name.endswith(f"{layer}.lora_down.weight") for name in names) == 12


def test_rank_stabilised_weights_are_the_same_in_both_files(trained: Any) -> None:
    found = trained("sd", rank=4, alpha=3.0, rslora=True)
    wanted = found.output(found.pipe)
    for file in (found.peft_file, found.kohya_file):
        pipe = found.fresh()
        pipe.load_lora_weights(file)
        torch.testing.assert_close(found.output(pipe), wanted, atol=1e-5, rtol=0)


def test_kohya_file_carries_the_alpha_that_was_trained(trained: Any) -> None:
    found = trained("sd", rank=8, alpha=3.0)
    weights = load_file(found.kohya_file)
    assert {float(value) for name, value in weights.items() if name.endswith(".alpha")} == {3.0}
    assert "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q.lora_down.weight" in weights


def test_sdxl_has_the_names_of_the_original_code(trained: Any) -> None:
    names = load_file(trained("sdxl", rank=4, alpha=1.0, text=True).kohya_file)
    assert "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q.lora_down.weight" in names
    assert "lora_unet_middle_block_1_transformer_blocks_1_attn2_to_out_0.lora_up.weight" in names
    assert "lora_te1_text_model_encoder_layers_0_self_attn_q_proj.alpha" in names
    assert "lora_te2_text_model_encoder_layers_2_self_attn_out_proj.alpha" in names


def test_both_files_say_what_they_are(trained: Any) -> None:
    found = trained("sdxl", rank=4, alpha=2.0)
    with safe_open(found.peft_file, "pt") as file:
        told = file.metadata()
    assert json.loads(told["lora_adapter_metadata"])["unet.lora_alpha"] == 2
    assert told["specrun.trigger"] == "reefx"
    with safe_open(found.kohya_file, "pt") as file:
        told = file.metadata()
    assert (told["ss_network_dim"], told["ss_network_alpha"], told["specrun.steps"]) == ("4", "2.0", "3")
    assert "diffusers" in json.loads(told["specrun.versions"])


@pytest.mark.parametrize(("kind", "called"), [("v_prediction", "v"), ("epsilon", "epsilon")])
def test_kohyas_file_says_what_is_predicted(kind: str, called: str) -> None:
    described = {"network": "lora", "rank": 4, "alpha": 4, "family": "sdxl", "base_model": "b", "base_digest": "d"}
    described |= {"resolution": [64, 64], "steps": 3, "trigger": None}
    told = formats.kohya_metadata({**described, "prediction": kind, "zero_terminal_snr": kind == "v_prediction"}, {})
    assert (told["modelspec.prediction_type"], told["ss_zero_terminal_snr"]) == (called, str(kind == "v_prediction"))
    assert "modelspec.prediction_type" not in formats.kohya_metadata({**described, "prediction": "flow"}, {})


def test_a_rank_above_a_layers_width_names_the_layer(sd: Path) -> None:
    pipe = StableDiffusionPipeline.from_pretrained(sd, local_files_only=True)
    spec = small_spec(sd, rank=64)
    with pytest.raises(NodeError, match=r"rank: 64 is above the width of unet\.\S+to_k, which is 16"):
        network.inject(copy.deepcopy(pipe.unet), spec, ["to_q", "to_k"], 0, "unet")


def test_an_unknown_target_module_names_those_that_there_are(sd: Path) -> None:
    pipe = StableDiffusionPipeline.from_pretrained(sd, local_files_only=True)
    spec = small_spec(sd, target_modules=["to_q", "to_qq"])
    targets = network.denoiser_targets(spec, families.family("sd"), pipe.unet)
    with pytest.raises(NodeError, match="no layer named to_qq") as error:
        network.inject(pipe.unet, spec, targets, 0, "unet")
    assert "to_q" in str(error.value.hint)
