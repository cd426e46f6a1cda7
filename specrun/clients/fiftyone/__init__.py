"""FiftyOne: the project's database, its datasets read without FiftyOne, their digests, and writing to them.

    with database(ctx) as db:
        for sample in db.samples("corals.reef", splits=["train"]): ...

Light to import: planning an untouched dataset loads neither pymongo nor numpy.
"""

from __future__ import annotations

import atexit
import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specrun.model.digest import Json
from specrun.model.work import Context

if TYPE_CHECKING:
    from specrun.clients.fiftyone.project_database import Database

__all__ = ["Database", "database", "open_database", "warm"]


def database(ctx: Context) -> contextlib.AbstractContextManager[Database]:
    """The project's FiftyOne database, for a kind's work."""
    return open_database(ctx.settings, ctx.project_dir / ".specrun", project_dir=ctx.project_dir, secret=ctx.secret)


def open_database(
    settings: Mapping[str, Any],
    state_dir: Path,
    *,
    project_dir: Path | None = None,
    secret: Callable[[Json], str] | None = None,
    may_import: bool = True,
) -> contextlib.AbstractContextManager[Database]:
    """As `database`, for those who have no Context. Raises MissingDependency, NodeError when entered."""
    from specrun.clients.fiftyone import project_database  # numpy and pymongo come with it

    return project_database.open_database(
        settings, state_dir, project_dir=project_dir, secret=secret, may_import=may_import
    )


def warm(
    settings: Mapping[str, Any], state_dir: Path, secret: Callable[[Json], str] | None = None
) -> Callable[[], None]:
    """Import FiftyOne and connect it, so that the next node need not; for a worker that waits.

    The embedded server runs until the returned function is called or the process ends.
    """
    from specrun.clients.fiftyone.connection import connect, import_fiftyone  # for this worker only

    stack = contextlib.ExitStack()
    connection = stack.enter_context(connect(settings, state_dir, secret))
    try:
        import_fiftyone(connection).list_datasets()
    except BaseException:
        stack.close()
        raise
    atexit.register(stack.close)
    return stack.close


def __getattr__(name: str) -> Any:
    if name == "Database":
        from specrun.clients.fiftyone.project_database import Database  # as in open_database

        return Database
    raise AttributeError(name)
