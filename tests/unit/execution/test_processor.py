"""Bars, sessions, ends, funding, commands."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.messages import (
    Action,
    BarStatus,
    Command,
    CommandApplied,
    CommandKind,
    Decision,
    ExposureStop,
    Feed,
    Fill,
    FundingPayment,
    HoldExpired,
    Mark,
    OrderEvent,
    OrderStatus,
    PositionState,
    RoundTrip,
    Verdict,
)
from services.execution import processor
from services.execution.state import Hold
from tests.unit.execution.builders import FIRST_BAR, Desk, at_ns, close, mark_price, params, signal

BAR = FIRST_BAR + 1


def opened(given: Any = None) -> Desk:
    """A desk short of 2.5 y and long of 0.099 x."""
    desk = Desk(given)
    desk.warm()
    desk.tick(BAR, 1, risk=signal(BAR - 1), z=3)
    desk.tick(BAR, 2, z=3)
    desk.tick(BAR, 3, z=3)
    assert desk.state.position.state is PositionState.OPEN
    return desk


def command(number: int, kind: CommandKind) -> Command:
    return Command(id=number, target="portfolio", kind=kind, who="me", why="test", issued_at_ns=0)


def obey(desk: Desk, number: int, kind: CommandKind) -> None:
    desk.state, outputs = processor.obey(desk.params, desk.state, command(number, kind))
    desk.outputs += outputs


def test_an_idle_tick_says_nothing() -> None:
    """A tick without a decision leaves no record, only the last book and the gate that blocked."""
    desk = Desk()
    desk.warm()
    assert desk.tick(BAR, 1, risk=signal(BAR - 1), z=1) == []
    assert (desk.state.z, desk.state.blocking_gate) == (pytest.approx(1), "entry-z")


def test_the_first_bar_takes_no_exposure() -> None:
    """In the first bar of a new ledger nothing is entered, however large z."""
    desk = Desk()
    assert desk.tick(FIRST_BAR, 1, z=4) == []
    assert desk.state.blocking_gate == "first-bar"
    (mark,) = desk.close(FIRST_BAR)
    assert isinstance(mark, Mark)
    assert (mark.blocking_gate, mark.z, mark.equity_usd, mark.orders_in_bar) == ("first-bar", None, 100_000, 0)


def test_a_bar_without_its_signal_takes_no_new_exposure() -> None:
    """When the signal of the bar before is missing, the last one serves for leaving only."""
    desk = opened()
    desk.close(BAR)
    desk.tick(BAR + 1, 1, z=3)
    assert desk.state.hold is Hold.MISSING
    desk.tick(BAR + 1, 2, z=0.4)
    desk.tick(BAR + 1, 3, z=3)
    assert [trip.action for trip in desk.of(RoundTrip)] == [Action.EXIT]


def test_a_signal_serves_its_bar_to_the_end() -> None:
    """A later signal that has come meanwhile changes nothing within the bar."""
    desk = Desk()
    desk.warm()
    desk.tick(BAR, 1, risk=signal(BAR - 1, verdict=Verdict.HALTED), z=3)
    desk.tick(BAR, 2, risk=signal(BAR), z=3)
    assert desk.state.blocking_gate == "trading"


def test_marks_add_up_and_carry_the_bar() -> None:
    """wallet = starting + realised + fees + funding, equity = wallet + unrealised, orders and gate of this bar."""
    desk = opened()
    desk.close(BAR)
    mark = desk.of(Mark)[-1]
    assert mark.wallet_usd == mark.starting_usd + mark.realised_usd + mark.fees_usd + mark.funding_usd
    assert mark.equity_usd == mark.wallet_usd + mark.unrealised_usd
    assert mark.fees_usd == sum(fill.fee_usd for fill in desk.of(Fill))
    assert mark.unrealised_usd == -(Decimal("2.5") + Decimal("0.099")) * Decimal("0.2")
    assert mark.gross_exposure_usd == Decimal("2.5") * Decimal("2000.1") + Decimal("0.099") * Decimal("49999.9")
    assert (mark.bar, mark.orders_in_bar, mark.state) == (BAR, 2, PositionState.OPEN)
    desk.close(BAR + 1, risk=signal(BAR))
    assert desk.of(Mark)[-1].orders_in_bar == 0


def test_an_empty_bar_is_marked_with_the_last_book() -> None:
    """A bar without ticks is answered too, its position valued at what was last seen."""
    desk = opened()
    desk.close(BAR)
    desk.close(BAR + 1, risk=signal(BAR), status=BarStatus.EMPTY)
    before, after = desk.of(Mark)[-2:]
    assert after.unrealised_usd == before.unrealised_usd
    assert after.z is None


def test_a_missing_bar_does_not_use_up_the_seq_of_what_follows() -> None:
    """A bar that a stage filled in carries the seq of the record that is still to come."""
    desk = Desk()
    desk.warm()
    desk.close(BAR, risk=signal(BAR - 1), status=BarStatus.MISSING, feed=Feed.LIVE)
    assert (desk.state.closed_bar, desk.state.last_seq) == (BAR, desk.seq - 1)
    assert desk.state.feed is Feed.RECORDING


class TestEnd:
    def test_pending_orders_are_cancelled_and_positions_stay(self) -> None:
        """At the end of a recording nothing more can fill; what is held is marked."""
        desk = opened()
        desk.tick(BAR, 10, z=0)
        desk.close(BAR, end=True)
        assert [event.status for event in desk.of(OrderEvent)][-2:] == [OrderStatus.CANCELLED] * 2
        mark = desk.of(Mark)[-1]
        assert (mark.end, mark.y_quantity, mark.state) == (True, Decimal("-2.5"), PositionState.EXITING)

    def test_an_entry_that_has_not_filled_is_forgotten(self) -> None:
        """Nothing held, nothing to account for."""
        desk = Desk()
        desk.warm()
        desk.tick(BAR, 1, risk=signal(BAR - 1), z=3)
        desk.close(BAR, end=True)
        assert desk.state.position.state is PositionState.IDLE
        assert desk.of(RoundTrip) == []

    def test_half_an_entry_closes_if_a_tick_comes_after_all(self) -> None:
        """A leg whose hedge was cancelled at the end is not taken for a position."""
        desk = Desk()
        desk.warm()
        desk.tick(BAR, 1, risk=signal(BAR - 1), z=3)
        desk.tick(BAR, 2, z=3)
        desk.close(BAR, end=True)
        desk.tick(BAR + 1, 1, risk=signal(BAR), z=3)
        desk.tick(BAR + 1, 2, z=3)
        assert [trip.action for trip in desk.of(RoundTrip)] == [Action.UNWIND]


class TestSession:
    def test_positions_are_closed_at_the_last_book_with_fees(self) -> None:
        """The market that a position belongs to has ended: it is closed where that market was last seen."""
        desk = opened()
        desk.tick(BAR, 5, z=3, y=1990)
        desk.tick(FIRST_BAR - 500, 1, session=2, y=3000, x=90_000, z=3)
        closing = desk.of(Fill)[-2:]
        assert [fill.price for fill in closing] == [Decimal("1990.1"), Decimal("49999.9")]
        assert all(fill.fee_usd < 0 and fill.session == 2 and fill.bar == FIRST_BAR - 500 for fill in closing)
        assert desk.state.account.flat
        assert [trip.action for trip in desk.of(RoundTrip)] == [Action.FLATTEN]
        assert desk.state.blocking_gate == "first-bar"

    def test_working_orders_are_cancelled(self) -> None:
        """An order of the old market never meets a book of the new one."""
        desk = Desk()
        desk.warm()
        desk.tick(BAR, 1, risk=signal(BAR - 1), z=3)
        desk.tick(BAR + 10, 1, session=2, z=3)
        assert desk.of(OrderEvent)[-1].status is OrderStatus.CANCELLED
        assert desk.of(Fill) == []
        assert desk.state.position.state is PositionState.IDLE

    def test_the_money_goes_on(self) -> None:
        """A session is not a new account."""
        desk = opened()
        desk.tick(BAR + 10, 1, session=2)
        desk.close(BAR + 10, session=2)
        mark = desk.of(Mark)[-1]
        assert mark.z is None, "the old session's signal says nothing about the new market"
        assert mark.session == 2
        assert mark.wallet_usd == 100_000 + mark.realised_usd + mark.fees_usd
        assert mark.fees_usd == sum(fill.fee_usd for fill in desk.of(Fill))


class TestFunding:
    INSTANT = at_ns(BAR + 1, 30)
    NEXT = INSTANT + 8 * 3600 * 10**9

    def paid(self, desk: Desk) -> list[tuple[str, int, Decimal]]:
        desk.close(BAR, y_mark=mark_price("2000", "0.0001", self.INSTANT), x_mark=mark_price("50000", "0.0002", self.INSTANT))
        desk.tick(BAR + 1, 29, risk=signal(BAR), z=3)
        desk.close(BAR + 1, y_mark=mark_price("2100", "0.0009", self.NEXT), x_mark=mark_price("51000", "0.0009", self.NEXT))
        return [(payment.leg.value, payment.bar, payment.amount_usd) for payment in desk.of(FundingPayment)]

    def test_each_leg_pays_at_the_announced_rate(self) -> None:
        """The short receives, the long pays, at the last price and rate before the instant, in the bar of the instant."""
        assert self.paid(opened()) == [("y", BAR + 1, Decimal("0.5")), ("x", BAR + 1, Decimal("-0.99"))]

    def test_it_is_paid_once_and_is_in_the_mark(self) -> None:
        """The next close with the same announcement pays nothing more."""
        desk = opened()
        self.paid(desk)
        desk.close(BAR + 2, risk=signal(BAR + 1), y_mark=mark_price("2100", "0.0009", self.NEXT))
        assert len(desk.of(FundingPayment)) == 2
        assert desk.of(Mark)[-1].funding_usd == Decimal("-0.49")

    def test_what_is_held_at_the_instant_counts(self) -> None:
        """A position closed after the instant pays, once and within its round trip, although it is flat at the close."""
        desk = opened()
        desk.close(BAR, y_mark=mark_price("2000", "0.0001", self.INSTANT))
        desk.tick(BAR + 1, 29, risk=signal(BAR), z=0)
        desk.tick(BAR + 1, 31, z=0)
        assert [(trip.funding_usd, trip.net_usd) for trip in desk.of(RoundTrip)] == [(Decimal("0.5"), desk.state.account.wallet_usd - 100_000)]
        desk.close(BAR + 1, y_mark=mark_price("2100", "0.0009", self.NEXT))
        assert [payment.amount_usd for payment in desk.of(FundingPayment)] == [Decimal("0.5")]

    def test_an_announcement_that_has_not_moved_on_pays_no_second_time(self) -> None:
        """The exchange may go on announcing an instant for a while after it has passed, and fall back to it once more."""
        desk = opened()
        desk.close(BAR, y_mark=mark_price("2000", "0.0001", self.INSTANT))
        desk.tick(BAR + 1, 31, risk=signal(BAR), z=3)
        for bar, instant in enumerate((self.INSTANT, self.NEXT, self.INSTANT, self.NEXT), start=BAR + 1):
            desk.close(bar, risk=signal(bar - 1), y_mark=mark_price("2100", "0.0009", instant))
        assert [payment.bar for payment in desk.of(FundingPayment)] == [BAR + 1]

    def test_a_flat_pair_pays_nothing(self) -> None:
        """No position, no payment, no record."""
        desk = Desk()
        desk.warm()
        desk.tick(BAR, 1, risk=signal(BAR - 1))
        assert self.paid(desk) == []

    def test_borrowing_is_charged_per_bar_while_short(self) -> None:
        """With borrowed shorts the short leg costs its share of a day each bar, the long leg nothing."""
        desk = opened(params(borrow_bps_per_day=Decimal("2.88")))
        desk.close(BAR)
        desk.close(BAR + 1, risk=signal(BAR))
        payments = desk.of(FundingPayment)
        assert [(payment.leg.value, payment.bar) for payment in payments] == [("y", BAR), ("y", BAR + 1)]
        assert {payment.amount_usd for payment in payments} == {Decimal("-0.00100005")}


class TestCommands:
    def test_halt_acts_at_once_and_says_where(self) -> None:
        """The command is on record with the last seq before it, and blocks the next entry."""
        desk = Desk()
        desk.warm()
        obey(desk, 1, CommandKind.HALT)
        (applied,) = desk.of(CommandApplied)
        assert (applied.command_id, applied.seq, applied.kind) == (1, desk.seq, CommandKind.HALT)
        desk.tick(BAR, 1, risk=signal(BAR - 1), z=3)
        assert desk.state.blocking_gate == "trading"

    def test_the_stricter_holds_until_a_signal_has_passed_the_command(self) -> None:
        """A signal older than the command does not lift it; one that has it decides."""
        desk = Desk()
        desk.warm()
        obey(desk, 7, CommandKind.HALT)
        desk.tick(BAR, 1, risk=signal(BAR - 1, commands_through=6), z=3)
        assert desk.state.verdict is Verdict.HALTED
        desk.close(BAR)
        desk.tick(BAR + 1, 1, risk=signal(BAR, commands_through=7), z=3)
        assert desk.state.verdict is Verdict.ACTIVE

    def test_flatten_closes_at_the_next_tick(self) -> None:
        """Nothing waits for the bar to end."""
        desk = opened()
        obey(desk, 1, CommandKind.FLATTEN)
        desk.tick(BAR, 10, z=3)
        desk.tick(BAR, 11, z=3)
        assert desk.state.account.flat
        assert desk.of(Decision)[-1].action is Action.FLATTEN

    def test_resume_acts_by_signal_only(self) -> None:
        """Execution lifts nothing by itself."""
        desk = Desk()
        desk.warm()
        obey(desk, 1, CommandKind.HALT)
        obey(desk, 2, CommandKind.RESUME)
        assert desk.state.verdict is Verdict.HALTED
        desk.tick(BAR, 1, risk=signal(BAR - 1, commands_through=1, verdict=Verdict.HALTED), z=3)
        assert desk.state.verdict is Verdict.HALTED
        desk.close(BAR)
        desk.tick(BAR + 1, 1, risk=signal(BAR, commands_through=2), z=3)
        assert desk.state.verdict is Verdict.ACTIVE

    def test_when_a_resume_comes_changes_nothing(self) -> None:
        """What is not committed must leave no trace: a resume, before or after the signal, gives the same state."""
        states = []
        for early in (True, False):
            desk = Desk()
            desk.warm()
            obey(desk, 1, CommandKind.HALT)
            if early:
                obey(desk, 2, CommandKind.RESUME)
            desk.tick(BAR, 1, risk=signal(BAR - 1, commands_through=1, verdict=Verdict.HALTED), z=3)
            if not early:
                obey(desk, 2, CommandKind.RESUME)
            states.append(desk.state)
        assert states[0] == states[1]

    def test_a_repeated_command_says_nothing(self) -> None:
        """Delivery at least once is applied once."""
        desk = Desk()
        desk.warm()
        obey(desk, 1, CommandKind.HALT)
        obey(desk, 1, CommandKind.HALT)
        assert len(desk.of(CommandApplied)) == 1

    def test_a_weaker_command_does_not_lift_a_stronger_one(self) -> None:
        """Halt after flatten leaves it at flatten."""
        desk = Desk()
        desk.warm()
        obey(desk, 1, CommandKind.FLATTEN)
        obey(desk, 2, CommandKind.HALT)
        assert desk.state.verdict is Verdict.FLATTEN


def test_an_expired_hold_reduces_only_to_the_end_of_the_bar() -> None:
    """The bar goes on with the signal in use, says so, and takes nothing new; the next bar is as usual."""
    desk = Desk()
    desk.warm()
    desk.tick(BAR, 1, risk=signal(BAR - 1))
    desk.close(BAR)
    desk.state, outputs = processor.expire(desk.params, desk.state, BAR + 1)
    (expired,) = outputs
    assert isinstance(expired, HoldExpired)
    assert (expired.bar, expired.seq, expired.risk_bar) == (BAR + 1, desk.seq, BAR - 1)
    desk.tick(BAR + 1, 1, risk=signal(BAR), z=3)
    assert desk.state.blocking_gate == "hold"
    desk.close(BAR + 1)
    desk.tick(BAR + 2, 1, risk=signal(BAR + 1), z=3)
    assert desk.state.position.state is PositionState.ENTERING


def test_a_gap_takes_no_new_exposure_to_the_end_of_its_bar() -> None:
    """A missing seq may have been anything: the bar enters nothing, what works towards a position is cancelled, the next bar is as usual."""
    desk = Desk()
    desk.warm()
    desk.tick(BAR, 1, risk=signal(BAR - 1), z=3)
    assert desk.state.position.state is PositionState.ENTERING
    desk.seq += 1
    desk.tick(BAR, 1.01, z=3)
    assert (desk.state.verdict, desk.state.position.state) == (Verdict.REDUCE_ONLY, PositionState.IDLE)
    desk.tick(BAR, 2, z=3)
    assert desk.state.blocking_gate == "sequence"
    desk.close(BAR)
    desk.tick(BAR + 1, 1, risk=signal(BAR), z=3)
    assert desk.state.position.state is PositionState.ENTERING


def test_a_gap_over_whole_bars_counts_for_the_bar_that_reveals_it() -> None:
    """Skipped bars are filled in up to the record that reveals them; that record's bar enters nothing, the one after may."""
    desk = Desk()
    desk.warm()
    desk.seq += 4
    for bar in (BAR, BAR + 1):
        desk.state, _ = processor.step(desk.params, desk.state, close(desk.seq + 1, bar, status=BarStatus.MISSING), signal(bar - 1))
    desk.tick(BAR + 2, 1, risk=signal(BAR + 1), z=3)
    assert desk.state.blocking_gate == "sequence"
    desk.close(BAR + 2)
    desk.tick(BAR + 3, 1, risk=signal(BAR + 2), z=3)
    assert desk.state.position.state is PositionState.ENTERING


def test_a_stop_of_new_exposure_lasts_until_it_is_lifted() -> None:
    """No entry in any bar, an open position is left as ever; each change is said once, with the last seq before it."""
    desk = opened()
    for _ in range(2):
        desk.state, outputs = processor.limit_exposure(desk.params, desk.state, stopped=True, reason="too many")
        desk.outputs += outputs
    desk.tick(BAR, 10, z=0)
    desk.tick(BAR, 11, z=0)
    assert desk.state.account.flat
    desk.close(BAR)
    later = BAR + desk.params.cool_down_bars + 1
    for bar in range(BAR + 1, later):
        desk.tick(bar, 1, risk=signal(bar - 1), z=3)
        desk.close(bar)
    desk.tick(later, 1, risk=signal(later - 1), z=3)
    assert desk.state.blocking_gate == "dead-letters"
    desk.state, outputs = processor.limit_exposure(desk.params, desk.state, stopped=False, reason="")
    desk.outputs += outputs
    desk.tick(later, 2, z=3)
    assert desk.state.position.state is PositionState.ENTERING
    assert [(stop.stopped, stop.reason, stop.bar) for stop in desk.of(ExposureStop)] == [(True, "too many", BAR), (False, "", later)]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.floats(-4, 4), st.floats(1950, 2050), st.booleans()), max_size=25), st.randoms(use_true_random=False))
def test_a_replay_is_equal_and_a_state_survives_json(ticks: list[tuple[float, float, bool]], random: Any) -> None:
    """The same inputs give the same outputs, also when the state is written and read between any two of them (S1)."""
    desks = Desk(), Desk()
    for desk in desks:
        desk.warm()
    bar, second = BAR, 0.0
    for z, y, closes in ticks:
        second += 0.5
        for desk in desks:
            desk.tick(bar, second, risk=signal(bar - 1), z=z, y=round(y, 1))
        if closes:
            for desk in desks:
                desk.close(bar)
            bar, second = bar + 1, 0.0
        if random.random() < 0.5:
            desks[1].state = msgspec.json.decode(msgspec.json.encode(desks[1].state), type=type(desks[1].state))
    assert desks[0].outputs == desks[1].outputs
    assert desks[0].state == desks[1].state
