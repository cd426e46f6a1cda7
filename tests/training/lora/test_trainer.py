from __future__ import annotations

import functools
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from specrun.errors import FormatError, NodeError, OutOfMemory, StopRequested
from specrun.model.event import LogLine
from specrun.training.lora import checkpoints, network
from specrun.training.lora.buckets import epoch_batches
from specrun.training.lora.loop import train
from specrun.training.lora.losses import Losses
from specrun.training.lora.trainer import Training
from tests.support.lora_training import make_job, pictures, small_spec
from tests.support.tiny_diffusion import tiny_flux


def weights_of(training: Training) -> dict[str, torch.Tensor]:
    return {f"{part}.{name}": value for part, state in training.weights().items() for name, value in state.items()}


def assert_same(first: Training, second: Training) -> None:
    one, other = weights_of(first), weights_of(second)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def stopping_at(monkeypatch: pytest.MonkeyPatch, ctx: Any, step: int) -> None:
    asked = iter(range(1, 1000))
    monkeypatch.setattr(type(ctx), "stop_requested", lambda self: next(asked) == step)


@pytest.mark.parametrize(
    ("family", "fields"),
    [
        ("sd", {"dropout": 0.3, "random_flip": True, "cache_latents": False, "ema": 0.9}),
        ("sd", {"gradient_accumulation": 2, "lr_scheduler": "cosine", "caption_shuffle": True, "min_snr_gamma": 5.0}),
        ("flux", {"timestep_weighting": "logit_normal", "gradient_accumulation": 2, "dropout": 0.1}),
    ],
    ids=["dropout, flips, averages", "accumulation, cosine, shuffled captions", "flux"],
)
def test_going_on_after_a_stop_equals_no_interruption(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    family: str,
    fields: dict[str, Any],
) -> None:
    samples = pictures(tmp_path / "images")
    spec = small_spec(request.getfixturevalue(family), max_steps=5, **fields)
    whole = train(*make_job(tmp_path / "whole", spec, samples))

    job, ctx = make_job(tmp_path / "parts", spec, samples)
    for stop in (2, 1):
        with monkeypatch.context() as patch:
            stopping_at(patch, ctx, stop)
            with pytest.raises(StopRequested):
                train(job, ctx)
    resumed = train(job, ctx)
    told = [event.text for event in ctx.events if isinstance(event, LogLine)]
    assert [line for line in told if "going on" in line] == ["going on from step 2 of 5", "going on from step 3 of 5"]
    assert resumed.progress.step == 5
    assert_same(resumed, whole)
    assert resumed.progress.rows[-1]["train/loss"] == pytest.approx(whole.progress.rows[-1]["train/loss"], abs=0)


def short_of_memory(monkeypatch: pytest.MonkeyPatch, images: int) -> list[int]:
    """More images at a time are too many. Returns how many were tried, time by time."""
    whole, tried = Losses.of, []

    def of(self: Losses, records: Any, numbers: Any) -> torch.Tensor:
        tried.append(len(records))
        if len(records) > images:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return whole(self, records, numbers)

    monkeypatch.setattr(Losses, "of", of)
    return tried


SAME_SIZE = ((64, 64),) * 5


def test_half_the_images_at_a_time_learn_the_same(sd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = pictures(tmp_path / "images", SAME_SIZE)
    fields: dict[str, Any] = {"batch": 4, "gradient_accumulation": 2, "max_steps": 4, "random_flip": True}
    spec = small_spec(sd, cache_latents=False, on_oom="halve", **fields)
    whole = train(*make_job(tmp_path / "whole", spec, samples))
    job, ctx = make_job(tmp_path / "short", spec, samples)
    tried = short_of_memory(monkeypatch, 1)
    with monkeypatch.context() as patch:
        stopping_at(patch, ctx, 2)
        with pytest.raises(StopRequested):
            train(job, ctx)
    assert tried[:4] == [4, 2, 1, 1]
    tried.clear()
    halved = train(job, ctx)
    assert set(tried) == {1}, "what fits is known after a stop"
    one, other = weights_of(whole), weights_of(halved)
    for name, value in one.items():
        torch.testing.assert_close(other[name], value, atol=1e-5, rtol=1e-4)
    told = [event.text for event in ctx.events if isinstance(event, LogLine)]
    assert "out of memory with 4 images at a time; going on with 2 and as many more times, so a step still takes 5 images" in told  # fmt: skip  # noqa: E501


def test_out_of_memory_names_what_needs_less(sd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job, ctx = make_job(tmp_path, small_spec(sd, batch=2), pictures(tmp_path / "images", SAME_SIZE))
    short_of_memory(monkeypatch, 0)
    with pytest.raises(OutOfMemory, match="out of memory on the CPU") as error:
        train(job, ctx)
    assert "gradient_checkpointing: true" in str(error.value.hint)
    assert "on_oom: halve" in str(error.value.hint)


def test_one_image_that_does_not_fit_cannot_be_halved(
    sd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = small_spec(sd, batch=2, on_oom="halve")
    job, ctx = make_job(tmp_path, spec, pictures(tmp_path / "images", SAME_SIZE))
    short_of_memory(monkeypatch, 0)
    with pytest.raises(OutOfMemory, match="with one image at a time") as error:
        train(job, ctx)
    assert "on_oom" not in str(error.value.hint)


def test_other_settings_start_over(sd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = pictures(tmp_path / "images")
    job, ctx = make_job(tmp_path, small_spec(sd, max_steps=3), samples)
    with monkeypatch.context() as patch:
        stopping_at(patch, ctx, 1)
        with pytest.raises(StopRequested):
            train(job, ctx)
    job, ctx = make_job(tmp_path, small_spec(sd, max_steps=3, learning_rate=2e-3), samples)
    training = Training(job, ctx)
    assert not training.take_up()
    assert not (job.folder / checkpoints.LAST).exists()


@pytest.mark.parametrize("family", ["sd", "sdxl", "flux"])
def test_cached_and_fresh_latents_give_the_same_gradients(
    family: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    samples = pictures(tmp_path / "images")
    gradients = []
    for cached in (True, False):
        spec = small_spec(request.getfixturevalue(family), cache_latents=cached, cache_text_embeddings=cached)
        training = Training(*make_job(tmp_path / str(cached), spec, samples))
        batch = [training.records.train[index] for index in epoch_batches(training.sizes, 2, 42, 0)[0]]
        training.losses.of(batch, [(1, 0, place) for place in range(len(batch))]).sum().backward()
        gradients.append([parameter.grad for parameter in training.parameters])
    assert any(gradient.abs().max() > 0 for gradient in gradients[0])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, atol=1e-7, rtol=1e-4)


def test_an_epoch_takes_every_picture_once(sd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = pictures(tmp_path / "images", ((64, 64), (64, 64), (64, 64), (128, 64), (64, 200)))
    spec = small_spec(sd, max_steps=None, epochs=2)
    seen: list[str] = []
    whole = Losses.of

    def noted(self: Losses, records: Any, numbers: Any) -> torch.Tensor:
        seen.extend(record.name for record in records)
        return whole(self, records, numbers)

    monkeypatch.setattr(Losses, "of", noted)
    training = train(*make_job(tmp_path, spec, samples))
    assert training.steps == 8
    assert Counter(seen[:5]) == Counter(seen[5:]) == Counter(sample.name for sample in samples)


@pytest.mark.parametrize(("family", "text"), [("sd", True), ("sdxl", True), ("sdxl", False), ("flux", True)])
def test_learnt_matrices_have_the_rank_that_was_asked(
    family: str, text: bool, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    spec = small_spec(request.getfixturevalue(family), rank=3, train_text_encoder=text, max_steps=1,
                      text_encoder_learning_rate=2e-4)  # fmt: skip
    training = train(*make_job(tmp_path, spec, pictures(tmp_path / "images")))
    weights = weights_of(training)
    assert {min(value.shape) for value in weights.values()} == {3}
    ups = {name: value for name, value in weights.items() if ".lora_B." in name}
    parts = {name.split(".")[0] for name, value in ups.items() if value.abs().max() > 0}
    rates = [group["lr"] for group in training.optimizer.param_groups]
    learning = [part.name for part in training.parts.text if part.learns] if text else []
    assert rates == [1e-3, *[2e-4] * len(learning)]
    assert parts == {training.parts.component, *learning}


@pytest.mark.parametrize("kind", ["dora", "locon", "lokr"])
def test_every_network_learns(sd: Path, tmp_path: Path, kind: str) -> None:
    training = train(*make_job(tmp_path, small_spec(sd, network=kind, max_steps=2), pictures(tmp_path / "images")))
    first = Training(*make_job(tmp_path / "first", small_spec(sd, network=kind), pictures(tmp_path / "images")))
    before, after = weights_of(first), weights_of(training)
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    if kind == "locon":
        assert any(value.dim() == 4 for value in after.values())


@pytest.mark.parametrize(
    "fields",
    [
        {"optimizer": "adafactor"},
        {"optimizer": "adafactor", "fused_backward": True, "max_grad_norm": None},
        {"prior_preservation": {"class_prompt": "a reef", "images": 2}},
        {"random_crop": True, "color_jitter": 0.2, "cache_latents": False, "caption_dropout": 0.5},
        {"noise_offset": 0.1, "gradient_checkpointing": True, "train_text_encoder": True, "clip_skip": 1},
        {"lr_scheduler": "polynomial", "warmup_steps": 1, "target_modules": "all"},
    ],
    ids=["adafactor", "fused", "prior", "changes", "checkpointing", "polynomial"],
)
def test_options_train(sd: Path, tmp_path: Path, fields: dict[str, Any]) -> None:
    training = train(*make_job(tmp_path, small_spec(sd, **fields), pictures(tmp_path / "images")))
    assert training.progress.finished
    assert any(value.abs().max() > 0 for name, value in weights_of(training).items() if ".lora_B." in name)


def test_what_is_not_learnt_stays_as_it_was(sd: Path, tmp_path: Path) -> None:
    spec = small_spec(sd, max_steps=2)
    training = train(*make_job(tmp_path, spec, pictures(tmp_path / "images")))
    fresh = training.family.load(training.job.base, torch.float32).denoiser.state_dict()
    now = {name.replace(".base_layer", ""): value for name, value in training.parts.denoiser.state_dict().items()}
    assert all(torch.equal(now[name], value) for name, value in fresh.items())


def test_pictures_and_validation_take_part_in_the_same_noise(sd: Path, tmp_path: Path) -> None:
    fields: dict[str, Any] = {
        "validation": {"split": 0.4, "every": 2},
        "samples": {"prompts": ["a", "b"], "every": 2, "steps": 2},
        "max_steps": 4,
    }
    job, ctx = make_job(tmp_path, small_spec(sd, **fields), pictures(tmp_path / "images"))
    training = train(job, ctx)
    losses = [row for row in training.progress.rows if "val/loss" in row]
    assert [row["step"] for row in losses] == [0, 2, 4]
    assert training.validation_loss() == losses[-1]["val/loss"]
    names = sorted(path.name for path in (job.folder / "samples").iterdir())
    assert names == [
        "contact_sheet.png",
        *(f"step_{step:06d}_{number:02d}.png" for step in (0, 2, 4) for number in (0, 1)),
    ]


def test_kept_weights_are_the_best_ones(sd: Path, tmp_path: Path) -> None:
    fields: dict[str, Any] = {
        "keep_weights": 2,
        "save_every": 1,
        "max_steps": 4,
        "validation": {"every": 1, "split": 0.4},
    }
    job, ctx = make_job(tmp_path, small_spec(sd, **fields), pictures(tmp_path / "images"))
    training = train(job, ctx)
    losses = {
        int(row["step"]): row["val/loss"] for row in training.progress.rows if row.get("step") and "val/loss" in row
    }
    best = sorted(losses, key=lambda step: losses[step])[:2]
    kept = {path.name for path in (job.folder / checkpoints.KEPT).iterdir()}
    assert kept == {f"step_{step:06d}.safetensors" for step in best}


def test_latents_that_are_no_numbers_stop_the_job(sd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from specrun.training.lora import encoding

    whole = encoding.LatentEncoder._encode
    monkeypatch.setattr(encoding.LatentEncoder, "_encode", lambda self, pixels: whole(self, pixels) * float("nan"))
    with pytest.raises(NodeError, match=r"0\.png: the VAE of the base model gives no numbers"):
        Training(*make_job(tmp_path, small_spec(sd), pictures(tmp_path / "images")))


def test_a_vae_that_overflows_in_half_precision_goes_on_in_float32(
    sd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from specrun.training.lora import encoding

    training = Training(*make_job(tmp_path, small_spec(sd), pictures(tmp_path / "images")))
    told: list[str] = []
    whole = encoding.LatentEncoder._encode

    def overflowing(self: Any, pixels: torch.Tensor) -> torch.Tensor:
        found = whole(self, pixels)
        return found if self.vae.dtype == torch.float32 else found * float("inf")

    monkeypatch.setattr(encoding.LatentEncoder, "_encode", overflowing)
    encoder = encoding.LatentEncoder(training.parts.vae, torch.bfloat16, told.append)
    found = encoder.moments(torch.zeros(1, 3, 64, 64), ["a.png"])
    assert torch.isfinite(found).all()
    assert told == ["the VAE overflows in bfloat16; it goes on in float32"]


def test_a_loss_that_is_no_number_stops_the_job(sd: Path, tmp_path: Path) -> None:
    training = Training(*make_job(tmp_path, small_spec(sd), pictures(tmp_path / "images")))
    with torch.no_grad():
        training.parameters[0].fill_(float("nan"))
    with pytest.raises(NodeError, match="step 1: the loss is not a number"):
        training.step()


def test_a_caption_above_the_window_is_refused_or_cut(sd: Path, tmp_path: Path) -> None:
    samples = pictures(tmp_path / "images")
    samples[1].fields["caption"] = "coral " * 40  # type: ignore[index]
    with pytest.raises(FormatError, match=r"1 captions have more than 77 tokens, that of 1\.png has 202"):
        Training(*make_job(tmp_path, small_spec(sd), samples))
    training = Training(*make_job(tmp_path, small_spec(sd, long_captions="cut"), samples))
    assert training.records.notes == ("1 captions have more than 77 tokens, that of 1.png has 202: they are cut",)


def test_a_compiled_denoiser_learns_the_same(sd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The real tracing of the denoiser with its LoRA, without minutes of a C++ compiler.
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    samples = pictures(tmp_path / "images", ((64, 64),) * 2)
    found = [
        train(*make_job(tmp_path / str(compiled), small_spec(sd, compile=compiled, max_steps=2), samples))
        for compiled in (True, False)
    ]
    assert found[0].losses.run_denoiser is not found[0].parts.denoiser
    one, other = (weights_of(training) for training in found)
    for name, value in one.items():
        torch.testing.assert_close(other[name], value, atol=1e-6, rtol=1e-4)


def test_a_layer_without_a_name_in_kohyas_format_is_told_before_anything_is_learnt(flux: Path, tmp_path: Path) -> None:
    spec = small_spec(flux, network="dora", target_modules=["to_q"])
    with pytest.raises(FormatError, match="must all learn for DoRA"):
        Training(*make_job(tmp_path, spec, pictures(tmp_path / "images")))


@pytest.mark.slow
@pytest.mark.parametrize("family", ["sd", "sdxl", "flux"])
def test_one_picture_is_learnt_by_heart(family: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    network, base = "locon", request.getfixturevalue(family)
    if family == "flux":
        # The usual one is 32 wide and cannot say the 64 channels of a token apart.
        network, base = "lora", tiny_flux(tmp_path / "wide", num_attention_heads=6)
    spec = small_spec(
        base, max_steps=150, rank=16, alpha=16, target_modules="all",
        network=network, learning_rate=3e-3, batch=1,
    )  # fmt: skip
    job, ctx = make_job(tmp_path, spec, pictures(tmp_path / "images", ((64, 64),)))
    training = Training(job, ctx)

    def fixed_loss() -> float:
        with torch.no_grad():
            (record,) = training.records.train
            return sum(float(training.losses.fixed(record, (9, k), k % 4)) for k in range(16)) / 16

    before = fixed_loss()
    while training.progress.step < training.steps:
        training.step()
        training.progress.step += 1
    assert fixed_loss() < 0.8 * before


@pytest.mark.slow
def test_memory_is_flat_over_steps(sd: Path, tmp_path: Path) -> None:
    import gc

    spec = small_spec(sd, max_steps=60)
    training = Training(*make_job(tmp_path, spec, pictures(tmp_path / "images")))

    def held() -> int:
        gc.collect()
        return sum(1 for one in gc.get_objects() if isinstance(one, torch.Tensor))

    counts = []
    for step in range(60):
        training.step()
        training.progress.step += 1
        if step in (5, 59):
            counts.append(held())
    assert counts[0] == counts[1]


def test_averages_follow_the_weights(sd: Path) -> None:
    from specrun.training.lora.optimizing import Average

    weight = torch.nn.Parameter(torch.zeros(2))
    average = Average([weight], 0.5)
    with torch.no_grad():
        weight.fill_(1.0)
    average.update()
    with average:
        assert weight.tolist() == pytest.approx([9 / 11, 9 / 11])
    assert weight.tolist() == [1.0, 1.0]


def test_a_wrong_name_in_a_checkpoint_is_told(sd: Path, tmp_path: Path) -> None:
    training = Training(*make_job(tmp_path, small_spec(sd), pictures(tmp_path / "images")))
    with pytest.raises(NodeError, match="do not fit"):
        network.load_adapter(training.parts.denoiser, {"nothing.lora_A.weight": torch.zeros(1)}, "unet")
