"""What is wrong with a LoRA job that is trained here, as far as dataset and base model tell it before a run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from specrun.errors import SpecrunError
from specrun.kinds.evaluations.field import field_problems, missing_field
from specrun.model.work import Look
from specrun.spec.kind import Lookup, Problem, Ref
from specrun.training.lora.base import (
    FAMILY_TITLES,
    FamilyName,
    denoiser_folder,
    family_of,
    is_local,
    layer_widths,
    local_place,
)
from specrun.training.lora.layers import denoiser_targets, layer_problems, text_targets
from specrun.training.lora.presets import PRESET_FAMILIES
from specrun.training.lora.rules import family_problems
from specrun.training.lora.settings import LoraTraining


def dataset_problems(spec: LoraTraining, lookup: Lookup) -> Iterator[Problem]:
    place = Ref("datasets").address(spec.dataset)
    dataset = lookup.spec(place)
    if dataset is None:
        return
    captions = getattr(dataset, "captions", None)
    if captions is None and spec.uncaptioned != "trigger" and isinstance(getattr(dataset, "from_", None), str):
        message = f"{spec.dataset} declares no captions; images without one cannot be learnt."
        hint = "Add captions: to the dataset, or write uncaptioned: trigger."
        yield Problem("dataset", message, hint, warning=True)
    theirs = getattr(captions, "trigger", None)
    if theirs and spec.trigger and theirs.lower() not in spec.trigger.lower():
        message = f'Captions of {spec.dataset} begin with its trigger "{theirs}", so both words get into them.'
        yield Problem("trigger", message, f"Write trigger: {theirs}, or remove one of the two.", warning=True)


def mask_problems(spec: LoraTraining, lookup: Lookup) -> list[Problem]:
    if spec.masked_loss is None:
        return []
    place = Ref("datasets").address(spec.dataset)
    return field_problems("masked_loss.label_field", spec.masked_loss.label_field, place, lookup)


def missing_masks(spec: LoraTraining, look: Look) -> tuple[str, ...]:
    """What the plan says of masks that are not in FiftyOne. Blocking: the database may be asked."""
    facts = look.facts(Ref("datasets").address(spec.dataset)) or {}
    if spec.masked_loss is None or not facts:
        return ()
    return missing_field(spec.masked_loss.label_field, str(facts.get("name") or ""), look)


def base_problems(spec: LoraTraining, lookup: Lookup) -> list[Problem]:
    project = Path(lookup.project_dir)
    problems = []
    if spec.base_config is not None and is_local(spec.base_config, project):
        place = local_place(spec.base_config, project)
        if not (place / "model_index.json").is_file():
            message = f"{spec.base_config} has no model_index.json."
            problems.append(Problem("base_config", message, "Give a folder that save_pretrained wrote."))
    if not is_local(spec.base_model, project):
        return problems
    place = local_place(spec.base_model, project)
    if not place.exists():
        hint = "Paths are relative to the spec; a model of the Hub is written owner/name."
        return [*problems, Problem("base_model", f"There is no file or folder {spec.base_model}.", hint)]
    try:
        family = family_of(place, spec.base_model)
    except SpecrunError as error:
        return [*problems, Problem("base_model", error.message.removeprefix("base_model: "), error.hint)]
    if (wanted := PRESET_FAMILIES.get(spec.preset or "")) not in (None, family):
        message = f"The preset is for {FAMILY_TITLES[wanted]}; {spec.base_model} is {FAMILY_TITLES[family]}."
        problems.append(Problem("preset", message, "Write the other preset."))
    else:
        problems += family_problems(spec, family)
        problems += _layer_problems(spec, place, family)
    if place.is_file() and spec.base_config is None:
        message = "The configuration of a single file is fetched from the Hub."
        hint = "Without network write base_config: a folder with the configuration of its family."
        problems.append(Problem("base_model", message, hint, warning=True))
    return problems


def _layer_problems(spec: LoraTraining, place: Path, family: FamilyName) -> Iterator[Problem]:
    """Of a base in the layout of diffusers, whose files tell their layers without torch."""
    if not place.is_dir():
        return
    denoiser = denoiser_folder(family)
    if widths := layer_widths(place, denoiser):
        yield from layer_problems(spec, denoiser_targets(spec, family, widths), widths, denoiser)
    if spec.train_text_encoder:
        for name in ("text_encoder", "text_encoder_2")[: 1 + (family == "sdxl")]:
            yield from layer_problems(spec, text_targets(spec), layer_widths(place, name), name)
