"""`specrun schema`: the JSON Schema by which editors complete and check a spec."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from specrun.errors import ExitCode, UsageError
from specrun.kinds.registry import REGISTRY

DEFAULT_PLACE = Path("schemas/project.schema.json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", metavar="FILE", help=f"where to write it (default: {DEFAULT_PLACE}; - prints it)")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when the file is out of date")


def run(arguments: argparse.Namespace) -> int:
    from specrun.spec.schema import schema_text  # imports every kind

    place = Path(arguments.out) if arguments.out else DEFAULT_PLACE
    text = schema_text(REGISTRY)
    if arguments.out == "-":
        sys.stdout.write(text)
        return ExitCode.DONE
    if arguments.check:
        return _check(place, text)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, "utf-8")
    except OSError as error:
        raise UsageError(f"{place} cannot be written: {error.strerror}") from None
    print(f"wrote {place}. In an editor with the YAML language server, the first line of a spec names it:")
    print(f"# yaml-language-server: $schema={place}")
    return ExitCode.DONE


def _check(place: Path, text: str) -> int:
    if place.is_file() and place.read_text("utf-8") == text:
        print(f"{place} is up to date")
        return ExitCode.DONE
    why = "is out of date" if place.is_file() else "does not exist"
    sys.stderr.write(f"{place} {why}. Run `specrun schema`.\n")
    return 1
