"""Secrets: always references in the spec, resolved once a run by the supervisor."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, model_serializer, model_validator
from pydantic_core import PydanticCustomError

from specrun.errors import CredentialsError
from specrun.model.digest import Json
from specrun.spec.kind import Strict

COMMAND_TIMEOUT_S = 60.0
SECRET_ERROR = "secret_reference"
"""Type of the pydantic error for a mistake in a secret; its message never holds the input."""
_FORMS = (frozenset({"env"}), frozenset({"file"}), frozenset({"file", "key"}), frozenset({"keyring"}))
_FORMS_TEXT = '{env: NAME}, {file: path, key: cvat.password}, {keyring: "service/user"} or {command: [argv]}'


class SecretRef(Strict):
    """A secret by reference: one of `{env: NAME}`, `{file: path, key: a.b}`, `{keyring: "service/user"}`,
    `{command: [argv]}`. The secret itself never stands in the spec."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    env: str | None = None
    """An environment variable; `.env` and `.env.local` beside the spec are read."""
    file: str | None = None
    """A file: its whole text, or the value at `key` when it is YAML, JSON, TOML or .env."""
    key: str | None = None
    """Dotted path inside `file`."""
    keyring: str | None = None
    """`service/user` in the system's keyring."""
    command: list[str] | None = None
    """A program and its arguments; what it prints is the secret."""

    @model_validator(mode="before")
    @classmethod
    def _is_reference(cls, value: Any) -> Any:
        if isinstance(value, SecretRef):
            return value
        if not isinstance(value, Mapping):
            raise PydanticCustomError(SECRET_ERROR, "is a secret, so it is given by reference and never as a value")
        if not is_reference(value):
            raise PydanticCustomError(SECRET_ERROR, "is not a reference to a secret")
        return value

    @model_serializer
    def reference(self) -> dict[str, Any]:
        """The JSON by which `Context.secret` is asked."""
        return {name: value for name in type(self).model_fields if (value := getattr(self, name)) is not None}


SECRET_HINT = f"Write {_FORMS_TEXT}."


def is_reference(value: object) -> bool:
    """Whether JSON has the shape of a reference to a secret."""
    if not isinstance(value, Mapping):
        return False
    if set(value) == {"command"}:
        argv = value["command"]
        return isinstance(argv, Sequence) and not isinstance(argv, str) and all(isinstance(a, str) for a in argv)
    return frozenset(value) in _FORMS and all(isinstance(v, str) and v for v in value.values())


def find_references(value: object) -> Iterator[dict[str, Json]]:
    """Everything in JSON that has the shape of a reference, each a candidate for `resolve_secret`.

    Shape only: another mapping may look like one, so a failure counts when the secret is asked for.
    """
    if is_reference(value):
        assert isinstance(value, Mapping)
        yield dict(value)
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from find_references(inner)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for inner in value:
            yield from find_references(inner)


def resolve_secret(
    reference: Mapping[str, Any],
    environ: Mapping[str, str],
    project_dir: Path,
    *,
    run_command: Callable[..., subprocess.CompletedProcess[str]] = subprocess.run,
) -> str:
    """The secret behind a reference. environ: with the spec's .env files (environment.with_env_files).

    Raises CredentialsError, whose message names the reference and never what was found.
    """
    match reference:
        case {"env": str() as name}:
            value = environ.get(name, "")
            missing = f"the environment variable {name} is not set"
            hint = "Set it, or put it into .env beside the spec."
        case {"file": str() as path, **rest}:
            value = _from_file(project_dir / Path(path).expanduser(), rest.get("key"))
            missing, hint = f"the secret file {path} holds nothing there", "Check the file and the key."
        case {"keyring": str() as entry}:
            value = _from_keyring(entry)
            missing, hint = f'the keyring has no "{entry}"', "Store it with `keyring set SERVICE USER`."
        case {"command": [*argv]} if argv:
            value = _from_command([str(word) for word in argv], project_dir, run_command)
            missing, hint = f"the command {argv[0]} printed nothing", "It must print the secret."
        case _:
            raise CredentialsError("a secret is given by something that is no reference", hint=SECRET_HINT)
    value = value.strip()
    if not value:
        raise CredentialsError(missing, hint=hint)
    if not value.isprintable():
        # No header, no URL and no login takes one; and what refuses it would quote it.
        raise CredentialsError(
            "a secret holds control characters or several lines", hint=f"Look at {_shown(reference)}."
        )
    return value


def _shown(reference: Mapping[str, Any]) -> str:
    """Where a secret comes from, as one writes it; of a command only its name."""
    [(form, place), *_] = reference.items()
    return f"{form}: {place[0] if form == 'command' else place}"


def _from_file(path: Path, key: str | None) -> str:
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise CredentialsError(f"the secret file {path} cannot be read: {reason}") from None
    if key is None:
        return text.strip()
    data = _parsed(path, text)
    for part in key.split("."):
        if not isinstance(data, Mapping) or part not in data:
            raise CredentialsError(f'the secret file {path} has no "{key}"', hint="Check the key, a dotted path.")
        data = data[part]
    if isinstance(data, Mapping | list) or data is None:
        raise CredentialsError(f'"{key}" in the secret file {path} is no text')
    return str(data)


def _parsed(path: Path, text: str) -> Any:
    """The file as data, by its ending. The parsers' own messages quote the file, so they are not passed on."""
    try:
        if path.suffix == ".json":
            return json.loads(text)
        if path.suffix == ".toml":
            import tomllib  # few read one

            return tomllib.loads(text)
        if path.suffix in (".yaml", ".yml"):
            from ruamel.yaml import YAML  # 25 ms that only this form needs

            return YAML(typ="safe", pure=True).load(text)
    except Exception:
        raise CredentialsError(f"the secret file {path} is no valid {path.suffix[1:]}") from None
    from specrun.spec.environment import parse_env  # as above

    return parse_env(text, str(path))


def _from_keyring(entry: str) -> str:
    service, separator, user = entry.rpartition("/")
    if not separator:
        raise CredentialsError(f'keyring "{entry}": write service/user')
    try:
        import keyring  # type: ignore[import-not-found, unused-ignore]  # optional, and it starts D-Bus
    except ImportError:
        raise CredentialsError("the Python package keyring is not installed", hint="pip install keyring") from None
    try:
        return keyring.get_password(service, user) or ""
    except Exception as error:
        raise CredentialsError(f'the keyring refused "{entry}": {type(error).__name__}') from None


def _from_command(argv: list[str], cwd: Path, run_command: Callable[..., subprocess.CompletedProcess[str]]) -> str:
    try:
        done = run_command(
            argv, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise CredentialsError(f"the command {argv[0]} for a secret failed: {type(error).__name__}") from None
    if done.returncode:
        raise CredentialsError(f"the command {argv[0]} for a secret ended with status {done.returncode}")
    return str(done.stdout).strip()
