"""Paper matching: when, how much of and at what price a market order fills, in event time.

An order fills at the first book that is known at least the latency after the decision:

- at the ask (BUY) or the bid (SELL), up to the size that stands there; what is left waits for the next book of the leg;
- a book fills an order once, and never if it stood when the order was decided, so nothing fills at the price that
  decided it;
- a book older than the permitted age fills nothing.

Not modelled: depth behind the best price (the remainder waits instead), other traders who take the size first, and the
order's own mark on the market. The first makes fills slower than in truth, the others make them kinder.
"""

from decimal import Decimal
from typing import NamedTuple

from common.market import Side
from common.messages import Part, Quote


class WorkingOrder(Part, frozen=True):
    """A market order that waits for a book."""

    client_id: str
    symbol: str
    side: Side
    quantity: Decimal
    reduce_only: bool
    #: Event time of the deciding tick.
    decided_at_ns: int
    #: Books up to this event time do not fill it: the one it was decided on, then each that has filled a part.
    book_after_ns: int
    filled: Decimal = Decimal(0)

    @property
    def remaining(self) -> Decimal:
        """What is not filled yet, base currency."""
        return self.quantity - self.filled


class MatchingRules(NamedTuple):
    """How the paper venue fills."""

    latency_ns: int
    max_leg_age_ns: int


class Trade(NamedTuple):
    """What a book gave."""

    quantity: Decimal
    price: Decimal


def match(order: WorkingOrder, quote: Quote, event_time_ns: int, *, rules: MatchingRules, quantity_step: Decimal) -> Trade | None:
    """Fill an order as far as a book allows.

    Parameters
    ----------
    order
        The order; not changed.
    quote
        The book of the order's symbol, best price and size only.
    event_time_ns
        Event time of the tick that the book rides on, ns.
    rules
        Latency and permitted age of the book, ns.
    quantity_step
        A part of an order is a multiple of this, base currency.

    Returns
    -------
    The quantity (base currency, positive) and price of the fill, or None.
    """
    if event_time_ns < order.decided_at_ns + rules.latency_ns or quote.event_time_ns <= order.book_after_ns:
        return None
    if event_time_ns - quote.event_time_ns > rules.max_leg_age_ns:
        return None
    price, size = (quote.ask, quote.ask_size) if order.side is Side.BUY else (quote.bid, quote.bid_size)
    quantity = order.remaining if size >= order.remaining else size // quantity_step * quantity_step
    return Trade(quantity, price) if quantity > 0 else None
