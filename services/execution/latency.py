"""Percentiles of a stream of durations in bounded memory: a histogram with buckets 2% wide."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from common.trace import Trace

_FIRST_MS = 0.01
_GROWTH = math.log(1.02)
#: Up to about 160 seconds.
_BUCKETS = 840
#: Where the time between two neighbours in a tick's trace goes: in a service, or on the way between two.
HOPS = ("ingestion", "ticks", "kalman-filter", "hedge-ratios", "execution")


class LatencyDigest:
    """Counts durations; a percentile is the upper edge of its bucket, so at most 2% too large."""

    def __init__(self) -> None:
        self._counts = [0] * _BUCKETS
        self._max_ms = 0.0

    def add(self, duration_ms: float) -> None:
        """Count one duration."""
        bucket = math.ceil(math.log(duration_ms / _FIRST_MS) / _GROWTH) if duration_ms > _FIRST_MS else 0
        self._counts[min(bucket, _BUCKETS - 1)] += 1
        self._max_ms = max(self._max_ms, duration_ms)

    def percentile(self, share: float) -> float:
        """The duration that a share of all does not exceed, ms; 0 before the first."""
        return min(percentile(self.counts(), share), self._max_ms)

    def counts(self) -> dict[int, int]:
        """How many durations are in each bucket that has some. May be called from any thread."""
        return {bucket: count for bucket, count in enumerate(tuple(self._counts)) if count}

    def summary(self) -> dict[str, float]:
        """Median, 99th percentile and maximum, ms."""
        return {"p50": round(self.percentile(0.5), 3), "p99": round(self.percentile(0.99), 3), "max": round(self._max_ms, 3)}


class HopLatency:
    """Digests of the time from the socket to the decision, whole and hop by hop."""

    def __init__(self) -> None:
        self.end_to_end = LatencyDigest()
        self.hops = {hop: LatencyDigest() for hop in HOPS}

    def add(self, trace: Trace, decided_ns: int) -> Sequence[tuple[str, int]]:
        """Count a tick that was decided; returns the duration of each hop, ns, where the trace tells all of them."""
        self.end_to_end.add((decided_ns - trace.read_at_ns) / 1e6)
        times_ns = (*trace.times_ns, decided_ns)
        if len(times_ns) != len(HOPS) + 1:
            return ()
        durations = [(hop, to_ns - from_ns) for hop, (from_ns, to_ns) in zip(HOPS, pairwise(times_ns), strict=True)]
        for hop, duration_ns in durations:
            self.hops[hop].add(duration_ns / 1e6)
        return durations

    def counts(self) -> dict[str, Any]:
        """Counts by bucket, whole and per hop. May be called from any thread."""
        return {"end_to_end": self.end_to_end.counts(), "hops": {hop: digest.counts() for hop, digest in self.hops.items()}}


def longer_than(counts: Mapping[int, int], limit_ms: float) -> int:
    """How many durations in a digest's counts were longer, give or take a bucket's 2%."""
    return sum(count for bucket, count in counts.items() if _FIRST_MS * math.exp((bucket - 1) * _GROWTH) >= limit_ms)


def percentile(counts: Mapping[int, int], share: float) -> float:
    """The duration, ms, that a share of all in a digest's counts does not exceed, at most 2% too large; 0 when there are none."""
    wanted = math.ceil(share * sum(counts.values()))
    seen = 0
    for bucket in sorted(counts):
        seen += counts[bucket]
        if counts[bucket] and seen >= wanted:
            return _FIRST_MS * math.exp(bucket * _GROWTH)
    return 0.0
