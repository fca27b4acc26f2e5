"""What no arithmetic can be done with is refused before it reaches a state: one absurd value would stay there for good."""

from decimal import Decimal

from common.errors import InvalidRecord
from common.messages import BarClose, HedgeEstimate, Mark, RiskSignal, Thresholds, Tick

_MOST, _LEAST = Decimal("1e15"), Decimal("1e-40")
#: Prices are divided by, so they must not vanish either.
_LEAST_PRICE = Decimal("1e-12")
#: Logarithms of prices, their variances and hedge ratios are of order one.
_MOST_STATISTIC = 1e9
_MOST_HALF_LIFE_BARS = 1e9


def is_amount(value: Decimal) -> bool:
    """Whether it is nought or a finite number of a size that money and quantities have."""
    return value.is_finite() and (not value or _LEAST < value.copy_abs() < _MOST)


def require_books(tick: Tick) -> None:
    """Raise InvalidRecord unless both books have prices and sizes; ingestion lets no others through."""
    for quote in (tick.y, tick.x):
        numbers = is_amount(quote.bid) and is_amount(quote.ask) and is_amount(quote.bid_size) and is_amount(quote.ask_size)
        if not (numbers and _LEAST_PRICE < quote.bid <= quote.ask and quote.bid_size >= 0 and quote.ask_size >= 0):
            raise InvalidRecord("unusable-book", f"seq {tick.seq}: prices must be positive, bid at most ask, sizes not negative")


def require_marks(close: BarClose) -> None:
    """Raise InvalidRecord for mark prices and funding rates that no money can be worked out of."""
    for mark in (close.y_mark, close.x_mark):
        if mark and not (is_amount(mark.price) and mark.price > _LEAST_PRICE and is_amount(mark.funding_rate) and abs(mark.funding_rate) < 1):
            raise InvalidRecord("unusable-mark", f"seq {close.seq}: a mark price must be positive, a funding rate between -1 and 1")


def require_estimate(estimate: HedgeEstimate) -> None:
    """Raise InvalidRecord for an estimate that no filter of log prices makes."""
    innovation, variance, beta = estimate.innovation, estimate.parameter_variance, estimate.beta
    if not (abs(innovation) < _MOST_STATISTIC and 0 <= variance < _MOST_STATISTIC and abs(beta) < _MOST_STATISTIC):
        raise InvalidRecord("invalid-estimate", f"innovation {innovation}, x'Px {variance}, beta {beta}")


def require_thresholds(thresholds: Thresholds) -> None:
    """Raise InvalidRecord for a forecast that no volatility model makes."""
    values = (
        *(thresholds.innovation or 0.0, thresholds.standardised_innovation or 0.0, thresholds.forecast_variance),
        *(thresholds.entry_z, thresholds.exit_z, thresholds.stop_z, thresholds.expected_edge_bps / 1e4, thresholds.cost_bps / 1e4),
    )
    if not (all(abs(value) < _MOST_STATISTIC for value in values) and thresholds.forecast_variance >= 0):
        raise InvalidRecord("invalid-thresholds", f"bar {thresholds.bar}: a statistic is beyond {_MOST_STATISTIC:g}, or the variance negative")
    if not 0 <= thresholds.half_life_bars < _MOST_HALF_LIFE_BARS:
        raise InvalidRecord("invalid-thresholds", f"bar {thresholds.bar}: half-life of {thresholds.half_life_bars} bars")


def require_signal(signal: RiskSignal) -> None:
    """Raise InvalidRecord for a signal whose budget or thresholds cannot be traded on."""
    require_thresholds(signal.thresholds)
    if not (is_amount(signal.budget_usd) and signal.budget_usd >= 0):
        raise InvalidRecord("invalid-budget", f"bar {signal.bar}: budget of {signal.budget_usd} USD")


def require_money(mark: Mark) -> None:
    """Raise InvalidRecord for a mark whose money is no finite number of a plausible size."""
    if not all(is_amount(value) for value in (mark.starting_usd, mark.equity_usd, mark.gross_exposure_usd)):
        raise InvalidRecord("not-finite", f"mark of {mark.pair} at bar {mark.bar}: money must be finite numbers below {_MOST:g}")
