"""The dashboard: a Textual app that reads a run's events and asks its supervisor for things."""
