"""Thresholds and what a round trip costs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.garch_volatility.thresholds import OPTIMAL_BAND, ThresholdParameters, band, optimal_band, round_trip_cost_bps

PARAMETERS = ThresholdParameters(entry_z_min=2.0, exit_z=0.5, stop_z=5.0, fee_bps=5.0)


def test_cost_is_four_fees_and_both_spreads() -> None:
    """Both legs in and out pay the fee, and each leg one full spread; x counts with its notional, whatever beta's sign."""
    assert round_trip_cost_bps(5, 1.5, 1e-4, 2e-4) == pytest.approx(2 * 2.5 * 5 + 1 + 1.5 * 2)
    assert round_trip_cost_bps(5, -1.5, 1e-4, 2e-4) == round_trip_cost_bps(5, 1.5, 1e-4, 2e-4)


@pytest.mark.parametrize(("ratio", "expected"), [*OPTIMAL_BAND, (0.001, 0.1145), (0.0, 0.0), (0.3, 0.78), (2.0, 1.86)])
def test_band_meets_the_table_and_its_limit(ratio: float, expected: float) -> None:
    """The band takes the tabulated values, (3 c / 2)^(1/3) below them and a straight line above."""
    assert optimal_band(ratio) == pytest.approx(expected, rel=0.02)


@given(st.floats(0, 10), st.floats(0, 10))
def test_dearer_is_never_narrower(one: float, other: float) -> None:
    """A higher cost never lowers the entry by more than the table's rounding."""
    low, high = sorted((one, other))
    assert optimal_band(low) <= optimal_band(high) + 0.004


def test_edge_is_the_way_from_entry_to_exit() -> None:
    """At ordinary cost entry is the least one, and the edge is (entry - exit) standard deviations in bps."""
    found = band(PARAMETERS, 0.002, 1.0, 1e-4, 1e-4)
    assert (found.entry_z, found.exit_z, found.stop_z) == (2.0, 0.5, 5.0)
    assert found.expected_edge_bps == pytest.approx(30.0)
    assert found.cost_bps == pytest.approx(22.0)


def test_cost_of_the_order_of_the_spread_pushes_entry_and_stop_out() -> None:
    """With a tiny deviation the entry rises with the cost and the stop stays beyond it."""
    found = band(PARAMETERS, 1e-4, 1.0, 1e-4, 1e-4)
    assert found.entry_z > 10
    assert found.stop_z == found.entry_z + 1


def test_a_higher_fee_raises_entry() -> None:
    """The fee reaches the entry through the optimal band."""
    dear = ThresholdParameters(entry_z_min=0.1, fee_bps=10)
    cheap = ThresholdParameters(entry_z_min=0.1, fee_bps=1)
    assert band(dear, 0.01, 1.0, 1e-4, 1e-4).entry_z > band(cheap, 0.01, 1.0, 1e-4, 1e-4).entry_z
