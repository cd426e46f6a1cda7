"""A guard at a worker's side: when the worker is gone, however it went, nothing of its group is left.

The guard is a shell that reads from a pipe that only the worker holds. It lies in a group of its own, so that
killing the worker's group does not kill it first. A program that left the group (`setsid`) is found by the mark that
the worker's environment carries and all that it starts inherits; on systems without /proc it is not found. What
shall outlive the worker, such as a server that several programs share, is started without the mark.
PR_SET_PDEATHSIG was rejected: it reaches the program but not what
the program started, it is Linux only, and it needs a Python function between fork and exec.
"""

from __future__ import annotations

import contextlib
import os
import subprocess

from specrun.model.work import WORKER_MARK

_SCRIPT = """
trap "" HUP INT TERM
read -r _
kill -KILL "-$0"
for _ in 1 2 3; do
  left=$(grep -lsxzF "$1" /proc/[0-9]*/environ)
  [ -n "$left" ] || break
  for place in $left; do
    process=${place#/proc/}
    kill -KILL "${process%/environ}"
  done
done
"""


def guard_group() -> None:
    """Kill this process's group when this process ends; nothing is done when it leads none."""
    if os.getpgrp() != os.getpid():
        return
    mark = os.environ.get(WORKER_MARK, str(os.getpid()))
    unmarked = {name: value for name, value in os.environ.items() if name != WORKER_MARK}
    # The writing end is never closed: the kernel does that, after everything that Python does at exit.
    reading, _ = os.pipe()
    with contextlib.suppress(OSError):
        subprocess.Popen(
            ["/bin/sh", "-c", _SCRIPT, str(os.getpid()), f"{WORKER_MARK}={mark}"],
            env=unmarked,
            stdin=reading,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            process_group=0,
        )
    os.close(reading)
