from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import numpy as np
import pytest
from PIL import Image

from specrun.errors import FormatError, NodeError, StopRequested
from specrun.kinds.generations.generation import Generation
from specrun.kinds.generations.spec import GenerationSpec
from specrun.kinds.lora_jobs.spec import LoraJobSpec
from specrun.model.address import parse_address
from specrun.model.artifact import Artifact, Outputs
from specrun.model.event import Event, LogLine
from specrun.model.plan import Estimate
from specrun.model.work import Made
from specrun.training.lora.base import lora_pairs
from specrun.training.lora.prediction import WITH_ZERO_SNR
from specrun.views.facts import made_text
from tests.support.context import make_context
from tests.support.look import make_look
from tests.support.still_pictures import frames
from tests.support.tiny_diffusion import tiny_flux, tiny_sd, tiny_sdxl


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bases")
    return {"sd": tiny_sd(folder / "sd"), "sdxl": tiny_sdxl(folder / "sdxl"), "flux": tiny_flux(folder / "flux")}


def trained(folder: Path, base: Path, family: Any, name: str = "reef", *, rank: int = 4, **told: Any) -> Made:
    """A job's folder with random weights, written as a training writes it."""
    import torch

    from specrun.training.lora import families, formats, network
    from specrun.training.lora.base import find_base
    from specrun.training.lora.finishing import save_lora
    from tests.support.lora_training import small_spec

    spec = small_spec(base, rank=rank, alpha=8.0)
    kind = families.family(family)
    found = find_base(str(base), None, folder)
    parts = kind.load(found, torch.float32)
    denoiser, component = parts.denoiser, parts.component
    config = network.inject(denoiser, spec, network.denoiser_targets(spec, kind, denoiser), 0, component)
    torch.manual_seed(len(name))
    for _, parameter in network.trainable(denoiser):
        parameter.data = torch.randn_like(parameter) * 0.3
    weights = formats.packed({component: network.adapter_state(denoiser)})
    described = {
        "family": family,
        "base_model": str(base),
        "base_digest": found.digest,
        "trigger": "reefx",
        "rank": rank,
    }
    described |= {"alpha": 8, "network": "lora", "resolution": [64, 64], "steps": 3, **told}
    folder.mkdir(parents=True)
    metadata = network.metadata({component: config})
    save_lora(folder, weights, described, scale=spec.scale, adapter_metadata=metadata)
    artifacts = (Artifact("lora", "checkpoint", "lora.safetensors"),)
    return Made(parse_address(f"lora_jobs.{name}"), "lora_jobs.lora", folder, "d", artifacts=artifacts)


def generated(
    tmp_path: Path, loras: Sequence[Made] = (), pictures: Made | None = None, *, context: Any = None, **fields: Any
) -> tuple[Outputs, Path]:
    given = {"prompts": ["reefx at dusk"], "steps": 2, "guidance": 2.0, "size": (64, 64), **fields}
    spec = GenerationSpec.model_validate(given)
    made = {"lora": list(loras), "pictures": [pictures] if pictures else []}
    ctx = make_context(tmp_path, "generations.x", made=made, **(context or {}))
    return Generation().run(spec, ctx), ctx.staging


def images(folder: Path) -> list[Path]:
    return sorted((folder / "images").glob("*.png"))


def pixels(path: Path) -> Any:
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


@pytest.mark.parametrize("family", ["sd", "sdxl", "flux"])
def test_every_prompt_is_made_with_every_seed(tmp_path: Path, bases: dict[str, Path], family: str) -> None:
    lora = trained(tmp_path / "job", bases[family], family)
    outputs, folder = generated(tmp_path, [lora], lora="reef", prompts=["a", "b"], count=2, batch=3)
    assert outputs.facts["images"] == 4
    assert len(images(folder)) == 4
    told = [json.loads(line) for line in (folder / "generations.jsonl").read_text().splitlines()]
    assert [(row["prompt"], row["seed"]) for row in told] == [("a", 42), ("a", 43), ("b", 42), ("b", 43)]
    with Image.open(images(folder)[1]) as picture:
        assert (picture.info["prompt"], picture.info["seed"], picture.size) == ("a", "43", (64, 64))
    assert (folder / "contact_sheet.png").is_file()


@pytest.mark.parametrize("family", ["sd", "flux"])
def test_weight_0_is_the_base_model_and_another_weight_is_not(
    tmp_path: Path, bases: dict[str, Path], family: str
) -> None:
    base = str(bases[family])
    lora = trained(tmp_path / "job", bases[family], family)
    _, plain = generated(tmp_path / "a", base_model=base)
    _, nothing = generated(tmp_path / "b", [lora], lora=[{"lora": "reef", "weight": 0.0}])
    _, whole = generated(tmp_path / "c", [lora], lora="reef")
    assert abs(pixels(images(plain)[0]) - pixels(images(nothing)[0])).max() <= 1
    assert abs(pixels(images(plain)[0]) - pixels(images(whole)[0])).max() > 1


def test_two_loras_are_added_up(tmp_path: Path, bases: dict[str, Path]) -> None:
    one = trained(tmp_path / "one", bases["sd"], "sd", "one")
    three = trained(tmp_path / "three", bases["sd"], "sd", "three", rank=2)
    _, both = generated(tmp_path / "a", [one, three], lora=[{"lora": "one"}, {"lora": "three", "weight": 0.5}])
    _, first = generated(tmp_path / "b", [one, three], lora=[{"lora": "one"}, {"lora": "three", "weight": 0.0}])
    _, alone = generated(tmp_path / "c", [one], lora="one")
    assert abs(pixels(images(first)[0]) - pixels(images(alone)[0])).max() <= 1
    assert abs(pixels(images(both)[0]) - pixels(images(alone)[0])).max() > 1


def test_batches_change_nothing(tmp_path: Path, bases: dict[str, Path]) -> None:
    _, one = generated(tmp_path / "a", base_model=str(bases["sd"]), count=3, batch=1)
    _, three = generated(tmp_path / "b", base_model=str(bases["sd"]), count=3, batch=3)
    for left, right in zip(images(one), images(three), strict=True):
        assert left.name == right.name
        assert abs(pixels(left) - pixels(right)).max() <= 1


def test_frames_are_changed_one_by_one_and_become_a_film(tmp_path: Path, bases: dict[str, Path]) -> None:
    fields = {"from": "sources.dive", "size": None, "strength": 0.5, "steps": 4, "video": {"fps": 5}}
    outputs, folder = generated(tmp_path, (), frames(tmp_path), base_model=str(bases["sd"]), **fields)
    assert [Image.open(path).size for path in images(folder)] == [(64, 64), (72, 64)]
    import av

    with av.open(str(folder / "video.mp4")) as film:
        stream = film.streams.video[0]
        assert sum(1 for _ in film.decode(stream)) == 2
        assert float(stream.average_rate or 0) == 5
    assert outputs.facts["sources"] == 2


def test_flux_changes_pictures_and_takes_its_own_schedule_alone(tmp_path: Path, bases: dict[str, Path]) -> None:
    fields: dict[str, Any] = {"from": "sources.dive", "size": None, "strength": 0.5, "steps": 4}
    base = str(bases["flux"])
    _, folder = generated(tmp_path, (), frames(tmp_path, ((64, 64), (96, 64))), base_model=base, **fields)
    assert [Image.open(path).size for path in images(folder)] == [(64, 64), (96, 64)]
    with pytest.raises(FormatError, match="scheduler: ddim is not for FLUX"):
        generated(tmp_path / "other", base_model=base, scheduler="ddim")


def test_only_missing_pictures_are_made(tmp_path: Path, bases: dict[str, Path]) -> None:
    base = str(bases["sd"])
    _, first = generated(tmp_path / "a", base_model=base, count=2)
    outputs, second = generated(tmp_path / "b", base_model=base, count=3, context={"previous": first})
    assert outputs.facts["made"] == 1
    assert len(images(second)) == 3
    assert images(first)[0].read_bytes() == images(second)[0].read_bytes()
    outputs, _ = generated(tmp_path / "c", base_model=base, count=3, steps=3, context={"previous": second})
    assert outputs.facts["made"] == 3


def test_a_run_that_was_stopped_goes_on(tmp_path: Path, bases: dict[str, Path]) -> None:
    base, asked = str(bases["sd"]), iter(range(100))
    with pytest.raises(StopRequested):
        generated(tmp_path, base_model=base, count=4, context={"stop": lambda: next(asked) > 7})
    left = len(images(tmp_path / "outputs/.staging/generations/x/f"))
    assert 0 < left < 4
    outputs, _ = generated(tmp_path, base_model=base, count=4)
    assert outputs.facts["made"] == 4 - left


def test_a_picture_cut_off_by_a_kill_is_made_again(tmp_path: Path, bases: dict[str, Path]) -> None:
    _, folder = generated(tmp_path, base_model=str(bases["sd"]))
    cut = images(folder)[0]
    whole = cut.read_bytes()
    cut.write_bytes(whole[: len(whole) // 2])
    outputs, _ = generated(tmp_path, base_model=str(bases["sd"]))
    assert outputs.facts["made"] == 1
    assert cut.read_bytes() == whole


def test_pictures_without_numbers_are_an_error_with_a_remedy(tmp_path: Path) -> None:
    import torch
    from diffusers import StableDiffusionPipeline

    base = tiny_sd(tmp_path / "base")
    pipe = StableDiffusionPipeline.from_pretrained(base, local_files_only=True)
    torch.nn.init.constant_(pipe.unet.conv_out.weight, float("nan"))
    pipe.save_pretrained(base)
    with pytest.raises(NodeError, match=r"NaN.*precision: fp32"):
        generated(tmp_path, base_model=str(base))


def test_black_pictures_are_told_of(tmp_path: Path) -> None:
    import torch
    from diffusers import StableDiffusionPipeline

    base = tiny_sd(tmp_path / "base")
    pipe = StableDiffusionPipeline.from_pretrained(base, local_files_only=True)
    torch.nn.init.zeros_(pipe.vae.decoder.conv_out.weight)
    torch.nn.init.constant_(pipe.vae.decoder.conv_out.bias, -2.0)
    pipe.save_pretrained(base)
    outputs, _ = generated(tmp_path, base_model=str(base))
    assert outputs.facts["black"] == 1
    assert "1 pictures are black" in outputs.notes[0]
    with pytest.raises(NodeError, match="black"):
        generated(tmp_path, base_model=str(base), black="fail")


def test_a_lora_of_another_family_is_refused(tmp_path: Path, bases: dict[str, Path]) -> None:
    lora = trained(tmp_path / "job", bases["sd"], "sd")
    with pytest.raises(FormatError, match=r"trained on family sd; .* is sdxl"):
        generated(tmp_path, [lora], lora="reef", base_model=str(bases["sdxl"]))


@pytest.mark.parametrize("scheduler", ["ddim", "euler", "euler_a", "dpm++_2m", "unipc", "heun", "pndm"])
def test_schedulers_make_pictures(tmp_path: Path, bases: dict[str, Path], scheduler: str) -> None:
    outputs, _ = generated(tmp_path, base_model=str(bases["sd"]), scheduler=scheduler, steps=3)
    assert outputs.facts["images"] == 1


VELOCITY: dict[str, Any] = {"prediction": "v_prediction", "zero_terminal_snr": True}


def velocity_base(folder: Path) -> Path:
    """The same weights as the usual one; its scheduler says what VELOCITY says."""
    return tiny_sd(folder, prediction_type="v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing")


def test_pictures_are_asked_for_as_the_lora_was_trained(tmp_path: Path, bases: dict[str, Path]) -> None:
    """Whatever the scheduler of its base model says; one that says it needs no telling."""
    sayer = velocity_base(tmp_path / "sayer")
    _, right = generated(tmp_path / "a", [trained(tmp_path / "one", sayer, "sd")], lora="reef", base_model=str(sayer))
    told = trained(tmp_path / "two", bases["sd"], "sd", **VELOCITY)
    _, found = generated(tmp_path / "b", [told], lora="reef")
    _, written = generated(tmp_path / "c", [trained(tmp_path / "three", bases["sd"], "sd")], lora="reef", **VELOCITY)
    _, wrong = generated(tmp_path / "d", [trained(tmp_path / "four", bases["sd"], "sd")], lora="reef")
    assert abs(pixels(images(right)[0]) - pixels(images(wrong)[0])).max() > 1
    for folder in (found, written):
        assert abs(pixels(images(right)[0]) - pixels(images(folder)[0])).max() <= 1


@pytest.mark.parametrize("scheduler", WITH_ZERO_SNR)
def test_these_schedulers_begin_with_noise_alone(tmp_path: Path, bases: dict[str, Path], scheduler: str) -> None:
    fields: dict[str, Any] = {**VELOCITY, "scheduler": scheduler, "steps": 3}
    outputs, _ = generated(tmp_path, base_model=str(bases["sd"]), **fields)
    assert outputs.facts["images"] == 1


def test_a_base_whose_scheduler_cannot_begin_with_noise_alone_gets_another(tmp_path: Path) -> None:
    from diffusers import PNDMScheduler, StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(tiny_sd(tmp_path / "base"), local_files_only=True)
    pipe.scheduler = PNDMScheduler.from_config(pipe.scheduler.config, skip_prk_steps=True)
    pipe.save_pretrained(tmp_path / "base")
    lora = trained(tmp_path / "one", tmp_path / "base", "sd", **VELOCITY)
    _, found = generated(tmp_path / "a", [lora], lora="reef")
    sayer = velocity_base(tmp_path / "sayer")
    _, right = generated(tmp_path / "b", [trained(tmp_path / "two", sayer, "sd")], lora="reef", base_model=str(sayer))
    assert abs(pixels(images(right)[0]) - pixels(images(found)[0])).max() <= 1
    with pytest.raises(FormatError, match="heun cannot begin with noise alone"):
        generated(tmp_path / "c", [lora], lora="reef", scheduler="heun")


def test_loras_of_different_predictions_are_told_apart(tmp_path: Path, bases: dict[str, Path]) -> None:
    loras = [
        trained(tmp_path / "one", bases["sd"], "sd", "one", **VELOCITY),
        trained(tmp_path / "two", bases["sd"], "sd", "two", prediction="epsilon", zero_terminal_snr=False),
    ]
    both = [{"lora": "one"}, {"lora": "two"}]
    with pytest.raises(FormatError, match="one for v_prediction, two for epsilon"):
        generated(tmp_path / "a", loras, lora=both)
    generated(tmp_path / "b", loras, lora=both, **VELOCITY)


def test_a_lora_of_another_base_leaves_the_prediction_to_it_and_says_so(tmp_path: Path, bases: dict[str, Path]) -> None:
    lora = trained(tmp_path / "job", velocity_base(tmp_path / "sayer"), "sd", **VELOCITY)
    outputs, _ = generated(tmp_path / "a", [lora], lora="reef", base_model=str(bases["sd"]))
    assert "reef was trained for v_prediction" in outputs.notes[0]


@pytest.mark.parametrize(("family", "usual"), [("sd", "7.5"), ("flux", "3.5")])
def test_guidance_is_the_usual_one_of_the_family(
    tmp_path: Path, bases: dict[str, Path], family: str, usual: str
) -> None:
    _, folder = generated(tmp_path / "a", base_model=str(bases[family]), guidance=None)
    _, written = generated(tmp_path / "b", base_model=str(bases[family]), guidance=float(usual))
    assert Image.open(images(folder)[0]).info["guidance"] == usual
    assert images(folder)[0].name == images(written)[0].name


class Lookup:
    def __init__(self, project_dir: Path, **jobs: LoraJobSpec) -> None:
        self.project_dir, self.jobs = project_dir, jobs

    def spec(self, address: str) -> Any:
        return self.jobs.get(address.removeprefix("lora_jobs."))

    def kind_of(self, address: str) -> None:
        return None


def problems(lookup: Lookup, **fields: Any) -> dict[str, str]:
    found = Generation().check(GenerationSpec.model_validate({"prompts": ["a"], **fields}), lookup)  # type: ignore[arg-type]
    return {problem.path: problem.message for problem in found}


def test_schedulers_that_do_not_fit_are_told_before_anything_runs(tmp_path: Path, bases: dict[str, Path]) -> None:
    job = LoraJobSpec(dataset="reef", base_model=str(bases["sd"]), prediction="v_prediction", zero_terminal_snr=True)
    lookup = Lookup(tmp_path, reef=job, flux=LoraJobSpec(dataset="reef", base_model=str(bases["flux"])))
    assert set(problems(lookup, lora="reef", scheduler="lms")) == {"scheduler"}
    assert problems(lookup, lora="reef", scheduler="euler") == {}
    assert set(problems(lookup, lora="flux", scheduler="euler", prediction="epsilon")) == {"scheduler", "prediction"}
    assert set(problems(lookup, lora="reef", prediction="epsilon", zero_terminal_snr=True)) == {"zero_terminal_snr"}


def test_what_was_kept_is_told_beside_what_was_made(tmp_path: Path, bases: dict[str, Path]) -> None:
    base = str(bases["sd"])
    first, folder = generated(tmp_path / "a", base_model=base, count=2)
    assert made_text(first.facts) == "2 images"
    events: list[Event] = []
    context = {"previous": folder, "emit": events.append}
    outputs, _ = generated(tmp_path / "b", base_model=base, count=3, context=context)
    assert made_text(outputs.facts) == "3 images, 1 made, 2 kept"
    assert "3 pictures: 1 made, 2 kept" in [event.text for event in events if isinstance(event, LogLine)]


def record(facts: dict[str, Any], duration_s: float = 100.0, **config: Any) -> Any:
    """Of a generation that was made; as much of it as a plan looks at."""
    return SimpleNamespace(facts=facts, duration_s=duration_s, result_config={"prompts": ["a", "b"], **config})


def test_a_plan_says_how_many_of_the_pictures_are_to_be_made() -> None:
    last = record({"made": 4, "denoising_steps": 10, "sources": 1, "picture_ms": 5000}, count=2)
    spec = GenerationSpec(prompts=["a", "b", "c"], count=2, steps=10)
    found = Generation().estimate_of_change(spec, last, ["prompts[2]"])
    assert found == Estimate(80 + 2 * 5, "2 of 6 pictures to make, by the last run")
    assert Generation().estimate_of_change(spec, last, ["prompts[2]", "steps"]) is None
    film = GenerationSpec.model_validate({"prompts": ["a", "b"], "count": 2, "steps": 10, "video": {"fps": 5}})
    assert Generation().estimate_of_change(film, last, ["video"]) == Estimate(
        0, "0 of 4 pictures to make, by the last run"
    )


def test_frames_are_counted_with_each_prompt_and_seed() -> None:
    last = record({"made": 24, "denoising_steps": 10, "sources": 12})
    spec = GenerationSpec.model_validate({"prompts": ["a", "b", "c"], "steps": 10, "seed": 42})
    found = Generation().estimate_of_change(spec, last, ["prompts"])
    assert found is not None
    assert found.source == "12 of 36 pictures to make, by the last run"


def test_loading_is_not_multiplied_by_the_pictures() -> None:
    last = record({"made": 2, "denoising_steps": 10, "sources": 1, "picture_ms": 1000}, duration_s=62.0)
    assert Generation().estimate(GenerationSpec(prompts=["a"], count=6, steps=10), last).seconds == 66
    assert Generation().estimate(GenerationSpec(prompts=["a"], count=6, steps=20), last).seconds == 72


def test_a_plan_says_what_an_interrupted_run_left(tmp_path: Path) -> None:
    spec = GenerationSpec(prompts=["a"])
    assert Generation().goes_on(spec, tmp_path) == ""
    (tmp_path / "images").mkdir()
    for name in ("0.png", "1.png", "2.part"):
        (tmp_path / "images" / name).touch()
    assert Generation().goes_on(spec, tmp_path) == "goes on, with 2 pictures there"


@pytest.mark.parametrize("family", ["sd", "sdxl", "flux"])
def test_weights_made_elsewhere_are_added_in_both_formats(tmp_path: Path, bases: dict[str, Path], family: str) -> None:
    lora, base = trained(tmp_path / "job", bases[family], family), str(bases[family])
    _, ours = generated(tmp_path / "a", [lora], lora=[{"lora": "reef", "weight": 0.5}])
    _, plain = generated(tmp_path / "b", base_model=base)
    # Of FLUX in kohya's format diffusers takes the real widths alone (see test_flux).
    for name in ("lora.safetensors", "lora_kohya.safetensors")[: 1 + (family != "flux")]:
        backend = {"kind": "diffusers", "loras": [{"file": str(lora.folder / name), "weight": 0.5}]}
        _, theirs = generated(tmp_path / name, base_model=base, backend=backend)
        assert abs(pixels(images(ours)[0]) - pixels(images(theirs)[0])).max() <= 1
        assert abs(pixels(images(plain)[0]) - pixels(images(theirs)[0])).max() > 1
        assert Image.open(images(theirs)[0]).info["lora"].endswith(f"{name}:0.5")
        assert images(theirs)[0].name != images(plain)[0].name


def test_weights_made_elsewhere_for_another_base_are_refused(tmp_path: Path, bases: dict[str, Path]) -> None:
    lora = trained(tmp_path / "job", bases["sdxl"], "sdxl")
    for name in ("lora.safetensors", "lora_kohya.safetensors"):
        backend = {"kind": "diffusers", "loras": [{"file": str(lora.folder / name)}]}
        with pytest.raises(FormatError, match=name):
            generated(tmp_path / name, base_model=str(bases["sd"]), backend=backend)


def test_files_that_are_no_weights_for_pipelines_are_mistakes_of_the_spec(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    for name, tensor in (("plain", "weight"), ("lokr", "lora_unet_a.lokr_w1"), ("dora", "lora_unet_a.dora_scale")):
        save_file({tensor: torch.zeros(1)}, tmp_path / f"{name}.safetensors")
    files = [{"file": f"{name}.safetensors"} for name in ("plain", "lokr", "dora", "gone")]
    found = problems(Lookup(tmp_path), base_model="a/b", backend={"kind": "diffusers", "loras": files})
    assert [found[f"backend.loras.{number}.file"].partition(" ")[2] for number in range(4)] == [
        "holds no LoRA weights.",
        "holds lokr_w1, which pipelines of diffusers cannot load.",
        "holds dora_scale, which pipelines of diffusers cannot load.",
        "is no file gone.safetensors.",
    ]


@pytest.mark.parametrize(
    "name",
    [
        "unet.mid_block.attn1.processor.to_q_lora.down.weight",
        "unet.mid_block.attn1.to_q.lora_linear_layer.down.weight",
        "unet.mid_block.attn1.to_q.lora.down.weight",
        "unet.mid_block.attn1.to_q.lora_A.weight",
        "lora_unet_mid_block_attn1_to_q.lora_down.weight",
    ],
)
def test_weights_of_every_age_are_counted(tmp_path: Path, name: str) -> None:
    import torch
    from safetensors.torch import save_file

    save_file({name: torch.zeros(1), name.replace("down", "up"): torch.zeros(1)}, tmp_path / "ink.safetensors")
    assert lora_pairs(tmp_path / "ink.safetensors", "ink") == 1


def test_another_content_of_a_file_makes_pictures_stale(tmp_path: Path) -> None:
    (tmp_path / "ink.safetensors").write_bytes(b"one")
    spec = GenerationSpec.model_validate(
        {
            "prompts": ["a"],
            "base_model": "a/b",
            "backend": {"kind": "diffusers", "loras": [{"file": "ink.safetensors"}]},
        }
    )
    first = anyio.run(Generation().observe, spec, make_look(tmp_path, "generations.x"))
    (tmp_path / "ink.safetensors").write_bytes(b"another")
    second = anyio.run(Generation().observe, spec, make_look(tmp_path, "generations.x", observed=first.value))
    assert first.value != second.value
    assert second.differences == ("the content of a file in backend.loras changed",)


def test_a_size_that_cannot_be_names_the_nearest(tmp_path: Path, bases: dict[str, Path]) -> None:
    (problem,) = Generation().check(
        GenerationSpec.model_validate({"prompts": ["a"], "base_model": str(bases["sd"]), "size": [130, 4]}),
        Lookup(tmp_path),  # type: ignore[arg-type]
    )
    assert (problem.path, problem.message) == ("size", "The width 130 and the height 4 are no multiple of 8.")
    assert problem.hint == "Write width 128 or 136 and height 8."
    assert set(problems(Lookup(tmp_path), base_model=str(bases["flux"]), size=[72, 64])) == {"size"}
    assert problems(Lookup(tmp_path), base_model=str(bases["sd"]), size=[72, 64]) == {}
    with pytest.raises(FormatError, match="size: The width 72 is no multiple of 16"):
        generated(tmp_path, base_model=str(bases["flux"]), size=(72, 64))


def test_frames_get_sides_that_the_base_model_takes(tmp_path: Path, bases: dict[str, Path]) -> None:
    fields: dict[str, Any] = {"from": "sources.dive", "size": None, "steps": 2, "base_model": str(bases["flux"])}
    _, folder = generated(tmp_path, (), frames(tmp_path, ((72, 64),)), **fields)
    assert [Image.open(path).size for path in images(folder)] == [(64, 64)]


def test_a_resolution_between_the_steps_gives_pictures(tmp_path: Path, bases: dict[str, Path]) -> None:
    lora = trained(tmp_path / "job", bases["sd"], "sd", resolution=[70, 64])
    _, folder = generated(tmp_path, [lora], lora="reef", size=None)
    assert Image.open(images(folder)[0]).size == (64, 64)


def test_lokr_weights_are_refused_before_anything_runs() -> None:
    lookup = Lookup(Path(), reef=LoraJobSpec(dataset="reef", base_model="a/b", network="lokr"))
    (message,) = problems(lookup, lora="reef").values()
    assert "reef has network: lokr" in message
