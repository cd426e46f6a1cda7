from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("diffusers")

_PROGRAM = """
import warnings
from specrun.training.quiet_diffusers import quiet_diffusers

quiet_diffusers()
quiet_diffusers()
from diffusers.models.modeling_utils import logger
from diffusers.utils import logging
from diffusers.utils.deprecation_utils import deprecate

deprecate("torch_dtype", "9.0.0", "`torch_dtype` is deprecated and will be removed. Please use `dtype` instead.",
          standard_warn=False)
logger.warning("There are modules in AutoencoderKL that should be kept in float32: []. Casting directly")
logger.warning("There are modules in AutoencoderKL that should be kept in float32: ['norm']. Casting directly")
warnings.warn("something else is deprecated", FutureWarning)
for _ in logging.tqdm([1], desc="Loading pipeline components..."):
    pass
"""


def test_only_what_tells_nothing_is_left_out() -> None:
    told = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True).stderr
    assert "torch_dtype" not in told
    assert "Loading pipeline" not in told
    assert "float32: []" not in told
    assert "float32: ['norm']" in told
    assert "something else is deprecated" in told
