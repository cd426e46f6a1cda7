"""sources.huggingface: images, labels and captions out of a repository of the Hugging Face Hub.

    files/…          as they lie in the repository
    samples.jsonl    the images among them

A file that lies in the last output with the same content is linked and not fetched again.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from pathlib import PurePosixPath
from typing import Annotated, Any, ClassVar, Literal

import anyio.to_thread
from pydantic import Field

from specrun.clients.http import Retry, host_of
from specrun.clients.hub import HUB, Repo, head
from specrun.errors import NodeError
from specrun.formats.layouts import Format
from specrun.kinds.publications import REPO_NAME, account_of, connection_address, connection_problems, glob_problems
from specrun.model.artifact import Outputs
from specrun.model.digest import Json
from specrun.model.node import Resources
from specrun.model.state import Observation
from specrun.model.work import Context, Look
from specrun.spec.kind import NOT_RESULT, Kind, Lookup, NodeSpec, Problem, Ref


class HuggingFaceSourceSpec(NodeSpec):
    connection: Annotated[str, Ref("connections")] | None = None
    """The account, of kind huggingface; null: what is public on huggingface.co."""
    repo: str = Field(pattern=REPO_NAME)
    """Owner and name."""
    repo_type: Literal["dataset", "model"] = "dataset"
    """What sort of repository it is."""
    revision: str = Field(default="main", pattern=r"^[^\s\x00-\x1f]{1,200}$")
    """A branch, a tag or a commit."""
    sync: Literal["never", "if_changed", "always"] = Field(default="if_changed", json_schema_extra=NOT_RESULT)
    """never: fetched once. if_changed: when the revision stands for another commit. always: looked through in every
    run; what is the same is not fetched again."""
    include: list[str] | None = Field(default=None, min_length=1)
    """Globs of files; null: all of them."""
    format: Format | Literal["images"] = "images"
    """What lies there: images alone, or the format of a labelled data set."""
    path: str = "."
    """The folder in the repository that holds it."""


class HuggingFaceSource(Kind):
    """Fetches files of one commit; asking which commit it is costs one request."""

    Spec = HuggingFaceSourceSpec
    resources: ClassVar[Resources] = Resources(cpus=1.0, network=True)
    packages = ("huggingface_hub",)

    def check(self, spec: HuggingFaceSourceSpec, lookup: Lookup) -> Sequence[Problem]:
        problems = glob_problems("include", spec.include or ())
        problems += connection_problems(spec.connection, lookup) if spec.connection else []
        if spec.path.startswith("/") or "\\" in spec.path or ".." in PurePosixPath(spec.path).parts:
            hint = "Write a folder relative to the repository."
            problems.append(Problem("path", f"{spec.path!r} leads outside of the repository.", hint))
        return problems

    async def observe(self, spec: HuggingFaceSourceSpec, look: Look) -> Observation:
        before = look.record.observation if look.record else None
        if spec.sync == "never" and before is not None:
            return Observation(before)
        commit = await anyio.to_thread.run_sync(partial(_commit, spec, look))
        value = observed(spec, commit, endpoint_of(spec, look.declarations))
        was = before.get("commit") if isinstance(before, dict) else None
        if was and was != commit:
            return Observation(value, (f"{spec.repo}: {spec.revision} is {commit[:8]} now, it was {str(was)[:8]}",))
        return Observation(value, ("looked through in every run",) if was and spec.sync == "always" else ())

    def resume_key(self, spec: HuggingFaceSourceSpec) -> Json:
        """Files say by their content whether they are the wanted ones."""
        return {"repo": spec.repo, "type": spec.repo_type}

    def run(self, spec: HuggingFaceSourceSpec, ctx: Context) -> Outputs:
        # huggingface_hub and numpy come with it.
        from specrun.kinds.sources.huggingface_fetch import fetch

        return fetch(spec, ctx)


def repo_of(spec: HuggingFaceSourceSpec) -> Repo:
    return Repo(spec.repo, spec.repo_type)


def endpoint_of(spec: HuggingFaceSourceSpec, declarations: Any) -> str:
    return str(declarations[connection_address(spec.connection)]["endpoint"]) if spec.connection else HUB


def observed(spec: HuggingFaceSourceSpec, commit: str, endpoint: str) -> dict[str, Json]:
    """Observation.value; `always` is never what it was."""
    again = {"asked_at": time.time()} if spec.sync == "always" else {}
    return {"commit": commit, "host": host_of(endpoint), **again}


def _commit(spec: HuggingFaceSourceSpec, look: Look) -> str:
    account = account_of(spec.connection, look.declarations, look.secret)
    return required_head(spec, head(account, repo_of(spec), spec.revision, retry=Retry.for_a_look(look.settings)))


def required_head(spec: HuggingFaceSourceSpec, commit: str | None) -> str:
    """Raises NodeError: there is none."""
    if commit is None:
        raise NodeError(
            f"{spec.repo}: there is no such {spec.repo_type} repository with a revision {spec.revision}, "
            "or the token may not see it.",
            hint="Check repo, repo_type, revision and the connection.",
        )
    return commit
