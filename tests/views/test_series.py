from specrun.views.series import Series


def filled(values: list[float], limit: int = 16) -> Series:
    series = Series(limit)
    for step, value in enumerate(values):
        series.append(step, value)
    return series


def test_a_short_series_is_kept_as_it_is() -> None:
    assert filled([3.0, 1.0, 2.0]).points == [(0, 3.0), (1, 1.0), (2, 2.0)]


def test_a_long_series_stays_bounded_in_order_and_spans_all_steps() -> None:
    series = filled([float(i % 7) for i in range(10_000)], limit=64)
    steps = [step for step, _ in series.points]
    assert len(steps) <= 64
    assert len(steps) >= 16
    assert steps == sorted(steps)
    assert steps[0] < 1000
    assert steps[-1] > 9000


def test_a_spike_survives_the_thinning() -> None:
    values = [1.0] * 1000
    values[500] = 9.0
    assert max(value for _, value in filled(values, limit=32).points) == 9.0


def test_last_best_and_count_are_exact() -> None:
    series = filled([5.0, 1.0, *([3.0] * 500), 4.0])
    assert series.last == (502, 4.0)
    assert series.best_low == (1, 1.0)
    assert series.best_high == (0, 5.0)
    assert series.count == 503
