"""What a publication is declared with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from specrun.clients.hub import Account, Repo, RepoType
from specrun.spec.kind import NOT_RESULT, NodeSpec, Ref

PUBLISHED = "published"
"""What is remembered: {repo, commit, files: {path: [git, sha256]}}."""
REPO_NAME = r"^[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9_][\w.-]{0,95}$"
_MODELS = ("models", "lora_jobs")


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


def repo_of(spec: PublicationSpec) -> Repo:
    guessed: RepoType = "model" if spec.artifact.split(".")[0] in _MODELS else "dataset"
    return Repo(spec.repo, spec.repo_type or guessed)


def connection_address(written: str) -> str:
    return Ref("connections").address(written)


def account_of(written: str | None, declarations: Mapping[str, Any], secret: Any) -> Account:
    """Raises CredentialsError: the token cannot be had."""
    return Account.from_declaration(None if written is None else declarations[connection_address(written)], secret)
