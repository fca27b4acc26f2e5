"""What the figures of a bench mean."""

from dataclasses import replace
from typing import Any

import pytest

from scripts.bench.figures import (
    CONFLATED,
    EVERY_TICK,
    FLAT_OUT,
    Case,
    counted_between,
    hop_rows,
    latency_rows,
    markdown,
    missed,
    percentiles,
    plain,
    report_of,
)
from services.execution.latency import LatencyDigest
from tests.unit.bench.builders import GOOD, RELAY, RUN, entry


def test_the_warm_up_does_not_count() -> None:
    """Percentiles are of what came between two looks at the counts."""
    digest = LatencyDigest()
    digest.add(500.0)
    before = digest.counts()
    for duration_ms in range(1, 101):
        digest.add(float(duration_ms))
    shown = percentiles(counted_between(before, digest.counts()))
    assert shown == pytest.approx({"p50": 50, "p90": 90, "p99": 99, "p999": 100}, rel=0.021)


def test_nothing_counted_is_zero() -> None:
    """A window without ticks has no latency."""
    assert set(percentiles({}).values()) == {0.0}


def test_the_report_has_medians_of_runs_and_their_ratio_to_the_relay() -> None:
    """One slow run of three changes nothing; counts are those of all runs together."""
    runs = [replace(RUN, end_to_end_ms={**GOOD, "p50": p50}, held_ticks=1) for p50 in (1.2, 9.0, 1.0)]
    report = report_of(Case("1", EVERY_TICK), runs, [{**RELAY, "p50": p50} for p50 in (0.6, 0.5, 0.7)])
    assert (report["pipeline_ms"]["p50"], report["relay_ms"]["p50"], report["ratio"]["p50"]) == (1.2, 0.6, 2.0)
    assert (report["held_ticks"], report["ticks"], report["frames_per_s"], report["repeats"]) == (3, 9000, 400.0, 3)


def test_the_promised_keys() -> None:
    """Other programs read these keys of an entry."""
    report = entry()
    assert {"speed", "mode", "frames_per_s", "pipeline_ms", "relay_ms", "ratio", "held_ticks", "skipped_bars", "cpu_percent", "rss_mb"} <= report.keys()
    assert {"p50", "p99", "p999"} <= report["pipeline_ms"].keys() & report["relay_ms"].keys()
    assert report["ratio"].keys() == {"p50", "p99"}
    assert (report["speed"], entry(FLAT_OUT)["speed"]) == (1.0, "max")


@pytest.mark.parametrize(("speed", "mode"), [("1", EVERY_TICK), ("1", CONFLATED), ("5", EVERY_TICK), ("10", CONFLATED), (FLAT_OUT, CONFLATED)])
def test_good_figures_miss_nothing(speed: str, mode: str) -> None:
    """Below every budget there is nothing to say."""
    assert missed(entry(speed, mode)) == []


@pytest.mark.parametrize(
    ("speed", "mode", "changes", "said"),
    [
        ("1", EVERY_TICK, {"end_to_end_ms": {**GOOD, "p50": 1.51}}, "1x, every-tick: p50 1.51 ms is over 1.5 ms"),
        ("1", CONFLATED, {"end_to_end_ms": {**GOOD, "p99": 5.1}}, "p99 5.1 ms is over 5 ms"),
        ("5", CONFLATED, {"end_to_end_ms": {**GOOD, "p99": 11}}, "5x, conflated: p99 11 ms is over 10 ms"),
        ("10", EVERY_TICK, {"end_to_end_ms": {**GOOD, "p99": 21}}, "p99 21 ms is over 20 ms"),
        (FLAT_OUT, EVERY_TICK, {"end_to_end_ms": {**GOOD, "p99": 101}}, "flat out, every-tick: p99 101 ms is over 100 ms"),
        ("1", EVERY_TICK, {"relay": {**RELAY, "p50": 0.4}}, "p50 is 2.5 times the relay's, over 2"),
        ("1", CONFLATED, {"relay": {**RELAY, "p99": 1.0}}, "p99 is 4.0 times the relay's, over 2"),
        ("1", EVERY_TICK, {"held_ticks": 4}, "4 of 3000 ticks were held for longer than 8 ms, over 0.1%"),
        ("1", EVERY_TICK, {"skipped_bars": 1}, "1 of 10 bars went on without their risk signal, over 0.1%"),
        ("10", EVERY_TICK, {"decisions": 0}, "10x, every-tick: nothing was traded"),
        ("5", EVERY_TICK, {"rss_mb": {"execution-service": 251.0}}, "execution-service takes 251 MB, over 250 MB"),
        ("10", EVERY_TICK, {"lag_after": {"kalman-filter-service": 200}, "lag_before": {"kalman-filter-service": 1}}, "has grown by 199 records"),
    ],
)
def test_a_missed_budget_is_named(speed: str, mode: str, changes: dict[str, Any], said: str) -> None:
    """What is over is said with figure and limit, and nothing else is."""
    (problem,) = missed(entry(speed, mode, **changes))
    assert said in problem


def test_without_a_relay_there_are_no_ratios() -> None:
    """A machine without the relay still has its latencies."""
    report = entry(relay={})
    assert report["ratio"] == {"p50": None, "p99": None}
    assert missed(report) == []
    assert latency_rows([report])[1].count("-") == 5


def test_tables() -> None:
    """Every case is a row, as text in columns or in Markdown."""
    rows = latency_rows([entry(), entry(FLAT_OUT, CONFLATED)])
    assert [row[:4] for row in rows] == [["speed", "mode", "frames/s", "ticks/s"], ["1x", "every-tick", "400", "300"], ["flat out", "conflated", "400", "300"]]
    assert len({len(line) for line in plain(rows).splitlines()}) == 1
    assert markdown(hop_rows([entry()])).splitlines()[2] == "| 1x | every-tick | 1.00 / 4.00 | 1.00 / 4.00 |"
