"""Path patterns as in shells: `*`, `?`, `[abc]`, `{jpg,png}`, and `**` for any number of folders.

A pattern covers the whole path relative to the folder: `*.jpg` is a file at the top, `**/*.jpg` one anywhere, `raw/`
and `raw/**` everything below raw. Upper and lower case differ. No wildcard stands for a leading dot, so hidden
files and folders are left out unless a pattern spells the dot (`.thumbs/*`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

EVERYTHING = ("**/*",)
_VISIBLE = r"(?!\.)[^/]+"
_BRACES = re.compile(r"\{([^{}]*,[^{}]*)\}")


def compile_patterns(patterns: Iterable[str]) -> re.Pattern[str]:
    """One expression whose `fullmatch` says whether a relative posix path is covered; without patterns none is."""
    sources = [_source(single) for pattern in patterns for single in _alternatives(_clean(pattern))]
    return re.compile("|".join(f"(?:{source})" for source in sources) if sources else r"(?!)")


def compile_folders(patterns: Iterable[str]) -> re.Pattern[str]:
    """Folders of which the patterns cover everything that is below, so that a walk need not enter them."""
    cleaned = [_clean(pattern) for pattern in patterns]
    return compile_patterns(
        pattern.removesuffix("/*").removesuffix("/**") for pattern in cleaned if pattern.endswith(("/**", "/**/*"))
    )


def names_hidden(patterns: Sequence[str]) -> bool:
    """Whether some pattern spells a leading dot."""
    parts = (part for pattern in patterns for single in _alternatives(_clean(pattern)) for part in single.split("/"))
    return any(part.startswith(".") for part in parts)


def _clean(pattern: str) -> str:
    pattern = pattern.removeprefix("./")
    return pattern + "**" if pattern.endswith("/") else pattern


def _alternatives(pattern: str) -> list[str]:
    """`a.{jpg,png}` → `a.jpg`, `a.png`; innermost braces first."""
    found = _BRACES.search(pattern)
    if not found:
        return [pattern]
    before, after = pattern[: found.start()], pattern[found.end() :]
    return [single for choice in found[1].split(",") for single in _alternatives(before + choice + after)]


def _source(pattern: str) -> str:
    parts = pattern.split("/")
    # `**/**` covers what `**` does, and makes the expression try every way to share the folders out.
    parts = [part for place, part in enumerate(parts) if part != "**" or parts[place + 1 : place + 2] != ["**"]]
    source = ""
    for part in parts[:-1]:
        source += f"(?:{_VISIBLE}/)*" if part == "**" else _component(part) + "/"
    return source + (f"(?:{_VISIBLE}/)*{_VISIBLE}" if parts[-1] == "**" else _component(parts[-1]))


def _component(part: str) -> str:
    source, place = "", 0
    while place < len(part):
        character = part[place]
        place += 1
        if character == "*":
            source += "" if source.endswith("[^/]*") else "[^/]*"
        elif character == "?":
            source += "[^/]"
        elif character == "[" and (end := part.find("]", place + 1)) > 0:
            inside = part[place:end].replace("\\", r"\\").replace("[", r"\[")
            source += f"[^/{inside[1:]}]" if inside[0] == "!" else f"[{inside}]"
            place = end + 1
        else:
            source += re.escape(character)
    return (r"(?!\.)" if part[:1] in "*?[" else "") + source
