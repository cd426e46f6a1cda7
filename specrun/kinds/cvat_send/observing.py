"""What CVAT says of a project now: whether it is there, and which of our labels it lacks.

Tasks are not looked at: a task that people deleted was sent all the same.
"""

from __future__ import annotations

from collections.abc import Sequence

from specrun.clients.cvat.answers import Refused
from specrun.clients.cvat.api import Api
from specrun.clients.cvat.catalogue import labels_of
from specrun.kinds.cvat_send.labels import missing_labels
from specrun.kinds.cvat_send.spec import CvatProjectSpec
from specrun.model.digest import Json
from specrun.model.state import NodeRecord, Observation


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
    wanted = record.facts.get("labels")
    names = [str(name) for name in wanted] if isinstance(wanted, list) else []
    missing = missing_labels(labels_of(api, project_id=project_id), names)
    lines = (f"CVAT lacks {'the label' if len(missing) == 1 else 'labels'} {', '.join(missing)}",) if missing else ()
    return Observation(observed_value(project_id, missing, spec), lines)
