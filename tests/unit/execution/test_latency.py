"""Percentiles in bounded memory."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.execution.latency import LatencyDigest


def test_nothing_measured_is_zero() -> None:
    """Before the first tick there is no latency."""
    assert LatencyDigest().summary() == {"p50": 0.0, "p99": 0.0, "max": 0.0}


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(0.02, 100_000), min_size=1, max_size=200), st.sampled_from([0.5, 0.9, 0.99, 1.0]))
def test_percentiles_are_within_two_percent(durations: list[float], share: float) -> None:
    """The digest is never below the true percentile and at most one bucket above."""
    digest = LatencyDigest()
    for duration in durations:
        digest.add(duration)
    wanted = max(1, -int(-share * len(durations) // 1))
    exact = sorted(durations)[wanted - 1]
    assert exact * (1 - 1e-9) <= digest.percentile(share) <= exact * 1.0201


@pytest.mark.parametrize("duration", [-5.0, 0.0, 1e9])
def test_durations_outside_the_range_are_counted_at_its_edge(duration: float) -> None:
    """A clock that went back or a pause of days breaks nothing."""
    digest = LatencyDigest()
    digest.add(duration)
    assert digest.percentile(0.5) <= 1e9
