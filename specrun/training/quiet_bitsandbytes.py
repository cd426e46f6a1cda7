"""bitsandbytes, which diffusers and peft import where it is installed, without advice that is for nobody here."""

from __future__ import annotations

import logging


def quiet_bitsandbytes() -> None:
    """To be called before diffusers is imported.

    On the CPU it warns that it could not fetch a kernel of matrices in 4 bits from the Hub; nothing here has such.
    """
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
