"""A pair as one position: its orders, its fills and the states between them.

    IDLE -> ENTERING (y works) -> HEDGING (x works, sized by what y filled) -> OPEN -> EXITING (both legs close) -> IDLE
                 |                      |
                 +-> IDLE (no fill)     +-> UNWINDING (x refused or late, or the stop: everything closes) -> IDLE

`settle` brings the orders in line with the state after whatever happened; it is the only place that moves on. Orders that
reduce are never refused on paper: their quantities come from fills, which keep to the venue's steps, and an exchange takes
reduce-only orders below its smallest notional.
"""

import zlib
from decimal import Decimal, localcontext

from msgspec.structs import replace

from common.costs import MONEY, fee_usd
from common.market import NANOSECONDS, Leg, Side
from common.matching import Trade, match
from common.messages import Action, Decision, Fill, Gate, OrderEvent, OrderStatus, PositionState, RoundTrip, Tick, Verdict
from common.rules import refusal
from services.execution.account import ZERO, Deal, apply_fill
from services.execution.state import Change, Order, Position, Terms
from services.execution.strategy import hedge_quantity, sides, stop_reason

_CLOSING = frozenset({PositionState.EXITING, PositionState.UNWINDING})
_LEGGED = frozenset({PositionState.ENTERING, PositionState.HEDGING, *_CLOSING})
_MEASURE = Decimal("0.0001")
_PAIR_HASH_DIGITS = 8


def client_id(pair: str, seq: int, leg: Leg, attempt: int) -> str:
    """The id of an order: derived, never random, never used twice; at most 36 characters that every venue takes."""
    return f"cb-{zlib.crc32(pair.encode()):0{_PAIR_HASH_DIGITS}x}-{seq}-{leg}-{attempt}"


def enter(change: Change, tick: Tick, terms: Terms, quantity: Decimal, gates: tuple[Gate, ...]) -> None:
    """Begin a position with its y leg."""
    account = change.state.account
    change.set(
        position=Position(
            state=PositionState.ENTERING,
            terms=terms,
            realised_before_usd=account.realised_usd,
            fees_before_usd=account.fees_usd,
            funding_before_usd=account.funding_usd,
        )
    )
    _decide(change, terms.direction, "every gate passed", terms.z, gates)
    _send(change, tick, Leg.Y, sides(terms.direction)[0], quantity, reduce_only=False)


def close(change: Change, action: Action, reason: str, z: float | None) -> None:
    """Begin to close whatever is open; what still works is cancelled."""
    _decide(change, action, reason, z)
    cancel_orders(change, reason)
    state = PositionState.UNWINDING if action is Action.UNWIND else PositionState.EXITING
    change.set_position(state=state, closing=action)


def cancel_orders(change: Change, reason: str) -> None:
    """Cancel every working order."""
    for order in change.state.position.orders:
        _report(change, order, OrderStatus.CANCELLED, reason)
    change.set_position(orders=())


def take_fills(change: Change, tick: Tick) -> None:
    """Fill working orders from a tick's books."""
    params = change.params
    for order in change.state.position.orders:
        trade = match(order, tick.quote(order.leg), tick.event_time_ns, rules=params.matching, quantity_step=params.rules(order.leg).quantity_step)
        if trade:
            _book(change, order, trade, tick.quote(order.leg).event_time_ns)


def close_at_book(change: Change, tick: Tick) -> None:
    """Close everything at a given book at once, whatever its size and age: the market it belongs to has ended."""
    settle(change, tick)
    for order in change.state.position.orders:
        quote = tick.quote(order.leg)
        price = quote.ask if order.side is Side.BUY else quote.bid
        _book(change, order, Trade(order.remaining, price), quote.event_time_ns)
    settle(change, tick)


def keep_in_time(change: Change, tick: Tick) -> None:
    """Cut short an entry that may not go on or has been unhedged too long."""
    state, params = change.state, change.params
    position = state.position
    if position.state not in {PositionState.ENTERING, PositionState.HEDGING} or position.terms is None:
        return
    unhedged_ns = tick.event_time_ns - position.first_fill_ns if position.traded else 0
    if state.verdict is Verdict.FLATTEN:
        close(change, Action.FLATTEN, "the verdict is FLATTEN", None)
    elif stop := stop_reason(position.terms, tick):
        close(change, Action.UNWIND, stop, None)
    elif position.state is PositionState.HEDGING:
        if unhedged_ns >= params.unhedged_ns:
            close(change, Action.UNWIND, f"the hedge is not complete after {unhedged_ns / NANOSECONDS:g} s", None)
    elif state.verdict is not Verdict.ACTIVE:
        cancel_orders(change, f"the verdict is {state.verdict}")
    elif unhedged_ns >= params.unhedged_ns // 2 and position.traded:
        cancel_orders(change, "half of the time without a hedge is over; the rest is the hedge's")
    elif tick.event_time_ns - position.terms.event_time_ns >= params.unhedged_ns:
        cancel_orders(change, "not filled in time")


def end(change: Change) -> None:
    """Cancel what works, as no book will come any more; what is held stays, and closes should there be a tick after all."""
    if change.state.position.state is PositionState.IDLE:
        return
    cancel_orders(change, "the recording has ended")
    if change.state.account.flat:
        finish(change)
    elif change.state.position.state in {PositionState.ENTERING, PositionState.HEDGING}:
        change.set_position(state=PositionState.UNWINDING, closing=Action.UNWIND)


def settle(change: Change, tick: Tick) -> None:
    """Move on from a state whose orders are done, and send what the next one needs."""
    match change.state.position.state:
        case PositionState.ENTERING if not change.state.position.orders:
            if change.state.account.y.quantity:
                _hedge(change, tick)
            else:
                finish(change)
        case PositionState.HEDGING if not change.state.position.orders:
            change.set_position(state=PositionState.OPEN)
        case _:
            pass
    if change.state.position.state in _CLOSING:
        _close_legs(change, tick)


def finish(change: Change) -> None:
    """Return to IDLE from a position that is flat, and account for it."""
    state = change.state
    position, account = state.position, state.account
    if position.traded and position.terms:
        with localcontext(MONEY):
            gross = account.realised_usd - position.realised_before_usd
            fees = account.fees_usd - position.fees_before_usd
            funding = account.funding_usd - position.funding_before_usd
            net = gross + fees + funding
        change.emit(
            RoundTrip,
            action=position.closing or Action.UNWIND,
            direction=position.terms.direction,
            opened_seq=position.terms.seq,
            opened_bar=position.terms.bar,
            gross_usd=gross,
            fees_usd=fees,
            funding_usd=funding,
            net_usd=net,
            unhedged_usd_seconds=position.unhedged_usd_seconds,
        )
        change.count("round_trips")
        change.set(cool_until_bar=change.at.bar + change.params.cool_down_bars)
    change.set(position=Position())


def measure_unhedged(change: Change, until_ns: int) -> None:
    """Add the time since the last tick to the USD-seconds without a hedge, at that tick's books."""
    state = change.state
    position, hedge = state.position, state.hedge
    if position.state not in _LEGGED or hedge is None or position.terms is None or state.account.flat:
        return
    with localcontext(MONEY):
        y_usd = state.account.y.quantity * (hedge.tick.y.bid + hedge.tick.y.ask) / 2
        x_usd = state.account.x.quantity * (hedge.tick.x.bid + hedge.tick.x.ask) / 2
        bare_usd = abs(y_usd * Decimal(repr(position.terms.beta)) + x_usd)
        seconds = Decimal(until_ns - hedge.tick.event_time_ns) / NANOSECONDS
        total = (position.unhedged_usd_seconds + bare_usd * seconds).quantize(_MEASURE)
    change.set_position(unhedged_usd_seconds=total)


def _hedge(change: Change, tick: Tick) -> None:
    """Send the x leg for what y really filled."""
    position, params = change.state.position, change.params
    if position.terms is None:
        return
    side = sides(position.terms.direction)[1]
    quantity = hedge_quantity(params, position.terms, abs(change.state.account.y.cost_usd), tick.x)
    change.set_position(state=PositionState.HEDGING)
    if refused := refusal(quantity, tick.x.bid, params.x_rules):
        _reject(change, tick, Leg.X, side, quantity, refused)
        close(change, Action.UNWIND, refused, None)
    else:
        _send(change, tick, Leg.X, side, quantity, reduce_only=False)


def _close_legs(change: Change, tick: Tick) -> None:
    """Have an order work for every leg that is open; done when none is."""
    if change.state.account.flat:
        finish(change)
        return
    working = {order.leg for order in change.state.position.orders}
    for leg in Leg:
        quantity = change.state.account.holding(leg).quantity
        if quantity and leg not in working:
            _send(change, tick, leg, Side.SELL if quantity > 0 else Side.BUY, abs(quantity), reduce_only=True)


def _send(change: Change, tick: Tick, leg: Leg, side: Side, quantity: Decimal, *, reduce_only: bool) -> None:  # noqa: PLR0913  # an order in full
    order = _new_order(change, tick, leg, side, quantity, reduce_only=reduce_only)
    change.set_position(orders=(*change.state.position.orders, order))
    change.set(orders_in_bar=change.state.orders_in_bar + 1)
    change.count("orders")
    _report(change, order, OrderStatus.INTENT)
    _report(change, order, OrderStatus.WORKING)


def _reject(change: Change, tick: Tick, leg: Leg, side: Side, quantity: Decimal, reason: str) -> None:  # noqa: PLR0913, PLR0917  # an order in full
    order = _new_order(change, tick, leg, side, quantity, reduce_only=False)
    change.count("rejected")
    _report(change, order, OrderStatus.REJECTED, reason)


def _new_order(change: Change, tick: Tick, leg: Leg, side: Side, quantity: Decimal, *, reduce_only: bool) -> Order:  # noqa: PLR0913  # an order in full
    quote = tick.quote(leg)
    attempt = change.state.position.attempts + 1
    change.set_position(attempts=attempt)
    return Order(
        client_id=client_id(str(change.params.pair), change.at.seq, leg, attempt),
        leg=leg,
        symbol=change.params.pair.symbol(leg),
        side=side,
        quantity=quantity,
        reduce_only=reduce_only,
        decided_at_ns=change.at.event_time_ns,
        book_after_ns=change.at.event_time_ns,
        decided_price=(quote.bid + quote.ask) / 2,
    )


def _book(change: Change, order: Order, trade: Trade, book_time_ns: int) -> None:
    """Enter a fill into the account, the order and the outputs."""
    fee = fee_usd(trade.quantity, trade.price, change.params.fee_bps)
    account, realised = apply_fill(change.state.account, Deal(order.leg, order.side, trade.quantity, trade.price, fee))
    change.set(account=account)
    position = change.state.position
    filled = replace(order, filled=order.filled + trade.quantity, book_after_ns=book_time_ns)
    kept = (filled if each.client_id == order.client_id else each for each in position.orders)
    change.set_position(
        orders=tuple(each for each in kept if each.remaining),
        traded=True,
        first_fill_ns=position.first_fill_ns or change.at.event_time_ns,
    )
    change.count("fills")
    change.emit(
        Fill,
        trade_id=f"{order.client_id}:{change.at.seq}",
        client_id=order.client_id,
        leg=order.leg,
        symbol=order.symbol,
        side=order.side,
        quantity=trade.quantity,
        price=trade.price,
        fee_usd=fee,
        realised_usd=realised,
        decided_price=order.decided_price,
    )
    _report(change, filled, OrderStatus.PARTIALLY_FILLED if filled.remaining else OrderStatus.FILLED)


def _decide(change: Change, action: Action, reason: str, z: float | None, gates: tuple[Gate, ...] = ()) -> None:
    terms = change.state.position.terms
    change.count("decisions")
    change.emit(
        Decision,
        action=action,
        reason=reason,
        z=z,
        beta=terms.beta if terms else 0.0,
        scale=terms.scale if terms else 0.0,
        notional_usd=terms.notional_usd if terms else ZERO,
        gates=gates,
    )


def _report(change: Change, order: Order, status: OrderStatus, reason: str = "") -> None:
    change.emit(
        OrderEvent,
        client_id=order.client_id,
        leg=order.leg,
        symbol=order.symbol,
        side=order.side,
        quantity=order.quantity,
        filled=order.filled,
        reduce_only=order.reduce_only,
        status=status,
        reason=reason,
    )
