"""The JSON Schema (draft-07) of a spec, for editors, made from the models.

Editors complete and check YAML by it; specrun itself checks with the models. Three things are ours:
- descriptions are the docstrings under the fields;
- the `kind` of an entry chooses its keys (`if`/`then` for each kind, which YAML language servers
  complete better than `oneOf`);
- wherever a value is more than free text, an interpolation `${…}` may stand too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from specrun.model.address import NAME_PATTERN
from specrun.spec.field_docs import field_docs
from specrun.spec.kind import Declaration, Kind, Registry, Section
from specrun.spec.secrets import SecretRef
from specrun.spec.settings import ProjectSpec, Settings

Schema = dict[str, Any]
DRAFT = "http://json-schema.org/draft-07/schema#"
INTERPOLATION = "interpolation"
_REF = "#/definitions/{model}"
_PLAIN_TEXT = frozenset({"type", "title", "description", "default", "examples"})
_ANYTHING = "JsonValue"
_APPLICATORS = ("anyOf", "oneOf", "allOf")


def project_schema(registry: Registry) -> Schema:
    """The schema of a whole spec with the registry's sections."""
    definitions: dict[str, Schema] = {INTERPOLATION: _interpolation(), "SecretRef": _secret()}
    properties: dict[str, Schema] = {
        "specrun": {"const": 1, "description": "The version of the grammar."},
        "project": _described(_model_schema(ProjectSpec, definitions), ProjectSpec),
        "include": {
            "description": "Files whose sections are merged into this one.",
            "type": "array",
            "items": {"type": "string"},
        },
        "vars": {"description": "Values for `${vars.name}`; `--var name=value` replaces one.", "type": "object"},
        "settings": _described(_model_schema(Settings, definitions), Settings),
    }
    for section in registry.values():
        properties[section.name] = _section_schema(section, definitions)
    return {
        "$schema": DRAFT,
        "title": "specrun project",
        "type": "object",
        "required": ["specrun", "project"],
        "properties": properties,
        "additionalProperties": False,
        "definitions": dict(sorted(definitions.items())),
    }


def schema_text(registry: Registry) -> str:
    """As it lies in schemas/project.schema.json."""
    return json.dumps(project_schema(registry), indent=1, ensure_ascii=False) + "\n"


def _interpolation() -> Schema:
    return {"type": "string", "pattern": r"\$\{[^{}]+\}", "description": "A value from vars, project, matrix or env."}


def _secret() -> Schema:
    def form(**keys: Schema) -> Schema:
        required = [key for key in keys if key != "key"]
        return {"type": "object", "required": required, "properties": keys, "additionalProperties": False}

    docs = {name: {"type": "string", "description": doc} for name, doc in field_docs(SecretRef).items()}
    command = {"type": "array", "items": {"type": "string"}, "description": docs["command"]["description"]}
    return {
        "description": "A secret by reference; the secret itself never stands in the spec.",
        "anyOf": [
            form(env=docs["env"]),
            form(file=docs["file"], key=docs["key"]),
            form(keyring=docs["keyring"]),
            form(command=command),
        ],
    }


def _section_schema(section: Section, definitions: dict[str, Schema]) -> Schema:
    """An object of entries; with several kinds, each entry's `kind` chooses its keys."""
    for name in section.kinds:
        kind = section.load(name)
        definitions[_definition(section, name)] = _entry_schema(section, name, kind, definitions)
    if section.has_kind_key:
        definitions[section.name] = _choice(section)
        entry = {"$ref": _REF.format(model=section.name)}
    else:
        (name,) = section.kinds
        entry = {"$ref": _REF.format(model=_definition(section, name))}
    return {
        "description": section.title,
        "type": ["object", "null"],
        "propertyNames": {"pattern": f"^{NAME_PATTERN}$"},
        "additionalProperties": entry,
    }


def _definition(section: Section, kind: str) -> str:
    return f"{section.name}.{kind}"


def _choice(section: Section) -> Schema:
    kinds: Schema = {"enum": list(section.kinds), "description": "What sort of entry this is."}
    if section.default is not None:
        kinds["default"] = section.default
    rules = []
    for name in section.kinds:
        wanted: Schema = {"properties": {"kind": {"const": name}}}
        if name != section.default:
            wanted["required"] = ["kind"]
        rules.append({"if": wanted, "then": {"$ref": _REF.format(model=_definition(section, name))}})
    required = [] if section.default is not None else ["kind"]
    return {"type": "object", "required": required, "properties": {"kind": kinds}, "allOf": rules}


def _entry_schema(section: Section, name: str, kind: Kind | Declaration, definitions: dict[str, Schema]) -> Schema:
    schema = _model_schema(kind.Spec, definitions)
    if section.has_kind_key:
        schema["properties"] = {"kind": {"const": name}, **schema["properties"]}
    return _described(schema, kind.Spec)


def _described(schema: Schema, model: type[BaseModel]) -> Schema:
    doc = " ".join((model.__doc__ or "").split())
    first = {"description": doc} if doc else {}
    return {**first, "type": schema.pop("type", "object"), **schema}


def _model_schema(model: type[BaseModel], definitions: dict[str, Schema]) -> Schema:
    """Draft-07, its parts put among the definitions."""
    made = model.model_json_schema(by_alias=True, ref_template=_REF, schema_generator=_Documented)
    prefix = f"{model.__module__.rpartition('.')[2]}."
    parts = {name: part for name, part in made.pop("$defs", {}).items() if name not in ("SecretRef", _ANYTHING)}
    renamed = {name: _free_name(name, prefix, part, definitions) for name, part in parts.items()}
    for name, part in parts.items():
        definitions[renamed[name]] = _as_draft_07(part, renamed)
    schema: Schema = _as_draft_07(made, renamed)
    return schema


def _free_name(name: str, prefix: str, part: Schema, definitions: Mapping[str, Schema]) -> str:
    """Models of two kinds may share a class name: the second gets its module's name in front."""
    same = definitions.get(name)
    if same is None or same.get("properties", {}).keys() == part.get("properties", {}).keys():
        return name
    return f"{prefix}{name}"


class _Documented(GenerateJsonSchema):
    """Puts the docstrings under the fields into the properties."""

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        made = super().model_schema(schema)
        model: type[BaseModel] = schema["cls"]
        docs = field_docs(model)
        names = {info.alias or name: name for name, info in model.model_fields.items()}
        for key, value in made.get("properties", {}).items():
            doc = docs.get(names.get(key, key))
            if doc and "description" not in value:
                value["description"] = " ".join(doc.split())
        return made


def _as_draft_07(schema: Any, renamed: Mapping[str, str]) -> Any:
    """`$ref` stands alone, tuples are `items`, and interpolations are allowed below a property."""
    if isinstance(schema, list):
        return [_as_draft_07(item, renamed) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: value for key, value in schema.items() if key not in ("title", "discriminator", "x-part-of-result")}
    if "$ref" in found:
        name = found.pop("$ref").rpartition("/")[2]
        if name == _ANYTHING:
            return found
        reference = {"$ref": _REF.format(model=renamed.get(name, name))}
        return {**found, "allOf": [reference]} if found else reference
    if "prefixItems" in found:
        found["items"] = found.pop("prefixItems")
        found["additionalItems"] = False
    for key in (*_APPLICATORS, "items", "additionalProperties"):
        if key in found:
            below = _as_draft_07(found[key], renamed)
            found[key] = _with_interpolation(below) if key in ("items", "additionalProperties") else below
    if "properties" in found:
        properties = found["properties"].items()
        found["properties"] = {key: _with_interpolation(_as_draft_07(value, renamed)) for key, value in properties}
    return found


def _with_interpolation(schema: Any) -> Any:
    """The same value or `${…}`; free text allows that already, and secrets never."""
    if isinstance(schema, list):
        return [_with_interpolation(item) for item in schema]
    if not isinstance(schema, dict) or _is_free(schema) or _is_secret(schema):
        return schema
    outer = {key: schema[key] for key in ("description", "default") if key in schema}
    inner = {key: value for key, value in schema.items() if key not in outer}
    if list(inner) == ["allOf"] and len(inner["allOf"]) == 1:
        inner = inner["allOf"][0]
    here = {"$ref": _REF.format(model=INTERPOLATION)}
    if list(inner) == ["anyOf"]:
        options = list(inner["anyOf"])
        return {**outer, "anyOf": options if any(map(_is_free, options)) else [*options, here]}
    return {**outer, "anyOf": [inner, here]}


def _is_free(schema: Schema) -> bool:
    """Any text is right already."""
    if not schema.keys() - {"description", "default"}:
        return True
    return schema.get("type") == "string" and schema.keys() <= _PLAIN_TEXT


def _is_secret(schema: Schema) -> bool:
    return any(reference.endswith("/SecretRef") for reference in _references(schema))


def _references(schema: Schema) -> Iterator[str]:
    if "$ref" in schema:
        yield str(schema["$ref"])
    for key in _APPLICATORS:
        for option in schema.get(key, ()):
            yield from _references(option)
