"""The checkpoints that Ultralytics releases, read from the text of its list without importing it.

`utils/downloads.py` writes the list as a sum of lists and comprehensions over texts and tuples of texts:

    GITHUB_ASSETS_NAMES = frozenset([f"yolo11{k}{suffix}.pt" for k in "nsmlx" for suffix in ("", "-seg")] + …)
"""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from specrun.training.ultralytics.arguments import installed_folder

_LIST = "GITHUB_ASSETS_NAMES"


@cache
def released_checkpoints() -> frozenset[str]:
    """Names ending in .pt; empty where the installed release writes its list otherwise, or there is none."""
    folder = installed_folder()
    return read_released(folder / "utils" / "downloads.py") if folder else frozenset()


def read_released(path: Path) -> frozenset[str]:
    try:
        body = ast.parse(path.read_text(encoding="utf-8")).body
        values = [node.value for node in body if isinstance(node, ast.Assign) and _is_list(node.targets[0])]
        return frozenset(name for value in values for name in _names(value) if name.endswith(".pt"))
    except (OSError, SyntaxError, ValueError):
        return frozenset()


def _is_list(target: ast.expr) -> bool:
    return isinstance(target, ast.Name) and target.id == _LIST


def _names(node: ast.expr) -> Iterator[str]:
    """Raises ValueError: it is written in another way."""
    match node:
        case ast.Call(args=[inner]):
            yield from _names(inner)
        case ast.BinOp(left=left, right=right):
            yield from _names(left)
            yield from _names(right)
        case ast.List():
            yield from (str(name) for name in ast.literal_eval(node))
        case ast.ListComp(elt=ast.JoinedStr() as text, generators=loops):
            variables = [loop.target.id for loop in loops if isinstance(loop.target, ast.Name)]
            values = [tuple(ast.literal_eval(loop.iter)) for loop in loops]
            for chosen in itertools.product(*values):
                yield _filled(text, dict(zip(variables, chosen, strict=True)))
        case _:
            raise ValueError(ast.dump(node))


def _filled(text: ast.JoinedStr, values: Mapping[str, str]) -> str:
    parts = []
    for part in text.values:
        match part:
            case ast.Constant(value=str(plain)):
                parts.append(plain)
            case ast.FormattedValue(value=ast.Name(id=name)) if name in values:
                parts.append(values[name])
            case _:
                raise ValueError(ast.dump(part))
    return "".join(parts)
