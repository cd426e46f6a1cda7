"""Who is to do a task."""

from __future__ import annotations

from specrun.clients.cvat.answers import plain
from specrun.clients.cvat.api import Api
from specrun.errors import NodeError
from specrun.spec.suggest import did_you_mean


def user_id(api: Api, name: str) -> int:
    """Raises NodeError: no such user, with the nearest names."""
    found = [user for user in api.pages("/api/users", search=name) if user["username"] == name]
    if found:
        return int(found[0]["id"])
    names = sorted(plain(user["username"]) for user in api.pages("/api/users"))
    raise NodeError(
        f'{api.connection.host}: there is no user "{name}" to assign tasks to.',
        hint=did_you_mean(name, names, otherwise="Users are") or "Make the account in CVAT, or mend tasks.assignee.",
    )
