"""Percentiles in bounded memory."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.trace import Trace
from services.execution.latency import HOPS, HopLatency, LatencyDigest, longer_than, percentile


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


def test_a_difference_of_counts_is_what_lies_between() -> None:
    """Counts taken away from later ones leave the percentiles of what was counted in between."""
    digest = LatencyDigest()
    for _ in range(100):
        digest.add(50.0)
    before = digest.counts()
    digest.add(1.0)
    digest.add(3.0)
    between = {bucket: count - before.get(bucket, 0) for bucket, count in digest.counts().items()}
    assert percentile(between, 0.5) == pytest.approx(1.0, rel=0.02)
    assert percentile(between, 1.0) == pytest.approx(3.0, rel=0.02)


def test_hops_add_up_to_the_whole() -> None:
    """Every stretch of a full trace is counted under its name."""
    latency = HopLatency()
    hops = latency.add(Trace.begin(100).with_time(110).with_hop(130, 160).with_time(200), 250)
    assert hops == list(zip(HOPS, (10, 20, 30, 40, 50), strict=True))
    assert sum(latency.counts()["end_to_end"].values()) == 1


@pytest.mark.parametrize("trace", [Trace.begin(100), Trace.begin(100).with_hop(1, 2).with_hop(3, 4).with_hop(5, 6)])
def test_a_trace_of_another_length_counts_as_a_whole_only(trace: Trace) -> None:
    """Who sent a record past another way tells nothing about the hops."""
    latency = HopLatency()
    assert not latency.add(trace, 200)
    assert not any(latency.counts()["hops"].values())
    assert sum(latency.counts()["end_to_end"].values()) == 1


def test_what_takes_longer_is_counted() -> None:
    """Durations above a limit are told from those below it, but for a bucket's width."""
    digest = LatencyDigest()
    for duration_ms in (0.001, 1.0, 7.8, 8.3, 20.0):
        digest.add(duration_ms)
    assert [longer_than(digest.counts(), limit_ms) for limit_ms in (0.5, 8.0, 100.0)] == [4, 2, 0]
