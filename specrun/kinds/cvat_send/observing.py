"""What CVAT says of a project now: whether it is there, and which of our labels it lacks.

Tasks are not looked at: a task that people deleted was sent all the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from specrun.clients.cvat.answers import Refused
from specrun.clients.cvat.api import Api
from specrun.clients.cvat.catalogue import labels_of
from specrun.kinds.cvat_send.labels import missing_labels
from specrun.kinds.cvat_send.ledger import Batch, Ledger, Phase, ReadOnly, rows_digest
from specrun.kinds.cvat_send.spec import CvatProjectSpec
from specrun.model.address import parse_address
from specrun.model.digest import Json
from specrun.model.state import NodeRecord, Observation
from specrun.model.work import Look

_FILES = {"predictions": "predictions.jsonl", "sources": "samples.jsonl"}
STANDALONE = "tasks"


def observed_value(project_id: int | None, missing: Sequence[str], spec: CvatProjectSpec) -> Json:
    """With `refresh: untouched` also how prelabels are made, since an edit of that then counts."""
    value: dict[str, Json] = {"project": project_id, "missing_labels": [*missing]}
    if spec.prelabels is not None and spec.prelabels.refresh == "untouched":
        value["prelabels"] = spec.prelabels.model_dump(mode="json", by_alias=True)
    return value


def observe_project(api: Api, spec: CvatProjectSpec, record: NodeRecord) -> Observation:
    """record: of the last time it was made. Raises NodeError: the server cannot be asked."""
    project_id = record.facts.get("project_id")
    if not isinstance(project_id, int):
        return Observation(observed_value(None, (), spec))
    try:
        api.get(f"/api/projects/{project_id}")
    except Refused as refused:
        if refused.status != 404 or "organization" in refused.message:
            raise
        name = record.facts.get("project_name")
        line = f'the project "{name}" ({project_id}) is gone from CVAT'
        return Observation(observed_value(None, (), spec), (line,))
    wanted = record.facts.get("label_names")
    names = [str(name) for name in wanted] if isinstance(wanted, list) else []
    known = record.facts.get("label_ids")
    once = known if isinstance(known, dict) else {}
    there = labels_of(api, project_id=project_id)
    missing = missing_labels(there, names, once)
    ids = {label.id for label in there}
    deleted = [name for name in missing_labels(there, names) if name in once and once[name] not in ids]
    notes = tuple(f'people deleted the label "{name}": it is not made again' for name in deleted)
    lines = (f"CVAT lacks {'the label' if len(missing) == 1 else 'labels'} {', '.join(missing)}",) if missing else ()
    return Observation(observed_value(project_id, missing, spec), lines, notes=notes)


def scope_of(host: str, project_id: int | None) -> str:
    """Of the ledger: a server with a project, or with none."""
    return f"{host}/{STANDALONE if project_id is None else project_id}"


def differing_note(spec: CvatProjectSpec, look: Look) -> tuple[str, ...]:
    """How many frames that were sent would get other labels now; read only when the file changed since the last run.

    A retrained model must not be mistaken for work that is still to be sent.
    """
    given, record = spec.prelabels, look.record
    path = prelabels_file(look.output_root, given.from_) if given is not None else None
    if path is None or record is None or given is None or given.refresh != "never":
        return ()
    project_id = record.facts.get("project_id")
    scope = scope_of(str(record.facts.get("host")), project_id if isinstance(project_id, int) else None)
    if look.recall(f"prelabels@{scope}") in (None, stamp_of(path)):
        return ()
    sent = {digest: rows for batch in Ledger(ReadOnly(look.recall), scope) for digest, rows in _rows_of(batch).items()}
    now = _digests_in(path)
    count = sum(now.get(digest, rows) != rows for digest, rows in sent.items())
    if not count:
        return ()
    frames = (
        "1 frame that was sent would get other labels"
        if count == 1
        else (f"{count:,} frames that were sent would get other labels")
    )
    return (f"{frames} from {given.from_} now; sent is sent (refresh: never)",)


def _rows_of(batch: Batch) -> Mapping[str, str]:
    return batch.rows if batch.phase is Phase.DONE else {}


def prelabels_file(output_root: Path, address: str) -> Path | None:
    """The file in which they stand; None: a dataset's are in its database."""
    parsed = parse_address(address)
    name = _FILES.get(parsed.section)
    return output_root / parsed.folder / name if name else None


def stamp_of(path: Path) -> Json:
    """Size and date; None: it is not there."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return [stat.st_size, stat.st_mtime_ns]


def _digests_in(path: Path) -> dict[str, str]:
    """Image → digest of its labels; what cannot be read is told when it is needed."""
    found: dict[str, str] = {}
    try:
        with open(path, encoding="utf-8") as file:
            for line in file:
                row = json.loads(line)
                found[row["digest"]] = rows_digest(row.get("labels", []))
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return found
