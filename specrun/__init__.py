"""One YAML spec for a computer-vision project: validated, planned, run and watched."""

__version__ = "0.1.0"
