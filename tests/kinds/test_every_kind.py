"""What holds for every kind that ships: one table, so that a new kind is held to it without a word."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from ruamel.yaml import YAML

from specrun.kinds.registry import REGISTRY
from specrun.spec.annotations import alternatives, is_model, item_annotation, value_annotation
from specrun.spec.field_docs import field_docs
from specrun.spec.kind import Declaration, Kind, NodeSpec, Strict
from specrun.spec.reference_page import reference_page

ROOT = Path(__file__).parent.parent.parent
KINDS = [(section, kind) for section in REGISTRY for kind in REGISTRY[section].kinds]
every_kind = pytest.mark.parametrize(("section", "kind"), KINDS, ids=[f"{section}.{kind}" for section, kind in KINDS])
NOT_AT_IMPORT = {
    "PIL",
    "cv2",
    "cvat_sdk",
    "fiftyone",
    "numpy",
    "pymongo",
    "scipy",
    "skimage",
    "textual",
    "torch",
    "transformers",
    "ultralytics",
    "urllib3",
}


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Models that a value may hold, at any depth."""
    for member, _ in alternatives(annotation):
        if is_model(member):
            yield member
            for info in member.model_fields.values():
                yield from models_in(info.annotation)
        for inner in (item_annotation(member), value_annotation(member)):
            if inner is not None:
                yield from models_in(inner)


def entries(section: str) -> Iterator[dict[str, Any]]:
    for path in sorted((ROOT / "specs").glob("*/*.yaml")):
        yield from YAML(typ="safe").load(path.read_text(encoding="utf-8")).get(section, {}).values()


@every_kind
def test_it_loads_and_declares_what_a_user_may_write(section: str, kind: str) -> None:
    loaded = REGISTRY[section].load(kind)
    assert isinstance(loaded, Kind if REGISTRY[section].nodes else Declaration)
    assert issubclass(loaded.Spec, NodeSpec if REGISTRY[section].nodes else Strict)


@every_kind
def test_every_field_is_documented(section: str, kind: str) -> None:
    spec = REGISTRY[section].load(kind).Spec
    for model in {spec, *models_in(spec)}:
        missing = set(model.model_fields) - {name for name, text in field_docs(model).items() if text}
        assert not missing, f"{model.__name__}: {sorted(missing)} have no docstring under them"


@every_kind
def test_models_are_frozen_and_refuse_unknown_keys(section: str, kind: str) -> None:
    spec = REGISTRY[section].load(kind).Spec
    for model in {spec, *models_in(spec)}:
        assert model.model_config.get("frozen"), model
        assert model.model_config.get("extra") == "forbid", model


@every_kind
def test_it_has_an_example(section: str, kind: str) -> None:
    used = {entry.get("kind", REGISTRY[section].default) for entry in entries(section)}
    assert kind in used, f"write an example of {section}, kind {kind}, under specs/"


@every_kind
def test_the_reference_page_describes_it(section: str, kind: str) -> None:
    page = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    heading = f"### {section}, kind: {kind}" if REGISTRY[section].has_kind_key else f"## {section}"
    assert heading in page.splitlines()


@every_kind
def test_importing_it_loads_nothing_heavy(section: str, kind: str) -> None:
    module = REGISTRY[section].kinds[kind].partition(":")[0]
    code = f"import json, sys, {module}; print(json.dumps(sorted({{n.partition('.')[0] for n in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not NOT_AT_IMPORT & set(json.loads(done.stdout))


def test_the_reference_page_is_current() -> None:
    page = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    assert page == reference_page(REGISTRY), "run: python docs/make_reference.py"
