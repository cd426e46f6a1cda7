from __future__ import annotations

import pytest

from specrun.training.ultralytics.arguments import installed_folder, parse_arguments
from specrun.training.ultralytics.export_arguments import (
    export_problems,
    installed_export_problems,
    read_formats,
    read_precisions,
)

_TYPES = parse_arguments("""\
imgsz: 640 # (int | list) train/val use int (square); predict/export may use [h,w]
batch: 16 # (int | float) batch size
dynamic: False # (bool) dynamic shapes
nms: # (bool, optional) embed NMS
iou: 0.7 # (float) IoU threshold
opset: # (int, optional) opset version
quantize: # (int|str, optional) precision
""")
_EXPORTER = """
def export_formats():
    x = [
        ["PyTorch", "-", ".pt", True, True, [], "base"],
        ["ONNX", "onnx", ".onnx", True, True, ["batch", "dynamic", "opset", "nms"], "base"],
    ]
    return dict(zip(["Format"], zip(*x)))
"""


def _problems(**given: object) -> list[str]:
    takes, precisions = read_formats(_EXPORTER)["onnx"], frozenset({"8", "fp16"})
    found = export_problems("onnx", given, takes=takes, types=_TYPES, precisions=precisions)
    return [f"{p.path}: {p.message} {p.hint or ''}".strip() for p in found]


def test_the_table_of_formats_is_read_from_the_source() -> None:
    assert read_formats(_EXPORTER) == {"-": (), "onnx": ("batch", "dynamic", "opset", "nms")}
    assert read_formats("x = 1") == {}


def test_the_precisions_are_read_from_the_message() -> None:
    assert read_precisions("QUANTIZE_VALID_VALUES = \"8, 'int8', or 'w8a32'\"") == {"8", "int8", "w8a32"}


def test_right_arguments_have_no_problem() -> None:
    assert _problems(imgsz=[64, 32], batch=2, dynamic=True, opset=17, nms=True, iou=0.5, quantize="fp16") == []
    assert _problems(half=True, opset=None) == []


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"dynamick": True}, 'dynamick: onnx has no export argument "dynamick". Did you mean "dynamic"?'),
        ({"opset": "x"}, "opset: opset must be int, not str ('x')."),
        ({"dynamic": 1}, "dynamic: dynamic must be bool, not int (1)."),
        ({"batch": 0.5}, "batch: batch must be int, not float (0.5)."),
        ({"batch": 0}, "batch: batch must be whole numbers of at least 1, not 0."),
        ({"imgsz": ["a"]}, "imgsz: imgsz must be whole numbers of at least 1, not ['a']."),
        ({"imgsz": [1, 2, 3]}, "imgsz: imgsz must be one number, or [height, width]."),
        ({"quantize": "fp61"}, "quantize: quantize cannot be 'fp61'. Write one of 8 or fp16."),
        ({"format": "onnx"}, 'format: "format" cannot be set here: the key above it names the format. Remove format.'),
    ],
)
def test_wrong_arguments_are_told_with_what_would_be_right(given: dict[str, object], told: str) -> None:
    assert _problems(**given) == [told]


@pytest.mark.skipif(installed_folder() is None, reason="the extra yolo is not installed")
def test_the_installed_release_says_which_format_takes_an_argument() -> None:
    assert installed_export_problems("onnx", {"simplify": False, "opset": 17, "quantize": 16}) == []
    assert [p.path for p in installed_export_problems("torchscript", {"simplify": False})] == ["simplify"]
    assert [p.path for p in installed_export_problems("onnx", {"quantize": 12})] == ["quantize"]
