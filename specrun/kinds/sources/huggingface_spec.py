"""What a source on the Hugging Face Hub is declared with."""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

from pydantic import Field

from specrun.clients.http import host_of
from specrun.clients.hub import HUB, Repo
from specrun.errors import NodeError
from specrun.formats.layouts import Format
from specrun.kinds.publications.spec import REPO_NAME, connection_address
from specrun.model.digest import Json
from specrun.spec.kind import NOT_RESULT, NodeSpec, Ref


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


def repo_of(spec: HuggingFaceSourceSpec) -> Repo:
    return Repo(spec.repo, spec.repo_type)


def endpoint_of(spec: HuggingFaceSourceSpec, declarations: Any) -> str:
    return str(declarations[connection_address(spec.connection)]["endpoint"]) if spec.connection else HUB


def observed(spec: HuggingFaceSourceSpec, commit: str, endpoint: str) -> dict[str, Json]:
    """Observation.value; `always` is never what it was."""
    again = {"asked_at": time.time()} if spec.sync == "always" else {}
    return {"commit": commit, "host": host_of(endpoint), **again}


def required_head(spec: HuggingFaceSourceSpec, commit: str | None) -> str:
    """Raises NodeError: there is none."""
    if commit is None:
        raise NodeError(
            f"{spec.repo}: there is no such {spec.repo_type} repository with a revision {spec.revision}, "
            "or the token may not see it.",
            hint="Check repo, repo_type, revision and the connection.",
        )
    return commit
