"""Causes in trading, risk and models: prices that jump, wave or stand still, orders that are late or refused, limits that are near."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

from scripts.drill.acts import Act, Expected, about
from scripts.drill.feed import Disturbance
from scripts.drill.stage import EXECUTION, KALMAN, RISK, Stage

_BARS, _MODELS = "bars", "models"
_PAIR = "ETHUSDT-BTCUSDT"
_SYMBOLS = frozenset({"BTCUSDT", "ETHUSDT", "SOLUSDT"})
_TRADE_S = 120.0
_LAST_BAR = "crypto_bot_risk_last_closed_bar"
#: A drawdown that a minute of trading brings, and that is not won back by leaving the positions.
_A_LOSS = 0.002


def _order(stage: Stage, kind: str, why: str) -> None:
    stage.post(stage.port(RISK), f"/{kind}", {"who": "drill", "why": why})


def _open_position(stage: Stage) -> Mapping[str, Any]:
    """Wait for a position of the pair that is open."""
    found: list[Mapping[str, Any]] = []

    def look() -> bool:
        found[:] = [each for each in stage.positions() if each["pair"] == _PAIR and each["state"] == "OPEN"]
        return bool(found)

    stage.wait(look, _TRADE_S, f"an open position of {_PAIR}")
    return found[0]


@contextmanager
def _halted(stage: Stage) -> Iterator[None]:
    _order(stage, "halt", "a drill")
    try:
        yield
    finally:
        _order(stage, "resume", "the drill is over")


@contextmanager
def _loss(stage: Stage) -> Iterator[None]:
    """The y leg of an open position moves against it by half."""
    quantity = Decimal(_open_position(stage)["legs"]["y"]["quantity"])
    factor = 0.5 if quantity > 0 else 1.5
    with stage.feed.disturbed(Disturbance(prices={"ETHUSDT": lambda _: factor})):
        yield
    _order(stage, "resume", "the drill is over")


@contextmanager
def _flat(stage: Stage) -> Iterator[None]:
    """No position for a while, so that money stands still."""
    _order(stage, "flatten", "a drill")
    try:
        stage.wait(lambda: stage.value("sum(crypto_bot_gross_exposure_usd)") == 0, _TRADE_S, "no position")
        # What was lost on the way out is known some bars later, to execution, to risk-manager and to Prometheus.
        stage.wait_above(_LAST_BAR, (stage.value(_LAST_BAR) or 0.0) + 20, "some bars without a position")
        yield
    finally:
        _order(stage, "resume", "the drill is over")


@contextmanager
def _tight_limit(stage: Stage) -> Iterator[None]:
    """What has been lost is near a limit that it was far from before."""
    lost = "crypto_bot_risk_drawdown_ratio"
    stage.wait(lambda: (stage.value(lost) or 0.0) > _A_LOSS, _TRADE_S, "some loss")
    with _flat(stage), stage.told(RISK, {"MAX_DRAWDOWN": f"{(stage.value(lost) or 0.0) * 1.1:.8f}"}):
        yield


@contextmanager
def _regime(stage: Stage) -> Iterator[None]:
    with stage.feed.disturbed(Disturbance(prices={"ETHUSDT": lambda _: 1.03})):
        yield


@contextmanager
def _late_fills(stage: Stage) -> Iterator[None]:
    with stage.told(EXECUTION, {"PAPER_LATENCY_MS": "21600000", "UNHEDGED_SECONDS": "86400"}):
        yield


@contextmanager
def _small_budget(stage: Stage) -> Iterator[None]:
    with stage.told(EXECUTION, {"UNHEDGED_SECONDS": "61"}):
        yield


@contextmanager
def _swings(stage: Stage) -> Iterator[None]:
    """By the time that an order is filled the price is elsewhere."""
    swing: Callable[[int], float] = lambda number: 1 + 0.005 * math.sin(2 * math.pi * number / 12)  # noqa: E731 - as a value
    with stage.feed.disturbed(Disturbance(prices={"ETHUSDT": swing})):
        yield


@contextmanager
def _thin_books(stage: Stage) -> Iterator[None]:
    with stage.feed.disturbed(Disturbance(size=Decimal("0.002"))):
        yield


@contextmanager
def _still_prices(stage: Stage) -> Iterator[None]:
    with stage.feed.disturbed(Disturbance(frozen=_SYMBOLS)):
        yield


@contextmanager
def _waves(stage: Stage) -> Iterator[None]:
    """A wave of eight bars: what a first-order model leaves of it is a wave again."""
    wave: Callable[[int], float] = lambda number: 1 + 0.01 * math.sin(2 * math.pi * number / 8)  # noqa: E731 - as a value
    with stage.feed.disturbed(Disturbance(prices={"ETHUSDT": wave})):
        yield


@contextmanager
def _old_models(stage: Stage) -> Iterator[None]:
    with stage.told(RISK, {"MAX_MODEL_AGE_BARS": "1"}):
        yield


def _showing(name: str, samples: Mapping[str, float]) -> Callable[[Stage], Any]:
    @contextmanager
    def show(stage: Stage) -> Iterator[None]:
        with stage.showing(name, samples):
            yield

    return show


@contextmanager
def _profit_off(stage: Stage) -> Iterator[None]:
    """Flat, for the alert looks at pairs without a position; and some dollars from nowhere."""
    equity = f'crypto_bot_equity_usd{{pair="{_PAIR}"}}'
    with _flat(stage), stage.showing(EXECUTION, {equity: (stage.value(equity) or 0.0) + 12.34}):
        yield


MONEY = (
    Act(about("TradingHalted"), _BARS, "an operator halts trading by POST /halt", "he lifts it by POST /resume", _halted),
    Act(
        about("DrawdownHigh"),
        _BARS,
        "the y leg of an open position moves against it by half",
        "the price comes back, and an operator resumes: losses count anew from there",
        _loss,
    ),
    Act(
        about("RiskLimitNear"),
        _BARS,
        "risk-manager-service runs with a MAX_DRAWDOWN of a tenth more than has been lost",
        "it runs with the usual limit",
        _tight_limit,
        within_s=150,
    ),
    Act((Expected("RegimeBreak", pair=_PAIR),), _BARS, "ETHUSDT jumps by 3 % and stays there", "it jumps back; the alert ends with its window", _regime),
    Act(
        (Expected("PositionStuck", pair=_PAIR),),
        _BARS,
        "orders are filled six hours late (PAPER_LATENCY_MS; recorded time, 90 s here)",
        "they are filled as usual",
        _late_fills,
        within_s=150,
    ),
    Act(
        (Expected("UnhedgedOverBudget", pair=_PAIR),),
        _BARS,
        "a position may be unhedged for 61 s (UNHEDGED_SECONDS) where the book of the second leg comes after a minute",
        "it may be as long as usual, and the position closes",
        _small_budget,
        within_s=150,
        resolved_within_s=150,
    ),
    Act(
        (Expected("SlippageHigh", pair=_PAIR),),
        # With klines a fill comes a minute after its decision, which is expensive at any time.
        "live",
        "the price of ETHUSDT swings by 1 % within a dozen books, so that it is elsewhere when an order is filled",
        "it swings no more",
        _swings,
        within_s=180,
        resolved_within_s=180,
    ),
    Act(
        (Expected("OrdersRejected", pair=_PAIR),),
        _BARS,
        "books hold 0.002 coins, so that what fills of the first leg is too little for an order of the second",
        "books are as they were",
        _thin_books,
        within_s=180,
        resolved_within_s=150,
    ),
    Act(
        (Expected("FitsRefused", pair=_PAIR), Expected("ForecastsOff", pair=_PAIR)),
        _MODELS,
        "all prices stand still",
        "they move again",
        _still_prices,
        within_s=240,
        resolved_within_s=240,
    ),
    Act(
        (Expected("SurprisesNotWhite", pair=_PAIR),),
        _MODELS,
        "the price of ETHUSDT has a wave of 1 % and eight bars on top",
        "it has none",
        _waves,
        within_s=180,
        resolved_within_s=180,
    ),
    Act(
        (Expected("ModelStale", pair=_PAIR),),
        _MODELS,
        "a volatility model may be one bar old (MAX_MODEL_AGE_BARS=1)",
        "it may be as old as usual",
        _old_models,
        within_s=120,
    ),
    Act(
        (Expected("PnlDoesNotClose", pair=_PAIR),),
        _BARS,
        "crypto_bot_equity_usd is 12.34 USD more than it is, without a position",
        "it is what it is",
        _profit_off,
        at_source="the ledger's parts add up by construction, to the cent; nobody can make them differ without a fault in the code",
    ),
    Act(
        about("EquityDiffersFromRisk"),
        _BARS,
        "crypto_bot_risk_equity_usd is 1 USD",
        "it is what it is",
        _showing(RISK, {"crypto_bot_risk_equity_usd": 1.0}),
        within_s=120,
        at_source="both come from the same marks; they differ for long only by a fault in the code",
    ),
    Act(
        (Expected("FilterReset", pair=_PAIR),),
        _BARS,
        "crypto_bot_kalman_covariance_resets is 7",
        "it is what it is",
        _showing(KALMAN, {f'crypto_bot_kalman_covariance_resets{{pair="{_PAIR}"}}': 7.0}),
        at_source="no price that passes ingestion makes the covariance invalid",
    ),
)
