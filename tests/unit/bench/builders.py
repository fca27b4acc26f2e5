"""Runs of a bench, as they come out when nothing is wrong."""

from dataclasses import replace
from typing import Any

from scripts.bench.figures import EVERY_TICK, MEMORY_MB, Case, Measured, report_of

GOOD = {"p50": 1.0, "p90": 2.0, "p99": 4.0, "p999": 6.0}
RELAY = {"p50": 0.8, "p90": 1.0, "p99": 3.0, "p999": 5.0}
RUN = Measured(
    seconds=10.0,
    frames=4000,
    ticks=3000,
    bars=10,
    held_ticks=0,
    waited_ticks=12,
    skipped_bars=0,
    decisions=4,
    end_to_end_ms=GOOD,
    hops_ms={"ingestion": GOOD, "ticks": GOOD},
    cpu_percent=dict.fromkeys(MEMORY_MB, 5.0),
    rss_mb=dict.fromkeys(MEMORY_MB, 100.0),
    lag_before=dict.fromkeys(MEMORY_MB, 3),
    lag_after=dict.fromkeys(MEMORY_MB, 5),
    record_bytes=500,
)


def entry(speed: str = "1", mode: str = EVERY_TICK, relay: dict[str, float] | None = None, **changes: Any) -> dict[str, Any]:
    """One entry of a report, made of one run."""
    return report_of(Case(speed, mode), [replace(RUN, **changes)], [RELAY if relay is None else relay])
