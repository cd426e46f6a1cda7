from __future__ import annotations

import subprocess
import sys

import pytest

from specrun.training.ultralytics.arguments import argument_problems, installed_arguments, parse_arguments

_TEXT = """\
# Ultralytics AGPL-3.0 License

task: detect # (str) YOLO task, i.e. detect, segment

# Train settings -------------------------------------------------------------------------------------
data: # (str, optional) path to dataset file
epochs: 100 # (int) number of epochs to train for
time: # (float, optional) max hours to train; overrides epochs if set
lr0: 0.01 # (float) initial learning rate
cache: False # (bool | str) cache images in RAM (True/'ram') or on 'disk'
freeze: # (int | list, optional) freeze first N layers
classes: # (int | list[int], optional) filter by class id(s)

# Export settings ------------------------------------------------------------------------------------
format: torchscript # (str) target format
opset: # (int, optional) ONNX opset version
"""
_ARGUMENTS = parse_arguments(_TEXT)


def _problems(**train: object) -> list[tuple[str, bool, str]]:
    found = argument_problems(train, _ARGUMENTS)
    return [(p.path, p.warning, f"{p.message} {p.hint or ''}".strip()) for p in found]


def test_names_types_and_sections_are_read_from_the_comments() -> None:
    epochs, freeze = _ARGUMENTS["epochs"], _ARGUMENTS["freeze"]
    assert (epochs.types, epochs.optional, epochs.section) == (("int",), False, "Train settings")
    assert (freeze.types, freeze.optional) == (("int", "list"), True)
    assert _ARGUMENTS["opset"].section == "Export settings"


def test_right_arguments_have_no_problem() -> None:
    assert _problems(epochs=3, time=None, lr0=1, cache="ram", freeze=[1, 2], classes=[0]) == []


def test_a_misspelt_argument_is_suggested() -> None:
    ((path, warning, text),) = _problems(epohcs=3)
    assert (path, warning) == ("epohcs", False)
    assert text.endswith('Did you mean "epochs"?')


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("epochs", "ten", "epochs must be int, not str ('ten')."),
        ("epochs", True, "epochs must be int, not bool (True)."),
        ("epochs", 1.5, "epochs must be int, not float (1.5)."),
        ("epochs", None, "epochs must be int, not null (None)."),
        ("cache", 3, "cache must be bool or str, not int (3)."),
    ],
)
def test_a_wrong_type_is_named(name: str, value: object, words: str) -> None:
    ((path, _, text),) = _problems(**{name: value})
    assert (path, text) == (name, words)


@pytest.mark.parametrize("name", ["data", "project", "name", "exist_ok", "resume", "save_dir", "mode", "model", "save"])
def test_what_specrun_decides_cannot_be_set(name: str) -> None:
    ((path, warning, text),) = _problems(**{name: "x"})
    assert (path, warning) == (name, False)
    assert "cannot be set here" in text


def test_a_device_is_refused_unless_it_is_never_leased() -> None:
    assert "resources: {gpus: 1}" in _problems(device=0)[0][2]
    assert _problems(device="mps") == []


def test_export_settings_have_no_effect_on_training() -> None:
    ((path, warning, text),) = _problems(format="onnx")
    assert (path, warning) == ("format", True)
    assert "has no effect on training" in text


def test_the_installed_release_is_read_without_importing_it() -> None:
    program = (
        "import sys; from specrun.training.ultralytics.arguments import installed_arguments as a\n"
        "found = a(); assert found is None or len(found) > 80, found\n"
        "assert not {'ultralytics', 'torch', 'numpy'} & set(sys.modules), sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_every_argument_of_the_installed_release_accepts_its_own_default() -> None:
    pytest.importorskip("ruamel.yaml")
    arguments = installed_arguments()
    if arguments is None:
        pytest.skip("ultralytics is not installed")
    from ruamel.yaml import YAML

    from specrun.training.ultralytics.arguments import installed_folder

    folder = installed_folder()
    assert folder is not None
    defaults = YAML(typ="safe", pure=True).load((folder / "cfg" / "default.yaml").read_text(encoding="utf-8"))
    assert set(defaults) == set(arguments)
    assert [name for name, value in defaults.items() if not arguments[name].accepts(value)] == []
