import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from specrun.errors import SpecError
from specrun.spec import build as building
from specrun.spec.compiled import MAX_KEPT, load_compiled
from specrun.spec.project import Project
from tests.support.specs import write_spec
from tests.support.toy_kinds import TOY_REGISTRY

TEXT = """
include: [more.yaml]
vars: {n: 1}
sources:
  off: {kind: folder, path: "${env.HOST:-here}", enabled: false}
models:
  m: {data: off, train: {epochs: "${vars.n}"}, matrix: {e: [1, 2]}, description: "e${matrix.e}"}
"""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    (tmp_path / "more.yaml").write_text("sources:\n  b: {kind: numbers, count: 1}\n")
    return write_spec(tmp_path, TEXT)


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The specs that were really compiled."""
    seen: list[Path] = []
    real = building.build

    def build(path: Path, *args: Any, **options: Any) -> building.Built:
        seen.append(path)
        return real(path, *args, **options)

    monkeypatch.setattr(building, "build", build)
    return seen


def load(spec: Path, **options: Any) -> Project:
    return load_compiled(spec, TOY_REGISTRY, cache_dir=spec.parent / "cache", **{"environ": {}, **options})


def test_a_kept_spec_is_the_same_project(spec: Path, builds: list[Path]) -> None:
    assert load(spec) == load(spec)
    assert len(builds) == 1


def test_a_kept_spec_keeps_its_warnings(spec: Path) -> None:
    first, second = load(spec), load(spec)
    assert [str(w) for w in second.warnings] == [str(w) for w in first.warnings]
    assert len(first.warnings) == 1


@pytest.mark.parametrize("name", ["project.yaml", "more.yaml", ".env", ".env.local"])
def test_an_edit_of_any_file_compiles_anew(spec: Path, builds: list[Path], name: str) -> None:
    load(spec)
    file = spec.parent / name
    file.write_text((file.read_text() if file.exists() else "") + "\n# edited\n")
    load(spec)
    load(spec)
    assert len(builds) == 2


def test_only_variables_that_the_spec_names_matter(spec: Path, builds: list[Path]) -> None:
    load(spec, environ={"HOST": "a", "OTHER": "1"})
    load(spec, environ={"HOST": "a", "OTHER": "2"})
    assert len(builds) == 1
    assert load(spec, environ={"HOST": "b"}).nodes[0].config["path"] == "b"
    assert load(spec).nodes[0].config["path"] == "here"


def test_each_way_to_call_is_kept_by_itself(spec: Path, builds: list[Path]) -> None:
    for _ in range(2):
        load(spec)
        load(spec, variables={"n": "2"})
        load(spec, sets={"models.m.keep": "1"})
    assert len(builds) == 3


def test_values_of_the_environment_are_kept_as_digests_only(spec: Path) -> None:
    write_spec(
        spec.parent,
        'servers:\n  s: {url: "x", password: {env: PW}}\nsources:\n  a: {kind: folder, path: "${env.P:-x}"}',
    )
    load(spec, environ={"PW": "hunter2", "P": ""})
    (kept,) = (spec.parent / "cache" / "compiled").iterdir()
    assert "hunter2" not in kept.read_text()
    assert kept.stat().st_mode & 0o077 == 0


NO_PROJECT = '{"inputs": {"code": [], "files": [], "environment": {}}, "project": {"name": "x"}}'


@pytest.mark.parametrize("broken", ["", "{", "[]", "null", '{"inputs": {}}', "\x00", NO_PROJECT])
def test_a_broken_cache_file_is_ignored_and_written_anew(spec: Path, builds: list[Path], broken: str) -> None:
    load(spec)
    (kept,) = (spec.parent / "cache" / "compiled").iterdir()
    kept.write_text(broken)
    assert load(spec).name == "corals"
    load(spec)
    assert len(builds) == 2


def test_a_cache_that_cannot_be_written_is_no_mistake(spec: Path) -> None:
    (spec.parent / "cache").write_text("a file")
    assert load(spec).name == "corals"


def test_old_files_make_room(spec: Path) -> None:
    for number in range(MAX_KEPT + 3):
        load(spec, variables={"n": str(number + 20)})
    assert len(list((spec.parent / "cache" / "compiled").iterdir())) == MAX_KEPT


def test_a_spec_with_mistakes_is_not_kept(spec: Path, builds: list[Path]) -> None:
    write_spec(spec.parent, "sources: 5")
    for _ in range(2):
        with pytest.raises(SpecError):
            load(spec)
    assert len(builds) == 2


def test_a_kept_spec_needs_neither_yaml_nor_pydantic_nor_the_kinds(spec: Path) -> None:
    script = f"""
import sys; from pathlib import Path
from specrun.spec.section import Section
from specrun.spec.compiled import load_compiled
registry = {{s: Section(s, {{}}) for s in {sorted(TOY_REGISTRY)!r}}}
project = load_compiled(Path({str(spec)!r}), registry, cache_dir=Path({str(spec.parent / "cache")!r}), environ={{}})
print(project.name, [m for m in ("pydantic", "ruamel.yaml", "tests.support.toy_kinds") if m in sys.modules])
"""
    load(spec)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "corals []\n", done.stderr
