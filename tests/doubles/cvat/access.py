"""Who calls, for which organization, and what they may see."""

from __future__ import annotations

import base64
import math
from collections import deque
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from tests.doubles.cvat.state import Job, Membership, Organization, Project, State, Task, User
from tests.doubles.cvat.wire import Call, Refused

if TYPE_CHECKING:
    from tests.doubles.cvat.server import CvatDouble

FORBIDDEN = {"detail": "You do not have permission to perform this action."}
ANONYMOUS = {"detail": "Authentication credentials were not provided."}
SAFE = ("GET", "HEAD", "OPTIONS")
_EXPORTS = ("/dataset/export", "/backup/export")


def unauthorized(detail: str) -> Refused:
    return Refused(401, {"detail": detail}, WWW_Authenticate="Token")


def identify(server: CvatDouble, call: Call) -> None:
    """Set the caller from a token, a password or a session; raises Refused for credentials that are wrong."""
    scheme, _, value = call.headers.get("Authorization", "").partition(" ")
    match scheme.lower():
        case "bearer":
            _by_token(server.state, call, value)
        case "token":
            call.user = _by_login_key(server.state, value)
        case "basic":
            call.user = _by_password(server.state, value)
        case _:
            _by_session(server.state, call)


def _by_token(state: State, call: Call, value: str) -> None:
    now = state.now()
    for token in state.tokens.values():
        if token.value == value and (token.expiry_date is None or token.expiry_date > now):
            token.last_used_date = now
            call.token, call.user = token, state.users[token.owner_id]
            return
    raise unauthorized("Invalid token.")


def _by_login_key(state: State, value: str) -> User:
    if value not in state.login_keys:
        raise unauthorized("Invalid token.")
    return state.users[state.login_keys[value]]


def _by_password(state: State, encoded: str) -> User:
    name, _, password = base64.b64decode(encoded).decode().partition(":")
    user = with_password(state, name, password)
    if user is None:
        raise unauthorized("Invalid username/password.")
    return user


def with_password(state: State, name: str, password: str) -> User | None:
    users = state.users.values()
    return next((user for user in users if name in (user.username, user.email) and user.password == password), None)


def _by_session(state: State, call: Call) -> None:
    user_id = state.sessions.get(call.cookies.get("sessionid", ""))
    if user_id is None:
        return
    if call.method not in SAFE:
        sent = call.headers.get("X-CSRFToken")
        if sent is None:
            raise Refused(403, {"detail": "CSRF Failed: CSRF token missing."})
        if sent != call.cookies.get("csrftoken"):
            raise Refused(403, {"detail": "CSRF Failed: CSRF token from the 'X-Csrftoken' HTTP header incorrect."})
    call.user = state.users[user_id]


def choose_organization(state: State, call: Call) -> None:
    slug, number = call.query.get("org"), call.query.get("org_id")
    header = call.headers.get("X-Organization")
    if number is not None and (slug is not None or header is not None):
        raise Refused(
            400,
            [
                'You cannot specify "org_id" query parameter with "org" query parameter or "X-Organization" '
                "HTTP header at the same time."
            ],
        )
    if None not in (slug, header) and slug != header:
        raise Refused(
            400,
            [
                'You cannot specify "org" query parameter and "X-Organization" HTTP header with different values.',
            ],
        )
    slug = header if slug is None else slug
    if not slug and not number:
        call.sandbox = slug is not None or number is not None
        return
    organizations = state.organizations.values()
    found = [org for org in organizations if (org.slug == slug if slug else str(org.id) == number)]
    if not found:
        raise Refused(404, {"detail": f"{slug or number} organization does not exist."})
    call.organization = found[0]
    if not call.caller.superuser and membership(state, call.caller, found[0].id) is None:
        raise Refused(403, FORBIDDEN)


def check_token(call: Call) -> None:
    """A read-only token reads and exports."""
    exports = call.path.rstrip("/").endswith(_EXPORTS)
    if call.token is not None and call.token.read_only and call.method not in SAFE and not exports:
        raise Refused(403, FORBIDDEN)


def membership(state: State, user: User, organization_id: int | None) -> Membership | None:
    for member in state.memberships.values():
        if member.user_id == user.id and member.organization_id == organization_id and member.is_active:
            return member
    return None


def _keeps(state: State, user: User, organization_id: int | None) -> bool:
    """May do everything in that organization."""
    member = membership(state, user, organization_id) if organization_id is not None else None
    return user.superuser or (member is not None and member.role in ("maintainer", "owner"))


def sees_project(state: State, user: User, project: Project) -> bool:
    return _keeps(state, user, project.organization_id) or user.id in (project.owner_id, project.assignee_id)


def sees_task(state: State, user: User, task: Task) -> bool:
    if _keeps(state, user, task.organization_id) or user.id in (task.owner_id, task.assignee_id):
        return True
    return task.project_id is not None and sees_project(state, user, state.projects[task.project_id])


def sees_job(state: State, user: User, job: Job) -> bool:
    return user.id == job.assignee_id or sees_task(state, user, state.tasks[job.task_id])


def sees_organization(state: State, user: User, organization: Organization) -> bool:
    return user.superuser or membership(state, user, organization.id) is not None


class AnonymousLimit:
    """So many calls without credentials a minute; the next one waits until the oldest is a minute old."""

    def __init__(self, per_minute: int | None) -> None:
        self.per_minute = per_minute
        self._calls: deque[datetime] = deque()

    def check(self, now: datetime) -> None:
        if self.per_minute is None:
            return
        while self._calls and self._calls[0] <= now - timedelta(minutes=1):
            self._calls.popleft()
        if len(self._calls) >= self.per_minute:
            wait_s = math.ceil((self._calls[0] + timedelta(minutes=1) - now).total_seconds())
            detail = f"Request was throttled. Expected available in {wait_s} second{'s' if wait_s != 1 else ''}."
            raise Refused(429, {"detail": detail}, Retry_After=str(wait_s))
        self._calls.append(now)
