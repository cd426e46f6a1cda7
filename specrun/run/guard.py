"""A guard at a worker's side: when the worker is gone, however it went, nothing of its group is left.

The guard is a shell that reads from a pipe that only the worker holds. It lies in a group of its own, so that
killing the worker's group does not kill it first. PR_SET_PDEATHSIG was rejected: it reaches the program but not what
the program started, it is Linux only, and it needs a Python function between fork and exec.
"""

from __future__ import annotations

import contextlib
import os
import subprocess

_SCRIPT = 'trap "" HUP INT TERM; read -r _; kill -KILL "-$0"'


def guard_group() -> None:
    """Kill this process's group when this process ends; nothing is done when it leads none."""
    if os.getpgrp() != os.getpid():
        return
    # The writing end is never closed: the kernel does that, after everything that Python does at exit.
    reading, _ = os.pipe()
    with contextlib.suppress(OSError):
        subprocess.Popen(
            ["/bin/sh", "-c", _SCRIPT, str(os.getpid())],
            stdin=reading,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            process_group=0,
        )
    os.close(reading)
