"""Draws the dashboard of a run for the README: python docs/make_pictures.py RUN_FOLDER

The run is shown as it stood when its longest node was three quarters done.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from specrun.model.event import Event, NodeFinished, NodeStarted
from specrun.store.journal import JOURNAL_NAME, read_journal
from specrun.tui.app import Dashboard

PICTURES = Path(__file__).parent / "pictures"
SIZE = (132, 36)


async def draw(run_folder: Path) -> None:
    events = list(read_journal(run_folder / JOURNAL_NAME))
    address, until = middle(events)
    shown = [event for event in events if event.time <= until]
    feeds = [shown]
    app = Dashboard(
        feed=lambda: feeds.pop() if feeds else [],
        control=None,
        log_path=lambda node: run_folder / node.replace(".", "/") / "log.txt",
        clock=lambda: until,
        environ={"TERM": "xterm-256color", "COLORTERM": "truecolor"},
    )
    async with app.run_test(size=SIZE) as pilot:
        await app.tick()
        await pilot.pause()
        for key, name in (("2", "dashboard"),):
            await pilot.press(key)
            await app.workers.wait_for_complete()
            await pilot.pause()
            save(name, app.export_screenshot(title=f"specrun apply · {address}"))


def middle(events: Sequence[Event]) -> tuple[str, float]:
    """The longest node, and the time at which three quarters of it were over."""
    began = {e.address: e.time for e in events if isinstance(e, NodeStarted)}
    longest = max((e for e in events if isinstance(e, NodeFinished)), key=lambda e: e.duration_s)
    return longest.address, began[longest.address] + 0.75 * longest.duration_s


def save(name: str, svg: str) -> None:
    """Without the web fonts that the export names: a picture asks nobody for anything."""
    PICTURES.mkdir(exist_ok=True)
    plain = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.S)
    (PICTURES / f"{name}.svg").write_text(plain, encoding="utf-8")


if __name__ == "__main__":
    asyncio.run(draw(Path(sys.argv[1])))
