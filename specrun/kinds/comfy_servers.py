"""The ComfyUI servers of a connection, as a worker uses them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from specrun.clients.comfyui import Comfy, least_busy
from specrun.clients.http import Retry
from specrun.model.work import Context
from specrun.spec.kind import Ref
from specrun.spec.quantities import duration_s


def comfy_servers(connection: str, ctx: Context, *, check_stop: bool = True) -> list[Comfy]:
    """check_stop: whether their requests and waits end when the run is asked to stop."""
    declared = _declared(connection, ctx)
    token = ctx.secret(declared["token"]) if declared.get("token") else None
    return [
        Comfy(
            url,
            token,
            timeout_s=duration_s(declared["timeout"]),
            retry=Retry.from_settings(ctx.settings),
            verify_tls=bool(declared["verify_tls"]),
            check_stop=ctx.check_stop if check_stop else None,
        )
        for url in declared["url"]
    ]


def calm_server(connection: str, url: str, ctx: Context) -> Comfy:
    """One whose requests are not cut off by a stop: for what must have an answer, and for cancelling."""
    return next(server for server in comfy_servers(connection, ctx, check_stop=False) if server.url == url)


def free_server(servers: Sequence[Comfy], connection: str, ctx: Context) -> Comfy | None:
    """The one with least to do; None: each has its max_jobs. Raises TransientError: none answers."""
    return least_busy(servers, int(_declared(connection, ctx)["max_jobs"]), ctx.log)


def _declared(connection: str, ctx: Context) -> dict[str, Any]:
    return dict(ctx.declarations[Ref("connections").address(connection)])
