"""A semantic segmentation model of segmentation-models-pytorch: trained on an mmseg export, or given weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import anyio.to_thread

from specrun.errors import NodeError
from specrun.kinds.models.smp_spec import SmpSpec, named_files, result_config
from specrun.model.artifact import Outputs
from specrun.model.digest import Json
from specrun.model.node import Resources
from specrun.model.plan import Estimate
from specrun.model.state import NodeRecord, Observation
from specrun.model.work import Context, Look
from specrun.spec.kind import Kind, Lookup, Need, Problem, Ref
from specrun.training.less_work import estimate_of_change
from specrun.training.smp.checkpoints import words_going_on
from specrun.training.warm_start import start_needs


class Smp(Kind):
    Spec = SmpSpec
    worker = "process"
    uses_seed = True
    keeps = 2
    resources: ClassVar[Resources] = Resources(gpus=1, cpus=8.0)
    packages = ("segmentation-models-pytorch", "lightning", "torch", "torchvision", "timm")

    def check(self, spec: SmpSpec, lookup: Lookup) -> Sequence[Problem]:
        # Reads the lists of the installed packages.
        from specrun.kinds.models.smp_check import smp_problems

        return smp_problems(spec, lookup)

    def reports(self, spec: SmpSpec) -> Sequence[str]:
        from specrun.training.smp.names import METRICS, METRICS_BY_CLASS

        return (*METRICS, METRICS_BY_CLASS) if spec.checkpoint is None else ()

    def inputs(self, spec: SmpSpec) -> Sequence[Need]:
        needs = [Need("data", Ref("exports").address(spec.data))] if spec.data else []
        return [*needs, *start_needs(spec.start_from)]

    async def observe(self, spec: SmpSpec, look: Look) -> Observation:
        """The content of the files that the spec names."""
        value: dict[str, Json] = {}
        differences = []
        before = look.record.observation if look.record else None
        for name, text in named_files(spec).items():
            path = look.project_dir / text
            if path.is_dir():
                digest: Json = (await anyio.to_thread.run_sync(look.listing, path)).digest
            elif path.suffix or name != "encoder_weights":
                digest = await anyio.to_thread.run_sync(look.file_digest, path)
            else:
                continue
            value[name] = digest
            if isinstance(before, dict) and before.get(name) != digest:
                differences.append(f"{name}: {text} changed")
        return Observation(value=value, differences=tuple(differences))

    def estimate(self, spec: SmpSpec, last: NodeRecord | None) -> Estimate:
        """The last duration, in proportion to the epochs."""
        found = super().estimate(spec, last)
        before = last.facts.get("epochs") if last else None
        if found.seconds is None or not isinstance(before, int) or before in (0, spec.train.epochs):
            return found
        return Estimate(
            seconds=found.seconds * spec.train.epochs / before, source=f"last run: {before} epoch{'s' * (before != 1)}"
        )

    def estimate_of_change(self, spec: SmpSpec, last: NodeRecord, changed: Sequence[str]) -> Estimate | None:
        return estimate_of_change(last, changed, epochs=spec.train.epochs, resume=spec.resume)

    def wants(self, spec: SmpSpec) -> Resources:
        """A GPU a device, and the cores that load its images."""
        devices = spec.train.devices
        return replace(self.resources, gpus=devices, cpus=self.resources.cpus * devices)

    def resume_key(self, spec: SmpSpec) -> Json:
        """All of it but the epochs: a checkpoint goes on only under the settings that it began with."""
        return result_config(spec)

    def goes_on(self, spec: SmpSpec, staging: Path) -> str:
        return words_going_on(staging, spec.train.epochs) if spec.resume == "auto" else "begins anew"

    def adopt(self, spec: SmpSpec, place: Path, staging: Path) -> Outputs:
        raise NodeError(
            f"{place} cannot be adopted as it is", hint=f"Declare it instead: checkpoint: {place}, with classes."
        )

    def run(self, spec: SmpSpec, ctx: Context) -> Outputs:
        ctx.progress(0, None, phase="starting PyTorch and Lightning")
        # torch and Lightning come with these.
        from specrun.kinds.models.smp_run import given, trained

        return trained(spec, ctx) if spec.checkpoint is None else given(spec, ctx)
