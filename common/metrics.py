"""What a metric is, and the metrics that every service has. Each service declares its own in `services/<name>/metrics.py`.

The declarations are the catalogue: registration, `docs/metrics.md`, the alerts' tests and the first zeros all come from it.
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import product
from typing import NamedTuple

#: In-process steps and hops on one machine, seconds.
STEP_BUCKETS = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
#: From socket to decision, seconds; an edge on every objective.
END_TO_END_BUCKETS = (0.001, 0.0015, 0.0025, 0.005, 0.008, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5)

#: Longest endings first, so that `_usd_seconds` is not taken for seconds.
_UNITS = {
    "usd_seconds": "USD x s",
    "seconds": "s",
    "usd": "USD",
    "bps": "bps",
    "bars": "bars",
    "records": "records",
    "bytes": "bytes",
    "cores": "cores",
    "ratio": "0 to 1",
}


class MetricKind(StrEnum):
    """The kinds that Prometheus knows and we use."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: the name says the unit, counters end in `_total`."""

    name: str
    kind: MetricKind
    meaning: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = STEP_BUCKETS
    #: The values that a label takes, where they are known beforehand. Of pairs and symbols the settings tell them.
    values: Mapping[str, Collection[str]] = field(default_factory=dict)
    #: What a gauge without labels says before it is first set; NaN where 0 would be a statement.
    starts_at: float = 0.0

    @property
    def unit(self) -> str:
        """The unit as the name says it; 1 for numbers and counts."""
        bare = self.name.removesuffix("_total")
        return next((unit for ending, unit in _UNITS.items() if bare.endswith(f"_{ending}")), "1")

    def known(self, settings: Mapping[str, Collection[str]]) -> Iterator[tuple[tuple[str, str], ...]]:
        """Every combination of labels that is known beforehand; none when the values of one are not, or there are no labels."""
        values = {**settings, **self.values}
        if self.labels and all(label in values for label in self.labels):
            for combination in product(*(values[label] for label in self.labels)):
                yield tuple(zip(self.labels, combination, strict=True))


class Flow(NamedTuple):
    """What goes through a service, for the first zeros of the metrics that all services share."""

    #: Topics or sources of records, and what may be wrong with one.
    consumed: tuple[str, ...]
    produced: tuple[str, ...]
    refusals: tuple[str, ...]
    #: Why a record is passed over.
    drops: tuple[str, ...] = ()
    #: What dead letters name as their source, where that is not what is consumed.
    sources: tuple[str, ...] = ()


#: What may be wrong with any record.
COMMON_REFUSALS = ("undecodable", "not-computable", "not-finite", "invalid-pair", "unusable-book", "unusable-mark")

#: Levels of log lines that somebody may have to act on.
PROBLEM_LEVELS = ("WARNING", "ERROR", "CRITICAL")
PROBLEMS_LOGGED = "crypto_bot_problems_logged_total"

COMMON_METRICS = (
    Metric("crypto_bot_records_consumed_total", MetricKind.COUNTER, "records read and handled", ("topic",)),
    Metric("crypto_bot_records_produced_total", MetricKind.COUNTER, "records handed to the broker", ("topic",)),
    Metric(
        "crypto_bot_records_dropped_total",
        MetricKind.COUNTER,
        "records dropped because they were seen before or come from an older writer",
        ("topic", "reason"),
    ),
    Metric("crypto_bot_dead_letters_total", MetricKind.COUNTER, "records and frames set aside", ("source", "reason")),
    Metric(
        "crypto_bot_states_restored_total",
        MetricKind.COUNTER,
        "pairs taken over, by where their state came from",
        ("origin",),
        values={"origin": ("beginning", "snapshot", "rebuilt")},
    ),
    Metric("crypto_bot_step_seconds", MetricKind.HISTOGRAM, "time to handle one turn's records", (), STEP_BUCKETS),
    Metric("crypto_bot_slow_steps_total", MetricKind.COUNTER, "turns over their time budget"),
    Metric("crypto_bot_consumer_lag_records", MetricKind.GAUGE, "records that are there and not yet read, by the client's own figures"),
    Metric("crypto_bot_producer_queue_ratio", MetricKind.GAUGE, "how full the queue of records is that the broker has not acknowledged"),
    Metric(
        "crypto_bot_input_age_seconds", MetricKind.HISTOGRAM, "from reading a frame off the socket to handling what came of it here", (), END_TO_END_BUCKETS
    ),
    Metric(PROBLEMS_LOGGED, MetricKind.COUNTER, "log lines of the levels that report a problem", ("level",), values={"level": PROBLEM_LEVELS}),
    Metric("crypto_bot_ready", MetricKind.GAUGE, "1 while the service is ready"),
    Metric(
        "crypto_bot_check_passed",
        MetricKind.GAUGE,
        "1 while a check of /health passes; `transport` is the way to Kafka, `exchange` that to the exchange's REST",
        ("check",),
    ),
    Metric("crypto_bot_registry_up", MetricKind.GAUGE, "1 while Redis answers; NaN where there is none (REDIS_URL is empty)", starts_at=math.nan),
    Metric("crypto_bot_memory_used_bytes", MetricKind.GAUGE, "resident memory of the process and of those that it has started"),
    Metric("crypto_bot_memory_limit_bytes", MetricKind.GAUGE, "memory that the process may take: its container's limit, else the machine's memory"),
    Metric(
        "crypto_bot_cpu_limit_cores", MetricKind.GAUGE, "processor time that the process may take a second: its container's limit, else the machine's cores"
    ),
    Metric("crypto_bot_disk_free_bytes", MetricKind.GAUGE, "free space where DATA_DIR is"),
    Metric("crypto_bot_disk_size_bytes", MetricKind.GAUGE, "size of the disk where DATA_DIR is"),
    Metric("crypto_bot_build_info", MetricKind.GAUGE, "always 1; the version is in the labels", ("service", "version", "profile")),
)


def catalogue(flow: Flow, own: Sequence[Metric]) -> tuple[Metric, ...]:
    """All metrics of a service: the common ones with the label values that are known of it, and its own."""
    values: dict[str, Mapping[str, Collection[str]]] = {
        "crypto_bot_records_consumed_total": {"topic": flow.consumed},
        "crypto_bot_records_produced_total": {"topic": flow.produced},
        "crypto_bot_records_dropped_total": {"topic": flow.consumed, "reason": flow.drops},
        "crypto_bot_dead_letters_total": {"source": flow.sources or flow.consumed, "reason": flow.refusals},
    }
    return (*(replace(metric, values=values.get(metric.name, metric.values)) for metric in COMMON_METRICS), *own)
