"""Base models as one file, which get their configuration from a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from PIL import Image
from safetensors.torch import load_file, save_file

from specrun.errors import FormatError, NodeError
from specrun.kinds.generations.generation import Generation
from specrun.kinds.generations.spec import GenerationSpec
from specrun.training.lora.loop import train
from specrun.training.lora.prediction import Prediction
from specrun.training.lora.trainer import Training
from tests.support.context import make_context
from tests.support.lora_training import make_job, pictures, small_spec
from tests.support.single_file import configuration, single_file
from tests.support.tiny_diffusion import tiny_sd, tiny_sdxl


def made(family: str, folder: Path, **more: Any) -> tuple[Path, Path, Path]:
    """The folder, the same as one file, and the configuration."""
    if family == "sd":
        base, kind = tiny_sd(folder / "base"), StableDiffusionPipeline
    else:
        base, kind = tiny_sdxl(folder / "base", second=32), StableDiffusionXLPipeline
    file = single_file(base, folder / "base.safetensors", kind, **more)
    return base, file, configuration(base, folder / "config")


def weights_of(training: Training) -> dict[str, torch.Tensor]:
    return {f"{part}.{name}": value for part, state in training.weights().items() for name, value in state.items()}


@pytest.mark.parametrize("family", ["sd", "sdxl"])
def test_a_single_file_trains_what_its_folder_trains(tmp_path: Path, family: str) -> None:
    base, file, config = made(family, tmp_path)
    samples = pictures(tmp_path / "images")
    fields: dict[str, Any] = {"train_text_encoder": True, "max_steps": 2}
    whole = train(*make_job(tmp_path / "a", small_spec(base, **fields), samples))
    single = train(*make_job(tmp_path / "b", small_spec(file, base_config=str(config), **fields), samples))
    assert single.job.base.family == family
    one, other = weights_of(whole), weights_of(single)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_file_that_is_marked_as_predicting_velocity_is_taken_at_its_word(tmp_path: Path) -> None:
    marks = {"v_pred": torch.zeros(0), "ztsnr": torch.zeros(0)}
    base, file, config = made("sdxl", tmp_path, **marks)
    samples = pictures(tmp_path / "images")
    marked = Training(*make_job(tmp_path / "a", small_spec(file, base_config=str(config)), samples))
    assert marked.noising.prediction == Prediction("v_prediction", zero_snr=True)
    written = small_spec(file, base_config=str(config), prediction="epsilon", zero_terminal_snr=False)
    told = Training(*make_job(tmp_path / "b", written, samples))
    assert told.noising.prediction == Prediction("epsilon", zero_snr=False)
    folder = Training(*make_job(tmp_path / "c", small_spec(base), samples))
    assert folder.noising.prediction == Prediction("epsilon", zero_snr=False)


def test_pictures_of_a_single_file_are_those_of_its_folder(tmp_path: Path) -> None:
    base, file, config = made("sd", tmp_path)
    fields: dict[str, Any] = {"prompts": ["a reef"], "steps": 2, "size": (64, 64), "guidance": 2.0}
    found = []
    for place in ({"base_model": str(base)}, {"base_model": str(file), "base_config": str(config)}):
        ctx = make_context(tmp_path / str(len(found)), "generations.x", made={})
        Generation().run(GenerationSpec.model_validate({**fields, **place}), ctx)
        (picture,) = (ctx.staging / "images").glob("*.png")
        found.append(Image.open(picture).tobytes())
    assert found[0] == found[1]


def test_a_file_without_a_vae_is_no_whole_checkpoint(tmp_path: Path) -> None:
    _, file, config = made("sd", tmp_path)
    kept = {name: value for name, value in load_file(file).items() if not name.startswith("first_stage_model.")}
    save_file(kept, file)
    spec = small_spec(file, base_config=str(config))
    with pytest.raises(FormatError, match="is no whole checkpoint: Failed to load AutoencoderKL"):
        Training(*make_job(tmp_path / "a", spec, pictures(tmp_path / "images")))


def test_without_network_the_error_says_how_to_give_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    _, file, _ = made("sd", tmp_path)
    with pytest.raises(NodeError, match="the configuration of a single file comes from the Hub") as error:
        Training(*make_job(tmp_path / "a", small_spec(file), pictures(tmp_path / "images")))
    assert "base_config" in str(error.value.hint)
