"""The metrics of the filter service."""

from common.metrics import Metric, MetricKind

#: What a pair's summary holds, and the gauge that shows it.
GAUGES = {
    "innovation_z": "crypto_bot_kalman_innovation_z",
    "beta": "crypto_bot_kalman_beta",
    "resets": "crypto_bot_kalman_covariance_resets",
    "warm_up_bars": "crypto_bot_kalman_warm_up_bars",
}

METRICS = (
    Metric("crypto_bot_kalman_innovation_z", MetricKind.GAUGE, "innovation of the newest tick over the filter's own standard deviation", ("pair",)),
    Metric("crypto_bot_kalman_beta", MetricKind.GAUGE, "hedge ratio: notional of x that hedges one unit of notional of y", ("pair",)),
    Metric("crypto_bot_kalman_covariance_resets", MetricKind.GAUGE, "times that the covariance was reset in this session", ("pair",)),
    Metric("crypto_bot_kalman_warm_up_bars", MetricKind.GAUGE, "FRESH bars gathered while warming up; 0 once the filter runs", ("pair",)),
)
