"""What a metric is, and the metrics that every service has. Each service declares its own in `services/<name>/metrics.py`."""

from dataclasses import dataclass
from enum import StrEnum

#: In-process steps and hops on one machine, seconds.
STEP_BUCKETS = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
#: From socket to decision, seconds; an edge on every objective.
END_TO_END_BUCKETS = (0.001, 0.0015, 0.0025, 0.005, 0.008, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5)


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
    Metric("crypto_bot_sequence_gaps_total", MetricKind.COUNTER, "jumps in a pair's seq or bar", ("topic",)),
    Metric("crypto_bot_states_restored_total", MetricKind.COUNTER, "pairs taken over, by where their state came from", ("origin",)),
    Metric("crypto_bot_step_seconds", MetricKind.HISTOGRAM, "time to handle one turn's records", (), STEP_BUCKETS),
    Metric("crypto_bot_slow_steps_total", MetricKind.COUNTER, "turns over their time budget"),
    Metric("crypto_bot_consumer_lag_records", MetricKind.GAUGE, "records that are there and not yet read"),
    Metric(
        "crypto_bot_input_age_seconds", MetricKind.HISTOGRAM, "from reading a frame off the socket to handling what came of it here", (), END_TO_END_BUCKETS
    ),
    Metric("crypto_bot_ready", MetricKind.GAUGE, "1 while the service is ready"),
    Metric("crypto_bot_registry_up", MetricKind.GAUGE, "1 while Redis answers"),
    Metric("crypto_bot_build_info", MetricKind.GAUGE, "always 1; the version is in the labels", ("service", "version", "profile")),
)
