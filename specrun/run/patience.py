"""Looking at a world that does not answer: what is waited for is said, and whoever waits may leave at any moment."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from specrun.model.node import Node

SAY_AFTER_S = 2.0
CHECK_EVERY_S = 0.1
_CONNECTION = "connections."


@dataclass
class Patience:
    """say: told once what a look waits for, when it takes long. check: called a few times a second in the thread that
    waits; what it raises ends the look. away: server → why it gave no answer, filled by the look. asked: every server
    that was asked."""

    say: Callable[[str], None] = lambda _text: None
    check: Callable[[], None] = lambda: None
    away: dict[str, str] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)

    def wait_for(self, work: Callable[[], None]) -> None:
        """Does the work in a thread that keeps nobody from leaving. Raises what the work raises, or `check`."""
        failures: list[BaseException] = []
        done = threading.Event()

        def attempt() -> None:
            try:
                work()
            except BaseException as error:  # it is raised where the work was asked for
                failures.append(error)
            finally:
                done.set()

        threading.Thread(target=attempt, name="look", daemon=True).start()
        while not done.wait(CHECK_EVERY_S):
            self.check()
        if failures:
            raise failures[0]


def servers_of(node: Node) -> tuple[str, ...]:
    """The addresses of the connections that the node names."""
    found = [v for name, v in node.declarations.items() if name.startswith(_CONNECTION) and isinstance(v, Mapping)]
    return tuple(dict.fromkeys(str(value["url"]) for value in found if value.get("url")))


def asking_text(waiting: Sequence[Node]) -> str:
    """`asking http://cvat.lab for sources.done and 2 more …`; without a server, what is looked at."""
    by_server: dict[str, list[Any]] = {}
    for node in waiting:
        for server in servers_of(node) or ("",):
            by_server.setdefault(server, []).append(node.address)
    parts = []
    for server, addresses in by_server.items():
        more = f" and {len(addresses) - 1} more" if len(addresses) > 1 else ""
        parts.append(f"asking {server} for {addresses[0]}{more}" if server else f"looking at {addresses[0]}{more}")
    return f"{'; '.join(parts)} …"
