"""A task: made once, given its images once, its frames compared with what was sent."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from specrun.clients.cvat.api import Api
from specrun.clients.cvat.catalogue import find_task, frames_of, jobs_of, tasks_marked_with
from specrun.clients.cvat.things import FrameIndex, Task
from specrun.clients.cvat.transfer import fetch_frames, has_data, upload_images
from specrun.errors import NodeError, TransientError
from specrun.kinds.cvat_send.images import looks_alike
from specrun.kinds.cvat_send.labels import WantedLabel
from specrun.kinds.cvat_send.ledger import Batch, Ledger, Marker, Phase, batch_id, project_word
from specrun.kinds.cvat_send.once import make_once
from specrun.kinds.cvat_send.spec import TasksSpec
from specrun.model.labels import Sample
from specrun.model.work import Context


@dataclass(frozen=True)
class TaskMaking:
    """What all tasks of a run have in common. project_id: None for tasks without a project, which get `labels`.
    organization_id: of a project that the connection reached without naming its organization."""

    api: Api
    ctx: Context
    ledger: Ledger
    spec: TasksSpec
    project_id: int | None
    labels: Sequence[WantedLabel]
    assignee_id: int | None
    organization_id: int | None = None

    def marker(self, batch: Batch, *, making: bool) -> str:
        return str(Marker(project_word(self.ctx), str(self.ctx.address), batch.id, making))

    def create(self, batch: Batch) -> Batch:
        """The task of a batch, empty; an earlier run or another copy of the project may have made it."""
        batch = self.ledger.save(batch)
        task_id = make_once(
            lambda: self._marked(batch),
            lambda: self._post(batch),
            look_first=True,
            check_stop=self.ctx.check_stop,
        )
        return self.ledger.update(batch, task_id=task_id, phase=Phase.CREATED)

    def _marked(self, batch: Batch) -> int | None:
        """Of several the first one, with data before those without."""
        found = tasks_marked_with(self.api, self.marker(batch, making=False), self.project_id)
        return min(found, key=lambda task: (not task.has_data, task.id)).id if found else None

    def _post(self, batch: Batch) -> int:
        spec = self.spec
        body: dict[str, Any] = {
            "name": batch.name,
            "subset": batch.subset,
            "bug_tracker": self.marker(batch, making=True),
            "segment_size": spec.segment_size,
            "overlap": spec.overlap,
        }
        if self.project_id is None:
            body["labels"] = [label.to_json() for label in self.labels]
        else:
            body["project_id"] = self.project_id
        if self.assignee_id is not None:
            body["assignee_id"] = self.assignee_id
        return int(self.api.post("/api/tasks", body, org_id=self.organization_id)["id"])

    def load(self, batch: Batch, samples: Mapping[str, Sample], *, look_first: bool) -> Batch:
        """Give the task its images, unless it has them, and compare frame by frame."""
        task_id = batch.task_id
        assert task_id is not None
        if not (look_first and has_data(self.api, task_id)):
            batch = self._without_gone(batch, samples)
            doubtful = self._upload(batch, samples)
            return self._compared(batch, frames_of(self.api, task_id), samples, doubtful)
        return self._compared(batch, frames_of(self.api, task_id), samples, ())

    def _without_gone(self, batch: Batch, samples: Mapping[str, Sample]) -> Batch:
        """Images that went since the batch was planned cannot be sent any more; its id stays, the marker's."""
        left = tuple(frame for frame in batch.frames if frame.digest in samples)
        if not left:
            raise NodeError(
                f"task {batch.task_id} ({batch.name}) was begun and none of its images is there any more.",
                hint="Delete it in CVAT and apply again, or bring the images back.",
            )
        return batch if len(left) == len(batch.frames) else self.ledger.update(batch, frames=left)

    def _upload(self, batch: Batch, samples: Mapping[str, Sample]) -> Sequence[str]:
        """Names that were sent more than once."""
        assert batch.task_id is not None
        ctx, task_id = self.ctx, batch.task_id
        # Kept after a failure: it spares the next attempt what the server has.
        staging = ctx.staging / "upload" / batch.id
        doubtful: Sequence[str] = ()
        try:
            doubtful = upload_images(
                self.api,
                task_id,
                [samples[frame.digest].media for frame in batch.frames],
                [frame.name for frame in batch.frames],
                quality=self.spec.image_quality,
                staging=staging,
                progress=lambda done, total, size: ctx.progress(done, total, "images", f"upload {batch.name}"),
            )
        except TransientError:
            if not has_data(self.api, task_id):
                raise
        except NodeError as error:
            if find_task(self.api, task_id) is None:
                raise
            hint = f"Mend or exclude that image, delete task {task_id} in CVAT and apply again. {error.hint or ''}"
            raise NodeError(f"{batch.name}: {error.message}", hint=hint.rstrip()) from error
        shutil.rmtree(staging, ignore_errors=True)
        return doubtful

    def _compared(
        self, batch: Batch, index: FrameIndex, samples: Mapping[str, Sample], doubtful: Sequence[str]
    ) -> Batch:
        """Frames are known by their names; what does not agree is told and gets no labels. doubtful: frames whose
        pixels are looked at too."""
        there = {frame.name: frame for frame in index.frames}
        damaged = self._damaged(batch, index, {name: there[name].number for name in doubtful if name in there}, samples)
        failed: dict[str, str] = {}
        for frame in batch.frames:
            found, sample = there.get(frame.name), samples.get(frame.digest)
            if found is None:
                failed[frame.name] = "the task has no such frame after the upload"
            elif sample is not None and (found.width, found.height) != sample.size_wh:
                size = f"{found.width}x{found.height}"
                failed[frame.name] = f"CVAT has it as {size}, it is {sample.size_wh[0]}x{sample.size_wh[1]}"
            elif frame.name in damaged:
                failed[frame.name] = "CVAT has it damaged after an upload that broke off: delete it there"
        return self.ledger.update(batch, phase=Phase.LOADED, failed=failed)

    def _damaged(
        self, batch: Batch, index: FrameIndex, numbers: Mapping[str, int], samples: Mapping[str, Sample]
    ) -> set[str]:
        """Of those frames the ones that do not show their images."""
        task = find_task(self.api, batch.task_id or 0) if numbers else None
        if task is None:
            return set()
        media = {frame.name: samples[frame.digest].media for frame in batch.frames if frame.digest in samples}
        with tempfile.TemporaryDirectory(dir=self.ctx.staging) as folder:
            fetched = fetch_frames(self.api, task, index, numbers.values(), "original", Path(folder))
            return {
                name
                for name, number in numbers.items()
                if name in media and not looks_alike(fetched[number].read_bytes(), media[name])
            }

    def finish(self, batch: Batch) -> Batch:
        """Say on the task that it is whole, and keep the dates of its jobs."""
        assert batch.task_id is not None
        self.api.patch(f"/api/tasks/{batch.task_id}", {"bug_tracker": self.marker(batch, making=False)})
        jobs = {str(job.id): job.updated for job in jobs_of(self.api, task_ids=[batch.task_id])}
        return self.ledger.update(batch, phase=Phase.DONE, jobs=jobs)


def restarted(batch: Batch) -> Batch:
    """A batch whose empty task was deleted by people: planned again."""
    return replace(batch, task_id=None, phase=Phase.PLANNED, prelabelled=0, failed={}, ours={}, replacing={})


def gone_batches(ledger: Ledger, tasks: Sequence[Task]) -> list[Batch]:
    """Batches whose task is no longer there."""
    there = {task.id for task in tasks}
    return [batch for batch in ledger if batch.task_id is not None and batch.task_id not in there]


def same_images(batch: Batch) -> bool:
    """Whether its frames are those of its id; a batch that was rebuilt may lack some."""
    return batch_id([frame.digest for frame in batch.frames]) == batch.id
