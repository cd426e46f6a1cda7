"""Which program opens a log, an output or a file, by the user's environment."""

from __future__ import annotations

import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

Which = Callable[[str], str | None]


@dataclass(frozen=True, slots=True)
class Opening:
    """argv: what to run. in_terminal: it takes the terminal, so the dashboard steps aside meanwhile.
    cwd: where it starts. said: told to the user."""

    argv: tuple[str, ...]
    in_terminal: bool = True
    cwd: str | None = None
    said: str = ""


def pager(path: Path, environ: Mapping[str, str], which: Which = shutil.which) -> Opening | None:
    """None: no pager is installed. The end of the log is what people look for, so less starts there."""
    chosen = shlex.split(environ.get("PAGER", "")) or [name for name in ("less", "more") if which(name)][:1]
    if not chosen or not which(chosen[0]):
        return None
    if Path(chosen[0]).name == "less":
        chosen = [*chosen, "+G"]
    return Opening((*chosen, str(path)))


def editor(path: Path, environ: Mapping[str, str], which: Which = shutil.which) -> Opening | None:
    chosen = shlex.split(environ.get("VISUAL", "") or environ.get("EDITOR", ""))
    chosen = chosen or [name for name in ("nano", "vim", "vi") if which(name)][:1]
    if not chosen or not which(chosen[0]):
        return None
    return Opening((*chosen, str(path)))


def place(path: Path, environ: Mapping[str, str], which: Which = shutil.which) -> Opening | None:
    """An output: with a desktop its own program, else a shell in the folder, or the pager for a file."""
    desktop = _desktop(environ, which)
    if desktop:
        return Opening((*desktop, str(path)), in_terminal=False, said=f"opened {path}")
    if path.is_dir():
        shell = environ.get("SHELL") or which("sh")
        return Opening((shell,), cwd=str(path), said="back from the shell") if shell else None
    return pager(path, environ, which)


def link(url: str, environ: Mapping[str, str], which: Which = shutil.which) -> Opening | None:
    """None: there is no desktop here, so no browser."""
    desktop = _desktop(environ, which)
    return Opening((*desktop, url), in_terminal=False, said=f"opened {url}") if desktop else None


def _desktop(environ: Mapping[str, str], which: Which) -> Sequence[str]:
    if environ.get("SSH_CONNECTION"):
        return ()
    if (environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY")) and which("xdg-open"):
        return ("xdg-open",)
    return ("open",) if environ.get("TERM_PROGRAM") in ("Apple_Terminal", "iTerm.app") and which("open") else ()


def run_program(program: Opening) -> None:
    """Waits for a program that takes the terminal, and leaves others alone. Raises OSError."""
    if not program.in_terminal:
        subprocess.Popen(
            program.argv, cwd=program.cwd, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        return
    # ctrl+c in the pager goes to the whole foreground group; it must not end the dashboard. A handler,
    # not SIG_IGN: the child would inherit that.
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        subprocess.run(program.argv, cwd=program.cwd, check=False)
    finally:
        signal.signal(signal.SIGINT, before)
