"""XML as a stream of small elements that know their line. No DOCTYPE, so no entities and nothing external.

Python's ElementTree was not used: its streaming parser can neither refuse a DOCTYPE nor tell the line.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.parsers import expat

from specrun.errors import FormatError
from specrun.formats.plain_text import plain_text

_CHUNK_BYTES = 1 << 18
_MAX_DEPTH = 100


class Element:
    """A tag with its attributes, children and text. line: where it starts, from 1."""

    __slots__ = ("attributes", "children", "line", "tag", "text")

    def __init__(self, tag: str, attributes: dict[str, str], line: int) -> None:
        self.tag = tag
        self.attributes = attributes
        self.line = line
        self.children: list[Element] = []
        self.text = ""

    def all(self, tag: str) -> Iterator[Element]:
        """Children with this tag."""
        return (child for child in self.children if child.tag == tag)

    def child(self, *tags: str) -> Element | None:
        """The first child with one of these tags."""
        return next((child for child in self.children if child.tag in tags), None)

    def value(self, tag: str, default: str = "") -> str:
        """The stripped text of the first child with this tag, without control characters."""
        found = self.child(tag)
        return default if found is None else plain_text(found.text.strip())


def stream_elements(path: Path, *, depth: int) -> Iterator[Element]:
    """Elements at this depth (0: the root itself) as they are completed; they are not kept afterwards.

    Raises FormatError: not well-formed, a DOCTYPE, or nested too deeply; with file:line:column.
    """
    builder = _Builder(path, depth)
    try:
        with open(path, "rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                builder.parser.Parse(chunk, False)
                yield from builder.take()
        builder.parser.Parse(b"", True)
        yield from builder.take()
    except expat.ExpatError as error:
        reason = expat.errors.messages.get(error.code, str(error))
        raise FormatError(f"{path}:{error.lineno}:{error.offset + 1}: not well-formed XML ({reason}).") from error


class _Builder:
    def __init__(self, path: Path, depth: int) -> None:
        self.path = path
        self.depth = depth
        self.done: list[Element] = []
        self.open: list[Element] = []
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self.start
        self.parser.EndElementHandler = self.end
        self.parser.CharacterDataHandler = self.text
        self.parser.StartDoctypeDeclHandler = self.doctype

    def take(self) -> list[Element]:
        done, self.done = self.done, []
        return done

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        element = Element(tag, attributes, self.parser.CurrentLineNumber)
        depth = len(self.open)
        if depth > _MAX_DEPTH:
            raise FormatError(f"{self.path}:{element.line}: nested more than {_MAX_DEPTH} elements deep.")
        if depth > self.depth:
            self.open[-1].children.append(element)
        self.open.append(element)

    def end(self, tag: str) -> None:
        element = self.open.pop()
        if len(self.open) == self.depth:
            self.done.append(element)

    def text(self, data: str) -> None:
        if len(self.open) > self.depth:
            self.open[-1].text += data

    def doctype(self, *_: object) -> None:
        raise FormatError(
            f"{self.path}:{self.parser.CurrentLineNumber}: a DOCTYPE, which can hide entities, is refused.",
            hint="Remove it.",
        )
