"""Models: whether the hedge ratio, the forecasts and the changepoint detector can be believed."""

from monitoring import palette
from scripts.dashboards.frame import Board
from scripts.dashboards.panels import BARS, BPS, COUNT, NUMBER, RATIO, Query, Row, limit, lines, stat, timeline


def _by_pair(metric: str, function: str = "max") -> Query:
    return Query(f'{function} by (pair) ({metric}{{pair=~"$pair"}})', "{{pair}}")


def _of_rule(what: str, rule: str) -> str:
    return f'crypto_bot_risk_rule_{what}{{pair=~"$pair",rule="{rule}"}}'


_NOW = Row(
    "Now",
    4,
    (
        stat("Healthy pairs", "No rule about their data and models finds anything.", COUNT, 'sum(crypto_bot_pair_healthy{pair=~"$pair"})'),
        stat("Pairs", "Those chosen.", COUNT, 'count(crypto_bot_pair_healthy{pair=~"$pair"})'),
        stat("Still warming up", "Pairs whose filter has not begun.", COUNT, 'sum(crypto_bot_kalman_warm_up_bars{pair=~"$pair"} > bool 0)'),
        stat("With a fitted model", "Pairs whose volatility comes of a fit, not of the fallback.", COUNT, 'sum(crypto_bot_garch_fitted{pair=~"$pair"})'),
        stat("Oldest fit", "Bars since the oldest fit in use took effect.", BARS, 'max(crypto_bot_garch_model_age_bars{pair=~"$pair"})'),
        stat("Fits refused", "In the pairs' history.", COUNT, 'sum(crypto_bot_garch_fits_refused{pair=~"$pair"})'),
        stat(
            "Likeliest change of regime",
            "The highest probability of a recent one.",
            RATIO,
            'max(crypto_bot_changepoint_recent_mass_ratio{pair=~"$pair"})',
        ),
        stat("Resets of the filter", "In this session.", COUNT, 'sum(crypto_bot_kalman_covariance_resets{pair=~"$pair"})'),
    ),
)

_HEALTH = Row(
    "Health",
    7,
    (
        timeline(
            "Fit to trade",
            "Whether no rule about a pair's own data and models finds anything.",
            {"not fit": palette.CRITICAL, "fit": palette.GOOD},
            _by_pair("crypto_bot_pair_healthy", "min"),
            alerts=("PairUnhealthy",),
        ),
        timeline(
            "Fitted model in use",
            "While it is not, an EWMA stands in.",
            {"fallback": palette.WARNING, "fitted": palette.GOOD},
            _by_pair("crypto_bot_garch_fitted", "min"),
        ),
    ),
)

_HEDGE = Row(
    "Hedge ratio: the filter",
    8,
    (
        lines("Hedge ratio", "Notional of x that hedges one unit of notional of y.", NUMBER, _by_pair("crypto_bot_kalman_beta")),
        lines("Uncertainty of the hedge ratio", "Its standard deviation, as the filter believes it.", NUMBER, _by_pair("crypto_bot_kalman_beta_deviation")),
        lines("Innovation", "Of the newest tick, over the filter's own standard deviation.", NUMBER, _by_pair("crypto_bot_kalman_innovation_z")),
        lines("Spread", "As it is traded: the innovation of the newest tick.", BPS, _by_pair("crypto_bot_kalman_spread_bps")),
        lines("Warm-up", "FRESH bars gathered; 0 once the filter runs.", BARS, _by_pair("crypto_bot_kalman_warm_up_bars"), minimum=0),
        lines(
            "Resets",
            "Times that the covariance was reset in this session, and the hedge ratio learnt anew.",
            COUNT,
            _by_pair("crypto_bot_kalman_covariance_resets"),
            minimum=0,
            alerts=("FilterReset",),
        ),
    ),
)

_VOLATILITY = Row(
    "Volatility: the forecasts",
    8,
    (
        lines(
            "Forecast volatility", "Standard deviation of the next innovation.", BPS, _by_pair("crypto_bot_garch_innovation_deviation_bps"), width=6, minimum=0
        ),
        lines(
            "Age of the fit",
            "Bars since the fit in use took effect, and from when on risk-manager lets the pair only reduce.",
            BARS,
            _by_pair("crypto_bot_garch_model_age_bars"),
            limit(f"min({_of_rule('limit', 'model-age')})"),
            width=6,
            minimum=0,
            alerts=("ModelStale",),
        ),
        lines(
            "Fits",
            "Accepted, and refused or failed, in the pair's history.",
            COUNT,
            Query('max by (pair) (crypto_bot_garch_fits_accepted{pair=~"$pair"})', "accepted {{pair}}"),
            Query('max by (pair) (crypto_bot_garch_fits_refused{pair=~"$pair"})', "refused {{pair}}"),
            width=6,
            minimum=0,
            alerts=("FitsRefused",),
        ),
        lines("Half-life", "How long an innovation takes to halve; 0 when unknown.", BARS, _by_pair("crypto_bot_garch_half_life_bars"), width=6, minimum=0),
        lines(
            "Surprises: standard deviation",
            "Of the standardised surprises of about 200 bars: 1 where the forecasts are right.",
            NUMBER,
            _by_pair("crypto_bot_surprise_deviation"),
            limits=((None, palette.WARNING), (0.4, palette.GOOD), (2, palette.WARNING)),
            minimum=0,
            alerts=("ForecastsOff",),
        ),
        lines(
            "Surprises: autocorrelation",
            "Of neighbouring standardised surprises of about 200 bars: 0 where the models miss nothing.",
            NUMBER,
            _by_pair("crypto_bot_surprise_autocorrelation"),
            limits=((None, palette.WARNING), (-0.5, palette.GOOD), (0.5, palette.WARNING)),
            alerts=("SurprisesNotWhite",),
        ),
        lines(
            "Innovations: autocorrelation",
            "At lag 1: 0 were white, near 1 reverts late.",
            NUMBER,
            _by_pair("crypto_bot_garch_innovation_autocorrelation"),
        ),
    ),
)

_REGIME = Row(
    "Regime: the changepoint detector",
    8,
    (
        lines(
            "Recent change",
            "Probability of one, and from when on the pair only reduces.",
            RATIO,
            _by_pair("crypto_bot_changepoint_recent_mass_ratio"),
            limit(f"min({_of_rule('limit', 'changepoint')})"),
            minimum=0,
        ),
        lines("Run length", "Expected bars since the last change.", BARS, _by_pair("crypto_bot_changepoint_run_length_bars"), minimum=0),
        lines(
            "Actions",
            "Times that the detector began to ask for an action.",
            COUNT,
            Query('sum by (pair, action) (increase(crypto_bot_changepoint_actions_total{pair=~"$pair"}[$__rate_interval]))', "{{action}} {{pair}}"),
            style="bars",
            alerts=("RegimeBreak",),
        ),
    ),
)

MODELS = Board(
    "models",
    "Models",
    "Hedge ratio, volatility forecasts and changepoints of each pair, and whether they can be believed.",
    (_NOW, _HEALTH, _HEDGE, _VOLATILITY, _REGIME),
)
