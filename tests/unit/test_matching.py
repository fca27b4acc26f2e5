"""When, how much of and at what price a paper order fills."""

from decimal import Decimal

import pytest

from common.market import Side
from common.matching import MatchingRules, Trade, WorkingOrder, match
from common.messages import Quote

MS = 1_000_000
DECIDED_NS = 1_000_000 * MS
RULES = MatchingRules(latency_ns=50 * MS, max_leg_age_ns=2000 * MS)


def order(side: Side = Side.BUY, quantity: str = "2", filled: str = "0", book_after_ns: int = DECIDED_NS) -> WorkingOrder:
    return WorkingOrder(
        client_id="a",
        symbol="ETHUSDT",
        side=side,
        quantity=Decimal(quantity),
        reduce_only=False,
        decided_at_ns=DECIDED_NS,
        book_after_ns=book_after_ns,
        filled=Decimal(filled),
    )


def book(at_ms: int, size: str = "10") -> Quote:
    return Quote(bid=Decimal(99), bid_size=Decimal(size), ask=Decimal(101), ask_size=Decimal(size), event_time_ns=DECIDED_NS + at_ms * MS)


def filled(working: WorkingOrder, quote: Quote, at_ms: int) -> Trade | None:
    return match(working, quote, DECIDED_NS + at_ms * MS, rules=RULES, quantity_step=Decimal("0.1"))


@pytest.mark.parametrize(
    ("book_ms", "tick_ms", "fills"),
    [
        pytest.param(0, 0, False, id="deciding tick"),
        pytest.param(49, 49, False, id="within the latency"),
        pytest.param(50, 50, True, id="at the latency"),
        pytest.param(20, 60, True, id="book that changed within the latency and still stands"),
        pytest.param(0, 60, False, id="book that stood at the decision"),
        pytest.param(-100, 60, False, id="older book"),
        pytest.param(100, 2100, True, id="oldest permitted book"),
        pytest.param(100, 2101, False, id="stale book"),
    ],
)
def test_when_an_order_fills(book_ms: int, tick_ms: int, fills: bool) -> None:
    """The first book newer than the decision, known after the latency and fresh, fills; none before."""
    assert (filled(order(), book(book_ms), tick_ms) is not None) is fills


def test_buys_at_the_ask_and_sells_at_the_bid() -> None:
    """The spread is always paid."""
    assert filled(order(Side.BUY), book(60), 60) == Trade(Decimal(2), Decimal(101))
    assert filled(order(Side.SELL), book(60), 60) == Trade(Decimal(2), Decimal(99))


@pytest.mark.parametrize(
    ("size", "done", "quantity"),
    [("0.75", "0", "0.7"), ("0.05", "0", None), ("0", "0", None), ("10", "1.5", "0.5"), ("0.3", "1.5", "0.3")],
)
def test_a_fill_takes_what_stands_there_in_whole_steps(size: str, done: str, quantity: str | None) -> None:
    """A book gives its size at most, rounded down to the step, and never more than is left of the order."""
    trade = filled(order(filled=done), book(60, size), 60)
    assert (trade.quantity if trade else None) == (Decimal(quantity) if quantity else None)


def test_a_book_fills_an_order_once() -> None:
    """The same standing book does not give its size again on the next tick."""
    partly = order(filled="1", book_after_ns=DECIDED_NS + 60 * MS)
    assert filled(partly, book(60), 70) is None
    assert filled(partly, book(61), 70) == Trade(Decimal(1), Decimal(101))
