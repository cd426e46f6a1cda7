"""What the dashboard may ask of a run. The supervisor's side is handed in; the dashboard only knows this."""

from __future__ import annotations

from typing import Protocol


class Control(Protocol):
    """Each returns None when the wish was passed on, or a text that says why it was not.

    Called in a thread, so that a slow disk does not stop the dashboard. Addresses are texts, as in events.
    """

    def stop_run(self, at_once: bool) -> str | None: ...
    def cancel(self, address: str) -> str | None: ...
    def retry(self, address: str) -> str | None: ...
    def pause(self, paused: bool) -> str | None: ...
    def prioritise(self, address: str) -> str | None: ...
