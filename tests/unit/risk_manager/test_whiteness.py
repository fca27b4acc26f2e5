"""Whether surprises are white."""

import random

import pytest

from services.risk_manager.whiteness import Whiteness


def after(surprises: list[float | None]) -> Whiteness:
    """The moments of a series."""
    whiteness = Whiteness()
    for surprise in surprises:
        whiteness = whiteness.after(surprise)
    return whiteness


def test_white_surprises_are_found_white() -> None:
    """Independent numbers with a deviation of one."""
    draw = random.Random(7)
    found = after([draw.gauss(0, 1) for _ in range(2000)])
    assert found.deviation == pytest.approx(1, abs=0.15)
    assert found.autocorrelation == pytest.approx(0, abs=0.15)


def test_surprises_that_follow_each_other_are_found_out() -> None:
    """An autoregression of 0.8 with a deviation of two."""
    draw, series = random.Random(7), [0.0]
    for _ in range(3000):
        series.append(0.8 * series[-1] + draw.gauss(0, 1.2))
    found = after(list(series))
    assert found.deviation == pytest.approx(2, abs=0.5)
    assert found.autocorrelation == pytest.approx(0.8, abs=0.15)


def test_a_bar_without_a_surprise_separates_its_neighbours() -> None:
    """Where every other bar has none, nothing is known of neighbours."""
    assert after([3.0, None] * 500).autocorrelation == 0
