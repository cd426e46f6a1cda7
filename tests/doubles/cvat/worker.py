"""Work in the background, behind `/api/requests`: uploads being unpacked, exports, imports, backups.

By default the work is done before the POST is answered, and the first poll sees it finished. `polls_needed` lets a
request run for that many polls; `hold` keeps requests where they are until `advance` moves them.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable

from tests.doubles.cvat.state import BackgroundRequest, Failed, State

Finished = Callable[[BackgroundRequest], None]


class Worker:
    def __init__(self, state: State) -> None:
        self.state = state
        self.polls_needed = 0
        self.on_finished: Finished = lambda request: None
        self._held: list[re.Pattern[str]] = []

    def hold(self, pattern: str = ".*") -> None:
        """Requests whose id matches wait as `queued` until `advance` or `release`."""
        self._held.append(re.compile(pattern))

    def release(self) -> None:
        """Stop holding, and finish what waits."""
        self._held.clear()
        self.settle()

    def settle(self) -> None:
        """Finish everything that waits, in the order it came."""
        with self.state.lock:
            for request in list(self.state.requests.values()):
                self.advance(request.id, "finished")

    def running(self, request_id: str) -> BackgroundRequest | None:
        request = self.state.requests.get(request_id)
        return request if request is not None and request.status in ("queued", "started") else None

    def submit(self, request: BackgroundRequest, work: Callable[[], None]) -> None:
        """A request of the same id that has ended is replaced: it moves to the front of the list."""
        with self.state.lock:
            self.state.requests.pop(request.id, None)
            self.state.requests[request.id] = request
            request.work, request.progress = work, 0.0
            if not self.polls_needed and not self._is_held(request):
                self.advance(request.id, "finished")

    def polled(self, request: BackgroundRequest) -> None:
        if request.status not in ("queued", "started") or self._is_held(request):
            return
        request.polls += 1
        self.advance(request.id, "finished" if request.polls > self.polls_needed else "started")

    def advance(self, request_id: str, status: str) -> None:
        """To `started`, or through the work to its end (`finished` or `failed`, as the work goes)."""
        with self.state.lock:
            request = self.running(request_id)
            if request is None or status == "queued":
                return
            if request.status == "queued":
                request.status, request.started_date = "started", self.state.now()
                request.message = request.started_message
            if status != "started":
                self._finish(request)

    def _finish(self, request: BackgroundRequest) -> None:
        assert request.work is not None
        try:
            request.work()
        except Failed as failed:
            request.status, request.message = "failed", str(failed)
        except Exception as error:
            # As the server does: whatever breaks becomes the message of a failed request.
            request.status, request.message = "failed", traceback.format_exception_only(error)[-1]
        else:
            request.status, request.message = "finished", ""
        request.finished_date = self.state.now()
        request.work = None
        self.on_finished(request)

    def _is_held(self, request: BackgroundRequest) -> bool:
        return any(pattern.search(request.id) for pattern in self._held)
