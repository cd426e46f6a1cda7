"""Which FiftyOne database a project uses, and how FiftyOne is told.

`embedded`: the project's own server (clients.mongod). `global`: whatever the user's own FiftyOne uses.
`{uri: …}`: a MongoDB server that somebody runs.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from specrun.clients.fiftyone.look import EMBEDDED_NAME, look_at_embedded
from specrun.clients.mongod import shared_server
from specrun.errors import MissingDependency, NodeError
from specrun.model.digest import Json

Secret = Callable[[Json], str]


@dataclass(frozen=True, slots=True)
class Connection:
    """embedded: the server is the project's own. root: `.specrun/fiftyone`, where FiftyOne may keep files."""

    uri: str
    name: str
    root: Path
    embedded: bool
    own: bool = True
    """FiftyOne must not read or write the user's own folders."""


def database_setting(settings: Mapping[str, Any]) -> Any:
    return (settings.get("fiftyone") or {}).get("database", "embedded")


def is_embedded(settings: Mapping[str, Any]) -> bool:
    return bool(database_setting(settings) == "embedded")


@contextlib.contextmanager
def connect(
    settings: Mapping[str, Any], state_dir: Path, secret: Secret | None = None, *, may_import: bool = True
) -> Iterator[Connection]:
    """The database of the settings, ready to be used; the embedded one runs as long as this is open.

    may_import: FiftyOne itself may be imported to start the user's own database (seconds).
    Raises MissingDependency, NodeError.
    """
    root = state_dir / "fiftyone"
    match database_setting(settings):
        case "embedded":
            with shared_server(root, look_at_embedded) as uri:
                yield Connection(uri, EMBEDDED_NAME, root, embedded=True)
        case "global":
            yield _global_connection(root, os.environ, may_import)
        case {"uri": reference}:
            if secret is None:
                raise NodeError("FiftyOne's database: its address is a secret that was not resolved.")
            name = str((settings.get("fiftyone") or {}).get("name") or EMBEDDED_NAME)
            yield Connection(secret(reference), name, root, embedded=False)
        case other:
            raise NodeError(f"settings.fiftyone.database: {other!r} is not embedded, global or {{uri: …}}.")


def prepare_fiftyone(connection: Connection, environ: MutableMapping[str, str] = os.environ) -> None:
    """Set what FiftyOne reads when it is imported."""
    if not connection.own:
        environ["FIFTYONE_DO_NOT_TRACK"] = "true"
        return
    wanted = {
        "FIFTYONE_DATABASE_URI": connection.uri,
        "FIFTYONE_DATABASE_NAME": connection.name,
        "FIFTYONE_DO_NOT_TRACK": "true",
        # Silences the note that MongoDB 6 is the oldest version it supports; ours is pinned to one that works.
        "FIFTYONE_DATABASE_VALIDATION": "false",
        "FIFTYONE_SHOW_PROGRESS_BARS": "false",
        "FIFTYONE_CONFIG_PATH": str(connection.root / "config.json"),
        "FIFTYONE_APP_CONFIG_PATH": str(connection.root / "app_config.json"),
        "FIFTYONE_ANNOTATION_CONFIG_PATH": str(connection.root / "annotation_config.json"),
        "FIFTYONE_EVALUATION_CONFIG_PATH": str(connection.root / "evaluation_config.json"),
        "FIFTYONE_BRAIN_CONFIG_PATH": str(connection.root / "brain_config.json"),
        "FIFTYONE_DEFAULT_DATASET_DIR": str(connection.root / "datasets"),
        "FIFTYONE_DATASET_ZOO_DIR": str(connection.root / "zoo" / "datasets"),
        "FIFTYONE_MODEL_ZOO_DIR": str(connection.root / "zoo" / "models"),
        "FIFTYONE_PLUGINS_DIR": str(connection.root / "plugins"),
        "FIFTYONE_DATABASE_DIR": str(connection.root / "unused"),
        "FIFTYONE_REQUIREMENT_ERROR_LEVEL": "2",
    }
    environ.update(wanted)


def import_fiftyone(connection: Connection) -> Any:
    """The fiftyone module, bound to this database. Raises MissingDependency."""
    prepare_fiftyone(connection)
    try:
        import fiftyone  # seconds; workers only
    except ImportError as error:
        raise MissingDependency(
            f"FiftyOne is not installed ({error}).", hint="Install it with `pip install 'specrun[fiftyone]'`."
        ) from None
    if connection.own:
        _rebind(fiftyone, connection)
        # FiftyOne's own clean-up at exit would wait 30 s for a server that is stopped by then.
        atexit.unregister(fiftyone.core.odm.database._delete_non_persistent_datasets_if_allowed)
    return fiftyone


def _rebind(fiftyone: Any, connection: Connection) -> None:
    """FiftyOne holds one database a process; one that was imported for another database is moved to this one."""
    bound = (fiftyone.config.database_uri, fiftyone.config.database_name)
    if bound == (connection.uri, connection.name):
        return
    fiftyone.core.odm.database._disconnect()
    fiftyone.config.database_uri, fiftyone.config.database_name = connection.uri, connection.name
    fiftyone.core.dataset.Dataset._instances.clear()  # its cache goes by name alone


def release_fiftyone(fiftyone: Any) -> None:
    """Drop the datasets that FiftyOne made for views, as it does at exit, and its connection, which would wait
    half a minute for a server that is gone. It connects again by itself."""
    fiftyone.core.odm.database._delete_non_persistent_datasets_if_allowed()
    fiftyone.core.odm.database._disconnect()


def _global_connection(root: Path, environ: Mapping[str, str], may_import: bool) -> Connection:
    config = user_config(environ)
    name = environ.get("FIFTYONE_DATABASE_NAME") or str(config.get("database_name") or "fiftyone")
    uri = environ.get("FIFTYONE_DATABASE_URI") or config.get("database_uri")
    if not uri:
        folder = environ.get("FIFTYONE_DATABASE_DIR") or config.get("database_dir")
        uri = running_server(Path(folder) if folder else Path.home() / ".fiftyone" / "var" / "lib" / "mongo")
    if not uri and may_import:
        environment = Connection("", name, root, embedded=False, own=False)
        fiftyone = import_fiftyone(environment)
        host, port = fiftyone.core.odm.get_db_client().address
        uri = f"mongodb://{host}:{port}"
    if not uri:
        raise NodeError(
            "FiftyOne's own database is not running.", hint="Start it, for example with `fiftyone datasets list`."
        )
    return Connection(str(uri), name, root, embedded=False, own=False)


def user_config(environ: Mapping[str, str]) -> dict[str, Any]:
    """The user's own FiftyOne configuration, {} when there is none."""
    path = Path(environ.get("FIFTYONE_CONFIG_PATH") or Path.home() / ".fiftyone" / "config.json")
    try:
        data = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def running_server(data: Path) -> str | None:
    """The URI of a mongod of this user that serves a data folder over TCP."""
    import psutil  # only for `global`

    for process in psutil.process_iter(["cmdline", "name"]):
        arguments = process.info["cmdline"] or []
        if process.info["name"] != "mongod" or "--dbpath" not in arguments:
            continue
        if Path(arguments[arguments.index("--dbpath") + 1]) != data:
            continue
        with contextlib.suppress(psutil.Error):
            for connection in process.net_connections("tcp"):
                if connection.status == psutil.CONN_LISTEN:
                    return f"mongodb://127.0.0.1:{connection.laddr.port}"
    return None
