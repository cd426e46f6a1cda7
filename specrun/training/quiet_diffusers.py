"""diffusers and transformers without what tells nobody here anything; their other warnings stay."""

from __future__ import annotations

import logging
import warnings


def quiet_diffusers() -> None:
    """To be called in a worker before a model is loaded.

    Bars of loading fill a log with lines. `torch_dtype` goes out of use between the releases of diffusers that are
    supported, some of which know nothing else. And `to()` warns of modules to keep in 32 bits where there are none too.
    """
    # Heavy.
    from diffusers.utils import logging as of_diffusers
    from transformers.utils import logging as of_transformers

    of_diffusers.disable_progress_bar()
    of_transformers.disable_progress_bar()
    warnings.filterwarnings("ignore", message="`torch_dtype` is deprecated", category=FutureWarning)
    logging.getLogger("diffusers.models.modeling_utils").addFilter(_names_modules)


def _names_modules(record: logging.LogRecord) -> bool:
    return "should be kept in float32: []" not in record.getMessage()
