from pathlib import Path

import pytest

from tests.support.specs import load, mistakes

TEXT = """
vars: {epochs: 1, note: x}
sources:
  a: {kind: folder, path: "${vars.note}"}
models:
  unet: {data: a, train: {epochs: "${vars.epochs}"}, from: [sources.a]}
"""


def config(folder: Path, **options: object) -> dict[str, object]:
    return dict(load(folder, TEXT, **options).nodes[1].config)  # type: ignore[arg-type]


def test_a_variable_is_read_as_a_yaml_value(tmp_path: Path) -> None:
    assert config(tmp_path, variables={"epochs": "7"})["train"]["epochs"] == 7  # type: ignore[index]
    assert load(tmp_path, TEXT, variables={"note": "a: b"}).nodes[0].config["path"] == "a: b"


def test_set_changes_adds_and_reaches_into_lists(tmp_path: Path) -> None:
    found = config(tmp_path, sets={
        "models.unet.train.epochs": "5", "models.unet.train.lr": "1e-2", "models.unet.mode": "slow",
        "models.unet.train.size": "[4, 5]",
    })  # fmt: skip
    assert found["train"] == {"epochs": 5, "lr": 0.01, "workers": 2, "shuffle": True, "size": [4, 5]}
    assert found["mode"] == "slow"
    (wrong,) = mistakes(tmp_path, TEXT, sets={"models.unet.from.0": "sources.b"})
    assert wrong.message == "models.unet.from.0: there is no sources.b."


def test_a_set_value_may_be_interpolated_and_sections_without_entries_may_begin(tmp_path: Path) -> None:
    assert config(tmp_path, sets={"models.unet.train.epochs": "${vars.epochs}"})["train"]["epochs"] == 1  # type: ignore[index]
    project = load(tmp_path, TEXT, sets={"settings.executor.max_parallel": "2", "project.seed": "7"})
    assert (project.settings["executor"]["max_parallel"], project.seed) == (2, 7)


def test_the_place_of_a_set_value_is_the_command_line(tmp_path: Path) -> None:
    node = load(tmp_path, TEXT, sets={"models.unet.train.epochs": "5"}).nodes[1]
    assert node.marks["train.epochs"].short == "--set models.unet.train.epochs"
    assert node.marks["train"].short.endswith("project.yaml:7")
    assert (
        load(tmp_path, TEXT, sets={"models.unet.mode": "slow"}).nodes[1].marks["mode"].short == "--set models.unet.mode"
    )


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("models.unte.keep", "1", 'the spec has no models.unte. Did you mean "unet"?'),
        ("model.unet.keep", "1", 'a spec has no section "model". Did you mean "models"?'),
        ("models.unet.kep", "1", 'unknown key "kep" in models.unet. Did you mean "keep"?'),
        ("models.unet.keep", "x", 'models.unet.keep must be a whole number, not "x"'),
        ("models.unet.data.x", "1", '"x" cannot be set: there is a single value, no mapping'),
        ("models.unet.from.3", "x", 'there is no item "3": the list has 1, counted from 0'),
        ("models.unet.from", "[a", 'this "[" is never closed. Add "]" where the list or mapping ends.'),
        ("models", "1", '"models" is no path. Write for example --set models.unet.train.epochs=5.'),
        ("vars.epohcs", "1", 'the spec has no vars.epohcs. Did you mean "epochs"?'),
    ],
)
def test_a_wrong_set_is_a_diagnostic_at_the_command_line(tmp_path: Path, path: str, value: str, message: str) -> None:
    (found,) = mistakes(tmp_path, TEXT, sets={path: value})
    assert str(found) == f"--set {path}: {message}"
    assert found.source_line == f"{path}={value}"


def test_an_unknown_variable_comes_with_the_nearest_one(tmp_path: Path) -> None:
    (found,) = mistakes(tmp_path, TEXT, variables={"epohcs": "5"})
    assert str(found) == '--var epohcs: the spec has no variable "epohcs". Did you mean "epochs"?'
