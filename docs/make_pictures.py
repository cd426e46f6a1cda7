"""Draws the pictures of the documentation: python docs/make_pictures.py RUN_FOLDER

The run is shown as it stood when its longest node was two fifths done, with the curves of the run before
it; the picture with GPUs is of the made-up run that the tests use.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from specrun.cli.dashboard import RunControl, metrics_before
from specrun.model.address import parse_address
from specrun.model.event import Event, NodeFinished, NodeStarted
from specrun.store.journal import JOURNAL_NAME, read_journal
from specrun.tui.app import Dashboard
from tests.support.synthetic_run import START, coral_run

PICTURES = Path(__file__).parent / "pictures"
SIZE = (132, 36)
NOON = START + 600


async def draw_run(run_folder: Path) -> None:
    events = list(read_journal(run_folder / JOURNAL_NAME))
    address, until = middle(events)
    shown = [event for event in events if event.time <= until]

    def before(node: str) -> Mapping[str, Any]:
        return metrics_before(run_folder.resolve(), parse_address(node))

    await draw(shown, until, {"dashboard": "2", "plan": "3"}, f"specrun apply · {address}", before)


async def draw(
    events: Sequence[Event],
    until: float,
    tabs: Mapping[str, str],
    title: str,
    before: Any = None,
) -> None:
    """tabs: name of the picture → key of the tab that it shows."""
    feeds = [events]
    app = Dashboard(
        feed=lambda: feeds.pop() if feeds else [],
        control=RunControl(PICTURES),
        previous_metrics=before,
        clock=lambda: until,
        environ={"TERM": "xterm-256color", "TEXTUAL_THEME": "specrun-dark"},
    )
    async with app.run_test(size=SIZE) as pilot:
        await app.tick()
        await pilot.pause()
        for name, key in tabs.items():
            await pilot.press(key)
            await app.workers.wait_for_complete()
            await pilot.pause()
            save(name, app.export_screenshot(title=title))


def middle(events: Sequence[Event]) -> tuple[str, float]:
    """The longest node, and the time at which two fifths of it were over."""
    began = {e.address: e.time for e in events if isinstance(e, NodeStarted)}
    longest = max((e for e in events if isinstance(e, NodeFinished)), key=lambda e: e.duration_s)
    return longest.address, began[longest.address] + longest.duration_s * 2 / 5


def save(name: str, svg: str) -> None:
    """Without the web fonts that the export names: a picture asks nobody for anything."""
    PICTURES.mkdir(exist_ok=True)
    plain = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.S)
    (PICTURES / f"{name}.svg").write_text(plain, encoding="utf-8")


async def main() -> None:
    await draw_run(Path(sys.argv[1]))
    await draw(coral_run(until=600), NOON, {"gpus": "1"}, "specrun attach · corals")


if __name__ == "__main__":
    asyncio.run(main())
