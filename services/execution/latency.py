"""Percentiles of a stream of durations in bounded memory: a histogram with buckets 2% wide."""

import math

_FIRST_MS = 0.01
_GROWTH = math.log(1.02)
#: Up to about 160 seconds.
_BUCKETS = 840


class LatencyDigest:
    """Counts durations; a percentile is the upper edge of its bucket, so at most 2% too large."""

    def __init__(self) -> None:
        self._counts = [0] * _BUCKETS
        self._total = 0
        self._max_ms = 0.0

    def add(self, duration_ms: float) -> None:
        """Count one duration."""
        bucket = math.ceil(math.log(duration_ms / _FIRST_MS) / _GROWTH) if duration_ms > _FIRST_MS else 0
        self._counts[min(bucket, _BUCKETS - 1)] += 1
        self._total += 1
        self._max_ms = max(self._max_ms, duration_ms)

    def percentile(self, share: float) -> float:
        """The duration that a share of all does not exceed, ms; 0 before the first."""
        wanted = math.ceil(share * self._total)
        seen = 0
        for bucket, count in enumerate(self._counts):
            seen += count
            if count and seen >= wanted:
                return min(_FIRST_MS * math.exp(bucket * _GROWTH), self._max_ms)
        return 0.0

    def summary(self) -> dict[str, float]:
        """Median, 99th percentile and maximum, ms."""
        return {"p50": round(self.percentile(0.5), 3), "p99": round(self.percentile(0.99), 3), "max": round(self._max_ms, 3)}
