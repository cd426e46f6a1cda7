from __future__ import annotations

from pathlib import Path

from specrun.model.address import parse_address
from specrun.store.paths import ProjectPaths


def test_everything_movable_lies_under_the_output_root() -> None:
    paths = ProjectPaths(Path("/p"), Path("/data/out"))
    address = parse_address("models.unet[encoder=res/net]")
    assert paths.output(address) == Path("/data/out/models/unet/encoder=res%2Fnet")
    assert paths.staging(address, "f") == Path("/data/out/.staging/models/unet/encoder=res%2Fnet/f")
    assert paths.kept(address) == Path("/data/out/.kept/models/unet/encoder=res%2Fnet")
    assert paths.trash == Path("/data/out/.trash")
    assert paths.node_run("r1", address) == Path("/p/.specrun/runs/r1/models/unet/encoder=res%2Fnet")
    assert paths.relative(paths.output(address)) == "models/unet/encoder=res%2Fnet"


def test_creating_twice_keeps_what_is_there(tmp_path: Path) -> None:
    paths = ProjectPaths(tmp_path, tmp_path / "outputs")
    paths.create()
    (paths.state_dir / ".gitignore").write_text("mine")
    paths.create()
    assert (paths.state_dir / ".gitignore").read_text() == "mine"
    assert paths.cache_dir.is_dir()
    assert paths.runs.is_dir()
