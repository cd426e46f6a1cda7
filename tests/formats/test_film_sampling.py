from __future__ import annotations

from fractions import Fraction

from specrun.formats.film_sampling import Sampling, choose_frames

TICK = Fraction(1, 1000)


def steady(frames: int, rate: int | Fraction) -> list[Fraction]:
    return [number / Fraction(rate) for number in range(frames)]


def test_every_n_counts_from_the_first_frame_of_the_segment() -> None:
    sampling = Sampling(every_n=10, start=Fraction(1), end=Fraction(2))
    assert choose_frames(steady(100, 30), sampling, TICK) == [30, 40, 50]


def test_a_segment_holds_its_start_and_not_its_end() -> None:
    assert choose_frames(steady(100, 10), Sampling(every_n=1, start=Fraction(2), end=Fraction(3)), TICK) == list(
        range(20, 30)
    )


def test_a_rate_takes_the_first_frame_that_is_due() -> None:
    assert choose_frames(steady(90, 30), Sampling(fps=Fraction(2)), TICK) == [0, 15, 30, 45, 60, 75]


def test_a_rate_that_does_not_divide_the_films_does_not_drift() -> None:
    times = steady(30_000, Fraction(30_000, 1001))
    tick = Fraction(1, 30_000)
    chosen = choose_frames(times, Sampling(fps=Fraction(2)), tick)
    assert len(chosen) == 2002
    assert all(-tick <= times[n] - Fraction(k, 2) < Fraction(1001, 30_000) for k, n in enumerate(chosen))


def test_times_rounded_by_the_container_count_as_what_they_mean() -> None:
    times = [Fraction(round(Fraction(n, 3) * 1000), 1000) for n in range(9)]
    assert choose_frames(times, Sampling(fps=Fraction(3)), TICK) == list(range(9))


def test_gaps_of_a_variable_rate_are_not_filled() -> None:
    times = [Fraction(n, 10) for n in (0, 1, 2, 30, 31, 40)]
    assert choose_frames(times, Sampling(fps=Fraction(1)), TICK) == [0, 3, 5]


def test_a_rate_above_the_films_takes_each_frame_once() -> None:
    assert choose_frames(steady(5, 10), Sampling(fps=Fraction(1000)), TICK) == [0, 1, 2, 3, 4]


def test_a_segment_behind_the_end_holds_nothing() -> None:
    assert choose_frames(steady(5, 10), Sampling(every_n=1, start=Fraction(9)), TICK) == []
