from __future__ import annotations

import sys
from pathlib import Path

import pytest

from specrun.clients.mongod_binary import binary_places, find_mongod, prove
from specrun.errors import MissingDependency

GOOD = (0, "db version v6.0.5\nBuild Info: {}")


def fake_binary(folder: Path, name: str = "mongod") -> Path:
    path = folder / name
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_a_binary_that_tells_its_version_is_proved(tmp_path: Path) -> None:
    assert prove(fake_binary(tmp_path), lambda argv: GOOD).version == "6.0.5"


def test_a_missing_library_names_the_package(tmp_path: Path) -> None:
    text = "mongod: error while loading shared libraries: libcurl.so.4: cannot open shared object file: No such file"
    with pytest.raises(MissingDependency, match=r"libcurl\.so\.4 is missing.*apt-get install libcurl4\b"):
        prove(fake_binary(tmp_path), lambda argv: (127, text))


def test_an_unknown_missing_library_is_still_named(tmp_path: Path) -> None:
    text = "mongod: error while loading shared libraries: libweird.so.9: cannot open shared object file"
    with pytest.raises(MissingDependency, match=r"carries libweird\.so\.9"):
        prove(fake_binary(tmp_path), lambda argv: (127, text))


def test_an_old_system_is_named(tmp_path: Path) -> None:
    text = "mongod: /lib/libc.so.6: version `GLIBC_2.34' not found (required by mongod)"
    with pytest.raises(MissingDependency, match=r"too old for it \(GLIBC_2\.34"):
        prove(fake_binary(tmp_path), lambda argv: (1, text))


def test_no_binary_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(MissingDependency, match=r"specrun\[mongod\]"):
        find_mongod(tmp_path / "proof.json", candidates=[tmp_path / "absent"])


def test_a_broken_binary_gives_way_to_the_next(tmp_path: Path) -> None:
    broken, whole = fake_binary(tmp_path, "broken"), fake_binary(tmp_path, "whole")
    found = find_mongod(
        tmp_path / "proof.json",
        run=lambda argv: (1, "") if argv[0].endswith("broken") else GOOD,
        candidates=[broken, whole],
    )
    assert found.path == whole


def test_the_proof_is_taken_once_for_each_file(tmp_path: Path) -> None:
    binary, calls = fake_binary(tmp_path), []

    def run(argv: list[str]) -> tuple[int, str]:
        calls.append(argv)
        return GOOD

    for _ in range(2):
        find_mongod(tmp_path / "cache" / "proof.json", run=run, candidates=[binary])
    assert len(calls) == 1
    binary.write_text("#!/bin/sh\n# another\n")
    find_mongod(tmp_path / "cache" / "proof.json", run=run, candidates=[binary])
    assert len(calls) == 2


def test_the_search_does_not_import_fiftyone() -> None:
    assert "fiftyone" in sys.modules or (binary_places() is not None and "fiftyone" not in sys.modules)
