"""Hand-made inputs of execution: one pair, bars of a minute, a scale of 0.01, so that an innovation of 0.03 is z = 3."""

from dataclasses import replace
from decimal import Decimal
from typing import Any, TypeVar

from msgspec.structs import replace as struct_replace

from common.market import NANOSECONDS, Pair
from common.matching import MatchingRules
from common.messages import (
    BarClose,
    BarStatus,
    Changepoint,
    Execution,
    Feed,
    HedgeEstimate,
    HedgeMessage,
    HedgeRatio,
    HedgeRatioClose,
    MarkPrice,
    ModelStatus,
    Quote,
    RiskSignal,
    Thresholds,
    Tick,
    Verdict,
    VolatilityModel,
)
from common.rules import SymbolRules
from services.execution import processor
from services.execution.state import PairState, Params, initial_state

PAIR = "ETHUSDT-BTCUSDT"
BAR_SECONDS = 60
FIRST_BAR = 1000
SCALE = 0.01
#: Half of it buys exactly 2.5 y at 2,000, the spread included.
GROSS_USD = Decimal(10_001)

M = TypeVar("M", bound=Execution)


def at_ns(bar: int, second: float) -> int:
    """Event time of a second within a bar."""
    return bar * BAR_SECONDS * NANOSECONDS + round(second * NANOSECONDS)


def rules(symbol: str, **changes: Any) -> SymbolRules:
    """Rules of a symbol that hardly bind."""
    plain = SymbolRules(
        symbol=symbol,
        price_tick=Decimal("0.01"),
        quantity_step=Decimal("0.001"),
        minimum_quantity=Decimal("0.001"),
        maximum_quantity=Decimal(10_000),
        minimum_notional=Decimal(5),
    )
    return replace(plain, **changes)


def params(**changes: Any) -> Params:
    """Params with round figures: fees of 5 bps, 50 ms latency, 180 s for the hedge."""
    plain = Params(
        pair=Pair.parse(PAIR),
        y_rules=rules("ETHUSDT"),
        x_rules=rules("BTCUSDT"),
        starting_usd=Decimal(100_000),
        max_position_usd=GROSS_USD,
        fee_bps=Decimal(5),
        matching=MatchingRules(50_000_000, 2 * NANOSECONDS),
        bar_interval_ns=BAR_SECONDS * NANOSECONDS,
        max_leg_age_ns=2 * NANOSECONDS,
        unhedged_ns=180 * NANOSECONDS,
        cost_margin=1.5,
        cool_down_bars=5,
        time_stop_half_lives=2.0,
        time_stop_bars=120,
        advisory_gates=frozenset(),
        max_hedge_error=0.02,
        shorts_allowed=True,
        borrow_bps_per_day=Decimal(0),
    )
    return replace(plain, **changes)


def quote(mid: float, event_time_ns: int, *, half_spread: float = 0.1, size: float = 1000) -> Quote:
    """A book around a mid price."""
    return Quote(
        bid=Decimal(repr(round(mid - half_spread, 6))),
        bid_size=Decimal(repr(size)),
        ask=Decimal(repr(round(mid + half_spread, 6))),
        ask_size=Decimal(repr(size)),
        event_time_ns=event_time_ns,
    )


def tick(
    seq: int,
    bar: int,
    second: float,
    *,
    y: float = 2000,
    x: float = 50_000,
    y_age_s: float = 0,
    x_age_s: float = 0,
    y_size: float = 1000,
    x_size: float = 1000,
    half_spread: float = 0.1,
    session: int = 1,
) -> Tick:
    """Both books at a second of a bar."""
    time_ns = at_ns(bar, second)
    return Tick(
        pair=PAIR,
        seq=seq,
        epoch=1,
        session=session,
        bar=bar,
        event_time_ns=time_ns,
        y=quote(y, time_ns - round(y_age_s * NANOSECONDS), size=y_size, half_spread=half_spread),
        x=quote(x, time_ns - round(x_age_s * NANOSECONDS), size=x_size, half_spread=half_spread),
    )


def hedge(seq: int, bar: int, second: float, *, z: float = 0, beta: float = 1, status: ModelStatus = ModelStatus.READY, **books: Any) -> HedgeRatio:
    """A tick with the filter's answer, whose innovation is z scales."""
    estimate = HedgeEstimate(alpha=0, beta=beta, innovation=z * SCALE, parameter_variance=1e-6, alpha_variance=1e-6, beta_variance=1e-6)
    return HedgeRatio(tick=tick(seq, bar, second, **books), status=status, estimate=estimate)


def close(seq: int, bar: int, *, session: int = 1, last_tick: Tick | None = None, **changes: Any) -> HedgeRatioClose:
    """The close of a bar."""
    plain = BarClose(pair=PAIR, seq=seq, epoch=1, session=session, bar=bar, end_time_ns=at_ns(bar + 1, 0), status=BarStatus.FRESH, feed=Feed.RECORDING)
    return HedgeRatioClose(close=struct_replace(plain, **changes), status=ModelStatus.READY, last_tick=last_tick)


def thresholds(bar: int, *, session: int = 1, **changes: Any) -> Thresholds:
    """Enter at 2, leave at 0.5, stop at 5; an edge far above the cost."""
    plain = Thresholds(
        pair=PAIR,
        seq=0,
        session=session,
        bar=bar,
        bar_status=BarStatus.FRESH,
        status=ModelStatus.READY,
        feed=Feed.RECORDING,
        forecast_variance=SCALE**2 - 1e-6,
        volatility_model=VolatilityModel.GARCH,
        entry_z=2.0,
        exit_z=0.5,
        stop_z=5.0,
        half_life_bars=10.0,
        expected_edge_bps=150.0,
        cost_bps=30.0,
    )
    return struct_replace(plain, **changes)


def signal(bar: int, *, session: int = 1, changed_thresholds: dict[str, Any] | None = None, **changes: Any) -> RiskSignal:
    """A signal that allows everything."""
    plain = RiskSignal(
        pair=PAIR,
        session=session,
        bar=bar,
        verdict=Verdict.ACTIVE,
        budget_usd=GROSS_USD,
        orders_allowed=10,
        commands_through=0,
        reasons=(),
        thresholds=thresholds(bar, session=session, **(changed_thresholds or {})),
        changepoint=Changepoint(),
    )
    return struct_replace(plain, **changes)


def mark_price(price: str, rate: str, next_funding_ns: int) -> MarkPrice:
    """An announcement of funding."""
    return MarkPrice(price=Decimal(price), funding_rate=Decimal(rate), next_funding_time_ns=next_funding_ns, event_time_ns=next_funding_ns - 1)


class Desk:
    """One pair, fed by hand; `seq` counts by itself."""

    def __init__(self, given: Params | None = None) -> None:
        self.params = given or params()
        self.state: PairState = initial_state(self.params)
        self.outputs: list[Execution] = []
        self.seq = 0

    def tick(self, bar: int, second: float, *, risk: RiskSignal | None = None, **books: Any) -> list[Execution]:
        """Apply a tick; `risk` is the signal of the bar before, for the first record of a bar."""
        return self._apply(hedge(self._next(), bar, second, **books), risk)

    def close(self, bar: int, *, risk: RiskSignal | None = None, **changes: Any) -> list[Execution]:
        """Apply a bar close."""
        return self._apply(close(self._next(), bar, **changes), risk)

    def warm(self, **books: Any) -> None:
        """Pass the first bar, in which nothing is traded."""
        self.tick(FIRST_BAR, 1, **books)
        self.close(FIRST_BAR)

    def of(self, kind: type[M]) -> list[M]:
        """All outputs of one kind so far."""
        return [output for output in self.outputs if isinstance(output, kind)]

    def _next(self) -> int:
        self.seq += 1
        return self.seq

    def _apply(self, message: HedgeMessage, risk: RiskSignal | None) -> list[Execution]:
        self.state, outputs = processor.step(self.params, self.state, message, risk)
        self.outputs += outputs
        return list(outputs)
