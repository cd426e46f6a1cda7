"""`specrun`: finds the command, and renders every error in this one place.

A command's module is imported when it is the one that was asked for; `--help` imports argparse alone.
"""

from __future__ import annotations

import argparse
import importlib
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from specrun import __version__
from specrun.cli.github import as_text, on_github
from specrun.errors import ExitCode, SpecError, SpecrunError

COMMANDS = {
    "apply": "make everything in the spec so, with a dashboard",
    "plan": "show what is out of date and why; changes nothing",
    "validate": "show every mistake in the spec",
    "watch": "keep everything so while the spec and its sources change",
    "attach": "return to the dashboard of a run",
    "status": "show what is where: outputs, the last run, who is waited for",
    "runs": "list earlier runs, or show what one did",
    "logs": "print the log of a node, or all that happened in a run",
    "graph": "draw what needs what",
    "why": "show where an output came from",
    "compare": "show what the instances of a matrix scored",
    "init": "write a commented starter spec",
    "schema": "write the JSON schema for editors",
    "doctor": "check servers, rights, labels, programs and space",
    "cvat": "list what there is on a CVAT server",
    "app": "open the FiftyOne App on the project's database",
    "accept": "record what exists as up to date",
    "adopt": "take in a file or folder made elsewhere",
    "rollback": "return to an earlier output",
    "prune": "remove what is no longer in the spec",
    "unlock": "show who holds the project",
}

SPEC_BY_OPTION = frozenset(
    {"attach", "runs", "logs", "why", "compare", "app", "cvat", "accept", "rollback", "prune", "unlock"}
)
"""Commands whose first word names something else than the spec."""

SPEC_BY_PLACE = frozenset({"apply", "graph", "plan", "status", "validate", "watch"})

_EPILOG = "Exit codes: 0 done, 1 a node failed, 2 the spec or command line is wrong, 4 locked, 6 waiting for people."


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    open_missing_descriptors()
    for stream in (sys.stdout, sys.stderr):
        # A terminal without Unicode shows question marks instead of stopping the work.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    words = list(sys.argv[1:] if argv is None else argv)
    words = with_spec_option(words)
    parser = _parser(words[0] if words and words[0] in COMMANDS else None)
    arguments = parser.parse_args(words)
    if arguments.command is None:
        parser.print_help()
        return ExitCode.WRONG_INPUT
    try:
        return int(_module(arguments.command).run(arguments))
    except Exception as error:
        return _exit(_only(error))
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED


def open_missing_descriptors() -> None:
    """Whoever called us with `>&-` wants nothing written, and not that the next file that is opened takes its place."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    # They live as long as the process.
    sys.stdin = sys.stdin or open(0)  # noqa: SIM115
    sys.stdout = sys.stdout or open(1, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w")  # noqa: SIM115


def with_spec_option(words: Sequence[str]) -> list[str]:
    """Every command takes its spec by place and as `--spec`: each form becomes the one that the command has."""
    if words and words[0] in SPEC_BY_PLACE:
        rest = [word.removeprefix("--spec=") for word in words]
        return [word for i, word in enumerate(rest) if word != "--spec" or i + 1 == len(rest)]
    if not words or words[0] not in SPEC_BY_OPTION:
        return list(words)
    found: list[str] = []
    for word in words:
        before = found[-1] if found else ""
        file = word.endswith((".yaml", ".yml")) and before != "--spec"
        if file or (_holds_spec(word) and not before.startswith("-")):
            found.append("--spec")
        found.append(word)
    return found


def _holds_spec(word: str) -> bool:
    """A folder whose spec is meant; a node or a run that is called like one is never a path with a spec in it."""
    return any(os.path.isfile(os.path.join(word, name)) for name in ("project.yaml", "project.yml", "specrun.yaml"))


def _only(error: Exception) -> Exception:
    """The one error in a task group's wrapping."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _exit(error: Exception) -> int:
    """Says what went wrong; returns the exit code."""
    if isinstance(error, SpecError):
        # Only a wrong spec needs the renderer.
        from specrun.spec.diagnostics import github_annotations, render_diagnostics

        sys.stderr.write(as_text(render_diagnostics(error.diagnostics, color=_color())))
        if on_github():
            sys.stderr.write(github_annotations(error.diagnostics))
        return error.exit_code
    if isinstance(error, SpecrunError):
        _say_error(error.message, error.hint)
        return error.exit_code
    if isinstance(error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return ExitCode.DONE
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        _say_error(f"{place}{error.strerror or error}", "Mend that, and give the command again.")
        return ExitCode.NODE_FAILED
    return _our_fault(error)


def _parser(command: str | None) -> argparse.ArgumentParser:
    """Only the asked command's own arguments are built."""
    parser = argparse.ArgumentParser(
        prog="specrun", description="Computer-vision projects from one YAML spec.", epilog=_EPILOG
    )
    parser.add_argument("--version", action="version", version=f"specrun {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, text in COMMANDS.items():
        added = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        if name == command:
            _module(name).add_arguments(added)
    return parser


def _module(command: str):  # type: ignore[no-untyped-def]  # modules have no common type
    return importlib.import_module(f"specrun.cli.{command}")


def _color() -> bool:
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR")


def _say_error(message: str, hint: str | None) -> None:
    bold, plain = ("\033[1;31m", "\033[0m") if _color() else ("", "")
    text = f"{bold}error:{plain} {message}\n" + (f"  {hint}\n" if hint else "")
    sys.stderr.write(as_text(text))


def _our_fault(error: Exception) -> ExitCode:
    """A bug of specrun: the report goes to a file, the person gets its place."""
    import tempfile
    import traceback

    report = Path(tempfile.gettempdir()) / f"specrun-report-{os.getpid()}.txt"
    report.write_text("".join(traceback.format_exception(error)))
    _say_error(f"this is a bug of specrun: {type(error).__name__}: {error}", f"The report lies in {report}.")
    return ExitCode.OUR_FAULT


if __name__ == "__main__":
    sys.exit(main())
