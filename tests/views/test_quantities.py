import pytest

from specrun.views.quantities import (
    count,
    duration,
    number,
    rough_duration,
    short_duration,
    short_time_left,
    size,
    stopwatch,
    time_left,
)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.42, "0.4 s"),
        (9.96, "10 s"),
        (59.6, "1 min"),
        (192, "3 min 12 s"),
        (2460, "41 min"),
        (3599, "1 h"),
        (7500, "2 h 05 min"),
        (90000, "1 d 1 h"),
        (float("nan"), "?"),
        (-3, "0.0 s"),
    ],
)
def test_durations_read_like_speech(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(2, "a few seconds"), (33, "about 35 s"), (58, "about 1 min"), (100, "about 2 min"), (2462, "about 41 min")],
)
def test_estimates_are_not_exact_to_the_second(seconds: float, text: str) -> None:
    assert rough_duration(seconds) == text


def test_a_lower_bound_says_at_least() -> None:
    assert time_left(600, complete=True) == "about 10 min left"
    assert time_left(600, complete=False) == "at least 10 min left"


def test_narrow_forms() -> None:
    assert [stopwatch(s) for s in (4, 725, 3725)] == ["0:04", "12:05", "1:02:05"]
    assert [short_duration(s) for s in (4, 75, 725, 4800, 100_000)] == ["4s", "1m15s", "12m", "1h20m", "1d3h"]


def test_sizes_numbers_and_counts() -> None:
    assert [size(s) for s in (512, 1500, 18 * 2**30)] == ["512 B", "1.5 KiB", "18 GiB"]
    assert [number(v) for v in (0.73149, 12.5, 80.0, 1e-5, 1234567.0)] == ["0.7315", "12.5", "80", "1e-05", "1,234,567"]
    assert [count(1, "node"), count(1200, "node"), count(2, "box", "boxes")] == ["1 node", "1,200 nodes", "2 boxes"]


@pytest.mark.parametrize(
    ("seconds", "long", "short"),
    [
        (2, "a few seconds left", "~5s"),
        (23, "about 25 s left", "~25s"),
        (58, "about 1 min left", "~1m00s"),
        (88, "about 1 min 30 s left", "~1m30s"),
        (290, "about 5 min left", "~5m00s"),
        (2400, "about 40 min left", "~40m"),
        (5000, "about 1 h 25 min left", "~1h25m"),
        (100_000, "about 1 d 4 h left", "~1d4h"),
    ],
)
def test_what_is_left_is_one_figure_in_wide_and_narrow_places(seconds: float, long: str, short: str) -> None:
    assert time_left(seconds, complete=True) == long
    assert short_time_left(seconds) == short
    assert short_time_left(seconds, complete=False) == short.replace("~", ">")
