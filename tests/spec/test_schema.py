"""An independent validator looks at what editors are given."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from specrun.kinds.registry import REGISTRY
from specrun.spec.loader import parse_tree
from specrun.spec.report import Report
from specrun.spec.schema import project_schema, schema_text
from specrun.spec.tree import plain
from tests.support.specs import HEAD
from tests.support.toy_kinds import TOY_REGISTRY

ROOT = Path(__file__).parents[2]
TOY_SCHEMA = project_schema(TOY_REGISTRY)


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return project_schema(REGISTRY)


GOOD = """
vars: {n: 3}
palettes: {p: {names: [red]}}
servers: {s: {url: "${env.URL}", password: {env: PW}}}
sources:
  a: {kind: folder, path: x, include: "${vars.patterns}", resources: {gpus: {min: 1}, memory: 16GB}}
  b: {kind: numbers, count: "${vars.n}"}
models:
  m:
    data: a
    train: {epochs: "${vars.n}", size: [1, 2]}
    mode: "${vars.mode}"
    unmapped: {to: x}
    from: [sources.a]
    token: {command: [pass, hub]}
    matrix: {e: [1, x]}
    timeout: 90m
scores:
  s: {model: m}
  t: {model: {best: m, metric: iou}}
steps:
  x: {argv: [run, "${inputs.a}"], inputs: {a: sources.a}, enabled: false}
"""


def values(text: str, name: str = "project.yaml") -> Any:
    report = Report()
    tree = parse_tree(text, name, report)
    assert tree is not None, report.diagnostics()
    return plain(tree)


def errors(text: str, schema: dict[str, Any] = TOY_SCHEMA) -> list[str]:
    return [error.message for error in Draft7Validator(schema).iter_errors(values(HEAD + text))]


def test_the_schema_is_valid_draft_07(schema: dict[str, Any]) -> None:
    Draft7Validator.check_schema(TOY_SCHEMA)
    Draft7Validator.check_schema(schema)


def test_a_good_spec_is_accepted() -> None:
    assert errors(GOOD) == []


@pytest.mark.parametrize(
    "broken",
    [
        "modles: {}",
        "sources: {a: {kind: foldr, path: x}}",
        "sources: {a: {path: x}}",
        "sources: {a: {kind: folder}}",
        "sources: {a: {kind: folder, pth: x, path: y}}",
        "sources: {a: {kind: folder, path: 5}}",
        "sources: {a: {kind: folder, count: 5, path: x}}",
        "sources: {a: {kind: numbers, count: five}}",
        "sources: {a: {kind: numbers, count: 0}}",
        "sources: {3d: {kind: numbers, count: 1}}",
        "models: {m: {data: a, kind: network}}",
        "models: {m: {data: a, mode: fsat}}",
        "models: {m: {data: a, train: {epohcs: 5}}}",
        "models: {m: {data: a, train: {size: [1, 2, 3]}}}",
        "models: {m: {data: a, train: {shuffle: no}}}",
        "models: {m: {data: a, token: hunter2}}",
        'models: {m: {data: a, token: "${env.TOKEN}"}}',
        "models: {m: {data: a, token: {env: A, file: b}}}",
        "models: {m: {data: a, retries: many}}",
        "scores: {s: {model: {best: m}}}",
        "settings: {executor: {backend: slurm}}",
        "sources: [a]",
    ],
)
def test_a_broken_spec_is_refused(broken: str) -> None:
    assert errors(broken)


@pytest.mark.parametrize("text", ["", "specrun: 1", "project: {name: a}", "specrun: 2\nproject: {name: a}"])
def test_a_spec_without_its_head_is_refused(text: str) -> None:
    assert list(Draft7Validator(TOY_SCHEMA).iter_errors(values(text) if text else {}))


def test_fields_are_described_by_the_docstrings_under_them() -> None:
    model = TOY_SCHEMA["definitions"]["models.network"]["properties"]
    assert model["data"]["description"] == "What it learns from."
    assert model["train"]["description"] == "How it is trained."
    assert model["timeout"]["description"].startswith("Longest duration")
    assert TOY_SCHEMA["definitions"]["Train"]["properties"]["epochs"]["description"] == "Rounds."
    assert model["from"]["description"] == "More of the same."


def test_every_field_of_every_kind_is_described(schema: dict[str, Any]) -> None:
    missing = [
        f"{name}.{key}"
        for name, definition in schema["definitions"].items()
        for key, field in definition.get("properties", {}).items()
        if "description" not in field and key != "kind"
    ]
    assert missing == []


def test_references_inside_the_schema_lead_somewhere(schema: dict[str, Any]) -> None:
    named = {part.split('"')[0] for part in json.dumps(schema).split('"$ref": "#/definitions/')[1:]}
    assert named <= schema["definitions"].keys()
    assert "$defs" not in json.dumps(schema)


def test_the_schema_in_the_repository_is_current() -> None:
    assert (ROOT / "schemas" / "project.schema.json").read_text("utf-8") == schema_text(REGISTRY), (
        "run `specrun schema`"
    )


@pytest.mark.parametrize("spec", sorted(ROOT.glob("specs/*/project.yaml")), ids=lambda path: path.parent.name)
def test_every_example_is_accepted(spec: Path, schema: dict[str, Any]) -> None:
    found = Draft7Validator(schema).iter_errors(values(spec.read_text("utf-8"), str(spec)))
    assert [f"{list(error.absolute_path)} {error.message}" for error in found] == []
