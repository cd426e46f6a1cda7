"""`specrun init --from-cvat`: a spec for a project that exists in CVAT, as it is there.

From labels come a taxonomy, in their order and with their colours, and skeletons; from the subsets of the tasks the
mapping of splits; from the types of the labels the exports that fit them.
"""

from __future__ import annotations

import io
import os
import re
from argparse import Namespace
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

from specrun.errors import UsageError
from specrun.model.address import NAME_PATTERN

if TYPE_CHECKING:
    from specrun.clients.cvat.connection import Connection
    from specrun.clients.cvat.things import LabelDef

HEAD = """\
# yaml-language-server: $schema=schemas/project.schema.json
#
# The project "{title}" ({number}) of {url}.
#
#     specrun schema      for editors: the file that the first line names
#     specrun doctor      whether the server can be asked, and what is there
#     specrun plan        which tasks are in, which are out and why
#     specrun apply       pull what people have finished
{notes}
"""
_SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val"}
_SPLITS |= {"test": "test", "testing": "test"}
_OUTLINED = {"polygon", "mask", "ellipse", "any"}
_BOXED = {"rectangle", "any"}
_LEFT_OUT = {"points", "polyline", "cuboid"}
_NODE, _EDGE = "element node", "edge"


@dataclass(frozen=True)
class Found:
    """declared: the connection as it is to be written. reference: what names the project. subsets: of its tasks."""

    declared: Mapping[str, Any]
    reference: str | int
    title: str
    number: int
    labels: Sequence[LabelDef]
    subsets: Sequence[str]
    connection: str = "lab"


def look_up(arguments: Namespace, folder: Path) -> Found:
    """arguments.from_cvat: CONNECTION/PROJECT, or URL/PROJECT. Raises UsageError and what a server may answer."""
    from specrun.clients.cvat.api import Api
    from specrun.clients.cvat.catalogue import find_project, labels_of, tasks_of

    place, wanted = split_place(arguments.from_cvat)
    connection, declared = _account(place, arguments, folder)
    with Api(connection) as api:
        project = find_project(api, wanted)
        tasks = tasks_of(api, project_id=project.id)
        labels = labels_of(api, project_id=project.id)
    # An id where it was given, for it may be one name of several.
    reference = project.id if isinstance(wanted, int) or project.name != wanted else project.name
    subsets = sorted({task.subset for task in tasks})
    name = "lab" if "://" in place else place.removeprefix("connections.")
    return Found(declared, reference, project.name, project.id, labels, subsets, name)


def split_place(text: str) -> tuple[str, str | int]:
    """The connection's name or the server's address, and the project: `lab/reef`, `https://cvat.example.org/reef`, or
    the address of the project's page (`https://cvat.example.org/projects/12`)."""
    if "://" in text:
        parts = urlsplit(text)
        place, path = f"{parts.scheme}://{parts.netloc}", unquote(parts.path.strip("/"))
        if page := re.fullmatch(r"projects/(\d+)(?:/.*)?", path):
            return place, int(page[1])
    else:
        place, _, path = text.partition("/")
    if not place or not path:
        hint = "Write lab/PROJECT, where lab is a connection of a spec, or https://cvat.example.org/PROJECT."
        raise UsageError(f"--from-cvat {text}: it names no project", hint=hint)
    return place, int(path) if path.isascii() and path.isdecimal() else path


def _account(place: str, arguments: Namespace, folder: Path) -> tuple[Connection, dict[str, Any]]:
    """The connection, and how to write it without its secrets."""
    from specrun.cli.cvat import PASSWORD, TOKEN, USER, connection_by_url

    if "://" in place:
        connection = connection_by_url(place, arguments.organization)
        declared: dict[str, Any] = {"kind": "cvat", "url": connection.url}
        if connection.token:
            declared["access_token"] = {"env": TOKEN}
        else:
            declared |= {"username": f"${{env.{USER}}}", "password": {"env": PASSWORD}}
        return connection, _with_organization(declared, connection.organization)
    # Loads the whole spec.
    from specrun.cli.connections import load_servers

    _check_spec(arguments, place)
    servers = load_servers(arguments)
    connection = servers.connection(place)
    given = servers.declared[place.removeprefix("connections.")]
    declared = {"kind": "cvat", "url": connection.url}
    for key in ("access_token", "username", "password"):
        if given.get(key) is not None:
            declared[key] = _moved(given[key], servers.path.parent, folder)
    if declared.get("username") == os.environ.get(USER):
        declared["username"] = f"${{env.{USER}}}"
    if not connection.verify_tls:
        declared["verify_tls"] = False
    return connection, _with_organization(declared, connection.organization)


def _check_spec(arguments: Namespace, place: str) -> None:
    """Raises UsageError: no spec declares the connection."""
    from specrun.cli.project import find_spec

    try:
        find_spec(arguments.spec)
    except UsageError as error:
        hint = f"Name the spec that declares {place} with --spec, or write the server's address: https://HOST/PROJECT."
        raise UsageError(f"--from-cvat {arguments.from_cvat}: {error.message}", hint=hint) from None


def _with_organization(declared: dict[str, Any], organization: str | None) -> dict[str, Any]:
    return declared if organization is None else {**declared, "organization": organization}


def _moved(reference: Any, old: Path, new: Path) -> Any:
    """A secret's reference, whose file is looked for from another folder now."""
    if not isinstance(reference, Mapping):
        return reference
    kept = {key: value for key, value in reference.items() if value is not None}
    if isinstance(path := kept.get("file"), str) and not os.path.isabs(os.path.expanduser(path)):
        kept["file"] = os.path.relpath(old / path, new.absolute())
    return kept


def spec_text(found: Found, project_name: str) -> str:
    """The whole file."""
    from ruamel.yaml import YAML

    name = _slug(found.title, "annotations")
    notes: list[str] = []
    spec = {
        "specrun": 1,
        "project": {"name": project_name, "output_root": "outputs"},
        "connections": {found.connection: dict(found.declared)},
    }
    told = {
        **_classes(found.labels, name),
        "sources": {name: _source(found, notes)},
        **_datasets(found, name, notes),
    }
    yaml = YAML()
    yaml.default_flow_style = None
    yaml.width = 110
    stream = io.StringIO()
    yaml.dump({**spec, **_escaped(told)}, stream)
    body = re.sub(r"(?m)^(?=[a-z_]+:)(?!specrun:)", "\n", stream.getvalue())
    remarks = "".join(f"#\n# {note}\n" for note in notes)
    head = HEAD.format(title=_one_line(found.title), number=found.number, url=found.declared["url"], notes=remarks)
    return head.rstrip("\n") + "\n\n" + body


def _classes(labels: Sequence[LabelDef], name: str) -> dict[str, Any]:
    names = list(dict.fromkeys(label.name for label in labels))
    if not names:
        return {}
    taxonomy: dict[str, Any] = {"classes": names, "unmapped": "error"}
    colors = {label.name: label.color for label in labels if re.fullmatch(r"#[0-9a-fA-F]{6}", label.color)}
    if colors:
        taxonomy["colors"] = colors
    taxonomies = {name: taxonomy}
    skeletons = dict(_skeletons(labels))
    if len(skeletons) > 1:
        for address, skeleton in skeletons.items():
            others = [one for one in names if one != skeleton["label"]]
            taxonomies[_free(f"{address}_only", taxonomies)] = {"classes": [skeleton["label"]], "drop": others}
    sections: dict[str, Any] = {"taxonomies": taxonomies}
    return {**sections, "skeletons": skeletons} if skeletons else sections


def _skeletons(labels: Sequence[LabelDef]) -> Iterator[tuple[str, dict[str, Any]]]:
    taken: set[str] = set()
    for label in labels:
        if label.type != "skeleton" or not label.sublabels:
            continue
        name = _free(_slug(label.name, "skeleton"), taken)
        taken.add(name)
        edges, template = read_drawing(label)
        declared: dict[str, Any] = {"label": label.name, "points": [point.name for point in label.sublabels]}
        if edges:
            declared["edges"] = edges
        if template:
            declared["template"] = template
        yield name, declared


def read_drawing(label: LabelDef) -> tuple[list[list[str]], dict[str, list[float]]]:
    """Edges and template of a skeleton out of its drawing in CVAT; empty where that says nothing usable.

    The drawing is SVG without a root: circles of class "element node" name their point by its label's id or name,
    lines of class "edge" the circles that they join; coordinates are percent.
    """
    try:
        # Inside of a root no document type, and so no entity, can be declared.
        drawing = list(ElementTree.fromstring(f"<svg>{label.svg}</svg>"))
    except ElementTree.ParseError:
        return [], {}
    by_id = {str(point.id): point.name for point in label.sublabels}
    names = {point.name for point in label.sublabels}
    nodes: dict[str, str] = {}
    template: dict[str, list[float]] = {}
    for circle in drawing:
        name = by_id.get(circle.get("data-label-id", "")) or circle.get("data-label-name", "")
        if circle.get("data-type") == _NODE and name in names:
            nodes[circle.get("data-node-id", "")] = name
            template[name] = [_share(circle.get("cx")), _share(circle.get("cy"))]
    ends = [(line.get("data-node-from", ""), line.get("data-node-to", "")) for line in drawing
            if line.get("data-type") == _EDGE]  # fmt: skip
    edges = [[nodes[a], nodes[b]] for a, b in ends if a in nodes and b in nodes and a != b]
    return edges, template if template.keys() == names else {}


def _share(percent: str | None) -> float:
    try:
        return round(min(100.0, max(0.0, float(percent or 0))) / 100, 4)
    except ValueError:
        return 0.0


def _source(found: Found, notes: list[str]) -> dict[str, Any]:
    source: dict[str, Any] = {"kind": "cvat", "connection": found.connection, "project": found.reference}
    if found.subsets:
        mapped = {subset: _SPLITS.get(subset.lower()) for subset in found.subsets}
        source["select"] = {"subsets": mapped}
        unknown = [subset or "tasks without a subset" for subset, split in mapped.items() if split is None]
        if unknown:
            notes.append(
                f"select.subsets: say train, val or test for {_one_line(', '.join(unknown))}; null is no split."
            )
    return source


def _datasets(found: Found, name: str, notes: list[str]) -> dict[str, Any]:
    dataset: dict[str, Any] = {"from": f"sources.{name}"}
    if found.labels:
        dataset["taxonomy"] = name
    splits = {_SPLITS.get(subset.lower()) for subset in found.subsets}
    if not {"train", "val"} <= splits:
        dataset["split"] = {"ratios": {"train": 0.8, "val": 0.2}}
        notes.append("datasets: the subsets make no train and val, so images are split by ratio.")
    skeletons = list(_skeletons(found.labels))
    if len(skeletons) == 1:
        dataset["skeleton"] = skeletons[0][0]
    datasets = {name: dataset}
    exports = dict(_exports({label.type for label in found.labels}, name))
    for skeleton, _ in skeletons:
        own = name
        if len(skeletons) > 1:
            own = _free(skeleton, datasets)
            datasets[own] = {**dataset, "taxonomy": _free(f"{skeleton}_only", {name}), "skeleton": skeleton}
        exports[_free(f"pose_{skeleton}", exports)] = {
            "kind": "yolo", "task": "pose", "dataset": own, "skeleton": skeleton
        }  # fmt: skip
    left_out = Counter(label.type for label in found.labels if label.type in _LEFT_OUT)
    if left_out:
        told = ", ".join(f"{number} of type {kind}" for kind, number in sorted(left_out.items()))
        notes.append(f"exports: labels that no training format here holds: {told}.")
    return {"datasets": datasets, "exports": exports} if exports else {"datasets": datasets}


def _exports(types: set[str], dataset: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if types & _OUTLINED:
        yield "segment", {"kind": "yolo", "task": "segment", "dataset": dataset}
        yield "mmseg", {"kind": "mmseg", "dataset": dataset}
    if types & _BOXED:
        yield "detect", {"kind": "yolo", "task": "detect", "dataset": dataset}
    if types & {*_OUTLINED, *_BOXED, "skeleton"}:
        yield "coco", {"kind": "coco", "dataset": dataset}
    if "tag" in types:
        yield "folders", {"kind": "image_classification", "dataset": dataset}


def _slug(text: str, otherwise: str) -> str:
    """A name of the grammar."""
    found = re.sub(r"[^A-Za-z0-9_-]+", "_", text).strip("_-").lower()[:40]
    found = re.sub(r"^[^a-z]+", "", found)
    return found if re.fullmatch(NAME_PATTERN, found) else otherwise


def _free(name: str, taken: Iterable[str]) -> str:
    """The name, with a number where it is taken."""
    names, found, number = set(taken), name, 2
    while found in names:
        found, number = f"{name}_{number}", number + 1
    return found


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _escaped(value: Any) -> Any:
    """What people called things in CVAT is no variable of the spec; in keys the grammar looks for none."""
    match value:
        case str():
            return value.replace("${", "$${")
        case Mapping():
            return {key: _escaped(inner) for key, inner in value.items()}
        case list():
            return [_escaped(inner) for inner in value]
    return value
