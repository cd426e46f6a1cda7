"""Hears of changes in folders, by watchfiles; two threads at most."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from watchfiles._rust_notify import RustNotify, WatchfilesRustInternalError

from specrun.run.places import Places

STEP_MS = 100
"""How often the threads look up; 50, the library's own step, costs twice the processor time."""
GATHER_MS = 200


class Notifier:
    """Calls `changed` with the paths, from a thread of its own, when something that concerns the places has changed.

    problems: folders that cannot be watched, and why; they are left to the regular look.
    """

    def __init__(self, places: Places, changed: Callable[[list[str]], None]) -> None:
        self.places = places
        self.problems: list[str] = []
        self._changed = changed
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        for folders, recursive in ((places.flat, False), (places.deep, True)):
            self._listen(folders, recursive=recursive)

    def close(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _listen(self, folders: Iterable[str], *, recursive: bool) -> None:
        """Listens from here on; the thread only waits."""
        paths = sorted(folders)
        if not paths:
            return
        try:
            backend = RustNotify(paths, False, False, 300, recursive, True)
        except (OSError, WatchfilesRustInternalError) as error:
            self.problems.append(f"{', '.join(paths[:3])} cannot be watched: {error}")
            return
        thread = threading.Thread(target=self._follow, args=(backend,), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _follow(self, backend: RustNotify) -> None:
        with backend:
            while not self._stop.is_set():
                found = backend.watch(GATHER_MS, STEP_MS, 0, self._stop)
                if isinstance(found, str):
                    return
                concerned = sorted({path for _, path in found if self.places.concerns(path)})
                if concerned:
                    self._changed(concerned)
