from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import numpy as np
import pytest
from PIL import Image

from specrun.errors import FormatError, NodeError, StopRequested
from specrun.kinds.captions.spec import CaptionsSpec
from specrun.kinds.lora_jobs.lora import LoraJob, foreseen_of, local_estimate, memory_notes, preset_values
from specrun.kinds.lora_jobs.pixels import covered
from specrun.kinds.lora_jobs.spec import LoraJobSpec
from specrun.model.address import parse_address
from specrun.model.labels import Box, Mask, Part, Polygon, Tag
from specrun.model.state import NodeRecord
from specrun.training.lora import estimates
from specrun.training.lora.base import find_base
from specrun.training.lora.presets import PRESETS
from specrun.training.lora.records import changed_caption, choose, require_masks
from specrun.training.lora.rules import rule_problems
from tests.support.fake_dataset import export_context
from tests.support.look import make_look, make_record
from tests.support.lora_training import SMALL, pictures, small_spec
from tests.support.tiny_diffusion import tiny_flux, tiny_sd, tiny_sdxl
from tests.support.told_progress import never_falls, told_progress


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_sd(tmp_path_factory.mktemp("bases") / "sd")


class Lookup:
    def __init__(self, project_dir: Path, **specs: Any) -> None:
        self.project_dir, self.specs = project_dir, specs

    def spec(self, address: str) -> Any:
        return self.specs.get(address)

    def kind_of(self, address: str) -> str | None:
        return None

    def addresses(self, section: str) -> list[str]:
        return [address for address in self.specs if address.startswith(f"{section}.")]


def spec_of(**fields: Any) -> LoraJobSpec:
    return LoraJobSpec(**{"dataset": "reef", "base_model": "owner/base", **fields})


def rules(**fields: Any) -> dict[str, str]:
    return {problem.path: problem.message for problem in rule_problems(spec_of(**fields))}


def test_a_finished_job_leaves_weights_pictures_and_what_they_are(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields: dict[str, Any] = {"samples": {"steps": 1}, "validation": {"split": 0.3}, "trigger": "reefx"}
    fields |= {"prediction": "v_prediction", "zero_terminal_snr": True}
    spec = small_spec(base, **fields)
    ctx = export_context(tmp_path, monkeypatch, pictures(tmp_path / "images"), [], address="lora_jobs.x")
    outputs = LoraJob().run(spec, ctx)
    assert {artifact.name for artifact in outputs.artifacts} == {
        "lora", "kohya", "model", "metrics", "samples", "contact_sheet",
    }  # fmt: skip
    assert all((ctx.staging / artifact.place).exists() for artifact in outputs.artifacts)
    described = json.loads((ctx.staging / "lora.json").read_text())
    assert {name: described[name] for name in ("family", "trigger", "rank", "alpha", "steps", "resolution")} == {
        "family": "sd", "trigger": "reefx", "rank": 4, "alpha": 2, "steps": 3, "resolution": [64, 64],
    }  # fmt: skip
    assert (described["prediction"], described["zero_terminal_snr"]) == ("v_prediction", True)
    assert outputs.facts["steps"] == 3
    assert isinstance(outputs.facts["validation_loss"], float)
    lines = (ctx.staging / "metrics.csv").read_text().splitlines()
    assert lines[0] == "step,train/loss,lr,steps/s,val/loss"
    assert not (ctx.staging / "last.ckpt").exists()
    told = told_progress(ctx.events)  # type: ignore[attr-defined]
    assert never_falls(told)
    said = dict.fromkeys(said for _, said in told)
    assert list(said)[:3] == ["starting PyTorch", "reading the dataset", "looking at the base model"]
    assert {"encoding pictures 0/3", "step 3/3", "measuring the validation loss", "saving the weights"} < set(said)
    assert [share for share, text in told if text == "painting samples before training 0/1"] == [0.0]


def test_masked_loss_reads_the_labels_of_its_field(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = small_spec(base, masked_loss={"label_field": "fish", "outside": 0.1}, max_steps=1)
    ctx = export_context(tmp_path, monkeypatch, pictures(tmp_path / "images"), [], address="lora_jobs.x")
    LoraJob().run(spec, ctx)
    assert ctx.database.asked[0]["label_field"] == "fish"  # type: ignore[attr-defined]
    (need,) = LoraJob().inputs(spec)
    assert need.parts == ("media", "split", "captions", "field:fish")


def test_presets_stand_in_the_config_unless_something_else_is_written() -> None:
    spec = spec_of(preset="fast", rank=32)
    assert (spec.rank, spec.alpha, spec.max_steps, spec.resolution) == (32, 8, 500, (512, 512))
    assert spec.model_dump(mode="json")["warmup_steps"] == 20
    assert spec_of(preset="fast", epochs=3).max_steps is None
    assert LoraJobSpec.model_validate(spec.model_dump(mode="json")) == spec


def test_every_preset_is_a_job_without_contradictions() -> None:
    for preset in PRESETS:
        assert rules(preset=preset) == {}


def test_cached_latents_exclude_random_changes_of_pictures() -> None:
    found = rules(random_flip=True, random_crop=True, color_jitter=0.1)
    assert set(found) == {"random_flip", "random_crop", "color_jitter"}
    assert "once" in found["random_flip"]
    assert rules(random_flip=True, cache_latents=False) == {}


def test_cached_captions_exclude_what_changes_them() -> None:
    written = {"caption_shuffle": True, "caption_dropout": 0.1, "train_text_encoder": True}
    assert set(rules(cache_text_embeddings=True, **written)) == set(written)
    assert rules(**written) == {}
    assert not spec_of(**written).caches_text
    assert spec_of().caches_text


def test_a_fused_backward_pass_excludes_accumulation() -> None:
    found = rules(optimizer="adafactor", fused_backward=True)
    assert set(found) == {"gradient_accumulation", "max_grad_norm"}
    fitting = {"gradient_accumulation": 1, "max_grad_norm": None}
    assert rules(optimizer="adafactor", fused_backward=True, **fitting) == {}


@pytest.mark.parametrize(("optimizer", "package"), [("adamw8bit", "bitsandbytes"), ("prodigy", "prodigyopt")])
def test_an_optimizer_whose_package_is_missing_names_it(
    optimizer: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("specrun.training.lora.rules.installed", lambda name: name != package)
    assert f"needs {package}" in rules(optimizer=optimizer, learning_rate=1.0)["optimizer"]
    monkeypatch.setattr("specrun.training.lora.rules.installed", lambda name: True)
    assert rules(optimizer=optimizer, learning_rate=1.0) == {}


def test_several_gpus_cannot_take_steps_inside_the_backward_pass() -> None:
    fused = {"optimizer": "adafactor", "fused_backward": True, "gradient_accumulation": 1, "max_grad_norm": None}
    assert set(rules(resources={"gpus": 2}, **fused)) == {"fused_backward"}
    assert rules(resources={"gpus": 2}) == {}


def test_a_base_model_that_is_not_there_is_a_mistake_of_the_spec(tmp_path: Path) -> None:
    (problem,) = LoraJob().check(spec_of(base_model="./nowhere"), Lookup(tmp_path))
    assert (problem.path, problem.message) == ("base_model", "There is no file or folder ./nowhere.")


def test_a_base_model_of_another_family_is_a_mistake_of_the_spec(tmp_path: Path) -> None:
    (tmp_path / "sana").mkdir()
    (tmp_path / "sana" / "model_index.json").write_text('{"_class_name": "SanaPipeline"}')
    (problem,) = LoraJob().check(spec_of(base_model="./sana"), Lookup(tmp_path))
    assert problem.message == "./sana is of SanaPipeline."
    assert "Stable Diffusion XL" in str(problem.hint)


def test_a_preset_of_another_family_is_a_mistake_of_the_spec(base: Path, tmp_path: Path) -> None:
    (problem,) = LoraJob().check(spec_of(base_model=str(base), preset="sdxl"), Lookup(tmp_path))
    assert problem.path == "preset"


def told(found: Any) -> dict[str, tuple[str, bool]]:
    return {problem.path: (problem.message, problem.warning) for problem in found}


def test_a_rank_and_names_that_do_not_fit_the_layers_are_mistakes_of_the_spec(base: Path, tmp_path: Path) -> None:
    """Read out of the heads of its files, without torch."""
    found = told(LoraJob().check(small_spec(base, rank=17), Lookup(tmp_path)))
    assert found["rank"][0].startswith("17 is above the width of unet.")
    assert "which is 16" in found["rank"][0]
    (problem,) = LoraJob().check(small_spec(base, target_modules=["to_q", "to_w"]), Lookup(tmp_path))
    assert (problem.path, problem.message) == ("target_modules", "the unet has no layer named to_w.")
    assert "Did you mean" in str(problem.hint)
    assert told(LoraJob().check(small_spec(base, rank=16, target_modules="all"), Lookup(tmp_path))) == {}
    assert "rank" not in told(LoraJob().check(small_spec(base, rank=17, network="lokr"), Lookup(tmp_path)))


@pytest.mark.parametrize("make", [tiny_sdxl, tiny_flux])
def test_layers_of_every_family_are_known_before_a_run(tmp_path: Path, make: Any) -> None:
    place = make(tmp_path / "base")
    for target in ("attention", "all"):
        assert told(LoraJob().check(small_spec(place, target_modules=target), Lookup(tmp_path))) == {}
    assert "rank" in told(LoraJob().check(small_spec(place, rank=64), Lookup(tmp_path)))


def test_a_resolution_between_the_steps_says_what_becomes_of_it() -> None:
    found = told(rule_problems(spec_of(resolution=(130, 128), bucket_step=16)))
    assert found == {"resolution": ("Sides are multiples of bucket_step: 16, so it becomes [128, 128].", True)}
    found = told(rule_problems(spec_of(samples={"size": [130, 128]})))
    assert found["samples.size"][0].endswith("so it becomes [128, 128].")


def test_two_triggers_are_told_apart(tmp_path: Path) -> None:
    captions = CaptionsSpec.model_validate({"providers": [{"kind": "sidecar"}], "trigger": "paty"})
    dataset = SimpleNamespace(captions=captions, from_="sources.x", label_field="ground_truth")
    lookup = Lookup(tmp_path, **{"datasets.reef": dataset})
    (problem,) = LoraJob().check(spec_of(trigger="patx"), lookup)
    assert (problem.path, problem.warning) == ("trigger", True)
    assert '"paty"' in problem.message
    for trigger in ("paty", "Paty style", None):
        assert not list(LoraJob().check(spec_of(trigger=trigger), lookup))


def test_masks_of_a_field_that_nobody_writes_are_told(tmp_path: Path) -> None:
    dataset = SimpleNamespace(captions=CaptionsSpec(), from_="sources.x", label_field="ground_truth")
    predictions = SimpleNamespace(on="datasets.reef", label_field="found")
    lookup = Lookup(tmp_path, **{"datasets.reef": dataset, "predictions.fish": predictions})
    (problem,) = LoraJob().check(spec_of(masked_loss={"label_field": "fond"}), lookup)
    assert (problem.path, problem.warning) == ("masked_loss.label_field", True)
    assert 'Did you mean "found"?' in str(problem.hint)
    spec = spec_of(masked_loss={"label_field": "found"})
    assert not list(LoraJob().check(spec, lookup))
    assert [need.ref for need in LoraJob().needs(spec, lookup)] == ["datasets.reef", "predictions.fish"]


def test_images_without_masks_teach_nothing_and_say_so(tmp_path: Path) -> None:
    samples = pictures(tmp_path)
    spec = spec_of(bucket_step=32, validation=None, masked_loss={"label_field": "fish"})
    with pytest.raises(NodeError, match="no image has a label in it"):
        require_masks(choose(samples, spec, 0), spec)
    masked = [replace(samples[0], labels=(Box(label="a", x=0, y=0, width=9, height=9),)), *samples[1:]]
    assert "2 of 3 images have no label in fish" in require_masks(choose(masked, spec, 0), spec).notes[0]
    outside = spec_of(bucket_step=32, masked_loss={"label_field": "fish", "outside": 0.1})
    assert require_masks(choose(samples, outside, 0), outside).notes == ()


def test_more_images_at_a_time_than_there_are_is_noted(base: Path, tmp_path: Path) -> None:
    look = make_look(tmp_path, "lora_jobs.x", facts={"datasets.reef": {"images": 12}})
    observed = anyio.run(LoraJob().observe, small_spec(base, batch=200, validation={"split": 0.1}), look)
    assert "batch: 200 is more than the 11 images to learn" in observed.foreseen


def test_lora_weights_are_no_base_model(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    save_file({"lora_unet_a.lora_down.weight": torch.zeros(1)}, tmp_path / "a.safetensors")
    (problem,) = LoraJob().check(spec_of(base_model="a.safetensors"), Lookup(tmp_path))
    assert problem.message == "a.safetensors holds LoRA weights."
    (tmp_path / "b.safetensors").write_bytes(b"nothing")
    (problem,) = LoraJob().check(spec_of(base_model="b.safetensors"), Lookup(tmp_path))
    assert "no readable .safetensors" in problem.message


@pytest.mark.parametrize(
    ("keys", "family"),
    [({}, "sd"), ({"conditioner.embedders.1.model.ln_final.weight": [1]}, "sdxl")],
    ids=["sd", "sdxl"],
)
def test_a_single_file_tells_its_family(tmp_path: Path, keys: dict[str, list[int]], family: str) -> None:
    import torch
    from safetensors.torch import save_file

    shapes = {"model.diffusion_model.input_blocks.0.0.weight": [8, 4, 3, 3], **keys}
    save_file({name: torch.zeros(shape) for name, shape in shapes.items()}, tmp_path / "base.safetensors")
    assert find_base("base.safetensors", None, tmp_path).family == family


def test_without_network_the_error_says_how_to_give_a_base_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(NodeError, match="owner/base") as error:
        find_base("owner/base", None, tmp_path)
    assert "base_model: ./models/sdxl" in str(error.value.hint)


def test_a_name_that_the_hub_does_not_know_is_told_from_a_hub_that_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub
    from huggingface_hub import constants
    from huggingface_hub.errors import RepositoryNotFoundError

    (tmp_path / "hub" / "models--owner--coral").mkdir(parents=True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))

    def refuse(*arguments: Any, **values: Any) -> None:
        answer: Any = SimpleNamespace(status_code=401, headers={}, request=None)
        raise RepositoryNotFoundError("401 Client Error", response=answer)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(NodeError, match="the Hub has no model owner/corals") as error:
        find_base("owner/corals", None, tmp_path)
    assert error.value.hint == 'Did you mean "owner/coral", which this machine has?'
    with pytest.raises(NodeError) as error:
        find_base("somebody/else", None, tmp_path)
    assert "Check its spelling" in str(error.value.hint)


def test_images_without_captions_are_named(tmp_path: Path) -> None:
    samples = pictures(tmp_path)
    samples[0].fields["caption"] = " "  # type: ignore[index]
    with pytest.raises(NodeError, match=r"1 of 3 images have no caption: 0\.png"):
        choose(samples, spec_of(bucket_step=32), 0)
    kept = choose(samples, spec_of(bucket_step=32, uncaptioned="skip", validation=None), 0)
    assert [record.name for record in kept.train] == ["1.png", "2.png"]
    assert kept.notes == ("1 images without a caption are left out",)
    taught = choose(samples, spec_of(bucket_step=32, uncaptioned="trigger", trigger="reefx", validation=None), 0)
    assert [record.caption for record in taught.train] == [
        "reefx", "reefx, a reef, number 1", "reefx, a reef, number 2",
    ]  # fmt: skip


def test_an_image_that_is_too_small_is_named(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"0\.png: 40x300 pixels are too few"):
        choose(pictures(tmp_path, ((40, 300),)), spec_of(), 0)


def test_an_image_that_is_gone_is_named(tmp_path: Path) -> None:
    samples = pictures(tmp_path)
    samples[1].media.unlink()
    with pytest.raises(FormatError, match=r"1\.png: the image is gone"):
        choose(samples, spec_of(bucket_step=32), 0)


def test_an_image_that_cannot_be_read_is_named(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = pictures(tmp_path / "images")
    samples[2].media.write_bytes(b"no picture")
    ctx = export_context(tmp_path, monkeypatch, samples, [], address="lora_jobs.x")
    with pytest.raises(FormatError, match=r"2\.png"):
        LoraJob().run(small_spec(base), ctx)


def test_the_split_val_is_for_validation_and_test_for_neither(tmp_path: Path) -> None:
    samples = [replace(s, split=split) for s, split in zip(pictures(tmp_path), ("train", "val", "test"), strict=True)]
    found = choose(samples, spec_of(bucket_step=32), 0)
    assert ([r.name for r in found.train], [r.name for r in found.validation]) == (["0.png"], ["1.png"])


def test_shuffled_captions_keep_their_first_part() -> None:
    spec = spec_of(caption_shuffle=True)
    found = {changed_caption("reefx, a, b, c", spec, random.Random(seed)) for seed in range(40)}
    assert len(found) == 6
    assert all(caption.startswith("reefx, ") for caption in found)


def test_pixels_inside_boxes_polygons_and_masks_count() -> None:
    triangle = Polygon(label="a", parts=(Part(np.array([[4.0, 4], [8, 4], [8, 8], [4, 8]])),))
    labels = [Box(label="a", x=0, y=0, width=2, height=2), triangle, Tag(label="a")]
    labels.append(Mask(label="a", bitmap=np.ones((1, 3), dtype=bool), left=0, top=9))  # type: ignore[arg-type]
    found = covered(labels, (10, 10))
    assert found.sum() == 4 + 16 + 3


def test_a_changed_base_model_makes_other_weights(base: Path, tmp_path: Path) -> None:
    other = tiny_sd(tmp_path / "other", seed=1)
    assert find_base(str(base), None, tmp_path).digest != find_base(str(other), None, tmp_path).digest


def test_another_configuration_of_a_single_file_makes_other_weights(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    save_file({"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(8, 4, 3, 3)}, tmp_path / "a.safetensors")
    (tmp_path / "config").mkdir()
    index = tmp_path / "config" / "model_index.json"
    index.write_text("{}")
    spec = spec_of(base_model="a.safetensors", base_config="config")
    first = anyio.run(LoraJob().observe, spec, make_look(tmp_path, "lora_jobs.x"))
    digest = find_base("a.safetensors", "config", tmp_path).digest
    assert digest != find_base("a.safetensors", None, tmp_path).digest
    index.write_text('{"a": 1}')
    second = anyio.run(LoraJob().observe, spec, make_look(tmp_path, "lora_jobs.x", observed=first.value))
    assert second.differences == ("base_config: its configuration changed",)
    assert find_base("a.safetensors", "config", tmp_path).digest != digest


def test_the_estimate_names_what_would_need_less_memory() -> None:
    large = spec_of(batch=8, gradient_checkpointing=False, gradient_accumulation=1)
    assert memory_notes(large, "sdxl", []) == []
    assert memory_notes(spec_of(), "sdxl", [80 * 1024]) == []
    (note,) = memory_notes(large, "sdxl", [24 * 1024])
    assert "the GPU has 24 GiB. Write gradient_checkpointing: true" in note
    assert estimates.needed_mib(large, "sdxl") > 3 * estimates.needed_mib(spec_of(), "sdxl")


def test_the_estimate_goes_by_steps() -> None:
    twice = [local_estimate(spec_of(max_steps=steps), None, [24 * 1024]) for steps in (100, 200)]
    assert twice[1].seconds == pytest.approx(2 * (twice[0].seconds or 0))
    assert "rule" in twice[0].source


def last_run(*, steps: int, duration_s: float) -> NodeRecord:
    record = make_record(parse_address("lora_jobs.x"), None)
    return replace(record, facts={"steps": steps}, duration_s=duration_s)


def test_of_a_machine_without_a_gpu_no_gpu_is_spoken() -> None:
    found = local_estimate(spec_of(max_steps=100), None, [])
    assert (found.seconds, found.gpu_memory_mib, found.source) == (None, None, "on the CPU: no GPU here")
    measured = local_estimate(spec_of(max_steps=100), last_run(steps=50, duration_s=30), [])
    assert (measured.seconds, measured.gpu_memory_mib, measured.source) == (60, None, "last run: 50 steps")


def test_what_is_foreseen_says_no_second_time_beside_the_estimate(tmp_path: Path) -> None:
    def notes(spec: LoraJobSpec, record: NodeRecord | None, gpus_mib: list[float]) -> list[str]:
        look = make_look(tmp_path, "lora_jobs.x", facts={"datasets.reef": {"images": 40}})
        return foreseen_of(spec, replace(look, record=record), gpus_mib)

    by_epochs, by_steps = spec_of(epochs=2), spec_of(max_steps=100)
    timed = "about 18 steps of 4 images, about 1 min by a rule of thumb for a current GPU"
    assert notes(by_epochs, None, [24 * 1024]) == [timed]
    assert notes(by_steps, None, [24 * 1024]) == ["about 100 steps of 4 images"]
    assert notes(by_epochs, last_run(steps=50, duration_s=30), [24 * 1024]) == [timed.split(", ")[0]]
    assert notes(by_epochs, None, []) == [timed.split(", ")[0]]


def test_of_a_preset_only_its_own_values_are_told_as_yaml_writes_them() -> None:
    told = preset_values(spec_of(preset="fast", rank=4, max_steps=12, resolution=[64, 64]))
    assert told == (
        "alpha 8, learning_rate 0.0003, gradient_accumulation 1, gradient_checkpointing false, warmup_steps 20"
    )
    assert preset_values(spec_of(rank=4)) == ""


def test_the_plan_says_after_which_step_a_training_goes_on(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx = export_context(tmp_path, monkeypatch, pictures(tmp_path / "images"), [], address="lora_jobs.x")
    spec = small_spec(base, save_every=2)
    assert LoraJob().goes_on(spec, ctx.staging) == "begins anew"
    asked = iter(range(1, 100))
    monkeypatch.setattr(type(ctx), "stop_requested", lambda self: next(asked) == 2)
    with pytest.raises(StopRequested):
        LoraJob().run(spec, ctx)
    assert LoraJob().goes_on(spec, ctx.staging) == "goes on after step 2"
    assert LoraJob().goes_on(spec.model_copy(update={"resume": "never"}), ctx.staging) == "begins anew"
    LoraJob().run(spec, ctx)
    assert LoraJob().goes_on(spec, ctx.staging) == "begins anew"
    assert not (ctx.staging / "reached.json").exists()


def test_what_only_changes_the_speed_does_not_start_a_training_over() -> None:
    plain = LoraJob().resume_key(spec_of())
    assert LoraJob().resume_key(spec_of(compile=True, save_every=7, resume="never")) == plain
    assert LoraJob().resume_key(spec_of(rank=8)) != plain
    assert set(SMALL) - {"dataset"} <= set(LoraJobSpec.model_fields)


def test_pictures_have_the_size_that_they_had(tmp_path: Path) -> None:
    with Image.open(pictures(tmp_path)[1].media) as image:
        assert image.size == (128, 64)
