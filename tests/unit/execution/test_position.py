"""The pair as one position: legs, partial fills, refusals, time budgets, closings."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.market import NANOSECONDS, Leg, Side
from common.messages import Action, Decision, Fill, OrderEvent, OrderStatus, PositionState, RoundTrip, Verdict
from services.execution.position import client_id
from tests.unit.execution.builders import FIRST_BAR, Desk, at_ns, mark_price, params, rules, signal

BAR = FIRST_BAR + 1


def entering(given: Any = None, **books: Any) -> Desk:
    """A desk that has just decided to sell the pair at z = 3 with about 5,000 USD of each leg."""
    desk = Desk(given)
    desk.warm()
    desk.tick(BAR, 1, risk=signal(BAR - 1), z=3, **books)
    assert desk.state.position.state is PositionState.ENTERING
    return desk


def opened(given: Any = None) -> Desk:
    """A desk with both legs filled."""
    desk = entering(given)
    desk.tick(BAR, 2, z=3)
    desk.tick(BAR, 3, z=3)
    assert desk.state.position.state is PositionState.OPEN
    return desk


def states_of(desk: Desk, leg: Leg) -> list[OrderStatus]:
    return [event.status for event in desk.of(OrderEvent) if event.leg is leg]


def test_y_first_then_x_for_what_y_filled() -> None:
    """The entry sends y alone; x follows at the tick that fills y, and fills later."""
    desk = entering()
    assert [(event.leg, event.side, event.status) for event in desk.of(OrderEvent)] == [
        (Leg.Y, Side.SELL, OrderStatus.INTENT),
        (Leg.Y, Side.SELL, OrderStatus.WORKING),
    ]
    desk.tick(BAR, 2, z=3)
    assert desk.state.position.state is PositionState.HEDGING
    desk.tick(BAR, 3, z=3)
    y, x = desk.of(Fill)
    assert (y.leg, y.side, y.quantity, y.price) == (Leg.Y, Side.SELL, Decimal("2.500"), Decimal("1999.9"))
    assert (x.leg, x.side, x.quantity, x.price) == (Leg.X, Side.BUY, Decimal("0.099"), Decimal("50000.1"))
    assert desk.state.position.state is PositionState.OPEN


def test_nothing_fills_at_the_book_that_decided_it() -> None:
    """A signal at t is not filled at the price of t, even when that book still stands later (S6)."""
    desk = entering()
    desk.tick(BAR, 1.5, z=3, y_age_s=0.5)
    assert desk.of(Fill) == []
    desk.tick(BAR, 1.6, z=3, y=1990)
    assert [fill.price for fill in desk.of(Fill)] == [Decimal("1989.9")]


def test_x_is_sized_by_what_y_filled() -> None:
    """A y order filled in part is cut at half of the time budget, and x hedges that part only."""
    desk = entering()
    desk.tick(BAR, 2, z=3, y_size=1)
    assert desk.state.position.state is PositionState.ENTERING
    desk.tick(BAR + 1, 32, z=3, y_size=0, risk=signal(BAR))
    assert states_of(desk, Leg.Y)[-1] is OrderStatus.CANCELLED
    x = desk.of(OrderEvent)[-1]
    assert (x.leg, x.quantity) == (Leg.X, Decimal("0.039"))


def test_partial_fills_continue_at_the_next_books() -> None:
    """What a book does not give, later ones do; the position is one all the same."""
    desk = entering()
    for second in range(2, 5):
        desk.tick(BAR, second, z=3, y_size=1)
    assert [fill.quantity for fill in desk.of(Fill)] == [Decimal(1), Decimal(1), Decimal("0.500")]
    assert states_of(desk, Leg.Y) == [
        OrderStatus.INTENT,
        OrderStatus.WORKING,
        OrderStatus.PARTIALLY_FILLED,
        OrderStatus.PARTIALLY_FILLED,
        OrderStatus.FILLED,
    ]
    assert desk.state.position.state is PositionState.HEDGING


def test_an_entry_that_never_fills_is_given_up() -> None:
    """After the time budget the order is cancelled, the pair is idle, and nothing was spent."""
    desk = entering()
    desk.tick(BAR + 3, 1, z=3, y_age_s=5, risk=signal(BAR + 2))
    assert states_of(desk, Leg.Y)[-1] is OrderStatus.CANCELLED
    assert desk.state.position.state is PositionState.IDLE
    assert desk.of(RoundTrip) == []
    assert desk.state.account.wallet_usd == 100_000


def test_a_refused_hedge_unwinds_at_once() -> None:
    """When x has become too small for the venue, y is closed reduce-only and the reason is on record."""
    desk = entering(params(x_rules=rules("BTCUSDT", minimum_notional=Decimal(4900))))
    desk.tick(BAR, 2, z=3, y=1900)
    rejected = [event for event in desk.of(OrderEvent) if event.status is OrderStatus.REJECTED]
    assert [(event.leg, "below the minimum" in event.reason) for event in rejected] == [(Leg.X, True)]
    assert desk.state.position.state is PositionState.UNWINDING
    order = desk.of(OrderEvent)[-1]
    assert (order.leg, order.side, order.quantity, order.reduce_only) == (Leg.Y, Side.BUY, Decimal("2.500"), True)
    desk.tick(BAR, 3, z=3)
    (trip,) = desk.of(RoundTrip)
    assert (trip.action, trip.direction) == (Action.UNWIND, Action.ENTER_SHORT)
    assert desk.state.position.state is PositionState.IDLE


def test_a_leg_that_fills_dearer_keeps_to_the_limit() -> None:
    """y is bought 10 % above the price that it was decided at; x takes what is left, so that both cost no more than the limit."""
    desk = Desk()
    desk.warm()
    desk.tick(BAR, 1, risk=signal(BAR - 1), z=-3)
    desk.tick(BAR, 2, z=-3, y=2200)
    desk.tick(BAR, 3, z=-3, y=2200)
    assert desk.state.position.state is PositionState.OPEN
    account = desk.state.account
    gross = abs(account.y.cost_usd) + abs(account.x.cost_usd)
    assert desk.params.max_position_usd - 51 < gross <= desk.params.max_position_usd


def test_a_leg_that_costs_the_whole_limit_is_closed_again() -> None:
    """When nothing is left for the hedge there is no position: y is unwound."""
    desk = Desk()
    desk.warm()
    desk.tick(BAR, 1, risk=signal(BAR - 1), z=-3)
    desk.tick(BAR, 2, z=-3, y=4000)
    assert desk.state.position.state is PositionState.UNWINDING
    desk.tick(BAR, 3, z=-3, y=4000)
    assert [trip.action for trip in desk.of(RoundTrip)] == [Action.UNWIND]


@pytest.mark.parametrize(("y_size", "state"), [(1000, PositionState.HEDGING), (1, PositionState.ENTERING)])
def test_the_stop_acts_before_the_hedge_is_complete(y_size: float, state: PositionState) -> None:
    """With y naked against the position, nobody waits for the hedge: what is held closes."""
    desk = entering()
    desk.tick(BAR, 2, z=3, y_size=y_size)
    desk.tick(BAR, 3, z=3, y=2000 * 1.019, x_size=0, y_size=0)
    assert desk.state.position.state is state
    desk.tick(BAR, 4, z=3, y=2000 * 1.021, x_size=0, y_size=0)
    assert desk.state.position.state is PositionState.UNWINDING
    assert "the stop 5" in desk.of(Decision)[-1].reason
    desk.tick(BAR, 5, z=3)
    assert [trip.action for trip in desk.of(RoundTrip)] == [Action.UNWIND]


def test_a_hedge_that_comes_too_late_unwinds_both_legs() -> None:
    """180 seconds after y's first fill an incomplete hedge is cancelled, and what there is of both legs closed."""
    desk = entering()
    desk.tick(BAR, 2, z=3)
    desk.tick(BAR, 3, z=3, x_size=0.05)
    desk.tick(BAR + 3, 1, z=3, x_size=0, risk=signal(BAR + 2))
    assert desk.state.position.state is PositionState.HEDGING
    desk.tick(BAR + 3, 2, z=3, x_size=0)
    assert desk.state.position.state is PositionState.UNWINDING
    assert {(order.leg, order.remaining) for order in desk.state.position.orders} == {(Leg.Y, Decimal("2.500")), (Leg.X, Decimal("0.050"))}
    desk.tick(BAR + 3, 3)
    (trip,) = desk.of(RoundTrip)
    assert trip.action is Action.UNWIND
    assert desk.state.account.flat


def test_unhedged_dollar_seconds_are_measured() -> None:
    """About 5,000 USD without a hedge for three seconds are about 15,000 USD-seconds."""
    desk = entering()
    desk.tick(BAR, 2, z=3)
    desk.tick(BAR, 5, z=3)
    desk.tick(BAR, 6, z=0)
    desk.tick(BAR, 7, z=0)
    (trip,) = desk.of(RoundTrip)
    # The last second, between the exit's decision and its fills, has only the rounding of x without a hedge.
    assert float(trip.unhedged_usd_seconds) == pytest.approx(15_000 + 50, abs=1)


def test_exit_closes_both_legs_at_once() -> None:
    """Each leg's order reduces, so neither waits for the other."""
    desk = opened()
    desk.tick(BAR, 10, z=0.4)
    assert desk.state.position.state is PositionState.EXITING
    orders = {(order.leg, order.side, order.quantity, order.reduce_only) for order in desk.state.position.orders}
    assert orders == {(Leg.Y, Side.BUY, Decimal("2.500"), True), (Leg.X, Side.SELL, Decimal("0.099"), True)}
    desk.tick(BAR, 11, z=0.4, y=1990)
    (trip,) = desk.of(RoundTrip)
    assert (trip.action, trip.direction, trip.opened_bar) == (Action.EXIT, Action.ENTER_SHORT, BAR)
    assert trip.gross_usd == Decimal("2.500") * (Decimal("1999.9") - Decimal("1990.1")) - Decimal("0.099") * Decimal("0.2")
    assert trip.net_usd == trip.gross_usd + trip.fees_usd + trip.funding_usd
    assert trip.fees_usd < 0


def test_an_exit_goes_on_while_one_leg_is_silent() -> None:
    """The leg with a fresh book closes; the other's order waits for its book (S3)."""
    desk = opened()
    desk.tick(BAR, 10, z=0.4)
    desk.tick(BAR, 15, z=0.4, x_age_s=5)
    assert [order.leg for order in desk.state.position.orders] == [Leg.X]
    desk.tick(BAR, 16, z=0.4)
    assert desk.state.position.state is PositionState.IDLE


def test_beta_moving_with_constant_prices_earns_nothing() -> None:
    """Profit comes from holdings: with beta wandering and prices still, only the spread is lost (S2)."""
    desk = opened()
    for second, beta in enumerate((0.5, 2.0, 0.1), start=10):
        desk.tick(BAR, second, z=3, beta=beta)
    assert desk.state.position.terms is not None
    assert desk.state.position.terms.beta == 1
    desk.tick(BAR, 20, z=0)
    desk.tick(BAR, 21, z=0)
    (trip,) = desk.of(RoundTrip)
    assert trip.gross_usd == -(Decimal("2.500") + Decimal("0.099")) * Decimal("0.2")


@pytest.mark.parametrize("verdict", [Verdict.REDUCE_ONLY, Verdict.HALTED])
def test_no_more_of_y_under_a_stricter_verdict(verdict: Verdict) -> None:
    """An entry in progress stops; what has filled is still hedged, as that reduces exposure."""
    desk = entering()
    desk.tick(BAR, 2, z=3, y_size=1)
    desk.tick(BAR + 1, 1, z=3, y_size=0, risk=signal(BAR, verdict=verdict))
    assert states_of(desk, Leg.Y)[-1] is OrderStatus.CANCELLED
    assert states_of(desk, Leg.X)[-1] is OrderStatus.WORKING
    desk.tick(BAR + 1, 2, z=3)
    assert desk.state.position.state is PositionState.OPEN


@pytest.mark.parametrize("verdict", [Verdict.REDUCE_ONLY, Verdict.HALTED])
def test_exits_are_allowed_under_any_verdict(verdict: Verdict) -> None:
    """Reducing exposure is always allowed."""
    desk = opened()
    desk.tick(BAR + 1, 1, z=0.4, risk=signal(BAR, verdict=verdict, orders_allowed=0, budget_usd=Decimal(0)))
    desk.tick(BAR + 1, 2, z=0.4)
    assert [trip.action for trip in desk.of(RoundTrip)] == [Action.EXIT]


@pytest.mark.parametrize("seconds", [0, 1, 2], ids=["entering", "hedging", "open"])
def test_flatten_closes_in_every_state(seconds: int) -> None:
    """Whatever is held when the verdict comes is closed, and the pair ends flat."""
    desk = entering()
    for second in range(seconds):
        desk.tick(BAR, 2 + second, z=3)
    desk.tick(BAR + 1, 1, z=3, risk=signal(BAR, verdict=Verdict.FLATTEN))
    desk.tick(BAR + 1, 2, z=3)
    desk.tick(BAR + 1, 3, z=3)
    assert desk.state.account.flat
    assert desk.state.position.state is PositionState.IDLE
    assert Action.FLATTEN in {decision.action for decision in desk.of(Decision)}


def test_a_closed_pair_cools_down() -> None:
    """Five bars pass before the next entry, whatever z is."""
    desk = opened()
    desk.tick(BAR, 10, z=0)
    desk.tick(BAR, 11, z=3)
    assert desk.state.position.state is PositionState.IDLE
    for bar in range(BAR + 1, BAR + 5):
        desk.tick(bar, 1, z=3, risk=signal(bar - 1))
        assert desk.state.blocking_gate == "cool-down"
    desk.tick(BAR + 5, 1, z=3, risk=signal(BAR + 4))
    assert desk.state.position.state is PositionState.ENTERING


@settings(deadline=None, max_examples=50)
@given(st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-", min_size=3, max_size=41), st.integers(0, 10**13), st.sampled_from(Leg), st.integers(1, 999))
def test_client_ids_fit_every_venue(pair: str, seq: int, leg: Leg, attempt: int) -> None:
    """At most 36 characters of letters, digits and dashes."""
    found = client_id(pair, seq, leg, attempt)
    assert len(found) <= 36
    assert found.replace("-", "").isalnum()


def test_client_ids_differ() -> None:
    """Another pair, seq, leg or attempt is another id."""
    ids = [client_id(pair, seq, leg, attempt) for pair in ("A-B", "B-A", "A-C") for seq in range(20) for leg in Leg for attempt in range(1, 20)]
    assert len(set(ids)) == len(ids)


FUNDING_NS = 90 * NANOSECONDS
STEPS = st.lists(
    st.tuples(
        st.sampled_from([0.06, 1, 20, 61, 200]),
        st.floats(-6, 6),
        st.floats(1900, 2100),
        st.floats(49_000, 51_000),
        st.sampled_from([0, 0.0005, 0.02, 1, 1000]),
        st.sampled_from([0, 0.0005, 0.02, 1, 1000]),
        st.sampled_from([0.0, 0.0, 3.0]),
        st.sampled_from([Verdict.ACTIVE] * 6 + [Verdict.REDUCE_ONLY, Verdict.HALTED, Verdict.FLATTEN]),
    ),
    max_size=40,
)


@settings(deadline=None, max_examples=50)
@given(STEPS)
def test_no_leg_is_ever_left_outside_the_machine(steps: list[tuple[float, ...]]) -> None:
    """Random books, sizes, gaps and verdicts: idle means flat, holding means a state that will close or holds both legs, and money adds up."""
    desk = Desk(params(cool_down_bars=0))
    desk.warm()
    now_s = 60.0
    for gap, z, y, x, y_size, x_size, y_age, verdict in steps:
        now_s += gap
        bar, second = divmod(now_s, 60)
        number = FIRST_BAR + int(bar)
        while desk.state.closed_bar < number - 1:
            close_with_funding(desk)
        risk = signal(number - 1, verdict=verdict, orders_allowed=1000)
        desk.tick(number, second, risk=risk, z=z, y=round(y, 2), x=round(x, 1), y_size=y_size, x_size=x_size, y_age_s=y_age)
        _check(desk)
    _drive_to_the_end(desk, FIRST_BAR + int(now_s // 60) + 1)


def close_with_funding(desk: Desk) -> None:
    """Close the next bar, with an announcement of the funding that falls due every 90 seconds."""
    bar = desk.state.closed_bar + 1
    mark = mark_price("2000", "0.0013", (at_ns(bar + 1, 0) // FUNDING_NS + 1) * FUNDING_NS)
    desk.close(bar, risk=signal(bar - 1), y_mark=mark, x_mark=mark)


def _check(desk: Desk) -> None:
    position, account = desk.state.position, desk.state.account
    if position.state is PositionState.IDLE:
        assert account.flat
        assert not position.orders
        assert sum(trip.net_usd for trip in desk.of(RoundTrip)) == account.wallet_usd - account.starting_usd
    if position.state is PositionState.OPEN:
        assert account.y.quantity * account.x.quantity < 0
        assert not position.orders
    if position.state in {PositionState.ENTERING, PositionState.HEDGING, PositionState.EXITING, PositionState.UNWINDING}:
        assert position.orders
    signed = {leg: sum(fill.quantity * (1 if fill.side is Side.BUY else -1) for fill in desk.of(Fill) if fill.leg is leg) for leg in Leg}
    assert all(signed[leg] == account.holding(leg).quantity for leg in Leg)


def _drive_to_the_end(desk: Desk, bar: int) -> None:
    """With FLATTEN and good books everything closes, and the round trips explain the whole account."""
    while desk.state.closed_bar < bar - 1:
        close_with_funding(desk)
    for second in range(1, 5):
        desk.tick(bar, second, risk=signal(bar - 1, verdict=Verdict.FLATTEN))
    assert desk.state.account.flat
    account, trips = desk.state.account, desk.of(RoundTrip)
    assert sum(trip.net_usd for trip in trips) == account.wallet_usd - account.starting_usd
    assert sum(trip.fees_usd for trip in trips) == sum(fill.fee_usd for fill in desk.of(Fill)) == account.fees_usd
    assert sum(trip.funding_usd for trip in trips) == account.funding_usd
    assert sum(trip.gross_usd for trip in trips) == sum(fill.realised_usd for fill in desk.of(Fill)) == account.realised_usd
    ids = [event.client_id for event in desk.of(OrderEvent) if event.status is OrderStatus.INTENT]
    assert len(set(ids)) == len(ids)
