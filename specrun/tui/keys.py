"""Keys as people read them: `↑ k`, `ctrl+p`, `?`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from textual.binding import Binding, BindingType

_NAMES = {
    "up": "↑",
    "down": "↓",
    "left": "←",
    "right": "→",
    "enter": "⏎",
    "space": "space",
    "escape": "esc",
    "pageup": "pgup",
    "pagedown": "pgdn",
    "question_mark": "?",
    "slash": "/",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "exclamation_mark": "!",
}


@dataclass(frozen=True, slots=True)
class KeyHint:
    """label: one or two words, for the bottom line. help: the same for the help screen, at more length.
    disabled: why the key does nothing now; "" when it does."""

    key: str
    label: str
    action: str
    shown: bool = True
    help: str = ""
    disabled: str = ""


def hints(bindings: Iterable[BindingType]) -> list[KeyHint]:
    """In their order, without those that have no label."""
    found = []
    for binding in bindings:
        if isinstance(binding, Binding) and binding.description:
            keys = binding.key_display or " ".join(key_name(key) for key in binding.key.split(","))
            said = binding.tooltip or binding.description
            found.append(KeyHint(keys, binding.description, binding.action, shown=binding.show, help=said))
    return found


def key_name(key: str) -> str:
    return _NAMES.get(key.strip(), key.strip())
