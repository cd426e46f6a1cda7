from pathlib import Path

from specrun.tui.clipboard import copy_through_tmux
from specrun.tui.opening import Opening, editor, pager, place, run_program

LOG = Path("/runs/log.txt")


def has(*names: str):  # type: ignore[no-untyped-def]
    return lambda name: f"/usr/bin/{name}" if name in names else None


def test_the_users_pager_and_editor_come_first() -> None:
    environ = {"PAGER": "most -s", "VISUAL": "code --wait", "EDITOR": "vi"}
    assert pager(LOG, environ, has("most", "less")) == Opening(("most", "-s", "/runs/log.txt"))
    assert editor(LOG, environ, has("code", "vi")) == Opening(("code", "--wait", "/runs/log.txt"))


def test_without_a_wish_an_installed_one_is_taken_and_less_starts_at_the_end() -> None:
    assert pager(LOG, {}, has("less", "more")) == Opening(("less", "+G", "/runs/log.txt"))
    assert editor(LOG, {}, has("vi")) == Opening(("vi", "/runs/log.txt"))


def test_what_is_not_installed_is_not_tried() -> None:
    assert pager(LOG, {"PAGER": "gone"}, has("less")) is None
    assert editor(LOG, {}, has()) is None


def test_a_folder_opens_on_the_desktop_or_else_in_a_shell(tmp_path: Path) -> None:
    desktop = place(tmp_path, {"DISPLAY": ":0"}, has("xdg-open"))
    assert desktop is not None
    assert (desktop.argv, desktop.in_terminal) == (("xdg-open", str(tmp_path)), False)
    far = place(tmp_path, {"DISPLAY": ":0", "SSH_CONNECTION": "x", "SHELL": "/bin/zsh"}, has("xdg-open"))
    assert far is not None
    assert (far.argv, far.cwd) == (("/bin/zsh",), str(tmp_path))


def test_a_file_opens_in_the_pager_when_there_is_no_desktop(tmp_path: Path) -> None:
    file = tmp_path / "results.csv"
    file.write_text("x")
    opened = place(file, {}, has("less"))
    assert opened is not None
    assert opened.argv == ("less", "+G", str(file))


def test_a_program_runs_where_it_should(tmp_path: Path) -> None:
    run_program(Opening(("touch", "made"), cwd=str(tmp_path)))
    assert (tmp_path / "made").exists()


def test_copying_tells_tmux_too() -> None:
    told: list[tuple[object, bytes]] = []
    copy_through_tmux("é", {}, lambda argv, text: told.append((argv, text)))
    copy_through_tmux("é", {"TMUX": "/tmp/x"}, lambda argv, text: told.append((argv, text)))
    assert told == [(["tmux", "load-buffer", "-w", "-"], "é".encode())]
