"""What ingestion measures besides the common metrics."""

from common.metrics import Metric, MetricKind

METRICS = (
    Metric(
        "crypto_bot_frames_total",
        MetricKind.COUNTER,
        "what became of the frames, counted once for every pair that has the symbol: tick, conflated, dead-letter or ignored",
        ("outcome",),
    ),
    Metric("crypto_bot_frames_ignored_total", MetricKind.COUNTER, "frames that make no tick, by reason", ("reason",)),
    Metric("crypto_bot_bars_closed_total", MetricKind.COUNTER, "bar closes written, by status", ("status",)),
    Metric("crypto_bot_feed_gaps_total", MetricKind.COUNTER, "trades that the exchange counted and we did not see: jumps in their numbers", ("stream",)),
    Metric("crypto_bot_feed_reconnects_total", MetricKind.COUNTER, "connections to the exchange after the first", ("channel",)),
    Metric("crypto_bot_feed_connected", MetricKind.GAUGE, "1 while every connection to the exchange is open"),
    Metric("crypto_bot_frames_waiting", MetricKind.GAUGE, "frames read off the sockets and not yet handled"),
    Metric("crypto_bot_pairs_behind", MetricKind.GAUGE, "pairs of a live feed whose ticks are conflated because decisions lag"),
    Metric("crypto_bot_session", MetricKind.GAUGE, "market session in progress"),
)
