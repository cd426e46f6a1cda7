"""The webhook of a project: made once."""

from __future__ import annotations

from specrun.clients.cvat.api import Api

EVENTS = ("create:job", "delete:task", "update:job", "update:task")


def ensure_webhook(api: Api, project_id: int, url: str, secret: str) -> int:
    """The id of the project's webhook to `url`; made if it is missing, and given the secret and events again.

    The server never shows a secret, so an edited one cannot be seen.
    """
    wanted = {"events": list(EVENTS), "secret": secret, "is_active": True, "enable_ssl": url.startswith("https:")}
    there = find_webhook(api, project_id, url)
    if there is not None:
        api.patch(f"/api/webhooks/{there}", wanted)
        return there
    body = {**wanted, "target_url": url, "type": "project", "project_id": project_id}
    made = api.post("/api/webhooks", {**body, "content_type": "application/json", "description": "specrun watch"})
    return int(made["id"])


def find_webhook(api: Api, project_id: int, url: str) -> int | None:
    """Its id; of several that of the first one."""
    listed = api.pages("/api/webhooks", project_id=project_id)
    own = [hook for hook in listed if hook["target_url"] == url and hook.get("project_id") == project_id]
    return min((int(hook["id"]) for hook in own), default=None)
