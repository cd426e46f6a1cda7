"""Mistakes in `cvat_projects` that can be known before anything is asked of a server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from specrun.kinds.cvat_send.spec import AttributeSpec, CvatProjectSpec, LabelsSpec, PrelabelsSpec
from specrun.kinds.declarations.skeleton import SkeletonSpec
from specrun.kinds.declarations.taxonomy import TaxonomySpec, resolve
from specrun.spec.kind import Lookup, Problem, Ref
from specrun.spec.suggest import did_you_mean

LONGEST_NAME = 64
NOT_IN_DRAWINGS = set('"<>&')
"""CVAT finds a skeleton's point in its drawing by the text of the name."""
_PLACEHOLDERS: Mapping[str, Any] = {"subset": "train", "split": "train", "batch": 1, "source": "reef"}


def problems(spec: CvatProjectSpec, lookup: Lookup) -> list[Problem]:
    return [
        *_project_problems(spec),
        *_template_problems(spec),
        *_label_problems(spec, lookup),
        *_attribute_problems(spec),
        *_prelabel_problems(spec, lookup),
    ]


def _project_problems(spec: CvatProjectSpec) -> Iterator[Problem]:
    if spec.project is None and spec.labels == "keep":
        yield Problem("labels", "tasks without a project have no labels to keep", "Give labels, or a project.")
    if spec.project is None and spec.webhook is not None:
        yield Problem("webhook", "CVAT has webhooks for projects alone", "Give a project, or remove `webhook`.")
    if isinstance(spec.project, str) and not 0 < len(spec.project) <= 256:
        yield Problem("project", "a project's name has 1 to 256 characters")
    if spec.tasks.overlap and not spec.tasks.segment_size:
        hint = "Set tasks.segment_size, or remove the overlap."
        yield Problem("tasks.overlap", "a task of one job has nothing to overlap", hint)
    elif spec.tasks.overlap * 2 > spec.tasks.segment_size:
        message = f"CVAT lets jobs of {spec.tasks.segment_size} images share at most half of them"
        yield Problem("tasks.overlap", message, f"Write at most {spec.tasks.segment_size // 2}.")


def _template_problems(spec: CvatProjectSpec) -> Iterator[Problem]:
    known = {"name": _PLACEHOLDERS, "subset": {key: _PLACEHOLDERS[key] for key in ("split", "source")}}
    for key, values in known.items():
        try:
            getattr(spec.tasks, key).format(**values)
        except (KeyError, IndexError, ValueError, AttributeError) as error:
            named = ", ".join(f"{{{name}}}" for name in values)
            what = f"there is no {{{error.args[0]}}}" if isinstance(error, KeyError) else str(error)
            yield Problem(f"tasks.{key}", f"the pattern cannot be filled in: {what}", f"It may hold {named}.")


def label_names(spec: CvatProjectSpec, lookup: Lookup) -> list[str] | None:
    """Names of the labels; None where they are not known before the run."""
    if isinstance(spec.labels, str):
        return None
    if isinstance(spec.labels, list):
        return [label.name for label in spec.labels]
    names: list[str] = []
    for address in _addresses(spec.labels):
        declared = lookup.spec(address)
        if isinstance(declared, SkeletonSpec):
            names.append(declared.label)
        elif isinstance(declared, TaxonomySpec):
            classes = resolve(declared, lookup).classes
            if classes is None:
                return None
            names += classes
        else:
            return None
    return names


def _addresses(labels: LabelsSpec) -> Sequence[str]:
    return [labels.from_] if isinstance(labels.from_, str) else labels.from_


def _label_problems(spec: CvatProjectSpec, lookup: Lookup) -> Iterator[Problem]:
    names = label_names(spec, lookup)
    for index, name in enumerate(names or ()):
        where = f"labels.{index}.name" if isinstance(spec.labels, list) else "labels.from"
        if name in (names or [])[:index]:
            yield Problem(where, f'the label "{name}" stands twice', "Remove one.")
        if len(name) > LONGEST_NAME:
            yield Problem(where, f'"{name}" is longer than the {LONGEST_NAME} characters of a label in CVAT')
    if isinstance(spec.labels, LabelsSpec):
        if spec.labels.type == "skeleton" and any(a.startswith("taxonomies.") for a in _addresses(spec.labels)):
            yield Problem("labels.type", "a class has no points", "Name skeletons.x in labels.from.")
        for old, new in spec.labels.rename.items():
            if names is not None and new not in names:
                hint = did_you_mean(new, names, otherwise="Labels are")
                yield Problem(f"labels.rename.{old}", f'"{new}" is none of the labels', hint)
    elif isinstance(spec.labels, list):
        for index, label in enumerate(spec.labels):
            if label.type == "skeleton" and label.skeleton is None:
                hint = "Name its points with skeleton: skeletons.x."
                yield Problem(f"labels.{index}.type", f'"{label.name}" is a skeleton without points', hint)
            elif label.skeleton is not None and label.type not in ("any", "skeleton"):
                yield Problem(f"labels.{index}.type", f'"{label.name}" has a skeleton, so its type is skeleton')
    yield from _point_problems(spec, lookup)


def _point_problems(spec: CvatProjectSpec, lookup: Lookup) -> Iterator[Problem]:
    used: list[tuple[str, str]] = []
    if isinstance(spec.labels, list):
        named = ((index, label.skeleton) for index, label in enumerate(spec.labels) if label.skeleton)
        used = [(f"labels.{index}.skeleton", Ref("skeletons").address(name)) for index, name in named]
    elif isinstance(spec.labels, LabelsSpec):
        used = [("labels.from", address) for address in _addresses(spec.labels)]
    for path, address in used:
        declared = lookup.spec(address)
        points = (declared.points or []) if isinstance(declared, SkeletonSpec) else []
        bad = [point for point in points if NOT_IN_DRAWINGS & set(point) or len(point) > LONGEST_NAME]
        if bad:
            message = f'{address}: CVAT cannot take "{bad[0]}" as the name of a point'
            yield Problem(path, message, f'At most {LONGEST_NAME} characters and none of " < > &.')


def _attribute_problems(spec: CvatProjectSpec) -> Iterator[Problem]:
    groups: list[tuple[str, Sequence[AttributeSpec]]] = []
    if isinstance(spec.labels, LabelsSpec):
        groups = [("labels.attributes", spec.labels.attributes)]
    elif isinstance(spec.labels, list):
        groups = [(f"labels.{index}.attributes", label.attributes) for index, label in enumerate(spec.labels)]
    for path, attributes in groups:
        seen: set[str] = set()
        for index, attribute in enumerate(attributes):
            if attribute.name in seen:
                yield Problem(f"{path}.{index}", f'the attribute "{attribute.name}" stands twice', "Remove one.")
            seen.add(attribute.name)
            yield from _value_problems(f"{path}.{index}", attribute)


def _value_problems(path: str, attribute: AttributeSpec) -> Iterator[Problem]:
    values, default = attribute.values, attribute.default_value
    match attribute.input_type:
        case "number":
            if len(values) != 3 or not all(map(_is_number, values)):
                hint = 'Write for example values: ["0", "100", "1"].'
                yield Problem(f"{path}.values", "a number needs its least and greatest value and its step", hint)
            elif default and not (_is_number(default) and float(values[0]) <= float(default) <= float(values[1])):
                yield Problem(f"{path}.default_value", f'"{default}" lies outside of {values[0]} to {values[1]}')
        case "select" | "radio":
            if not values:
                yield Problem(f"{path}.values", f"a {attribute.input_type} needs choices", "List them under values.")
            elif default and default not in values:
                near = did_you_mean(default, values, otherwise="Choices are")
                yield Problem(f"{path}.default_value", f'"{default}" is none of the choices', near)
        case "checkbox":
            if default not in ("", "true", "false"):
                yield Problem(f"{path}.default_value", "a checkbox is true or false", 'Write "true" or "false".')


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _prelabel_problems(spec: CvatProjectSpec, lookup: Lookup) -> Iterator[Problem]:
    given, chosen = spec.prelabels, spec.tasks.choose
    predicted = given is not None and given.from_.startswith("predictions.")
    if chosen is not None and chosen.strategy == "uncertain" and not predicted:
        hint = "Set prelabels.from to predictions, or choose different or random ones."
        yield Problem("tasks.choose.strategy", "uncertain needs the confidence of predictions", hint)
    if given is None:
        return
    if given.label_field is not None and not given.from_.startswith("datasets."):
        yield Problem("prelabels.label_field", "only datasets have label fields", "Remove it.")
    if isinstance(given.confidence, float) and not 0 <= given.confidence <= 1:
        yield Problem("prelabels.confidence", f"a confidence lies in 0 to 1, not at {given.confidence}")
    names = label_names(spec, lookup)
    for key, target in given.label_map.items():
        if target is not None and "{value}" not in target and names is not None and target not in names:
            near = did_you_mean(target, names, otherwise="Labels are")
            # A warning: what is never met does no harm, and what is met stops the run before anything is made.
            yield Problem(f"prelabels.label_map.{key}", f'"{target}" is none of the labels', near, warning=True)
    yield from _shape_problems(spec, given)


def _shape_problems(spec: CvatProjectSpec, given: PrelabelsSpec) -> Iterator[Problem]:
    """CVAT takes a shape that its label's type does not allow, and then nobody can draw another."""
    if given.shape is None or spec.labels == "keep":
        return
    if isinstance(spec.labels, list):
        types = {"skeleton" if label.skeleton else label.type for label in spec.labels}
        if types and not types & {"any", given.shape}:
            named = " or ".join(sorted(types))
            hint = f"Give a label the type any or {given.shape}, or mend the shape."
            yield Problem(
                "prelabels.shape", f"the labels are drawn as {named}, so prelabels cannot be {given.shape}", hint
            )
        return
    assert isinstance(spec.labels, LabelsSpec)
    skeletons = [address for address in _addresses(spec.labels) if address.startswith("skeletons.")]
    if given.shape == "skeleton" and not skeletons:
        hint = "Name skeletons.x in labels.from."
        yield Problem("prelabels.shape", "no label of this project is a skeleton", hint)
    elif given.shape != "skeleton" and spec.labels.type not in ("any", given.shape) and not skeletons:
        message = f"the labels are drawn as {spec.labels.type}, so prelabels cannot be {given.shape}"
        yield Problem("prelabels.shape", message, f"Write labels.type: any, or shape: {spec.labels.type}.")
