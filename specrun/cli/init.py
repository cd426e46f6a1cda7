"""`specrun init`: a commented starter spec from a template."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from specrun.errors import ExitCode, UsageError
from specrun.model.address import NAME_PATTERN

TEMPLATES = {
    "quickstart": "CVAT annotations → FiftyOne → YOLO, MMSegmentation and COCO → a YOLO model, evaluated",
    "cvat-yolo": "a CVAT export → a YOLO detector",
    "cvat-smp": "finished tasks of a CVAT server → semantic segmentation with segmentation-models-pytorch, evaluated",
    "lora": "a film → frames with captions → a LoRA of Stable Diffusion, and pictures made with it",
}
DEFAULT_TEMPLATE = "quickstart"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", nargs="?", default=".", help="where to write it (default: here)")
    parser.add_argument("--template", choices=TEMPLATES, default=DEFAULT_TEMPLATE, help="what to start from")
    parser.add_argument(
        "--from-cvat",
        metavar="CONNECTION/PROJECT",
        help="a spec for a project in CVAT; a connection of --spec, or https://SERVER/PROJECT with CVAT_ACCESS_TOKEN, "
        "or CVAT_USERNAME and CVAT_PASSWORD, in the environment",
    )
    parser.add_argument("--organization", help='with an address: a short name, or "" for the personal space')
    parser.add_argument("--spec", help="where the connection is declared (default: project.yaml here)")
    parser.add_argument("--list", action="store_true", help="show the templates and write nothing")


def run(arguments: argparse.Namespace) -> int:
    if arguments.list:
        width = max(map(len, TEMPLATES))
        for name, text in TEMPLATES.items():
            print(f"{name:<{width}}  {text}")
        return ExitCode.DONE
    folder = Path(arguments.folder)
    if arguments.from_cvat:
        return _from_cvat(arguments, folder)
    written = write_template(arguments.template, folder)
    print(f"wrote {', '.join(str(path) for path in written)}")
    where = "" if folder == Path() else f" {folder}"
    print(f"Next: read the first lines of project.yaml, put your data there, then `specrun validate{where}`.")
    return ExitCode.DONE


def write_template(name: str, folder: Path) -> list[Path]:
    """Writes all files of a template or none; raises UsageError: one exists, or the folder cannot be written."""
    files = {folder / entry.name: entry.read_bytes() for entry in _files(name)}
    spec = folder / "project.yaml"
    files[spec] = _named_after(folder, files[spec])
    return _write(files, folder)


def _from_cvat(arguments: argparse.Namespace, folder: Path) -> int:
    # Only who asks a server pays for the client.
    from specrun.cli.init_from_cvat import look_up, spec_text

    arguments.var, arguments.set = [], []
    found = look_up(arguments, folder)
    name = folder.resolve().name
    text = spec_text(found, name if re.fullmatch(NAME_PATTERN, name) else "annotations")
    _write({folder / "project.yaml": text.encode()}, folder)
    print(f"wrote {folder / 'project.yaml'} for project {found.number}: {len(found.labels)} labels")
    print("Next: look at it, then `specrun doctor`, `specrun plan` and, for editors, `specrun schema` there.")
    return ExitCode.DONE


def _write(files: dict[Path, bytes], folder: Path) -> list[Path]:
    existing = [str(path) for path in files if path.exists()]
    if existing:
        hint = "Nothing was written. Name another folder: `specrun init FOLDER`."
        raise UsageError(f"{', '.join(existing)} exists already.", hint=hint)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, data in files.items():
            with path.open("xb") as file:
                file.write(data)
    except OSError as error:
        raise UsageError(f"{folder} cannot be written: {error.strerror}") from None
    return list(files)


def _named_after(folder: Path, spec: bytes) -> bytes:
    """The project is called as its folder, where that is a name."""
    name = folder.resolve().name
    if not re.fullmatch(NAME_PATTERN, name):
        return spec
    return re.sub(rb"(?m)^  name: .*$", f"  name: {name}".encode(), spec, count=1)


def _files(name: str) -> Iterator[Traversable]:
    """The spec first."""
    entries = [entry for entry in (resources.files("specrun.cli") / "templates" / name).iterdir() if entry.is_file()]
    yield from sorted(entries, key=lambda entry: (entry.name != "project.yaml", entry.name))
