"""The metrics of the volatility service."""

from common.metrics import COMMON_REFUSALS, Flow, Metric, MetricKind, catalogue

#: What a pair's summary holds, and the gauge that shows it.
GAUGES = {
    "innovation_deviation_bps": "crypto_bot_garch_innovation_deviation_bps",
    "autocorrelation": "crypto_bot_garch_innovation_autocorrelation",
    "half_life_bars": "crypto_bot_garch_half_life_bars",
    "model_age_bars": "crypto_bot_garch_model_age_bars",
    "fitted": "crypto_bot_garch_fitted",
    "fits_accepted": "crypto_bot_garch_fits_accepted",
    "fits_refused": "crypto_bot_garch_fits_refused",
}

METRICS = (
    Metric("crypto_bot_garch_innovation_deviation_bps", MetricKind.GAUGE, "forecast standard deviation of the next innovation, bps", ("pair",)),
    Metric(
        "crypto_bot_garch_innovation_autocorrelation",
        MetricKind.GAUGE,
        "autocorrelation of the innovations at lag 1: 0 were white, near 1 reverts late",
        ("pair",),
    ),
    Metric("crypto_bot_garch_half_life_bars", MetricKind.GAUGE, "half-life of the innovation, bars; 0 when unknown", ("pair",)),
    Metric("crypto_bot_garch_model_age_bars", MetricKind.GAUGE, "bars since a fit was last put to use, given up or not; 0 before the first", ("pair",)),
    Metric("crypto_bot_garch_fitted", MetricKind.GAUGE, "1 while a fitted GARCH model is in use, 0 while the fallback is", ("pair",)),
    Metric("crypto_bot_garch_fits_accepted", MetricKind.GAUGE, "fits accepted in the pair's history", ("pair",)),
    Metric("crypto_bot_garch_fits_refused", MetricKind.GAUGE, "fits refused or failed in the pair's history", ("pair",)),
)

#: With the common metrics.
CATALOGUE = catalogue(
    Flow(
        consumed=("hedge-ratio-closes",),
        produced=("volatility-thresholds",),
        refusals=(*COMMON_REFUSALS, "no-pair", "wrong-partition", "unexpected-message", "bar-jump", "invalid-estimate"),
        drops=("already-applied", "published-before", "unconfigured-pair", "closed-bar", "old-session"),
    ),
    METRICS,
)
