"""What `specrun doctor` looks at on CVAT servers. It reads only: nothing is tried out by making it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from specrun.cli.connections import Servers
from specrun.cli.findings import Finding, fine, note, wrong
from specrun.clients.cvat.answers import Refused
from specrun.clients.cvat.api import Api
from specrun.clients.cvat.catalogue import find_project, labels_of, server_version, version_warning
from specrun.clients.cvat.connection import Connection
from specrun.clients.cvat.things import LabelDef, Project
from specrun.clients.http import Retry
from specrun.errors import CredentialsError, NodeError, SpecrunError
from specrun.kinds.connections.cvat import is_near
from specrun.kinds.cvat_send.declared import wanted_labels
from specrun.kinds.cvat_send.foretelling import near_labels
from specrun.kinds.cvat_send.people import user_id
from specrun.kinds.cvat_send.spec import CvatProjectSpec
from specrun.model.node import Node
from specrun.model.taxonomy import ResolvedTaxonomy, UnmappedLabel
from specrun.spec.suggest import did_you_mean

ONCE = Retry(max_attempts=2, initial_delay_s=0.5, max_delay_s=5.0)
"""A person waits for the answer."""
_LISTED = 8
_ROLES_THAT_MAKE = ("owner", "maintainer", "supervisor")
_BLOCKED = (
    "{host} looks like an address of a private network, and CVAT calls none unless its operator allows it "
    "(SMOKESCREEN_OPTS); `specrun watch` looks again and again all the same"
)
_CALLED = (
    "CVAT has to reach {host}: it calls no address of a private network unless its operator allows it; "
    "`specrun watch` looks again and again all the same"
)


def cvat_findings(servers: Servers) -> Iterator[Finding]:
    """Of every connection, and of every node that works with one."""
    for name in servers.declared:
        about = f"connections.{name}"
        try:
            with Api(servers.connection(name), retry=ONCE) as api:
                yield from _connection(about, api)
                for node in servers.project.nodes:
                    if about in node.declarations and node.enabled:
                        yield from _node(api, node, servers.project.nodes)
        except SpecrunError as error:
            yield wrong(about, "connection", error)
            left = [str(node.address) for node in servers.project.nodes if about in node.declarations and node.enabled]
            if left:
                yield note(about, "not looked at", f"{_listed(left)}: projects, labels and people")


def _connection(about: str, api: Api) -> Iterator[Finding]:
    """Raises SpecrunError: nothing else can be asked then."""
    connection = api.connection
    # In an organization that there is not, every request is refused.
    with Api(replace(connection, organization=None), retry=ONCE) as everywhere:
        me = everywhere.get("/api/users/self")
        version = server_version(everywhere)
        slugs = [str(one.get("slug")) for one in everywhere.pages("/api/organizations")]
    warning = version_warning(version)
    yield note(about, "version", warning) if warning else fine(about, "version", f"{connection.url} is CVAT {version}")
    if not connection.verify_tls:
        yield note(about, "TLS", "any certificate is believed (verify_tls: false)")
    yield fine(about, "login", f"{connection.account} is accepted, as {me.get('username')}")
    yield _organization(about, connection, slugs)
    yield fine(about, "may list", f"sees {api.get('/api/projects', page_size=1).get('count', 0)} projects")
    yield _may_make(about, api, me)


def _organization(about: str, connection: Connection, slugs: Sequence[str]) -> Finding:
    wanted = connection.organization
    if not wanted:
        space = "the personal space" if wanted == "" else "none in particular: everything that the account sees"
        return fine(about, "organization", space)
    if wanted not in slugs:
        raise NodeError(
            f'{connection.host}: the account is in no organization "{wanted}"',
            hint=f"It is in: {', '.join(slugs) or 'none'}.",
        )
    return fine(about, "organization", wanted)


def _may_make(about: str, api: Api, me: Mapping[str, Any]) -> Finding:
    """From what the server says of the account; projects are not made to find out."""
    what = "may make"
    try:
        if api.connection.token and api.get("/api/auth/access_tokens/self").get("read_only"):
            return note(about, what, "the access token is read-only: it can pull, and send nothing")
    except (Refused, CredentialsError):  # an older kind of token, which cannot be asked about
        pass
    if me.get("is_superuser"):
        return fine(about, what, "projects and tasks")
    role = _role(api, me)
    if role and role not in _ROLES_THAT_MAKE:
        return note(about, what, f"the account is a {role} of the organization: it cannot make projects or tasks")
    if not role and me.get("groups") == ["worker"]:
        return note(about, what, "the account is a worker: it cannot make projects or tasks")
    return fine(about, what, "projects and tasks")


def _role(api: Api, me: Mapping[str, Any]) -> str:
    if not api.connection.organization:
        return ""
    for member in api.pages("/api/memberships", user=me.get("username")):
        if (member.get("user") or {}).get("id") == me.get("id"):
            return str(member.get("role") or "")
    return ""


def _node(api: Api, node: Node, nodes: Sequence[Node]) -> Iterator[Finding]:
    about = str(node.address)
    wanted = node.config.get("project")
    yield from _assignee(about, api, node)
    makes = node.address.section == "cvat_projects"
    if isinstance(webhook := node.config.get("webhook"), Mapping):
        host = urlsplit(str(webhook["url"])).hostname or ""
        near = is_near(host)
        yield (
            note(about, "webhook", _BLOCKED.format(host=host))
            if near
            else fine(about, "webhook", _CALLED.format(host=host))
        )
    if not isinstance(wanted, str | int):
        return
    try:
        project = find_project(api, wanted)
    except SpecrunError as error:
        if makes and isinstance(wanted, str) and "there is no project" in error.message:
            meant = error.hint if error.hint and error.hint.startswith("Did you mean") else ""
            made = f'"{wanted}" will be made'
            yield note(about, "project", made, meant) if meant else fine(about, "project", made)
            yield from _targets(about, node, ())
        else:
            yield wrong(about, "project", error)
        return
    yield fine(about, "project", f'"{project.name}" is project {project.id} with {project.task_count} tasks')
    labels = labels_of(api, project_id=project.id)
    yield from _labels(about, project, labels, node, nodes)
    yield from _targets(about, node, [label.name for label in labels])


def _assignee(about: str, api: Api, node: Node) -> Iterator[Finding]:
    asked = node.config.get("tasks" if node.address.section == "cvat_projects" else "select")
    name = asked.get("assignee") if isinstance(asked, Mapping) else None
    if not isinstance(name, str):
        return
    try:
        user_id(api, name)
        yield fine(about, "assignee", f"{name} has an account")
    except SpecrunError as error:
        yield wrong(about, "assignee", error)


def _targets(about: str, node: Node, there: Sequence[str]) -> Iterator[Finding]:
    """Labels that prelabels are mapped to. there: those of the project."""
    if node.address.section != "cvat_projects":
        return
    spec = CvatProjectSpec.model_validate(dict(node.config))
    if spec.prelabels is None:
        return
    try:
        wanted = wanted_labels(spec.labels, node.declarations)
    except NodeError:  # a taxonomy that takes its classes from what was labelled
        return
    known = {*there, *(label.name for label in wanted or ())}
    for key, target in spec.prelabels.label_map.items():
        if target is not None and "{value}" not in target and target not in known:
            near = did_you_mean(target, sorted(known), otherwise="Labels are")
            error = NodeError(f'prelabels.label_map.{key}: "{target}" is none of the labels', hint=near)
            yield wrong(about, "prelabels", error)


def _labels(
    about: str, project: Project, labels: Sequence[LabelDef], node: Node, nodes: Sequence[Node]
) -> Iterator[Finding]:
    names = [label.name for label in labels]
    readers = [n for n in nodes if any(used.address == node.address for used in n.inputs)]
    for one in [node, *readers]:
        for address, declared in one.declarations.items():
            if not address.startswith("taxonomies.") or not isinstance(declared, Mapping):
                continue
            taxonomy = ResolvedTaxonomy.from_json(declared)
            missing = [name for name in taxonomy.classes or () if name not in names]
            if one is node:
                added = f"{_listed(missing)} will be added" if missing else "all there"
                yield fine(about, "labels", f"of {address}: {added}")
                yield from (note(about, "labels", text) for text in near_labels(missing, names))
                continue
            yield _read_by(about, f"{one.address} by {address}", taxonomy, names, missing)


def _read_by(about: str, reader: str, taxonomy: ResolvedTaxonomy, names: Sequence[str], missing: list[str]) -> Finding:
    unknown = []
    for name in names:
        try:
            taxonomy.apply(name)
        except UnmappedLabel:
            unknown.append(name)
    if unknown:
        error = NodeError(
            f"{reader} does not know {_listed(unknown)}", hint="Map or drop them, or say what `unmapped` ones become."
        )
        return wrong(about, "labels", error)
    reached = {taxonomy.apply(name) for name in names}
    never = [name for name in missing if name not in reached]
    if never:
        return note(about, "labels", f"no label becomes {_listed(never)} for {reader}")
    return fine(about, "labels", f"{reader} knows all {len(names)}")


def _listed(names: Sequence[str]) -> str:
    rest = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + rest
