"""Mistakes in captions that are found at validation."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from specrun.kinds.connections.llava import LlavaConnection, LlavaConnectionSpec
from specrun.kinds.datasets.dataset import Dataset
from specrun.kinds.datasets.spec import DatasetSpec
from specrun.spec.kind import Problem


@dataclass(frozen=True)
class Project:
    project_dir: Path
    kinds: dict[str, str] = field(default_factory=dict)

    def kind_of(self, address: str) -> str | None:
        return self.kinds.get(address)

    def spec(self, address: str) -> None:
        return None


KINDS = {"sources.dive": "sources.video", "connections.hub": "connections.huggingface", "sources.lab": "sources.cvat"}


def problems(root: Path, *providers: dict[str, Any], origin: str = "sources.dive", **spec: Any) -> list[Problem]:
    made = DatasetSpec.model_validate({"from": origin, "captions": {"providers": list(providers), **spec}})
    return list(Dataset().check(made, Project(root, KINDS)))  # type: ignore[arg-type]


def test_a_template_with_an_unknown_field_names_those_that_exist(tmp_path: Path) -> None:
    [problem] = problems(tmp_path, {"kind": "template", "text": "{clip} {film}"})
    assert (problem.path, problem.message) == ("captions.providers.0.text", 'No sample has a field "film".')
    assert "clip, count, description, frame, label" in str(problem.hint)


def test_fields_that_only_the_data_knows_are_left_to_the_run(tmp_path: Path) -> None:
    assert problems(tmp_path, {"kind": "template", "text": "{cvat_frame}"}, origin="sources.lab") == []


def test_broken_templates_are_told(tmp_path: Path) -> None:
    [problem] = problems(tmp_path, {"kind": "template", "text": "{clip"})
    assert "The braces do not fit" in problem.message


def test_a_connection_of_another_kind_is_told(tmp_path: Path) -> None:
    [problem] = problems(tmp_path, {"kind": "llava", "connection": "hub"})
    assert problem.message == "hub is a connection of kind huggingface."


def test_paths_that_are_not_there_are_told(tmp_path: Path) -> None:
    found = problems(
        tmp_path, {"kind": "local", "model": "./blip"}, {"kind": "metadata", "path": "m.csv"}, tokenizer="/no"
    )
    assert [problem.path for problem in found] == [
        "captions.providers.0.model",
        "captions.providers.1.path",
        "captions.tokenizer",
    ]


def test_the_example_is_without_mistakes(tmp_path: Path) -> None:
    providers = (
        {"kind": "blip2", "connection": "hub"},
        {"kind": "template", "text": "{frame} of {clip}: {description}"},
    )
    assert problems(tmp_path, *providers, trigger="reefx") == []


def vision(**given: Any) -> list[str]:
    made = LlavaConnectionSpec.model_validate(given)
    return [problem.message for problem in LlavaConnection().check(made, Project(Path()))]  # type: ignore[arg-type]


def test_addresses_of_vision_servers() -> None:
    assert vision(url="http://127.0.0.1:11434/v1") == []
    assert vision(url="127.0.0.1:11434") == ["is not the address of a web server"]
    assert vision(url="https://me:pw@eyes.example.org") == ["holds a user or password"]
    assert vision(url="http://eyes.example.org", token={"env": "KEY"}) == [
        "is not encrypted: the token can be read on the way"
    ]


def test_only_the_host_of_a_vision_server_counts() -> None:
    made = LlavaConnectionSpec.model_validate({"url": "https://eyes.example.org/v1/"})
    connection = LlavaConnection()
    resolved = connection.resolve(made, Project(Path()))  # type: ignore[arg-type]
    assert connection.result(resolved) == {"host": "eyes.example.org"}
