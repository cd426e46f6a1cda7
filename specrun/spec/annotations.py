"""What a model says about the keys and values below it: fields, alternatives, markers."""

from __future__ import annotations

import types
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from specrun.spec.kind import NodeSpec
from specrun.spec.tree import PathKey, Table, plain

Alternative = tuple[Any, tuple[Any, ...]]
"""A type without its wrappers, and the metadata of those wrappers."""

COMMON_FIELDS = frozenset(NodeSpec.model_fields)


@cache
def fields_by_key(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """What a user writes → the field."""
    return {info.alias or name: info for name, info in model.model_fields.items()}


def alternatives(annotation: Any, metadata: tuple[Any, ...] = ()) -> Iterator[Alternative]:
    """The members of a union, and of unions inside it, without Annotated and type aliases."""
    if hasattr(annotation, "__value__"):
        yield from alternatives(annotation.__value__, metadata)
    elif get_origin(annotation) is Annotated:
        inner, *extra = get_args(annotation)
        yield from alternatives(inner, (*extra, *metadata))
    elif get_origin(annotation) in (Union, types.UnionType):
        for member in get_args(annotation):
            yield from alternatives(member, metadata)
    elif annotation is not type(None):
        yield annotation, metadata


def is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def is_choice(annotation: Any, value: object) -> bool:
    """Whether a Literal holds this very word."""
    origin: Any = get_origin(annotation)
    return origin is Literal and value in get_args(annotation)


def item_annotation(annotation: Any) -> Any | None:
    """Of a list or tuple (of a tuple: the union of its places); None for anything else."""
    if get_origin(annotation) in (list, tuple, set, frozenset, Sequence):
        items = [argument for argument in get_args(annotation) if argument is not Ellipsis]
        return Union[tuple(items)] if items else Any  # noqa: UP007  the members are known at run time only
    return None


def fixed_length(annotation: Any) -> int | None:
    """Of a tuple with a place for each item."""
    places = get_args(annotation)
    return len(places) if get_origin(annotation) is tuple and Ellipsis not in places else None


def value_annotation(annotation: Any) -> Any | None:
    """Of the values of a dict; None for anything else."""
    arguments = get_args(annotation)
    return arguments[1] if len(arguments) == 2 and not item_annotation(annotation) else None


def model_for(table: Table, models: Sequence[type[BaseModel]]) -> type[BaseModel] | None:
    """The member of a union that a mapping is meant for: by its `kind`, else by its keys."""
    if len(models) < 2:
        return models[0] if models else None
    kind = table.get("kind")
    for model in models:
        info = model.model_fields.get("kind")
        if kind is not None and info and is_choice(info.annotation, plain(kind)):
            return model
    return max(models, key=lambda model: len(fields_by_key(model).keys() & table.entries.keys()))


def model_at(model: type[BaseModel], table: Table, path: Sequence[PathKey]) -> type[BaseModel] | None:
    """The model that describes the mapping at a path below `table`, or None where there is none."""
    annotations: list[Any] = [model]
    current: Any = table
    for key in path:
        annotations = list(_below(annotations, current, key))
        current = current.get(str(key)) if isinstance(current, Table) else current.items[int(key)]
    models = [annotation for annotation in annotations if is_model(annotation)]
    return model_for(current, models) if isinstance(current, Table) else None


def _below(annotations: list[Any], current: Any, key: PathKey) -> Iterator[Any]:
    models = [annotation for annotation in annotations if is_model(annotation)]
    if isinstance(current, Table) and models:
        chosen = model_for(current, models)
        info = fields_by_key(chosen).get(str(key)) if chosen else None
        if info is not None:
            yield from (annotation for annotation, _ in alternatives(info.annotation))
            return
    for annotation in annotations:
        inner = value_annotation(annotation) if isinstance(current, Table) else item_annotation(annotation)
        if inner is not None:
            yield from (found for found, _ in alternatives(inner))


def is_part_of_result(info: FieldInfo) -> bool:
    extra = info.json_schema_extra
    return not (isinstance(extra, dict) and extra.get("x-part-of-result") is False)
