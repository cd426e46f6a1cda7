"""Titles on borders, never read as markup and set only when they change."""

from __future__ import annotations

from textual.content import Content
from textual.widget import Widget


def set_title(widget: Widget, title: str) -> None:
    _set(widget, "border_title", title)


def set_subtitle(widget: Widget, subtitle: str) -> None:
    _set(widget, "border_subtitle", subtitle)


def _set(widget: Widget, name: str, text: str) -> None:
    # Setting a title refreshes the whole widget, also to the same text.
    said: dict[str, str] = widget.__dict__.setdefault("_said_titles", {})
    if said.get(name, "") != text:
        said[name] = text
        setattr(widget, name, Content(text) if text else None)
