"""Making a thing once on a server whose answers may be lost."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from specrun.errors import TransientError

T = TypeVar("T")
ATTEMPTS = 3
LOOKS_S = (0.0, 1.0, 3.0)
"""A request whose answer was lost may still be at work: it is looked for now and after these waits."""


def make_once(
    find: Callable[[], T | None],
    make: Callable[[], T],
    *,
    look_first: bool,
    check_stop: Callable[[], None],
    sleep: Callable[[float], None] = time.sleep,
) -> T:
    """What `find` finds, else what `make` makes; after a failure that may have been carried out it is looked for.

    look_first: it may have been made before. Raises what `make` raised when it is nowhere after all attempts.
    """
    if look_first and (found := find()) is not None:
        return found
    for attempt in range(1, ATTEMPTS + 1):
        check_stop()
        try:
            return make()
        except TransientError:
            for wait in LOOKS_S:
                sleep(wait)
                if (found := find()) is not None:
                    return found
            if attempt == ATTEMPTS:
                raise
    raise AssertionError
