"""Our own dark and light theme, and which theme suits a terminal."""

from __future__ import annotations

from collections.abc import Mapping

from textual.theme import Theme

DARK = Theme(
    name="specrun-dark",
    primary="#6cb6ff",
    secondary="#76d7c4",
    accent="#ff9e64",
    success="#7ddc8b",
    warning="#f2c55c",
    error="#ff6f6f",
    foreground="#d5dee8",
    background="#0e131a",
    surface="#131a23",
    panel="#1d2733",
    dark=True,
    variables={"border": "#6cb6ff", "border-blurred": "#2b3949", "footer-key-foreground": "#ff9e64"},
)

LIGHT = Theme(
    name="specrun-light",
    primary="#1a66b0",
    secondary="#0b7a74",
    accent="#b9500f",
    success="#23793a",
    warning="#8f6300",
    error="#c02626",
    foreground="#26303b",
    background="#fbfaf7",
    surface="#f4f2ec",
    panel="#e7e3d9",
    dark=False,
    variables={"border": "#1a66b0", "border-blurred": "#cdc7b8", "footer-key-foreground": "#b9500f"},
)

OURS = (DARK, LIGHT)


def fitting_theme(environ: Mapping[str, str], colors: str | None) -> str:
    """The name of the theme for a terminal.

    colors: rich's color system (`truecolor`, `256`, `standard`, None). With sixteen colours or none the
    terminal's own palette is used: our hues would be rounded to something ugly. TEXTUAL_THEME wins.
    """
    if chosen := environ.get("TEXTUAL_THEME"):
        return chosen
    dark = _is_dark(environ)
    if environ.get("NO_COLOR") or colors in (None, "standard", "windows"):
        return "ansi-dark" if dark else "ansi-light"
    return DARK.name if dark else LIGHT.name


def _is_dark(environ: Mapping[str, str]) -> bool:
    """By COLORFGBG (`15;0`), which rxvt, Konsole, iTerm and others set; dark when nothing says otherwise."""
    background = environ.get("COLORFGBG", "").rpartition(";")[2]
    return background not in ("7", "15")


def other_theme(name: str) -> str:
    """Dark for light and the other way round, of the same family."""
    pairs = {DARK.name: LIGHT.name, "ansi-dark": "ansi-light"}
    return pairs.get(name) or {light: dark for dark, light in pairs.items()}.get(name, DARK.name)
