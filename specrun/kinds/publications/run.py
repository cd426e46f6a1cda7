"""The work of a publication: what differs from the repository becomes one commit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from specrun.clients.http import Retry
from specrun.clients.hub import Content, Files, RemoteFile, content_of, head
from specrun.errors import FormatError, NodeError
from specrun.kinds.publications.card import CARD, card, merged
from specrun.kinds.publications.spec import PUBLISHED, PublicationSpec, account_of, repo_of
from specrun.model.artifact import MANIFEST_NAME, Artifact, Outputs
from specrun.model.work import Context
from specrun.store.manifest import OWN_NAMES
from specrun.store.patterns import EVERYTHING, compile_patterns

_PENDING = "pending"
_SHOWN = 3
_PARTIAL = (".part", ".ckpt")


def publish(spec: PublicationSpec, ctx: Context) -> Outputs:
    made, repo = ctx.input("artifact"), repo_of(spec)
    account = account_of(spec.connection, ctx.declarations, ctx.secret)
    files: dict[str, Path | bytes] = dict(files_of(made.folder, spec))
    if not files:
        raise NodeError(f"{spec.artifact}: none of its files are to be published.", hint="Check include and exclude.")
    contents = {path: _content(ctx, path, source) for path, source in files.items()}
    hub = Files(account, repo)
    retry = Retry.from_settings(ctx.settings)
    before = head(account, repo, retry=retry)
    if before is None:
        hub.create(private=spec.private)
        before = head(account, repo, retry=retry)
    remote = hub.tree(before) if before else {}
    if spec.card:
        files[CARD] = _card(spec, ctx, hub, remote, before)
        contents[CARD] = content_of(files[CARD])
    known = _known(ctx, spec.repo)
    changed = {path: files[path] for path, now in contents.items() if path not in remote or not now.is_at(remote[path])}
    foreign = _foreign(changed, remote, known)
    if foreign and spec.on_foreign_change == "fail":
        raise _foreign_error(spec, foreign)
    gone = [path for path in known if path not in contents and path in remote and _is_ours(remote[path], known[path])]
    commit = before
    if changed or gone:
        ctx.check_stop()
        ctx.progress(0, len(changed), "files", "uploading")
        # Should the run die between the commit and the line after it, the files are still known as ours.
        ctx.remember(_PENDING, _memory(spec.repo, None, contents))
        message = spec.commit_message or f"{ctx.project_name}: {spec.artifact}".lstrip(": ")
        commit = hub.commit(changed, gone, message, parent=before)
        ctx.progress(len(changed), len(changed), "files", "uploaded")
    ctx.remember(PUBLISHED, _memory(spec.repo, commit, contents))
    ctx.remember(_PENDING, None)
    url = repo.url(account.endpoint)
    report: dict[str, Any] = {
        "repo": repo.name,
        "type": repo.type,
        "url": url,
        "commit": commit,
        "files": sorted(contents),
    }
    (ctx.staging / "publication.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    facts = {key: report[key] for key in ("repo", "type", "url", "commit")}
    facts |= {"files": len(contents), "uploaded": len(changed), "removed": len(gone)}
    notes = () if changed or gone else ("nothing had changed: no commit",)
    ctx.log(f"{url}: {len(changed)} files uploaded, {len(gone)} removed, {len(contents) - len(changed)} unchanged")
    artifacts = (Artifact("repository", "link", url), Artifact("publication", "file", "publication.json"))
    return Outputs(artifacts=artifacts, facts=facts, notes=notes)


def files_of(folder: Path, spec: PublicationSpec) -> dict[str, Path]:
    """Path in the repository → file. Links are followed. Raises FormatError: one leads nowhere."""
    wanted, unwanted = compile_patterns(spec.include or EVERYTHING), compile_patterns(spec.exclude)
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        own = name in OWN_NAMES or name == MANIFEST_NAME or name.endswith(_PARTIAL)
        if own or path.is_dir() or not wanted.fullmatch(name) or unwanted.fullmatch(name):
            continue
        if not path.is_file():
            raise FormatError(f"{path}: the file that it links to is gone.", hint="Make the output anew.")
        found[name] = path
    return found


def _content(ctx: Context, path: str, source: Path | bytes) -> Content:
    ctx.check_stop()
    try:
        return content_of(source)
    except OSError as error:
        raise FormatError(f"{path}: cannot be read ({error.strerror}).") from None


def _card(
    spec: PublicationSpec, ctx: Context, hub: Files, remote: Mapping[str, RemoteFile], commit: str | None
) -> bytes:
    existing = None
    if CARD in remote and commit is not None:
        place = hub.fetch(CARD, commit, ctx.cache_dir / "hub" / spec.repo / commit)
        existing = place.read_text(encoding="utf-8", errors="replace")
    made = ctx.input("artifact")
    return merged(card(spec, made, files_of(made.folder, spec)), existing).encode()


def _memory(repo: str, commit: str | None, contents: Mapping[str, Content]) -> dict[str, Any]:
    return {"repo": repo, "commit": commit, "files": {path: [one.git, one.sha256] for path, one in contents.items()}}


def _known(ctx: Context, repo: str) -> dict[str, list[Content]]:
    """Path → contents that we published there, or were about to."""
    found: dict[str, list[Content]] = {}
    for key in (PUBLISHED, _PENDING):
        told: Any = ctx.recall(key)
        if isinstance(told, dict) and told.get("repo") == repo:
            for path, (git, sha256) in told["files"].items():
                found.setdefault(path, []).append(Content(git, sha256))
    return found


def _is_ours(remote: RemoteFile, known: list[Content]) -> bool:
    return any(content.is_at(remote) for content in known)


def _foreign(
    changed: Mapping[str, Path | bytes], remote: Mapping[str, RemoteFile], known: Mapping[str, list[Content]]
) -> list[str]:
    """Files that we would replace although somebody else wrote them; a card keeps what is not ours."""
    there = [path for path in changed if path in remote and path != CARD]
    return [path for path in there if not _is_ours(remote[path], known.get(path, []))]


def _foreign_error(spec: PublicationSpec, foreign: list[str]) -> NodeError:
    shown = ", ".join(foreign[:_SHOWN]) + (", …" if len(foreign) > _SHOWN else "")
    return NodeError(
        f"{spec.repo}: {len(foreign)} files there were written by somebody else and differ: {shown}.",
        hint="Look at them; on_foreign_change: overwrite replaces them (the repository's history keeps them).",
    )
