"""What is paid for holding: funding on futures, borrowing on spot; both are booked to the bar in which they fall due."""

from decimal import Decimal

from msgspec.structs import replace

from common.costs import borrow_usd, funding_usd
from common.market import NANOSECONDS, Leg
from common.messages import BarClose, FundingPayment, MarkPrice, Tick
from services.execution.account import apply_funding
from services.execution.state import Change, FundingClock


def pay_at_instant(change: Change, tick: Tick) -> None:
    """Book funding at the first tick after its instant, before anything is traded there: a position that closes in the same bar has paid."""
    for leg in Leg:
        clock = _clock(change, leg)
        if clock and clock.paid_ns < clock.mark.next_funding_time_ns <= tick.event_time_ns:
            change.set(**{_field(leg): _paid(change, leg, clock)})


def pay(change: Change, close: BarClose, book: Tick | None) -> None:
    """Book what fell due in the bar and no tick has shown."""
    for leg, mark in ((Leg.Y, close.y_mark), (Leg.X, close.x_mark)):
        if mark:
            _pay_funding(change, leg, mark)
        if change.params.borrow_bps_per_day and book:
            _pay_borrowing(change, leg, book)


def _pay_funding(change: Change, leg: Leg, mark: MarkPrice) -> None:
    """Take up an announcement; that the next instant moved on says that the last one has passed."""
    clock = _clock(change, leg) or FundingClock(mark=mark)
    if clock.paid_ns < clock.mark.next_funding_time_ns < mark.next_funding_time_ns:
        clock = _paid(change, leg, clock)
    change.set(**{_field(leg): replace(clock, mark=mark)})


def _paid(change: Change, leg: Leg, clock: FundingClock) -> FundingClock:
    """Pay for what is held, at the price and rate of the last announcement before the instant."""
    _book(change, leg, funding_usd(change.state.account.holding(leg).quantity, clock.mark.price, clock.mark.funding_rate))
    return replace(clock, paid_ns=clock.mark.next_funding_time_ns)


def _pay_borrowing(change: Change, leg: Leg, book: Tick) -> None:
    quantity = change.state.account.holding(leg).quantity
    if quantity < 0:
        seconds = change.params.bar_interval_ns // NANOSECONDS
        _book(change, leg, borrow_usd(quantity, book.quote(leg).ask, change.params.borrow_bps_per_day, seconds))


def _book(change: Change, leg: Leg, amount_usd: Decimal) -> None:
    if amount_usd:
        change.set(account=apply_funding(change.state.account, amount_usd))
        change.emit(FundingPayment, leg=leg, symbol=change.params.pair.symbol(leg), amount_usd=amount_usd)


def _clock(change: Change, leg: Leg) -> FundingClock | None:
    return change.state.y_funding if leg is Leg.Y else change.state.x_funding


def _field(leg: Leg) -> str:
    return f"{leg}_funding"
