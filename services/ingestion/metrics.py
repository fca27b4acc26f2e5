"""What ingestion measures besides the common metrics."""

from common.messages import BarStatus
from common.metrics import Flow, Metric, MetricKind, catalogue
from services.ingestion.source import Channel

_CHANNELS = tuple(channel.value for channel in Channel)
_IGNORED = ("duplicate", "trade", "mark-price", "no-pair", "no-event-time", "waiting-for-other-leg", "other-stream", "control")

METRICS = (
    Metric(
        "crypto_bot_frames_total",
        MetricKind.COUNTER,
        "what became of the frames, counted once for every pair that has the symbol: tick, conflated, dead-letter or ignored",
        ("outcome",),
        values={"outcome": ("tick", "conflated", "dead-letter", "ignored")},
    ),
    Metric("crypto_bot_frames_ignored_total", MetricKind.COUNTER, "frames that make no tick, by reason", ("reason",), values={"reason": _IGNORED}),
    Metric(
        "crypto_bot_bars_closed_total",
        MetricKind.COUNTER,
        "bar closes written, by status",
        ("status",),
        values={"status": tuple(status.value for status in BarStatus)},
    ),
    Metric(
        "crypto_bot_feed_gaps_total",
        MetricKind.COUNTER,
        "trades that the exchange counted and we did not see: jumps in their numbers",
        ("stream",),
        values={"stream": ("trade", "aggTrade")},
    ),
    Metric(
        "crypto_bot_feed_reconnects_total",
        MetricKind.COUNTER,
        "connections to the exchange after the first",
        ("channel",),
        values={"channel": _CHANNELS},
    ),
    Metric("crypto_bot_feed_connected", MetricKind.GAUGE, "1 while every connection to the exchange is open"),
    Metric("crypto_bot_feed_ended", MetricKind.GAUGE, "1 after a recording has ended: nothing more comes"),
    Metric("crypto_bot_book_age_seconds", MetricKind.GAUGE, "wall time since the last book of a symbol came; endless before the first", ("symbol",)),
    Metric("crypto_bot_frames_waiting", MetricKind.GAUGE, "frames read off the sockets and not yet handled"),
    Metric("crypto_bot_pairs_behind", MetricKind.GAUGE, "pairs of a live feed whose ticks are conflated because decisions lag"),
    Metric("crypto_bot_session", MetricKind.GAUGE, "market session in progress"),
)

#: With the common metrics.
CATALOGUE = catalogue(
    Flow(
        consumed=("frames",),
        produced=("ticks",),
        refusals=(
            "undecodable",
            "missing-field",
            "wrong-type",
            "oversize",
            "crossed",
            "symbol-mismatch",
            "unknown-symbol",
            "not-positive",
            "not-finite",
            "out-of-range",
            "time-jump",
            "time-backwards",
        ),
        sources=(*_CHANNELS, "progress"),
    ),
    METRICS,
)
