import pytest

from specrun.tui.gauges import bar, sparkline
from specrun.tui.plot import Cell, axis_number, axis_numbers, chart


def dots(cell: Cell) -> int:
    return (ord(cell.character) - 0x2800).bit_count() if cell.curve >= 0 else 0


def test_a_rising_curve_runs_from_the_lower_left_to_the_upper_right() -> None:
    drawn = chart([[(0, 0.0), (10, 1.0)]], 10, 4)
    assert dots(drawn.rows[3][0]) > 0
    assert dots(drawn.rows[0][9]) > 0
    assert dots(drawn.rows[0][0]) == dots(drawn.rows[3][9]) == 0


def test_axes_span_all_curves() -> None:
    drawn = chart([[(1, 0.5)], [(1, 0.1), (40, 0.9)]], 20, 6)
    assert (drawn.low, drawn.middle, drawn.high) == ("0.1", "0.5", "0.9")
    assert (drawn.first, drawn.last) == ("1", "40")


def test_this_runs_curve_lies_over_the_one_before() -> None:
    same = [(0, 0.0), (10, 1.0)]
    curves = {cell.curve for row in chart([same, same], 10, 4).rows for cell in row}
    assert 0 in curves
    assert 1 not in curves


def test_the_curve_before_is_thinner_than_this_one() -> None:
    line = [(0.0, 0.0), (10.0, 1.0)]
    this = sum(dots(cell) for row in chart([line], 20, 8).rows for cell in row)
    before = sum(dots(cell) for row in chart([[], line], 20, 8).rows for cell in row)
    assert before < this / 2


@pytest.mark.parametrize("points", [[], [(1, 5.0)], [(1, 5.0), (2, 5.0)], [(3, -1e300), (3, 1e300)]])
def test_odd_curves_do_no_harm(points: list[tuple[float, float]]) -> None:
    drawn = chart([points], 12, 4)
    assert len(drawn.rows) == 4
    assert all(len(row) == 12 for row in drawn.rows)


def test_no_room_draws_nothing() -> None:
    assert chart([[(1, 1.0)]], 0, 0).rows == ()


@pytest.mark.parametrize("value", [0, 1, 0.73123, 12.5, 1234.5, 99999, 1e-5, -0.00012, 3.7e12, -4.2e-11])
def test_axis_numbers_fit_their_gutter(value: float) -> None:
    text = axis_number(value)
    assert len(text) <= 7
    assert float(text) == pytest.approx(value, rel=0.35)


@pytest.mark.parametrize("fraction", [-1, 0, 0.001, 0.5, 0.999, 1, 7])
def test_a_bar_is_always_as_wide_as_asked(fraction: float) -> None:
    done, rest = bar(fraction, 10)
    assert len(done + rest) == 10


def test_a_bar_is_full_only_at_the_end_and_empty_only_at_the_start() -> None:
    assert bar(0, 10)[0] == ""
    assert bar(0.001, 10)[0] == "╸"
    assert bar(0.999, 10)[0] == "━" * 9 + "╸"
    assert bar(1, 10) == ("━" * 10, "")


def test_a_sparkline_shows_the_latest_values_at_the_right() -> None:
    assert sparkline([0, 50, 100], 5) == "  ▁▅█"
    assert sparkline([0] * 10 + [100], 2) == "▁█"
    assert sparkline([-5, 500], 2) == "▁█"
    assert sparkline([], 3) == "   "


@pytest.mark.parametrize(
    ("low", "high", "told"),
    [
        (1.1121, 1.1139, ("1.114", "1.113", "1.112")),
        (0.1, 0.9, ("0.9", "0.5", "0.1")),
        (1.11420, 1.11424, ("1.11424", "1.11422", "1.1142")),
        (-0.00121, -0.0012, ("-0.0012", "-0.0012", "-0.0012")),
        (1e12, 3e12, ("3e+12", "2e+12", "1e+12")),
    ],
)
def test_ticks_have_as_many_digits_as_tell_them_apart(low: float, high: float, told: tuple[str, str, str]) -> None:
    found = axis_numbers(low, high)
    assert found == told
    assert max(map(len, found)) <= 7
