"""The Hugging Face Hub: which commit a repository stands at, its files, and one commit of changed ones.

Looking is one plain request, so that planning loads nothing heavy; files are moved by huggingface_hub.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal
from urllib.parse import quote

from specrun.clients.http import Http, Request, Retry, Timeouts, host_of, redacted
from specrun.errors import CredentialsError, FormatError, MissingDependency, NodeError, SpecrunError, TransientError
from specrun.model.digest import Json

HUB = "https://huggingface.co"
RepoType = Literal["model", "dataset"]
_CHUNK = 1 << 20
_SHOWN = 300
_MOVED = (409, 412)
_NETWORK = ("httpx", "httpcore", "requests", "urllib3")
_ACCESS = "Check the name, and that the connection's token may see it."


@dataclass(frozen=True, slots=True)
class Account:
    """endpoint: without a slash at its end. token: None sees only what is public."""

    endpoint: str = HUB
    token: str | None = field(default=None, repr=False)

    @classmethod
    def from_declaration(cls, resolved: Mapping[str, Any] | None, secret: Callable[[Json], str]) -> Account:
        """resolved: of a connection of kind huggingface; None: nobody's. Raises CredentialsError."""
        if resolved is None:
            return cls()
        reference = resolved.get("token")
        return cls(str(resolved["endpoint"]), None if reference is None else secret(reference))


@dataclass(frozen=True, slots=True)
class Repo:
    """name: `owner/name`."""

    name: str
    type: RepoType

    def url(self, endpoint: str) -> str:
        return f"{endpoint}/datasets/{self.name}" if self.type == "dataset" else f"{endpoint}/{self.name}"


@dataclass(frozen=True, slots=True)
class Content:
    """The two names that the Hub has for a file's content: git's of a small file, SHA-256 of a large one."""

    git: str
    sha256: str

    def is_at(self, remote: RemoteFile) -> bool:
        return remote.sha256 == self.sha256 if remote.sha256 is not None else remote.git == self.git


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """sha256: only of files that are stored apart from git."""

    git: str
    sha256: str | None
    size: int


def content_of(source: Path | bytes) -> Content:
    """Raises OSError."""
    size = len(source) if isinstance(source, bytes) else source.stat().st_size
    git, sha256 = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False), hashlib.sha256()
    for block in _blocks(source):
        git.update(block)
        sha256.update(block)
    return Content(git.hexdigest(), sha256.hexdigest())


def _blocks(source: Path | bytes) -> Iterator[bytes]:
    if isinstance(source, bytes):
        yield source
        return
    with open(source, "rb") as file:
        while block := file.read(_CHUNK):
            yield block


def head(account: Account, repo: Repo, revision: str = "main", *, retry: Retry | None = None) -> str | None:
    """The commit that a branch, tag or commit stands for, by one request; None: there is no such repository
    or it has no such revision. Raises CredentialsError, NodeError, TransientError (no network)."""
    private = {"Authorization": f"Bearer {account.token}"} if account.token else {}
    path = f"/api/{repo.type}s/{repo.name}/revision/{quote(revision, safe='')}"
    wire = Http(account.endpoint, retry=retry, timeouts=Timeouts(read_s=20.0, total_s=60.0))
    try:
        answer = wire.send(Request("GET", path, query={"expand": "sha"}, private=private))
    finally:
        wire.close()
    where = f"{host_of(account.endpoint)}: {repo.name}"
    # The Hub says 401 to who is not signed in for what does not exist, and for what is private.
    if answer.status == 404 or (answer.status == 401 and answer.headers.get("x-error-code") == "RepoNotFound"):
        return None
    if answer.status in (401, 403):
        raise CredentialsError(f"{where}: is refused ({answer.status}).", hint=_ACCESS)
    if answer.status != 200:
        raise NodeError(f"{where}: the Hub answers {answer.status}.", hint="Try again later.")
    try:
        return str(answer.json()["sha"])
    except (ValueError, KeyError, TypeError):
        raise NodeError(f"{where}: the answer is none of a Hub.", hint="Check the connection's endpoint.") from None


class Files:
    """The files of one repository, through huggingface_hub. For workers."""

    def __init__(self, account: Account, repo: Repo) -> None:
        try:
            from huggingface_hub import HfApi  # heavy; workers only
        except ImportError:
            hint = "Install the extra: pip install 'specrun[hub]'."
            raise MissingDependency("The Hub needs huggingface_hub.", hint=hint) from None
        self.account, self.repo = account, repo
        # False: never the token that somebody left in the home folder.
        self._api = HfApi(endpoint=account.endpoint, token=account.token or False, library_name="specrun")

    def create(self, *, private: bool) -> None:
        """Nothing happens where it exists."""
        with self._told("creating it"):
            self._api.create_repo(self.repo.name, repo_type=self.repo.type, private=private, exist_ok=True)

    def tree(self, revision: str) -> dict[str, RemoteFile]:
        from huggingface_hub import RepoFile  # see __init__

        with self._told("listing its files"):
            listed = self._api.list_repo_tree(
                self.repo.name, recursive=True, revision=revision, repo_type=self.repo.type
            )
            return {
                entry.path: RemoteFile(entry.blob_id, entry.lfs.sha256 if entry.lfs else None, entry.size)
                for entry in listed
                if isinstance(entry, RepoFile)
            }

    def fetch(self, path: str, revision: str, folder: Path) -> Path:
        """One file into a folder; what a killed download left is used."""
        _require_inside(path)
        with self._told(f"fetching {path}"):
            found = self._api.hf_hub_download(
                self.repo.name, path, repo_type=self.repo.type, revision=revision, local_dir=folder
            )
        return Path(found)

    def commit(
        self, additions: Mapping[str, Path | bytes], gone: Sequence[str], message: str, *, parent: str | None
    ) -> str:
        """One commit on the main branch; its id. Large files that are there already are not sent again.

        parent: the commit that it must follow. Raises NodeError: somebody was faster.
        """
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete  # see __init__

        operations: list[Any] = [
            CommitOperationAdd(path, data if isinstance(data, bytes) else str(data))
            for path, data in sorted(additions.items())
        ]
        operations += [CommitOperationDelete(path, is_folder=False) for path in gone]
        with self._told("uploading"):
            made = self._api.create_commit(
                self.repo.name,
                operations,
                commit_message=message,
                repo_type=self.repo.type,
                parent_commit=parent,
            )
        return str(made.oid)

    @contextmanager
    def _told(self, doing: str) -> Iterator[None]:
        """What huggingface_hub raises, in one line without the token."""
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

        where = f"{host_of(self.account.endpoint)}: {self.repo.name}: {doing}"
        try:
            yield
        except SpecrunError:
            raise
        except OfflineModeIsEnabled:
            hint = "Unset HF_HUB_OFFLINE to use it."
            raise NodeError(f"{where}: this machine is set to stay off the Hub.", hint=hint) from None
        except HfHubHTTPError as error:
            raise self._refused(where, error) from None
        except LocalEntryNotFoundError:
            raise TransientError(f"{where}: the Hub cannot be reached.", hint="Check the network.") from None
        except (OSError, ValueError, RuntimeError) as error:
            told = self._words(error)
            remedy = "Set HF_HUB_DISABLE_XET=1: this Hub has no Xet storage." if "xet-write-token" in told else None
            raise NodeError(f"{where}: {told}", hint=remedy) from None
        except Exception as error:
            if not type(error).__module__.startswith(_NETWORK):
                raise
            hint = "Check the network and the connection's endpoint."
            raise TransientError(f"{where}: the Hub cannot be reached ({type(error).__name__}).", hint=hint) from None

    def _refused(self, where: str, error: Any) -> SpecrunError:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status == 401:
            return CredentialsError(f"{where}: the Hub refuses the token or sees none (401).", hint=_ACCESS)
        if status == 403:
            hint = f"Give the connection a token that may write to {self.repo.name.partition('/')[0]}."
            return CredentialsError(f"{where}: the token may not do that (403); it may be for reading only.", hint=hint)
        if status == 404:
            return NodeError(f"{where}: there is no such thing, or the token may not see it (404).", hint=_ACCESS)
        if status in _MOVED:
            message = f"{where}: somebody committed meanwhile ({status}); nothing was overwritten."
            return TransientError(message, hint="Apply again: it then goes on top of that commit.")
        text = f"{where}: {self._words(error)}"
        return TransientError(text) if status is None or status == 429 or status >= 500 else NodeError(text)

    def _words(self, error: BaseException) -> str:
        return redacted(" ".join(str(error).split()), [self.account.token])[:_SHOWN]


def is_inside(path: str) -> bool:
    """Whether a path or glob stays below the folder that it is relative to."""
    parts = PurePosixPath(path).parts
    windows = "\\" in path or (len(path) > 1 and path[1] == ":")
    return bool(parts) and not windows and not path.startswith("/") and ".." not in parts and "\0" not in path


def _require_inside(path: str) -> None:
    if not is_inside(path):
        raise FormatError(f"{path!r}: a file of the repository lies outside of its folder; it is not fetched.")
