"""How good decisions and fills were: the age of what was decided on, and what was lost between decision and fill."""

from collections.abc import Sequence

from common.market import NANOSECONDS, Side
from common.messages import Decision, Execution, Fill, OrderEvent, OrderStatus, Tick
from common.processor import Observer
from services.execution.strategy import mid

_ENDED = frozenset({OrderStatus.FILLED, OrderStatus.CANCELLED, OrderStatus.REJECTED})


class ExecutionQuality:
    """Remembers the middle of the book at which each working order was decided; orders from before a restart are left out."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._decided_at: dict[str, float] = {}

    def note(self, outputs: Sequence[Execution], tick: Tick) -> None:
        """Take in what a tick brought about."""
        for output in outputs:
            match output:
                case Decision():
                    self._observer.observe("crypto_bot_decision_data_age_seconds", tick.oldest_leg_age_ns() / NANOSECONDS, pair=output.pair)
                case OrderEvent(status=OrderStatus.INTENT):
                    self._decided_at[output.client_id] = mid(tick.quote(output.leg))
                case OrderEvent() if output.status in _ENDED:
                    self._decided_at.pop(output.client_id, None)
                case Fill() if output.client_id in self._decided_at:
                    lost_bps = slippage_bps(output.side, self._decided_at[output.client_id], float(output.price))
                    self._observer.observe("crypto_bot_slippage_bps", lost_bps, pair=output.pair)
                case _:
                    pass


def slippage_bps(side: Side, decided_price: float, price: float) -> float:
    """How much worse a price is than the one that was decided at, bps; negative when it is better."""
    worse = price - decided_price if side is Side.BUY else decided_price - price
    return worse / decided_price * 1e4
