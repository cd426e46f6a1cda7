"""generations: pictures made with a base model and LoRA weights, from words alone or from pictures.

images/<n>_<key>.png   named by what it was made of; prompt and seed stand in its metadata
generations.jsonl      one line a picture
contact_sheet.png      each prompt with its pictures by seed, or each changed picture beside what became of it
video.mp4              where a video is asked for; videos/ where it is several
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import anyio.to_thread

from specrun.errors import SpecrunError
from specrun.kinds.base_model import base_differences, base_observed
from specrun.kinds.generations.loras import local_lora_digests, local_lora_problems
from specrun.kinds.generations.spec import (
    FLUX_STEP,
    STEP,
    ComfyGeneration,
    DiffusersGeneration,
    GenerationSpec,
    size_problem,
)
from specrun.model.artifact import Outputs
from specrun.model.digest import Json
from specrun.model.node import Resources
from specrun.model.plan import Estimate
from specrun.model.state import NodeRecord, Observation
from specrun.model.work import Context, Look
from specrun.spec.kind import Kind, Lookup, Need, Problem, Ref
from specrun.spec.suggest import listed
from specrun.training.lora.base import FamilyName, family_of, is_local, local_place
from specrun.training.lora.prediction import WITH_ZERO_SNR

_COMFY_SIDE = 16


class Generation(Kind):
    """Only missing pictures are made: each is kept by what it was made of."""

    Spec = GenerationSpec
    worker = "process"
    resources: ClassVar[Resources] = Resources(gpus=1, cpus=4.0)
    packages = ("diffusers", "peft", "transformers", "torch")

    def check(self, spec: GenerationSpec, lookup: Lookup) -> Sequence[Problem]:
        if isinstance(spec.backend, DiffusersGeneration):
            given = local_lora_problems(spec.backend.loras, Path(lookup.project_dir))
        else:
            given = iter(())
        problems = [*given, *_combination_problems(spec), *_base_problems(spec, lookup), *_comfy_problems(spec, lookup)]
        return [*problems, *_network_problems(spec, lookup), *_prediction_problems(spec, lookup)]

    def inputs(self, spec: GenerationSpec) -> Sequence[Need]:
        needs = [Need("lora", Ref("lora_jobs").address(one.lora)) for one in spec.loras]
        if spec.from_:
            needs.append(Need("pictures", spec.from_, ("media",)))
        if isinstance(spec.backend, ComfyGeneration):
            needs.append(Need("connection", Ref("connections").address(spec.backend.connection)))
        return needs

    async def observe(self, spec: GenerationSpec, look: Look) -> Observation:
        """The content of a local base model, and of LoRA files."""
        value = await base_observed(spec.base_model, spec.base_config, look)
        changes = base_differences(value, look, spec.base_model)
        if isinstance(spec.backend, DiffusersGeneration) and spec.backend.loras:
            value["loras"] = await anyio.to_thread.run_sync(local_lora_digests, spec.backend.loras, look)
            before = look.record.observation if look.record else None
            if isinstance(before, dict) and before.get("loras", value["loras"]) != value["loras"]:
                changes = (*changes, "the content of a file in backend.loras changed")
        return Observation(value, changes)

    def estimate(self, spec: GenerationSpec, last: NodeRecord | None) -> Estimate:
        """In proportion to the pictures and steps of last time."""
        sources = _sources(last)
        return _time_of(len(spec.prompts) * len(spec.chosen_seeds) * sources, spec, last)

    def estimate_of_change(self, spec: GenerationSpec, last: NodeRecord, changed: Sequence[str]) -> Estimate | None:
        """When only what is asked for changed, the pictures that were not asked for last time."""
        before = _asked_before(last)
        if before is None or {path.split(".")[0].split("[")[0] for path in changed} - _ASKING:
            return None
        wanted = [(prompt, seed) for prompt in spec.prompts for seed in spec.chosen_seeds]
        missing = sum(1 for one in wanted if one not in before) * _sources(last)
        found = _time_of(missing, spec, last)
        told = f"{missing:,} of {len(wanted) * _sources(last):,} pictures to make"
        return Estimate(found.seconds, f"{told}, by the last run" if found.seconds is not None else told)

    def goes_on(self, spec: GenerationSpec, staging: Path) -> str:
        count = sum(1 for _ in (staging / "images").glob("*.png"))
        return f"goes on, with {count:,} {'picture' if count == 1 else 'pictures'} there" if count else ""

    def resume_key(self, spec: GenerationSpec) -> Json:
        """Each picture says by its name what it was made of."""
        return "pictures"

    def run(self, spec: GenerationSpec, ctx: Context) -> Outputs:
        ctx.progress(
            0, None, phase="starting PyTorch" if spec.backend.kind == "diffusers" else "looking at what is made"
        )
        # PIL and NumPy come with it.
        from specrun.kinds.generations.run import generate

        return generate(spec, ctx)


_ASKING = frozenset({"prompts", "seed", "seeds", "count", "video", "contact_sheet"})
"""Fields that change no picture, only which there are and what shows them together."""


def _sources(last: NodeRecord | None) -> int:
    """Pictures that each prompt and seed is made of."""
    told = last.facts.get("sources") if last else None
    return told if isinstance(told, int) else 1


def _asked_before(last: NodeRecord) -> set[tuple[str, int]] | None:
    """Prompts and seeds of last time; None: its settings cannot be read any more."""
    try:
        spec = GenerationSpec.model_validate(dict(last.result_config))
    except ValueError:
        return None
    return {(prompt, seed) for prompt in spec.prompts for seed in spec.chosen_seeds}


def _time_of(count: int, spec: GenerationSpec, last: NodeRecord | None) -> Estimate:
    """So many pictures at the speed of last time; what is loaded before the first one is loaded once."""
    told = last.facts if last else {}
    made, steps, picture_ms = told.get("made"), told.get("denoising_steps"), told.get("picture_ms")
    if last is None or not (isinstance(made, int) and isinstance(steps, int) and made and steps):
        return Estimate()
    scale = spec.steps / steps
    if not isinstance(picture_ms, int):
        return Estimate(last.duration_s * scale * count / made, "last run")
    loading_s = max(0.0, last.duration_s - made * picture_ms / 1000)
    return Estimate((loading_s if count else 0.0) + count * scale * picture_ms / 1000, "last run")


def _combination_problems(spec: GenerationSpec) -> list[Problem]:
    problems = []
    written = spec.model_fields_set
    if spec.size is not None and (problem := size_problem(spec.size, STEP)):
        problems.append(problem)
    if not spec.loras and spec.base_model is None and spec.backend.kind == "diffusers":
        hint = "Name a lora job, or a base model."
        problems.append(Problem("", "Neither lora nor base_model says what makes the pictures.", hint))
    for name in ("strength", "limit"):
        if name in written and spec.from_ is None:
            problems.append(Problem(name, f"`{name}` belongs to `from`.", "Add from: sources.…, or remove it."))
    if spec.from_ is not None and "strength" in written and int(spec.steps * spec.strength) < 1:
        message = f"{spec.steps} steps with strength {spec.strength:g} are none."
        problems.append(Problem("strength", message, "Raise one of the two."))
    if spec.seeds is not None and written & {"seed", "count"}:
        problems.append(Problem("seeds", "It stands beside seed or count.", "Keep one way to say it."))
    if len(set(spec.chosen_seeds)) < len(spec.chosen_seeds):
        problems.append(Problem("seeds", "A seed is listed twice.", "It would make the same picture."))
    if len({one.lora for one in spec.loras}) < len(spec.loras):
        problems.append(Problem("lora", "A lora job is listed twice.", "Add the weights up."))
    return problems


def _base_problems(spec: GenerationSpec, lookup: Lookup) -> list[Problem]:
    project = Path(lookup.project_dir)
    if spec.base_model is None or not is_local(spec.base_model, project):
        return []
    if local_place(spec.base_model, project).exists():
        return []
    hint = "Paths are relative to the spec; a model of the Hub is written owner/name."
    return [Problem("base_model", f"There is no file or folder {spec.base_model}.", hint)]


def _network_problems(spec: GenerationSpec, lookup: Lookup) -> list[Problem]:
    """diffusers' pipelines load no LoKr."""
    if not isinstance(spec.backend, DiffusersGeneration):
        return []
    jobs = {one.lora: lookup.spec(Ref("lora_jobs").address(one.lora)) for one in spec.loras}
    wrong = [name for name, job in jobs.items() if getattr(job, "network", None) == "lokr"]
    hint = "Train it with network: lora, dora or locon, or use lora_kohya.safetensors in ComfyUI."
    return [
        Problem("lora", f"{name} has network: lokr, which diffusers' pipelines cannot load.", hint) for name in wrong
    ]


def _prediction_problems(spec: GenerationSpec, lookup: Lookup) -> Iterator[Problem]:
    if spec.zero_terminal_snr and spec.prediction == "epsilon":
        message = "Noise alone says nothing of the noise in it."
        yield Problem("zero_terminal_snr", message, "Write prediction: v_prediction, or remove it.")
    if not isinstance(spec.backend, DiffusersGeneration):
        return
    jobs = [lookup.spec(Ref("lora_jobs").address(one.lora)) for one in spec.loras]
    if _family(spec, jobs, Path(lookup.project_dir)) == "flux":
        if spec.size and not size_problem(spec.size, STEP) and (problem := size_problem(spec.size, FLUX_STEP)):
            yield problem
        for name in ("scheduler", "prediction", "zero_terminal_snr"):
            if getattr(spec, name) != GenerationSpec.model_fields[name].default:
                yield Problem(name, "FLUX has its own way from noise to pictures.", f"Remove {name}.")
        return
    trained = spec.base_model is None and any(getattr(job, "zero_terminal_snr", None) for job in jobs)
    wanted = trained if spec.zero_terminal_snr is None else spec.zero_terminal_snr
    if wanted and spec.scheduler not in ("auto", *WITH_ZERO_SNR):
        message = f"{spec.scheduler} cannot begin with noise alone (zero_terminal_snr)."
        yield Problem("scheduler", message, f"Write auto, or {listed(list(WITH_ZERO_SNR))}.")


def _family(spec: GenerationSpec, jobs: Sequence[Any], project: Path) -> FamilyName | None:
    """None: only the run can tell."""
    named = [spec.base_model] if spec.base_model else [getattr(job, "base_model", None) for job in jobs]
    for written in named:
        if written and is_local(written, project) and (place := local_place(written, project)).exists():
            with suppress(SpecrunError):
                return family_of(place, written)
    return None


def _comfy_problems(spec: GenerationSpec, lookup: Lookup) -> Iterator[Problem]:
    if not isinstance(spec.backend, ComfyGeneration):
        return
    kind = lookup.kind_of(Ref("connections").address(spec.backend.connection))
    if kind not in (None, "connections.comfyui"):
        message = f"{spec.backend.connection} is of kind {str(kind).partition('.')[2]}."
        yield Problem("backend.connection", message, "Name one of kind comfyui.")
    if spec.size is None and spec.from_ is None and not spec.loras:
        yield Problem("size", "ComfyUI does not know the size of a checkpoint's pictures.", "Write size: [512, 512].")
    if spec.size is not None and spec.from_ is None and min(spec.size) < _COMFY_SIDE:
        yield Problem("size", f"ComfyUI makes no side under {_COMFY_SIDE}.", "Write a larger size.")
    if spec.scheduler == "pndm":
        yield Problem("scheduler", "ComfyUI has no pndm.", "Write another one, or auto.")
    if unused := sorted({"base_model", "base_config", "precision"} & spec.model_fields_set):
        message = f"{', '.join(unused)}: of no use at a ComfyUI server."
        yield Problem(unused[0], message, "It has backend.checkpoint, and chooses the precision itself.", warning=True)
