"""FiftyOne: the project's database, its datasets read without FiftyOne, their digests, and writing to them.

with database(ctx) as db:
    for sample in db.samples("corals.reef", splits=["train"]): ...
"""

from __future__ import annotations

import atexit
import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from specrun.clients.fiftyone.connection import Secret, connect, import_fiftyone
from specrun.clients.fiftyone.database import Database, open_database
from specrun.model.work import Context

__all__ = ["Database", "database", "open_database", "warm"]


def database(ctx: Context) -> contextlib.AbstractContextManager[Database]:
    """The project's FiftyOne database, for a kind's work."""
    state_dir = ctx.project_dir / ".specrun"
    return open_database(ctx.settings, state_dir, project_dir=ctx.project_dir, secret=ctx.secret)


def warm(settings: Mapping[str, Any], state_dir: Path, secret: Secret | None = None) -> Callable[[], None]:
    """Import FiftyOne and connect it, so that the next node need not; for a worker that waits.

    The embedded server runs until the returned function is called or the process ends.
    """
    stack = contextlib.ExitStack()
    connection = stack.enter_context(connect(settings, state_dir, secret))
    try:
        fiftyone = import_fiftyone(connection)
        fiftyone.list_datasets()
    except BaseException:
        stack.close()
        raise
    atexit.register(stack.close)
    return stack.close
