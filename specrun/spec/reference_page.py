"""The reference page of the spec, written from the models: what the editor shows, to read in one go."""

from __future__ import annotations

import inspect
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, JsonValue
from pydantic.fields import FieldInfo

from specrun.spec.annotations import (
    COMMON_FIELDS,
    alternatives,
    fields_by_key,
    is_model,
    is_part_of_result,
    item_annotation,
    value_annotation,
)
from specrun.spec.field_docs import field_docs
from specrun.spec.kind import NodeSpec, Ref
from specrun.spec.secrets import SecretRef
from specrun.spec.section import Registry, Section
from specrun.spec.settings import ProjectSpec, Settings

_INTRODUCTION = """# The spec, key by key

Written from the models in `specrun/kinds` and `specrun/spec` by `python docs/make_reference.py`; a test fails when it
is out of date. A key without a default must be written. A key marked ° is no part of the result: a change of
it makes nothing stale. A section or key of which the grammar speaks but which does not stand here is not there yet.
"""
_WORDS = {str: "text", int: "integer", float: "number", bool: "`true` or `false`", Any: "anything"}

Models = frozenset[type[BaseModel]]
Row = tuple[str, FieldInfo, bool, str]
"""Key, field, whether it is part of the result, meaning."""


def reference_page(registry: Registry) -> str:
    """Markdown: the project, the settings, the keys of every node, then each section with its kinds."""
    shared = _shared(registry)
    parts = [
        _INTRODUCTION,
        _titled("## project", ProjectSpec, shared),
        _titled("## settings", Settings, shared),
        _titled("## Keys of every node", NodeSpec, shared),
        *(_section(section, shared) for section in registry.values()),
    ]
    if shared:
        parts.append("## Mappings that several kinds take\n")
        models = sorted(shared, key=lambda model: model.__name__)
        parts += [_titled(f"### {model.__name__}", model, shared - {model}) for model in models]
    return "\n".join(parts)


def _shared(registry: Registry) -> Models:
    """Models inside the specs of more than one kind; they are described once."""
    seen: Counter[type[BaseModel]] = Counter()
    for section in registry.values():
        for name in section.kinds:
            fields = section.load(name).Spec.model_fields.items()
            own = {model for key, info in fields if key not in COMMON_FIELDS for model in _models_below(info)}
            seen.update(own)
    return frozenset(model for model, count in seen.items() if count > 1 and model is not SecretRef)


def _models_below(info: FieldInfo) -> Iterator[type[BaseModel]]:
    for _, model in _inner_models(info.annotation):
        yield model
        for inner in model.model_fields.values():
            yield from _models_below(inner)


def _titled(title: str, model: type[BaseModel], shared: Models) -> str:
    return f"{title}\n\n{_summary(model)}{_table(model, shared, without=frozenset())}"


def _section(section: Section, shared: Models) -> str:
    lines = [f"## {section.name}\n\n{section.title}\n"]
    without = COMMON_FIELDS if section.nodes else frozenset()
    for name in section.kinds:
        kind = section.load(name)
        if section.has_kind_key:
            lines.append(f"### {section.name}, kind: {name}\n")
        summary = _summary(type(kind)) if section.nodes else ""
        lines.append(f"{summary}{_table(kind.Spec, shared, without=without)}")
    return "\n".join(lines)


def _summary(model: type) -> str:
    """The docstring as far as the first empty line; its own, never an inherited one."""
    text = " ".join(inspect.cleandoc(model.__dict__.get("__doc__") or "").split("\n\n")[0].split())
    return f"{text}\n\n" if text else ""


def _table(model: type[BaseModel], shared: Models, *, without: frozenset[str]) -> str:
    rows = ["| key | value | default | meaning |", "|---|---|---|---|"]
    for path, info, counts, meaning in _rows(model, shared, without):
        cells = (f"`{path}`{'' if counts else ' °'}", _value(info, shared), _default(info), " ".join(meaning.split()))
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def _rows(model: type[BaseModel], shared: Models, without: frozenset[str] = frozenset()) -> Iterator[Row]:
    """Every key below a model, those of models inside it too: `split.ratios`, `quality[].tag`."""
    docs = field_docs(model)
    names = {id(info): name for name, info in model.model_fields.items()}
    for key, info in fields_by_key(model).items():
        if names[id(info)] in without:
            continue
        yield key, info, is_part_of_result(info), docs.get(names[id(info)], "")
        for step, inner in _inner_models(info.annotation):
            if inner is not SecretRef and inner not in shared:
                for path, field, counts, meaning in _rows(inner, shared | {inner}):
                    yield f"{key}{step}.{path}", field, counts and is_part_of_result(info), meaning


def _inner_models(annotation: Any) -> Iterator[tuple[str, type[BaseModel]]]:
    """Models that a value may hold, each with the way to it: nothing, `[]` or `.<name>`."""
    for member, _ in alternatives(annotation):
        if is_model(member):
            yield "", member
        elif (item := item_annotation(member)) is not None:
            yield from (("[]" + step, inner) for step, inner in _inner_models(item))
        elif (value := value_annotation(member)) is not None:
            yield from ((".<name>" + step, inner) for step, inner in _inner_models(value))


def _value(info: FieldInfo, shared: Models) -> str:
    return _words(info.annotation, tuple(info.metadata), shared)


def _words(annotation: Any, metadata: tuple[Any, ...], shared: Models) -> str:
    if annotation is JsonValue:
        return "anything"
    words = [_word(member, (*metadata, *more), shared) for member, more in alternatives(annotation)]
    return " or ".join(dict.fromkeys(words))


def _word(member: Any, metadata: tuple[Any, ...], shared: Models) -> str:
    reference = next((mark for mark in metadata if isinstance(mark, Ref)), None)
    if reference is not None and member is str:
        sections = [f"`{name}`" for name in reference.sections]
        return f"a name in {sections[0]}" if len(sections) == 1 else f"an address in {', '.join(sections)}"
    if get_origin(member) is Literal:
        return " or ".join(f"`{choice}`" for choice in get_args(member))
    if member is SecretRef:
        return "a secret by reference"
    if member in shared:
        return f"a mapping, see [{member.__name__}](#{member.__name__.lower()})"
    if is_model(member):
        return "a mapping"
    if (item := item_annotation(member)) is not None:
        return f"a list of {_words(item, metadata, shared)}"
    if (value := value_annotation(member)) is not None:
        return f"a mapping to {_words(value, (), shared)}"
    return _WORDS.get(member, str(getattr(member, "__name__", member)))


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return ""
    value = info.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "as below"
    return f"`{json.dumps(value, ensure_ascii=False, default=str)}`"
