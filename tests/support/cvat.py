"""A CVAT server for tests: the double, or a real one named by SPECRUN_TEST_CVAT_URL (+ _USER, _PASSWORD)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from tests.doubles.cvat.server import CvatDouble

# Read when the module is imported: the tests' own environment is emptied of much.
_URL = os.environ.get("SPECRUN_TEST_CVAT_URL", "")
_USER = os.environ.get("SPECRUN_TEST_CVAT_USER", "admin")
_PASSWORD = os.environ.get("SPECRUN_TEST_CVAT_PASSWORD", "")


@dataclass(frozen=True)
class CvatServer:
    """Where to log in; `double` is None on a real server."""

    url: str
    user: str
    password: str
    double: CvatDouble | None


@contextmanager
def running_cvat(**options: object) -> Iterator[CvatServer]:
    """options: of the double."""
    if _URL:
        yield CvatServer(_URL.rstrip("/"), _USER, _PASSWORD, None)
        return
    with CvatDouble(**options) as double:  # type: ignore[arg-type]
        yield CvatServer(double.url, double.user, double.password, double)
        assert not double.errors, "\n".join(double.errors)


@pytest.fixture
def cvat_server() -> Iterator[CvatServer]:
    """The double, or the real server when one is named; import it into a test module to use it."""
    with running_cvat(anonymous_per_minute=None) as server:
        yield server


@pytest.fixture
def cvat_double() -> Iterator[CvatDouble]:
    """Always the double: for faults, clocks and people's actions."""
    with CvatDouble(anonymous_per_minute=None) as double:
        yield double
