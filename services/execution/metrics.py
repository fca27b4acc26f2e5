"""Metrics of execution."""

from common.metrics import END_TO_END_BUCKETS, Metric, MetricKind

METRICS = (
    Metric(
        "crypto_bot_tick_to_decision_seconds", MetricKind.HISTOGRAM, "from reading a frame off the socket to the decision on its tick", (), END_TO_END_BUCKETS
    ),
    Metric(
        "crypto_bot_hop_seconds",
        MetricKind.HISTOGRAM,
        "where the time from the socket to the decision goes, in a service or on the way between two; of the last tick of each turn",
        ("hop",),
        END_TO_END_BUCKETS,
    ),
    Metric("crypto_bot_decisions_total", MetricKind.COUNTER, "decisions to act", ("pair", "action")),
    Metric("crypto_bot_orders_total", MetricKind.COUNTER, "order events", ("pair", "status")),
    Metric("crypto_bot_fills_total", MetricKind.COUNTER, "fills", ("pair",)),
    Metric("crypto_bot_round_trips_total", MetricKind.COUNTER, "positions opened and closed again", ("pair",)),
    Metric("crypto_bot_unhedged_usd_seconds_total", MetricKind.COUNTER, "notional without its hedge times event time, of closed positions", ("pair",)),
    Metric("crypto_bot_holds_expired_total", MetricKind.COUNTER, "live bars that went on without their risk signal", ("pair",)),
    Metric("crypto_bot_equity_usd", MetricKind.GAUGE, "equity of a pair at the last bar close", ("pair",)),
    Metric("crypto_bot_gross_exposure_usd", MetricKind.GAUGE, "gross exposure of a pair at the last bar close", ("pair",)),
    Metric("crypto_bot_records_held_total", MetricKind.COUNTER, "records that had to wait for a risk signal beyond the turn that read them"),
    Metric(
        "crypto_bot_exposure_stops_total", MetricKind.COUNTER, "times new exposure was stopped: records that cannot be used, ticks too old", ("pair", "cause")
    ),
    Metric("crypto_bot_exposure_stopped", MetricKind.GAUGE, "1 while too much of what is read cannot be used and no new exposure is taken"),
    Metric("crypto_bot_lease_epoch", MetricKind.GAUGE, "epoch under which this replica writes the ledger; 0 as standby"),
    Metric("crypto_bot_held_records", MetricKind.GAUGE, "records that wait for a risk signal"),
    Metric("crypto_bot_ledger_commit_seconds", MetricKind.HISTOGRAM, "time to commit a turn to the ledger"),
)
