"""Styles by meaning, made from the theme: what a widget paints with."""

from __future__ import annotations

from dataclasses import dataclass

from rich.style import Style
from textual.color import Color
from textual.theme import Theme

from specrun.views.node_view import NodeState

Span = tuple[str, Style]
"""A piece of text and its style; a line is a tuple of them."""
Line = tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Palette:
    """curves: for the charts, one after the other. chosen: the selected row, chosen_blurred: without focus."""

    text: Style
    dim: Style
    faint: Style
    bold: Style
    title: Style
    good: Style
    bad: Style
    busy: Style
    warn: Style
    wait: Style
    accent: Style
    track: Style
    spark: Style
    chosen: Style
    chosen_blurred: Style
    found: Style
    found_here: Style
    curves: tuple[Style, ...]

    def of_state(self, state: NodeState) -> Style:
        match state:
            case NodeState.RUNNING:
                return self.busy
            case NodeState.DONE:
                return self.good
            case NodeState.FAILED:
                return self.bad
            case NodeState.RETRYING | NodeState.STOPPED:
                return self.warn
            case NodeState.WAITING:
                return self.wait
            case _:
                return self.dim

    def load(self, percent: float) -> Style:
        """How full something is: calm below 70, then a warning, from 92 on an alarm."""
        return self.good if percent < 70 else self.warn if percent < 92 else self.bad


def palette(theme: Theme) -> Palette:
    return _terminal_palette() if theme.ansi else _theme_palette(theme)


def _terminal_palette() -> Palette:
    """The terminal's sixteen colours; attributes carry the meaning where there is no colour at all."""
    return Palette(
        text=Style(),
        dim=Style(dim=True),
        faint=Style(dim=True),
        bold=Style(bold=True),
        title=Style(bold=True),
        good=Style(color="green"),
        bad=Style(color="red", bold=True),
        busy=Style(color="cyan", bold=True),
        warn=Style(color="yellow"),
        wait=Style(color="blue"),
        accent=Style(color="magenta", bold=True),
        track=Style(dim=True),
        spark=Style(color="cyan"),
        chosen=Style(reverse=True),
        chosen_blurred=Style(bold=True, underline=True),
        found=Style(color="black", bgcolor="yellow", underline=True),
        found_here=Style(reverse=True, bold=True),
        curves=tuple(Style(color=name) for name in ("cyan", "yellow", "green", "magenta", "blue", "red")),
    )


def _theme_palette(theme: Theme) -> Palette:
    back = Color.parse(theme.background or ("#000000" if theme.dark else "#ffffff"))
    fore = Color.parse(theme.foreground or ("#ffffff" if theme.dark else "#000000"))

    def hue(name: str | None, otherwise: str) -> Color:
        return Color.parse(name or otherwise)

    def style(color: Color, *, bold: bool = False, on: Color | None = None) -> Style:
        return Style(color=color.rich_color, bgcolor=on.rich_color if on else None, bold=bold)

    primary, accent = hue(theme.primary, "#6cb6ff"), hue(theme.accent, "#ff9e64")
    secondary, success = hue(theme.secondary, "#76d7c4"), hue(theme.success, "#7ddc8b")
    warning, error = hue(theme.warning, "#f2c55c"), hue(theme.error, "#ff6f6f")
    violet = hue("#b99cf5" if theme.dark else "#6b3fb5", "")
    return Palette(
        text=style(fore),
        dim=style(fore.blend(back, 0.42)),
        faint=style(fore.blend(back, 0.68)),
        bold=style(fore, bold=True),
        title=style(primary, bold=True),
        good=style(success),
        bad=style(error),
        busy=style(primary),
        warn=style(warning),
        wait=style(violet),
        accent=style(accent),
        track=style(fore.blend(back, 0.72)),
        spark=style(primary.blend(back, 0.42)),
        chosen=Style(bgcolor=back.blend(primary, 0.26).rich_color, bold=True),
        chosen_blurred=Style(bgcolor=back.blend(fore, 0.1).rich_color),
        found=Style(color=back.rich_color, bgcolor=warning.rich_color),
        found_here=Style(color=back.rich_color, bgcolor=accent.rich_color, bold=True),
        curves=tuple(style(color) for color in (primary, accent, success, violet, warning, secondary)),
    )
