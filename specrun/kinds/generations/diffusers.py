"""Pictures made on this machine with diffusers."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from specrun.errors import FormatError, MissingDependency, OutOfMemory
from specrun.kinds.generations.prediction import Asked as AskedPrediction
from specrun.kinds.generations.prediction import asked_prediction
from specrun.kinds.generations.spec import FLUX_STEP, DiffusersGeneration, GenerationSpec, lora_facts, size_problem
from specrun.kinds.generations.wishes import Keep, Wish, batches_of, picture_of
from specrun.model.digest import Json, file_digest
from specrun.model.work import Context, Made
from specrun.training.generating import Asked, Pipeline, Weights
from specrun.training.looks import Look
from specrun.training.lora.base import USUAL_GUIDANCE, Base, find_base, local_place
from specrun.training.lora.prediction import Prediction
from specrun.training.oom import is_out_of_memory
from specrun.training.quiet_bitsandbytes import quiet_bitsandbytes
from specrun.training.quiet_diffusers import quiet_diffusers


class DiffusersPainter:
    """A pipeline of diffusers, loaded when the first picture is wanted."""

    def __init__(self, spec: GenerationSpec, ctx: Context, loras: Sequence[Made]) -> None:
        quiet_bitsandbytes()
        _require_packages()
        quiet_diffusers()
        torch.set_num_threads(max(1, ctx.cpus))
        self._spec, self._ctx, self._loras = spec, ctx, loras
        self._base = _base(spec, ctx, loras)
        self.base = self._base.written
        self._given = _given(spec, ctx)
        self.given = [(file_digest(one.file), one.weight) for one in self._given]
        self.step = FLUX_STEP if self._base.family == "flux" else 8
        if spec.size is not None and (problem := size_problem(spec.size, self.step)):
            raise FormatError(f"size: {problem.message}", hint=problem.hint)
        self.guidance = USUAL_GUIDANCE[self._base.family]
        self.prediction = _prediction(spec, self._base, loras)
        self._notes: list[str] = []
        self.decides: list[Json] = [self._base.digest, _precision(spec, ctx)]
        if self._base.marked != (None, None):
            self.decides.append(list(self._base.marked))

    def paint(self, missing: Sequence[Wish], look: Look, total: int, keep: Keep) -> list[Wish]:
        done = total - len(missing)
        self._ctx.progress(0, None, "pictures", "starting diffusers and loading the base model")
        broken: list[Wish] = []
        try:
            pipeline = self._pipeline(look)
            for batch in batches_of(missing, self._spec.batch, look):
                self._ctx.check_stop()
                asked = [Asked(wish.prompt, wish.seed, picture_of(wish, look)) for wish in batch]
                for wish, picture in zip(batch, pipeline.paint(asked, self._ctx.check_stop), strict=True):
                    if picture is None:
                        broken.append(wish)
                    else:
                        keep(wish, picture)
                done += len(batch)
                self._ctx.progress(done, total, "pictures", "making")
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            batch_size = self._spec.batch
            hint = f"Lower batch ({batch_size}) or size, or write precision: fp16."
            raise OutOfMemory(f"out of memory while making pictures, {batch_size} at once.", hint=hint) from error
        return broken

    def _pipeline(self, look: Look) -> Pipeline:
        weights = {one.lora.rpartition(".")[2]: one.weight for one in self._spec.loras}
        chosen = [Weights(made.address.name, made.artifact("lora"), weights[made.address.name]) for made in self._loras]
        chosen += self._given
        dtype = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
        device = "cuda" if self._ctx.gpus and torch.cuda.is_available() else "cpu"
        pipeline = Pipeline(
            self._base,
            chosen,
            look,
            device=device,
            dtype=dtype[_precision(self._spec, self._ctx)],
            changes=self._spec.from_ is not None,
        )
        self._compare(pipeline.prediction)
        return pipeline

    def _compare(self, asked: Prediction) -> None:
        """With LoRAs of another base model, whose own scheduler decides here."""
        for made in self._loras:
            kind = lora_facts(made).get("prediction")
            if kind not in (None, "flow", asked.kind) and self._spec.prediction == "auto":
                told = f"{made.address.name} was trained for {kind}, the scheduler of {self.base} says {asked.kind}"
                self._notes.append(f"{told}: write prediction: {kind} if the pictures are noise")

    def notes(self) -> list[str]:
        return self._notes


def _require_packages() -> None:
    try:
        import diffusers  # noqa: F401 (told in words when it is missing)
        import peft  # noqa: F401
    except ImportError as error:
        hint = "Install the extra: pip install 'specrun[lora]'."
        raise MissingDependency(f"Making pictures needs {error.name}.", hint=hint) from None


def _given(spec: GenerationSpec, ctx: Context) -> list[Weights]:
    """LoRA files made elsewhere. Raises FormatError: one cannot be loaded."""
    loras = spec.backend.loras if isinstance(spec.backend, DiffusersGeneration) else []
    found = []
    for number, one in enumerate(loras):
        file = local_place(one.file, ctx.project_dir)
        found.append(Weights(f"given_{number}", file, one.weight, written=one.file))
    return found


def _base(spec: GenerationSpec, ctx: Context, loras: Sequence[Made]) -> Base:
    """Raises FormatError: LoRAs of different families or bases, and no base that is named."""
    told = {made.address.name: lora_facts(made) for made in loras}
    names = {str(facts["base_model"]) for facts in told.values()}
    if spec.base_model is None and len(names) > 1:
        message = f"The LoRAs were trained on different base models: {', '.join(sorted(names))}."
        raise FormatError(message, hint="Write base_model: the one to use.")
    written = spec.base_model or next(iter(names))
    config = spec.base_config or next((made.config.get("base_config") for made in loras), None)
    base = find_base(written, config, ctx.project_dir)
    for name, facts in told.items():
        if facts["family"] != base.family:
            message = f"lora {name} was trained on family {facts['family']}; {written} is {base.family}."
            raise FormatError(message, hint="Use the base model that it was trained on.")
    return base


def _prediction(spec: GenerationSpec, base: Base, loras: Sequence[Made]) -> AskedPrediction:
    """Raises FormatError: the LoRAs differ, or FLUX is asked for what it does not know."""
    if base.family == "flux":
        if spec.prediction != "auto" or spec.zero_terminal_snr is not None:
            message = "prediction and zero_terminal_snr are not for FLUX, which predicts the flow and nothing else."
            raise FormatError(message, hint="Remove them.")
        return None, None
    told = {made.address.name: lora_facts(made) for made in loras}
    return asked_prediction(spec, {name: one for name, one in told.items() if one.get("base_digest") == base.digest})


def _precision(spec: GenerationSpec, ctx: Context) -> str:
    if spec.precision != "auto":
        return spec.precision
    return "fp16" if ctx.gpus and torch.cuda.is_available() else "fp32"
