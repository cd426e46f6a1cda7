"""What people do in the browser, as methods for tests."""

from email.message import Message
from typing import Any

from tests.doubles.cvat import annotations, labels, resources_jobs, resources_tasks, webhooks
from tests.doubles.cvat.render import Render
from tests.doubles.cvat.server_protocol import Server
from tests.doubles.cvat.state import Job, Label, State, Task, User
from tests.doubles.cvat.wire import Call

Json = dict[str, Any]


class Person:
    def __init__(self, server: Server, user: User) -> None:
        self._server = server
        self.user = user

    @property
    def _state(self) -> State:
        return self._server.state

    def draw(self, task_id: int, frame: int, shape: Json) -> Json:
        """A shape as request JSON; `label` may be a name, `frame` and `type` (rectangle) are filled in. Answers it."""
        with self._state.lock:
            task = self._state.tasks[task_id]
            sent = {"type": "rectangle", "frame": frame, **self._labelled(task, shape)}
            made: Json = annotations.append(self._state, task, {"shapes": [sent]})["shapes"][0]
            return made

    def tag(self, task_id: int, frame: int, label: str) -> Json:
        with self._state.lock:
            task = self._state.tasks[task_id]
            sent = {"frame": frame, "label_id": self.label(task_id, label).id}
            made: Json = annotations.append(self._state, task, {"tags": [sent]})["tags"][0]
            return made

    def track(self, task_id: int, track: Json) -> Json:
        with self._state.lock:
            task = self._state.tasks[task_id]
            made: Json = annotations.append(self._state, task, {"tracks": [self._labelled(task, track)]})["tracks"][0]
            return made

    def _labelled(self, task: Task, thing: Json) -> Json:
        sent = dict(thing)
        if "label" in sent:
            sent["label_id"] = self.label(task.id, sent.pop("label")).id
        return sent

    def label(self, task_id: int, name: str) -> Label:
        found = self._state.labels_of(self._state.tasks[task_id])
        every = [label for parent in found for label in (parent, *parent.sublabels)]
        return next(label for label in every if label.name == name)

    def edit_shape(self, shape_id: int, **changes: Any) -> Json:
        """points, occluded, label_id, attributes … of one shape."""
        with self._state.lock:
            job, shape = self._shape(shape_id)
            made: Json = annotations.update_job(self._state, job, _only(shape | changes))["shapes"][0]
            return made

    def delete_shape(self, shape_id: int) -> None:
        with self._state.lock:
            job, shape = self._shape(shape_id)
            annotations.delete_job(self._state, job, _only(shape))

    def _shape(self, shape_id: int) -> tuple[Job, Json]:
        for job in self._state.jobs.values():
            for shape in job.shapes:
                if shape["id"] == shape_id:
                    return job, shape
        raise KeyError(f"no shape {shape_id}")

    def shapes(self, task_id: int) -> list[Json]:
        with self._state.lock:
            found: list[Json] = annotations.of_task(self._state, self._state.tasks[task_id])["shapes"]
            return found

    def change_job(self, job_id: int, **changes: Any) -> None:
        """stage, state, assignee (a user id)."""
        with self._state.lock:
            resources_jobs.change(self._server, self._call(), self._state.jobs[job_id], changes)

    def finish_job(self, job_id: int) -> None:
        self.change_job(job_id, stage="acceptance", state="completed")

    def finish_task(self, task_id: int) -> None:
        for job in self._state.jobs_of(task_id):
            self.finish_job(job.id)

    def reopen_job(self, job_id: int) -> None:
        self.change_job(job_id, stage="annotation", state="in progress")

    def reject_job(self, job_id: int) -> None:
        self.change_job(job_id, stage="validation", state="rejected")

    def delete_frames(self, task_id: int, *frames: int) -> None:
        with self._state.lock:
            task = self._state.tasks[task_id]
            assert task.media is not None
            task.media.deleted_frames |= set(frames)
            for job in self._state.jobs_of(task_id):
                if any(job.start_frame <= frame <= job.stop_frame for frame in frames):
                    job.updated_date = self._state.now()
            task.updated_date = self._state.now()

    def change_task(self, task_id: int, **changes: Any) -> None:
        """name, subset, assignee_id, bug_tracker."""
        with self._state.lock:
            task = self._state.tasks[task_id]
            for name, value in changes.items():
                setattr(task, name, value)
            task.updated_date = self._state.now()

    def delete_task(self, task_id: int) -> None:
        with self._state.lock:
            task = self._state.tasks[task_id]
            shown = Render(self._state, "", self.user).task(task)
            resources_tasks.forget(self._state, task)
            if task.project_id is not None:
                self._state.projects[task.project_id].updated_date = self._state.now()
            webhooks.happened(self._server, self._call(), "delete:task", "task", shown, project_id=task.project_id)

    def delete_label(self, label_id: int) -> None:
        with self._state.lock:
            label = self._state.labels[label_id]
            owner = labels.owner(self._state, label)
            labels.delete(self._state, label)
            labels.touch(self._state, owner)

    def _call(self) -> Call:
        return Call("PATCH", "", {}, Message(), b"", base_url=self._server.url, user=self.user)


def _only(shape: Json) -> Json:
    return {"tags": [], "shapes": [shape], "tracks": []}
