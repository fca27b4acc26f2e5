"""Records of one trace, as services would have written them."""

from decimal import Decimal
from typing import Any

from msgspec.structs import replace

from common.market import Leg, Side
from common.messages import Action, Decision, Fill, OrderEvent, OrderStatus, Progress, Tick
from common.topics import EXECUTIONS, HEDGE_RATIOS, PROGRESS, RISK_SIGNALS, TICKS, VOLATILITY_THRESHOLDS
from common.trace import Trace
from scripts.traces.way import Found
from tests.unit.execution.builders import FIRST_BAR, PAIR, close, hedge, signal, thresholds

READ_NS = 1_800_000_000_000_000_000
MS = 1_000_000
BAR = FIRST_BAR + 1
SEQ = 7
ORDER = "cb-0-7-y-1"


def times(*milliseconds: float) -> Trace:
    """A header: when a service had a record and when it sent what came of it, ms after the read."""
    trace = Trace.begin(READ_NS)
    for each in milliseconds:
        trace = trace.with_time(READ_NS + round(each * MS))
    return trace


def at_ms(milliseconds: float) -> int:
    """A producer's time."""
    return (READ_NS + round(milliseconds * MS)) // MS


def tick_records() -> list[Found]:
    """A tick that is answered by the filter."""
    message = hedge(SEQ, BAR, 1)
    return [
        Found(TICKS, 0, 70, at_ms(0.4), times(0.4), message.tick),
        Found(HEDGE_RATIOS, 0, 71, at_ms(1.2), times(0.4, 1.0, 1.2), message),
    ]


def decided() -> list[Found]:
    """An entry at that tick: the decision and its first order."""
    at: dict[str, Any] = {"pair": PAIR, "session": 1, "bar": BAR, "seq": SEQ, "event_time_ns": 5}
    trace = times(0.4, 1.0, 1.2, 1.9, 2.5)
    decision = Decision(**at, action=Action.ENTER_SHORT, reason="", z=3.0, beta=1.0, scale=0.01, notional_usd=Decimal(10_000))
    events = [order_event(status, SEQ) for status in (OrderStatus.INTENT, OrderStatus.WORKING)]
    return [Found(EXECUTIONS, 1, offset, at_ms(3), trace, message) for offset, message in enumerate((decision, *events), start=10)]


def filled() -> list[Found]:
    """The fill at the next tick, whose trace is another."""
    trace = Trace.begin(READ_NS + 500 * MS)
    fill = Fill(
        pair=PAIR,
        session=1,
        bar=BAR,
        seq=SEQ + 1,
        event_time_ns=6,
        trade_id=f"{ORDER}:8",
        client_id=ORDER,
        leg=Leg.Y,
        symbol="ETHUSDT",
        side=Side.SELL,
        quantity=Decimal("2.5"),
        price=Decimal(2000),
        fee_usd=Decimal("-2.5"),
        realised_usd=Decimal(0),
    )
    return [Found(EXECUTIONS, 1, 20, at_ms(503), trace, fill), Found(EXECUTIONS, 1, 21, at_ms(503), trace, order_event(OrderStatus.FILLED, SEQ + 1))]


def order_event(status: OrderStatus, seq: int, client_id: str = ORDER) -> OrderEvent:
    """The order comes into being or changes."""
    return OrderEvent(
        pair=PAIR,
        session=1,
        bar=BAR,
        seq=seq,
        event_time_ns=5,
        client_id=client_id,
        leg=Leg.Y,
        symbol="ETHUSDT",
        side=Side.SELL,
        quantity=Decimal("2.5"),
        filled=Decimal("2.5") if status is OrderStatus.FILLED else Decimal(0),
        reduce_only=False,
        status=status,
    )


def progress(seq: int, milliseconds: float) -> Found:
    """Execution tells how far it is."""
    return Found(PROGRESS, 0, seq, at_ms(milliseconds), Trace(), Progress(decided={PAIR: seq}))


def bar_records() -> list[Found]:
    """A bar close on its way through all five services."""
    closed = close(SEQ, BAR)
    return [
        Found(TICKS, 0, 70, at_ms(1), times(0.4), closed.close),
        Found(HEDGE_RATIOS, 0, 71, at_ms(2), times(0.4, 1.0, 1.2), closed),
        Found(VOLATILITY_THRESHOLDS, 0, 9, at_ms(3), times(0.4, 1.0, 1.2, 2.0, 3.0), thresholds(BAR, seq=SEQ)),
        Found(RISK_SIGNALS, 0, 9, at_ms(9), times(0.4, 1.0, 1.2, 2.0, 3.0, 5.0, 8.0), signal(BAR, changed_thresholds={"seq": SEQ})),
    ]


def other_tick() -> Tick:
    """The same frame in another pair."""
    return replace(hedge(3, BAR, 1).tick, pair="SOLUSDT-BTCUSDT")
