import asyncio
from collections.abc import Awaitable, Callable

from textual.app import App, ComposeResult
from textual.pilot import Pilot

from specrun.tui.log_lines import MAX_LINES, SLACK, LogLines
from tests.support.dashboard import settle


class OnlyLog(App[None]):
    def compose(self) -> ComposeResult:
        yield LogLines()


def in_log(test: Callable[[LogLines, Pilot[None]], Awaitable[None]], size: tuple[int, int] = (40, 10)) -> None:
    async def run() -> None:
        app = OnlyLog()
        async with app.run_test(size=size) as pilot:
            lines = app.query_one(LogLines)
            lines.focus()
            await settle(pilot)
            await test(lines, pilot)

    asyncio.run(run())


def numbered(amount: int, begin: int = 0) -> list[str]:
    return [f"line {index}" for index in range(begin, begin + amount)]


def seen(lines: LogLines) -> list[str]:
    return [lines.render_line(y).text.rstrip() for y in range(lines.size.height)]


def test_it_follows_the_end() -> None:
    async def look(lines: LogLines, pilot: Pilot[None]) -> None:
        lines.replace(numbered(100))
        await settle(pilot)
        assert seen(lines)[-1] == "line 99"
        lines.append(numbered(5, 100))
        await settle(pilot)
        assert seen(lines)[-1] == "line 104"

    in_log(look)


def test_a_line_that_goes_on_stands_behind_the_others_until_it_is_whole() -> None:
    async def look(lines: LogLines, pilot: Pilot[None]) -> None:
        lines.replace(numbered(2))
        for state in ("1%", "2%"):
            lines.append((), pending=state)
            await settle(pilot)
            assert [text for text in seen(lines) if text] == ["line 0", "line 1", state]
        lines.append(["3%", "line 3"])
        await settle(pilot)
        assert [text for text in seen(lines) if text] == ["line 0", "line 1", "3%", "line 3"]
        assert lines.plain_lines() == ["line 0", "line 1", "3%", "line 3"]

    in_log(look)


def test_scrolling_up_holds_still_and_the_end_follows_again() -> None:
    async def look(lines: LogLines, pilot: Pilot[None]) -> None:
        lines.replace(numbered(100))
        await settle(pilot)
        await pilot.press("pageup")
        await settle(pilot)
        assert not lines.following
        held = seen(lines)
        lines.append(numbered(50, 100))
        await settle(pilot)
        assert seen(lines) == held
        await pilot.press("end")
        await settle(pilot)
        assert lines.following
        assert seen(lines)[-1] == "line 149"

    in_log(look)


def test_old_lines_go_and_a_held_view_stays_where_it_was() -> None:
    async def look(lines: LogLines, pilot: Pilot[None]) -> None:
        lines.replace(numbered(MAX_LINES))
        await settle(pilot)
        lines.scroll_to(y=8000, animate=False, immediate=True)
        await settle(pilot)
        held = seen(lines)
        lines.append(numbered(SLACK + 1, MAX_LINES))
        await settle(pilot)
        assert len(lines.lines) == MAX_LINES
        assert lines.lines[-1] == f"line {MAX_LINES + SLACK}"
        assert seen(lines) == held

    in_log(look)


def test_long_lines_wrap_and_w_changes_how() -> None:
    async def look(lines: LogLines, pilot: Pilot[None]) -> None:
        lines.replace(["x" * 100, "end"])
        await settle(pilot)
        assert seen(lines)[:4] == ["x" * 38, "  " + "x" * 38, "  " + "x" * 24, "end"]
        await pilot.press("w", "w")
        await settle(pilot)
        assert seen(lines)[:2] == ["x" * 39 + "…", "end"]
        assert lines.plain_lines() == ["x" * 100, "end"]

    in_log(look)


def test_a_table_is_cut_and_can_be_looked_at_sideways() -> None:
    async def look(lines: LogLines, pilot: Pilot[None]) -> None:
        lines.replace(["epoch    loss    accuracy    precision    recall", "  3    0.5    0.9    0.8    0.7"])
        await settle(pilot)
        assert seen(lines)[:2] == ["epoch    loss    accuracy    precision …", "  3    0.5    0.9    0.8    0.7"]
        await pilot.press("right")
        await settle(pilot)
        assert seen(lines)[:2] == ["…accuracy    precision    recall", "  3    0.5    0.9    0.8    0.7"]
        await pilot.press("right", "right", "left", "left", "left")
        await settle(pilot)
        assert lines.left == 0

    in_log(look)


def test_search_goes_to_the_last_match_and_n_goes_round() -> None:
    async def look(lines: LogLines, pilot: Pilot[None]) -> None:
        lines.replace([f"{'Needle' if index in (5, 50, 95) else 'hay'} {index}" for index in range(100)])
        assert lines.search("needle") == 3
        await settle(pilot)
        assert any("Needle 95" in row for row in seen(lines))
        await pilot.press("n")
        await settle(pilot)
        assert any("Needle 5" in row for row in seen(lines))
        await pilot.press("N")
        await settle(pilot)
        assert any("Needle 95" in row for row in seen(lines))
        assert lines.search("Needle") == 3
        assert lines.search("NEEDLE") == 0

    in_log(look)


def test_a_match_is_marked() -> None:
    async def look(lines: LogLines, pilot: Pilot[None]) -> None:
        lines.replace(["some [red]needle[/] here"])
        lines.search("needle")
        await settle(pilot)
        marked = [segment.text for segment in lines.render_line(0) if segment.style and segment.style.bgcolor]
        plain = lines.render_line(0).text
        assert "[red]needle[/]" in plain
        assert "needle" in marked

    in_log(look)


def test_trouble_stands_out() -> None:
    async def look(lines: LogLines, pilot: Pilot[None]) -> None:
        lines.replace(["all fine", "RuntimeError: no", "UserWarning: hm"])
        await settle(pilot)
        colours = [len({segment.style.color for segment in lines.render_line(y) if segment.style}) for y in range(3)]
        assert colours[0] == 1
        assert colours[1] > 1
        assert colours[2] > 1

    in_log(look)


def test_an_empty_log_says_why() -> None:
    async def look(lines: LogLines, pilot: Pilot[None]) -> None:
        lines.replace([], empty_text="queued: waits for a GPU")
        await settle(pilot)
        assert "queued: waits for a GPU" in seen(lines)[1]
        lines.append(["first"])
        await settle(pilot)
        assert seen(lines)[0] == "first"

    in_log(look)
