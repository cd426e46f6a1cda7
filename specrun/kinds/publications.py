"""publications: what was made, in a repository of the Hugging Face Hub."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import anyio.to_thread
from pydantic import Field

from specrun.clients.http import Retry
from specrun.clients.hub import Account, Repo, RepoType, head, is_inside
from specrun.model.artifact import Outputs
from specrun.model.digest import Json
from specrun.model.node import Resources
from specrun.model.state import Observation
from specrun.model.work import Context, Look
from specrun.spec.kind import NOT_RESULT, Kind, Lookup, Need, NodeSpec, Problem, Ref

PUBLISHED = "published"
"""What is remembered: {repo, commit, files: {path: [git, sha256]}}."""
REPO_NAME = r"^[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9_][\w.-]{0,95}$"
_MODELS = ("models", "lora_jobs")
_NOTHING = ("membership",)
"""A part that no output has: a change of it makes nothing stale."""


class PublicationSpec(NodeSpec):
    connection: Annotated[str, Ref("connections")]
    """The account, of kind huggingface; its token must be one that may write."""
    artifact: Annotated[
        str, Ref("exports", "models", "lora_jobs", "generations", "predictions", "evaluations", "steps")
    ]
    """The node whose output is published."""
    repo: str = Field(pattern=REPO_NAME)
    """Owner and name; made when it does not exist."""
    repo_type: Literal["dataset", "model"] | None = None
    """null: model for models and lora_jobs, else dataset."""
    private: bool = True
    """How a new repository is made; one that exists stays as it is."""
    when: Literal["changed", "always", "manual"] = "changed"
    """changed: when the output changed. always: in every run. manual: once, and then only with --replace."""
    include: list[str] | None = Field(default=None, min_length=1)
    """Globs relative to the output; null: all of it."""
    exclude: list[str] = []
    """Globs of files to leave out."""
    commit_message: str | None = Field(default=None, min_length=1, max_length=500, json_schema_extra=NOT_RESULT)
    """null: the name of the project and of the node."""
    card: bool = True
    """A README.md that says what it is. Text of one's own around its marked block stays."""
    license: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9.+-]{0,60}$")
    """The Hub's name of a licence, such as cc-by-4.0, for the card."""
    on_foreign_change: Literal["fail", "overwrite"] = "fail"
    """What happens when a file that would be replaced was written by somebody else."""


class Publication(Kind):
    """Unchanged content makes no commit; what others committed stays."""

    Spec = PublicationSpec
    resources: ClassVar[Resources] = Resources(cpus=1.0, network=True)
    packages = ("huggingface_hub",)

    def check(self, spec: PublicationSpec, lookup: Lookup) -> Sequence[Problem]:
        problems = glob_problems("include", spec.include or ()) + glob_problems("exclude", spec.exclude)
        problems += connection_problems(spec.connection, lookup)
        connection = lookup.spec(connection_address(spec.connection))
        if connection is not None and hasattr(connection, "token") and connection.token is None:
            hint = "Add token: {env: HF_TOKEN} to the connection."
            problems.append(Problem("connection", "It has no token, and nobody may write without one.", hint))
        return problems

    def inputs(self, spec: PublicationSpec) -> Sequence[Need]:
        return [Need("artifact", spec.artifact, _NOTHING if spec.when == "manual" else ())]

    async def observe(self, spec: PublicationSpec, look: Look) -> Observation:
        if look.record is None:
            return Observation(value=_value(spec, exists=True))
        return await anyio.to_thread.run_sync(partial(_observe, spec, look))

    def external(self, spec: PublicationSpec) -> bool:
        return True

    def exclusive(self, spec: PublicationSpec) -> Sequence[str]:
        """Two nodes may write into one repository."""
        return [f"hub:{spec.repo}"]

    def resume_key(self, spec: PublicationSpec) -> Json:
        """What was uploaded lies at the Hub and is not sent twice."""
        return {"repo": spec.repo}

    def run(self, spec: PublicationSpec, ctx: Context) -> Outputs:
        # huggingface_hub comes with it.
        from specrun.kinds.publication_run import publish

        return publish(spec, ctx)


def repo_of(spec: PublicationSpec) -> Repo:
    guessed: RepoType = "model" if spec.artifact.split(".")[0] in _MODELS else "dataset"
    return Repo(spec.repo, spec.repo_type or guessed)


def connection_address(written: str) -> str:
    return Ref("connections").address(written)


def account_of(written: str | None, declarations: Mapping[str, Any], secret: Any) -> Account:
    """Raises CredentialsError: the token cannot be had."""
    return Account.from_declaration(None if written is None else declarations[connection_address(written)], secret)


def connection_problems(written: str, lookup: Lookup) -> list[Problem]:
    kind = lookup.kind_of(connection_address(written))
    if kind is None or kind == "connections.huggingface":
        return []
    return [Problem("connection", f"{written} is of kind {kind.partition('.')[2]}.", "Name one of kind huggingface.")]


def glob_problems(name: str, globs: Sequence[str]) -> list[Problem]:
    hint = "Write it relative to the repository, without `..`."
    return [
        Problem(f"{name}.{i}", f"{glob!r} leads outside of the repository.", hint)
        for i, glob in enumerate(globs)
        if not is_inside(glob)
    ]


def _value(spec: PublicationSpec, *, exists: bool) -> dict[str, Json]:
    """`always` is never what it was."""
    return {"exists": exists, **({"asked_at": time.time()} if spec.when == "always" else {})}


def _observe(spec: PublicationSpec, look: Look) -> Observation:
    account = account_of(spec.connection, look.declarations, look.secret)
    now = head(account, repo_of(spec), retry=Retry.for_a_look(look.settings))
    value = _value(spec, exists=now is not None)
    if now is None:
        return Observation(value, (f"{spec.repo} is no longer there",))
    published = look.recall(PUBLISHED)
    ours = published.get("commit") if isinstance(published, dict) and published.get("repo") == spec.repo else None
    changes = ("published in every run",) if spec.when == "always" else ()
    if ours is None or ours == now:
        return Observation(value, changes)
    note = f"{spec.repo}: somebody else committed {now[:8]} after {str(ours)[:8]}; the next commit goes on top of it"
    return Observation(value, changes, notes=(note,))
