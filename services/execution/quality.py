"""How good decisions and fills were: the age of what was decided on, and what was lost between decision and fill."""

from collections.abc import Sequence

from common.market import NANOSECONDS, Side
from common.messages import Decision, Execution, Fill, Tick
from common.processor import Observer


def measure(observer: Observer, outputs: Sequence[Execution], tick: Tick) -> None:
    """Measure what a tick brought about; a fill whose decision's book is not known says nothing."""
    for output in outputs:
        match output:
            case Decision():
                observer.observe("crypto_bot_decision_data_age_seconds", tick.oldest_leg_age_ns() / NANOSECONDS, pair=output.pair)
            case Fill() if output.decided_price:
                lost_bps = slippage_bps(output.side, float(output.decided_price), float(output.price))
                observer.observe("crypto_bot_slippage_bps", lost_bps, pair=output.pair)
            case _:
                pass


def slippage_bps(side: Side, decided_price: float, price: float) -> float:
    """How much worse a price is than the one that was decided at, bps; negative when it is better."""
    worse = price - decided_price if side is Side.BUY else decided_price - price
    return worse / decided_price * 1e4
