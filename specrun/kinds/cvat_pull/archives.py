"""The work of exports.cvat: an archive for each task, taken over from last time where the task did not change.

`archives.json` lies beside the archives: task → date of the task, file, format. It is written after each archive, so
that an export that was stopped goes on with the next. Imported by workers only.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specrun.clients.cvat import transfer
from specrun.clients.cvat.api import Api
from specrun.clients.cvat.catalogue import formats, tasks_of
from specrun.clients.cvat.connection import Connection
from specrun.clients.http import Retry
from specrun.errors import NodeError
from specrun.formats.archive import extract_archive
from specrun.formats.export_names import safe_name
from specrun.kinds.cvat_pull.pulled import link_or_copy
from specrun.kinds.exports.cvat_spec import BACKUP, check_format, task_dates
from specrun.model.artifact import Artifact, Outputs
from specrun.model.work import Context

if TYPE_CHECKING:
    from specrun.kinds.exports.cvat_spec import CvatExportSpec

LIST_NAME = "archives.json"


@dataclass(frozen=True)
class _Wanted:
    """updated: of the state that is wanted; None: that state is only in an earlier archive, not on the server."""

    id: int
    name: str
    updated: str | None


def export_archives(spec: CvatExportSpec, ctx: Context, connection: Connection) -> Outputs:
    """Raises NodeError: the server has no such format, or nothing is there to be exported."""
    made = ctx.input("from").facts
    with Api(connection, retry=Retry.from_settings(ctx.settings), check_stop=ctx.check_stop) as api:
        if spec.format != BACKUP:
            check_format(spec.format, [one.name for one in formats(api) if one.enabled], connection.host)
        if spec.per == "project":
            return _of_project(spec, ctx, api, made)
        dates = None
        if "tasks" in made:
            wanted = _pulled_tasks(made["tasks"])
        else:
            tasks = tasks_of(api, ids=made.get("task_ids") or ())
            wanted = [_Wanted(task.id, task.name, task.updated) for task in tasks]
            dates = task_dates(tasks)
        archives, notes = _Archives(spec, ctx, api).make(wanted)
    if not archives:
        raise NodeError(f"{connection.host}: no task can be exported.", hint="; ".join(notes) or None)
    return Outputs(
        artifacts=tuple(Artifact(task, _type(spec), file) for task, file in archives.items()),
        facts={"format": spec.format, "tasks": len(archives), "archives": dict(archives), "host": connection.host},
        notes=tuple(notes),
        observation=dates,
    )


def _pulled_tasks(told: Mapping[str, Mapping[str, Any]]) -> list[_Wanted]:
    """told: the facts of a source; tasks that were reopened or deleted have no date, their state is not there."""
    return [
        _Wanted(int(task), about["name"], about["updated"] if about["standing"] == "ready" else None)
        for task, about in told.items()
    ]


def _type(spec: CvatExportSpec) -> str:
    return "folder" if spec.unpack else "file"


def _of_project(spec: CvatExportSpec, ctx: Context, api: Api, made: Mapping[str, Any]) -> Outputs:
    project = made.get("project_id")
    if project is None:
        raise NodeError(f"{spec.from_} is not of one project.", hint="Write per: task.")
    archive = ctx.staging / f"project_{project}_{safe_name(str(made.get('project_name') or ''))}.zip"
    _ask(spec, ctx, api, "projects", int(project), archive)
    file = _unpacked(archive) if spec.unpack else archive.name
    tasks = tasks_of(api, ids=made.get("task_ids") or ()) if "tasks" not in made else None
    return Outputs(
        artifacts=(Artifact("project", _type(spec), file),),
        facts={"format": spec.format, "archives": {"project": file}, "host": api.connection.host},
        observation=None if tasks is None else task_dates(tasks),
    )


class _Archives:
    def __init__(self, spec: CvatExportSpec, ctx: Context, api: Api) -> None:
        self.spec, self.ctx, self.api = spec, ctx, api
        self.key = [spec.format, spec.save_images, spec.unpack]
        self.begun = _listed(ctx.staging)
        self.previous = _listed(ctx.previous)

    def make(self, wanted: list[_Wanted]) -> tuple[dict[str, str], list[str]]:
        """Task id → file or folder, and what could not be done."""
        done: dict[str, dict[str, Any]] = {}
        notes: list[str] = []
        for number, task in enumerate(wanted, start=1):
            self.ctx.check_stop()
            row = self._row(task)
            if row is None:
                notes.append(f'task {task.id} "{task.name}" is not ready any more and was never exported: left out')
                continue
            done[str(task.id)] = row
            _save_list(self.ctx.staging, {**self.begun, **done})
            self.ctx.progress(number, len(wanted), "tasks", "export")
        _save_list(self.ctx.staging, done)
        self._remove_others({LIST_NAME, *(row["file"] for row in done.values())})
        return {task: row["file"] for task, row in done.items()}, notes

    def _row(self, task: _Wanted) -> dict[str, Any] | None:
        """The archive of one task, as its line of the list: there already, taken over, or asked for."""
        file = f"{task.id}_{safe_name(task.name)}"
        begun = self.begun.get(str(task.id))
        if begun and self._fits(begun, task) and (self.ctx.staging / begun["file"]).exists():
            return begun
        before = self.previous.get(str(task.id))
        if before and self._fits(before, task) and self._take_over(before["file"]):
            return before
        if task.updated is None:
            return None
        archive = self.ctx.staging / f"{file}.zip"
        archive.unlink(missing_ok=True)
        _ask(self.spec, self.ctx, self.api, "tasks", task.id, archive)
        name = _unpacked(archive) if self.spec.unpack else archive.name
        return {"updated": task.updated, "file": name, "key": self.key}

    def _fits(self, row: Mapping[str, Any], task: _Wanted) -> bool:
        return row["key"] == self.key and (task.updated is None or row["updated"] == task.updated)

    def _take_over(self, file: str) -> bool:
        assert self.ctx.previous is not None
        source = self.ctx.previous / file
        if not source.exists():
            return False
        for path in [source] if source.is_file() else [path for path in source.rglob("*") if path.is_file()]:
            link_or_copy(path, self.ctx.staging / path.relative_to(self.ctx.previous))
        return True

    def _remove_others(self, wanted: set[str]) -> None:
        """What an interrupted export of other tasks left."""
        for path in self.ctx.staging.iterdir():
            if path.name in wanted or path.name.startswith("."):
                continue
            if path.is_dir():
                shutil.rmtree(path)
            elif path.suffix in (".zip", ".part"):
                path.unlink()


def _ask(spec: CvatExportSpec, ctx: Context, api: Api, of: Any, number: int, target: Path) -> None:
    def tell(done: int, total: int | None) -> None:
        ctx.progress(done / 1e6, None if total is None else total / 1e6, "MB", f"{of[:-1]} {number}", part=True)

    if spec.format == BACKUP:
        transfer.backup(api, of, number, target=target, progress=tell)
    else:
        transfer.export_dataset(
            api, of, number, format=spec.format, save_images=spec.save_images, target=target, progress=tell
        )


def _unpacked(archive: Path) -> str:
    """The name of the folder that takes its place."""
    folder = archive.with_suffix("")
    shutil.rmtree(folder, ignore_errors=True)
    extract_archive(archive, folder)
    archive.unlink()
    return folder.name


def _listed(folder: Path | None) -> dict[str, dict[str, Any]]:
    try:
        found: dict[str, dict[str, Any]] = json.loads((folder / LIST_NAME).read_bytes()) if folder else {}
    except (OSError, ValueError):
        return {}
    return found


def _save_list(folder: Path, rows: Mapping[str, Any]) -> None:
    staged = folder / f".{LIST_NAME}.part"
    staged.write_text(json.dumps(rows, indent=1), encoding="ascii")
    os.replace(staged, folder / LIST_NAME)
