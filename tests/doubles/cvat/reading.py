"""What an import needs to know of the task that it goes into: frames by name, labels by name, files of the archive."""

from __future__ import annotations

import io
import zipfile
from pathlib import PurePosixPath

from tests.doubles.cvat import dataset
from tests.doubles.cvat.label_maps import Names
from tests.doubles.cvat.state import Failed, Json, Label, State, Task

BINDINGS = "cvat.apps.dataset_manager.bindings"


class Reading:
    """One import into one task: which frame and which label a name means."""

    def __init__(self, state: State, task: Task) -> None:
        assert task.media is not None
        self.names = Names.of(state, task)
        self.task = task
        self.frames = task.media.frames
        self.first, self.step = task.media.start_frame, dataset.step_of(task)
        self.by_name = {stem(frame.name): number for number, frame in reversed(list(enumerate(self.frames)))}

    def frame(self, name: str, number: int | None = None) -> int:
        """By the name without its suffix, by its end, then by the number of the frame; raises Failed."""
        known = stem(name)
        if self.task.media is not None and self.task.media.mode == "interpolation":
            digits = known.removeprefix("frame_")
            number = (int(digits) - self.first) // self.step if digits.isdigit() else number
        elif known in self.by_name:
            return self.by_name[known]
        else:
            ends = [place for path, place in self.by_name.items() if path.endswith(f"/{known}")]
            number = ends[0] if len(ends) == 1 else number
        if number is None or not 0 <= number < len(self.frames):
            raise Failed(f"{BINDINGS}.CvatImportError: Could not match item id: '{known}' with any task frame\n")
        return number

    def label(self, name: str, described: str) -> Label:
        found = self.names.find(name)
        if found is None:
            raise Failed(f"{BINDINGS}.CvatImportError: {described}: Label '{name}' is not registered for this task\n")
        return found

    def values(self, label: Label, given: dict[str, str]) -> list[Json]:
        return [
            {"spec_id": attribute.id, "value": given[attribute.name]}
            for attribute in label.attributes
            if attribute.name in given
        ]


def stem(name: str) -> str:
    return str(PurePosixPath(name).with_suffix("")) if PurePosixPath(name).suffix else name


def unzipped(content: bytes) -> dict[str, bytes]:
    if not zipfile.is_zipfile(io.BytesIO(content)):
        return {}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}
