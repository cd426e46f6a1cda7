"""`specrun init --from-cvat` against the CVAT double: what it writes can be validated and planned."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from specrun.cli.main import main
from specrun.kinds.cvat_send.labels import WantedLabel
from tests.doubles.cvat.server import CvatDouble
from tests.support.cvat_tasks import add_project, add_task

CROSS = WantedLabel(
    "cross",
    "skeleton",
    "#112233",
    points=("top", "left", "right"),
    edges=(("top", "left"), ("top", "right")),
    template={"top": (0.5, 0.0), "left": (0.0, 1.0), "right": (1.0, 1.0)},
)
FRAME = WantedLabel("frame", "skeleton", points=("a", "b"), edges=(("a", "b"),), template={"a": (0, 0), "b": (1, 1)})
ODD = ("yes", "12", "a: b # c", "${vars.x}", 'quoted "so"', "Pavona/Leptoseris", "récif")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[CvatDouble]:
    with CvatDouble(anonymous_per_minute=None) as double:
        monkeypatch.setenv("CVAT_ACCESS_TOKEN", double.add_token(double.admin).value)
        yield double
        assert not double.errors, "\n".join(double.errors)


def labelled(*labels: WantedLabel) -> list[dict[str, Any]]:
    return [label.to_json() for label in labels]


def written(folder: Path) -> Any:
    return YAML(typ="safe").load((folder / "project.yaml").read_text())


def plan(folder: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    assert main(["validate", str(folder)]) == 0
    capsys.readouterr()
    assert main(["plan", "--json", str(folder)]) == 0
    return {node["address"]: node["action"] for node in json.loads(capsys.readouterr().out)["nodes"]}


def test_labels_subsets_and_exports_are_as_in_the_project(
    server: CvatDouble, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = (WantedLabel("coral", "polygon", "#e6194b"), WantedLabel("alga", "polygon", "#00ff00"), CROSS)
    project = add_project(server, "Reef survey", labelled(*labels, WantedLabel("dense", "tag")))
    for name, subset in (("a", "Train"), ("b", "validation"), ("c", "spare"), ("d", "")):
        server.person.finish_task(add_task(server, project, name, subset=subset))
    folder = tmp_path / "reef"
    assert main(["init", str(folder), "--from-cvat", f"{server.url}/Reef%20survey"]) == 0
    spec = written(folder)
    assert spec["project"]["name"] == "reef"
    assert spec["connections"] == {
        "lab": {"kind": "cvat", "url": server.url, "access_token": {"env": "CVAT_ACCESS_TOKEN"}}
    }
    taxonomy = spec["taxonomies"]["reef_survey"]
    assert taxonomy["classes"] == ["coral", "alga", "cross", "dense"]
    assert {name: taxonomy["colors"][name] for name in ("coral", "cross")} == {"coral": "#e6194b", "cross": "#112233"}
    assert spec["skeletons"]["cross"] == {
        "label": "cross",
        "points": ["top", "left", "right"],
        "edges": [["top", "left"], ["top", "right"]],
        "template": {"top": [0.5, 0.1], "left": [0.1, 0.9], "right": [0.9, 0.9]},
    }
    assert spec["sources"]["reef_survey"] == {
        "kind": "cvat",
        "connection": "lab",
        "project": "Reef survey",
        "select": {"subsets": {"": None, "Train": "train", "spare": None, "validation": "val"}},
    }
    assert spec["datasets"]["reef_survey"]["skeleton"] == "cross"
    assert list(spec["exports"]) == ["segment", "mmseg", "coco", "folders", "pose_cross"]
    assert plan(folder, capsys)["sources.reef_survey"] == "create"
    assert server.admin.password not in (folder / "project.yaml").read_text()


@pytest.mark.parametrize(
    ("types", "exports"),
    [
        (("rectangle",), ["detect", "coco"]),
        (("mask", "rectangle"), ["segment", "mmseg", "detect", "coco"]),
        (("tag",), ["folders"]),
        (("points", "polyline"), None),
    ],
)
def test_exports_fit_the_labels(
    server: CvatDouble,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    types: tuple[Any, ...],
    exports: list[str] | None,
) -> None:
    project = add_project(server, "reef", labelled(*(WantedLabel(f"a {kind}", kind) for kind in types)))
    assert main(["init", str(tmp_path), "--from-cvat", f"{server.url}/projects/{project}?page=1"]) == 0
    spec = written(tmp_path)
    assert list(spec.get("exports", ())) == (exports or [])
    # No tasks yet: the subsets are unknown.
    assert "select" not in spec["sources"]["reef"]
    assert spec["datasets"]["reef"]["split"] == {"ratios": {"train": 0.8, "val": 0.2}}
    assert plan(tmp_path, capsys)


def test_several_skeletons_become_a_dataset_each(
    server: CvatDouble, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_project(server, "frames", labelled(CROSS, FRAME))
    assert main(["init", str(tmp_path), "--from-cvat", f"{server.url}/frames"]) == 0
    spec = written(tmp_path)
    poses = {e["dataset"]: e["skeleton"] for e in spec["exports"].values() if e.get("task") == "pose"}
    assert poses == {"cross": "cross", "frame": "frame"}
    dropped = {name: spec["taxonomies"][spec["datasets"][name]["taxonomy"]]["drop"] for name in poses}
    assert dropped == {"cross": ["frame"], "frame": ["cross"]}
    assert plan(tmp_path, capsys)


def test_names_that_mean_something_to_yaml_or_to_the_grammar_stay_names(
    server: CvatDouble, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_project(server, "2024: ${x}\n# all", labelled(*(WantedLabel(name, "polygon") for name in ODD)))
    project = max(server.state.projects)
    assert main(["init", str(tmp_path), "--from-cvat", f"{server.url}/projects/{project}"]) == 0
    assert written(tmp_path)["sources"]["x_all"]["project"] == project
    assert plan(tmp_path, capsys)
    shown = written(tmp_path)["taxonomies"]["x_all"]["classes"]
    assert shown == [name.replace("${", "$${") for name in ODD]


def test_a_connection_of_a_spec_keeps_its_references(
    server: CvatDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    add_project(server, "reef")
    (tmp_path / "secret.txt").write_text(server.password)
    declared = f'{{kind: cvat, url: "{server.url}", username: admin, password: {{file: secret.txt}}}}'
    (tmp_path / "project.yaml").write_text(f"specrun: 1\nproject: {{name: old}}\nconnections: {{home: {declared}}}\n")
    monkeypatch.chdir(tmp_path)
    assert main(["init", "new", "--from-cvat", "home/reef"]) == 0
    assert written(tmp_path / "new")["connections"]["home"]["password"] == {"file": "../secret.txt"}
    assert server.password not in (tmp_path / "new/project.yaml").read_text()
    assert plan(tmp_path / "new", capsys)
    assert main(["init", "new", "--from-cvat", "home/reef"]) == 2
    assert "exists already" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["lab", "lab/", "https://cvat.example.org"])
def test_a_place_without_a_project_is_refused(place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", str(tmp_path), "--from-cvat", place]) == 2
    assert "it names no project" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_project_is_told_with_the_nearest(
    server: CvatDouble, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_project(server, "reef survey")
    assert main(["init", str(tmp_path), "--from-cvat", f"{server.url}/reef_survey"]) == 1
    assert 'Did you mean "reef survey"?' in capsys.readouterr().err


def test_the_user_name_of_the_environment_stays_there(
    server: CvatDouble, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    add_project(server, "reef", labelled(WantedLabel("${vars.x}", "polygon")))
    monkeypatch.delenv("CVAT_ACCESS_TOKEN")
    monkeypatch.setenv("CVAT_USERNAME", server.user)
    monkeypatch.setenv("CVAT_PASSWORD", server.password)
    assert main(["init", str(tmp_path / "a"), "--from-cvat", f"{server.url}/reef"]) == 0
    assert written(tmp_path / "a")["connections"]["lab"]["username"] == "${env.CVAT_USERNAME}"
    assert plan(tmp_path / "a", capsys)["sources.reef"] == "wait"
    again = ["init", str(tmp_path / "b"), "--from-cvat", "lab/reef", "--spec", str(tmp_path / "a")]
    assert main(again) == 0
    assert written(tmp_path / "b")["connections"]["lab"]["username"] == "${env.CVAT_USERNAME}"


def test_a_connection_without_its_spec_says_how_to_name_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init", "there", "--from-cvat", "lab/reef"]) == 2
    said = capsys.readouterr().err
    assert "--from-cvat lab/reef: no project spec here" in said
    assert "Name the spec that declares lab with --spec" in said
