"""The metrics of the filter service."""

from common.metrics import COMMON_REFUSALS, Flow, Metric, MetricKind, catalogue

#: What a pair's summary holds, and the gauge that shows it.
GAUGES = {
    "innovation_z": "crypto_bot_kalman_innovation_z",
    "innovation_bps": "crypto_bot_kalman_spread_bps",
    "beta": "crypto_bot_kalman_beta",
    "beta_deviation": "crypto_bot_kalman_beta_deviation",
    "resets": "crypto_bot_kalman_covariance_resets",
    "warm_up_bars": "crypto_bot_kalman_warm_up_bars",
}

METRICS = (
    Metric("crypto_bot_kalman_innovation_z", MetricKind.GAUGE, "innovation of the newest tick over the filter's own standard deviation", ("pair",)),
    Metric(
        "crypto_bot_kalman_spread_bps",
        MetricKind.GAUGE,
        "the spread as it is traded: innovation log y - alpha - beta log x of the newest tick, bps of y's price",
        ("pair",),
    ),
    Metric("crypto_bot_kalman_beta", MetricKind.GAUGE, "hedge ratio: notional of x that hedges one unit of notional of y", ("pair",)),
    Metric("crypto_bot_kalman_beta_deviation", MetricKind.GAUGE, "standard deviation of the hedge ratio, as the filter believes it", ("pair",)),
    Metric("crypto_bot_kalman_covariance_resets", MetricKind.GAUGE, "times that the covariance was reset in this session", ("pair",)),
    Metric("crypto_bot_kalman_warm_up_bars", MetricKind.GAUGE, "FRESH bars gathered while warming up; 0 once the filter runs", ("pair",)),
)

#: With the common metrics.
CATALOGUE = catalogue(
    Flow(
        consumed=("ticks",),
        produced=("hedge-ratios", "hedge-ratio-closes"),
        refusals=(*COMMON_REFUSALS, "no-pair", "wrong-partition", "unexpected-message", "bar-jump", "invalid-price"),
        drops=("already-applied", "published-before", "unconfigured-pair", "seen", "closed-bar", "old-epoch", "old-session"),
    ),
    METRICS,
)
