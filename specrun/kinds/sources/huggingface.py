"""sources.huggingface: images, labels and captions out of a repository of the Hugging Face Hub.

    files/…          as they lie in the repository
    samples.jsonl    the images among them

A file that lies in the last output with the same content is linked and not fetched again.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import PurePosixPath
from typing import ClassVar

import anyio.to_thread

from specrun.clients.http import Retry
from specrun.clients.hub import head
from specrun.kinds.publications.publication import connection_problems, glob_problems
from specrun.kinds.publications.spec import account_of
from specrun.kinds.sources.huggingface_spec import HuggingFaceSourceSpec, endpoint_of, observed, repo_of, required_head
from specrun.model.artifact import Outputs
from specrun.model.digest import Json
from specrun.model.node import Resources
from specrun.model.state import Observation
from specrun.model.work import Context, Look
from specrun.spec.kind import Kind, Lookup, Problem


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


def _commit(spec: HuggingFaceSourceSpec, look: Look) -> str:
    account = account_of(spec.connection, look.declarations, look.secret)
    return required_head(spec, head(account, repo_of(spec), spec.revision, retry=Retry.for_a_look(look.settings)))
