from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytest.importorskip("onnx")
needs_runtime = pytest.mark.skipif(find_spec("onnxruntime") is None, reason="the extra onnx is not installed")

_PROGRAM = """
from onnx import TensorProto, helper
from specrun.training.quiet_onnxruntime import load_onnxruntime

runtime = load_onnxruntime()
ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", ends[:1], ends[1:])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
"""


@needs_runtime
def test_opening_a_model_leaves_nothing_in_the_home_folder(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "ORT_"))}
    environ |= {"HOME": str(home), "PYTHONPATH": str(Path(__file__).parents[2])}
    arguments = [sys.executable, "-c", _PROGRAM]
    done = subprocess.run(arguments, env=environ, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert list(home.rglob("*")) == []
