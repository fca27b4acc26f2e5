"""The portfolio at a bar close."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.messages import PositionState
from services.risk_manager.portfolio import Account, BarKey, Portfolio, bars_of_a_minute, book, grants, keep_only
from services.risk_manager.rules import daily_loss, drawdown
from tests.unit.risk_manager.builders import LIMITS, MINUTE_NS, PAIRS, mark, portfolio

DAY_BARS = 1440


def closed(before: Portfolio, bar: int, equity: list[int], **changes: Any) -> Portfolio:
    marks = {pair: mark(pair, bar, equity=amount, **changes) for pair, amount in zip(PAIRS, equity, strict=False)}
    return book(before, BarKey(1, bar), marks, [], MINUTE_NS)


def test_equity_adds_up_and_the_mark_only_rises() -> None:
    """Equity is the sum over the pairs; the high-water mark follows it up and never down."""
    up = closed(portfolio(), 8, [11_000, 10_000, 10_000])
    down = closed(up, 9, [9_000, 10_000, 10_000])
    assert (up.equity_usd, up.high_water_mark_usd) == (31_000, 31_000)
    assert (down.equity_usd, down.high_water_mark_usd) == (29_000, 31_000)


def test_a_day_starts_with_the_equity_before_it() -> None:
    """The loss of a UTC day counts from the close of the last bar of the day before."""
    evening = closed(portfolio(bar=DAY_BARS - 2), DAY_BARS - 1, [9_000, 10_000, 10_000])
    midnight = closed(evening, DAY_BARS, [8_000, 10_000, 10_000])
    noon = closed(midnight, DAY_BARS + 720, [7_000, 10_000, 10_000])
    assert evening.day_start_usd == 30_000
    assert midnight.day_start_usd == noon.day_start_usd == 29_000


def test_the_first_close_counts_from_the_money_paid_in() -> None:
    """A new portfolio starts from the pairs' starting equity."""
    first = closed(Portfolio(), 8, [9_500, 10_000, 10_000])
    assert (first.capital_usd, first.high_water_mark_usd, first.day_start_usd, first.equity_usd) == (30_000, 30_000, 30_000, 29_500)


def test_a_pair_that_joins_is_neither_profit_nor_loss() -> None:
    """Starting equity moves the high-water mark and the start of the day, so drawdown and daily loss stay as they were."""
    two = closed(closed(Portfolio(), 8, [10_000, 10_000]), 9, [9_000, 10_000])
    three = closed(two, 10, [9_000, 10_000, 10_000])
    assert two.high_water_mark_usd - two.equity_usd == three.high_water_mark_usd - three.equity_usd == 1000
    assert two.day_start_usd - two.equity_usd == three.day_start_usd - three.equity_usd == 1000


def test_a_pair_that_leaves_takes_its_money_along() -> None:
    """A pair that is no longer configured takes away its capital and its profit, which is no loss of those that stay."""
    before = closed(portfolio(), 8, [10_000, 10_000, 19_000])
    without = keep_only(before, PAIRS[:2])
    after = closed(without, 9, [10_000, 10_000])
    assert (without.capital_usd, without.equity_usd, without.high_water_mark_usd) == (20_000, 20_000, 20_000)
    assert (after.equity_usd, after.high_water_mark_usd) == (20_000, 20_000)
    assert keep_only(before, PAIRS) is before


@given(st.lists(st.integers(1, 60_000), min_size=3, max_size=3), st.lists(st.integers(1, 60_000), min_size=3, max_size=3))
def test_a_pair_that_leaves_changes_no_loss(earlier: list[int], equity: list[int]) -> None:
    """Whatever a leaving pair has won or lost, drawdown and daily loss are what they were."""
    before = closed(closed(portfolio(), 8, earlier), 9, equity)
    after = closed(keep_only(before, PAIRS[:2]), 10, equity[:2])
    for measure in (drawdown, daily_loss):
        assert measure(LIMITS, after.evidence).value == pytest.approx(measure(LIMITS, before.evidence).value, abs=1e-12)


def test_what_is_left_of_a_ruined_portfolio_is_still_ruined() -> None:
    """Where nothing was left, a loser that leaves forgives no loss."""
    before = closed(portfolio(), 8, [5_000, 5_000, -40_000])
    after = closed(keep_only(before, PAIRS[:2]), 9, [5_000, 5_000])
    assert drawdown(LIMITS, after.evidence).value > LIMITS.max_drawdown


def test_a_pair_without_a_mark_keeps_its_last() -> None:
    """Equity and exposure of a missing pair are those of its last mark, and it is named."""
    before = closed(portfolio(), 8, [9_000, 10_000, 10_000], gross_exposure_usd=Decimal(500))
    after = book(before, BarKey(1, 9), {PAIRS[1]: mark(PAIRS[1], 9)}, [PAIRS[0], PAIRS[2]], MINUTE_NS)
    assert (after.equity_usd, after.gross_exposure_usd) == (29_000, 1000)
    assert after.evidence.missing == (PAIRS[0], PAIRS[2])


@pytest.mark.parametrize(("seconds", "bars"), [(1, 60), (7, 9), (30, 2), (60, 1), (3600, 1)])
def test_bars_of_a_minute(seconds: int, bars: int) -> None:
    """The orders of every bar that can share a minute with the next one count."""
    assert bars_of_a_minute(seconds * 1_000_000_000) == bars


def test_orders_leave_the_minute() -> None:
    """Orders count for a minute of bars, then no more."""
    state = portfolio()
    for bar, orders in enumerate((5, 3, 0), start=8):
        state = book(state, BarKey(1, bar), {PAIRS[0]: mark(PAIRS[0], bar, orders_in_bar=orders)}, [], MINUTE_NS // 2)
    assert state.recent_orders == (3, 0)
    assert state.evidence.orders_last_minute == 3


def test_what_is_left_is_shared_by_those_that_are_idle() -> None:
    """A pair in position keeps what it holds, the others share what is left, none gets more than a position's limit."""
    limits = msgspec.structs.replace(LIMITS, max_gross_exposure_usd=Decimal(15_000), max_orders_per_minute=10)
    held = mark(PAIRS[0], 8, state=PositionState.OPEN, gross_exposure_usd=Decimal("8000.005"), orders_in_bar=2)
    after = book(portfolio(), BarKey(1, 8), {PAIRS[0]: held}, [], MINUTE_NS)
    granted = grants(limits, after, PAIRS)
    assert [granted[pair].budget_usd for pair in PAIRS] == [Decimal("8000.00"), Decimal("3499.99"), Decimal("3499.99")]
    assert [granted[pair].orders_allowed for pair in PAIRS] == [2, 2, 4]
    assert [grant.budget_usd for grant in grants(LIMITS, portfolio(), PAIRS).values()] == [10_000] * 3


@given(
    st.lists(st.tuples(st.decimals(0, 30_000, places=3), st.sampled_from(PositionState), st.decimals(0, 10_000, places=2)), min_size=3, max_size=3),
    st.decimals(1, 60_000, places=2),
    st.integers(0, 100),
)
def test_grants_never_exceed_the_limits(accounts: list[tuple[Decimal, PositionState, Decimal]], limit: Decimal, orders: int) -> None:
    """All budgets together stay within the exposure limit or what is held or promised already, all orders within the rate."""
    limits = msgspec.structs.replace(LIMITS, max_gross_exposure_usd=limit)
    held = {
        pair: Account(key=BarKey(1, 7), starting_usd=Decimal(0), equity_usd=Decimal(0), gross_exposure_usd=gross, state=state)
        for pair, (gross, state, _) in zip(PAIRS, accounts, strict=True)
    }
    promised = {pair: budget for pair, (_, _, budget) in zip(PAIRS, accounts, strict=True)}
    after = portfolio(accounts=held, recent_orders=(orders,), granted_usd=promised)
    granted = grants(limits, after, PAIRS).values()
    reserved = sum(max(gross, budget) if state in {PositionState.ENTERING, PositionState.HEDGING} else gross for gross, state, budget in accounts)
    assert sum(grant.budget_usd for grant in granted) <= max(limit, reserved)
    assert all(0 <= grant.budget_usd <= LIMITS.max_position_usd for grant in granted)
    assert sum(grant.orders_allowed for grant in granted) <= max(LIMITS.max_orders_per_minute - orders, 0)


def test_an_entry_under_way_keeps_what_it_was_granted() -> None:
    """A pair whose entry is not filled yet keeps its budget and gets no share, so its fill and the others' entries fit in the limit together."""
    limits = msgspec.structs.replace(LIMITS, max_gross_exposure_usd=Decimal(12_000))
    before = portfolio(granted_usd={PAIRS[0]: Decimal(9000), PAIRS[1]: Decimal(1), PAIRS[2]: Decimal(9000)})
    marks = {
        PAIRS[0]: mark(PAIRS[0], 8, state=PositionState.ENTERING),
        PAIRS[1]: mark(PAIRS[1], 8, state=PositionState.HEDGING, gross_exposure_usd=Decimal(2)),
        PAIRS[2]: mark(PAIRS[2], 8),
    }
    granted = grants(limits, book(before, BarKey(1, 8), marks, [], MINUTE_NS), PAIRS)
    assert [granted[pair].budget_usd for pair in PAIRS] == [9000, 2, 2998]


def test_a_pair_without_a_mark_keeps_what_it_was_granted() -> None:
    """What a pair did in a bar without its mark is not known: it may have used its budget, and gets no share."""
    limits = msgspec.structs.replace(LIMITS, max_gross_exposure_usd=Decimal(12_000))
    before = portfolio(granted_usd={PAIRS[0]: Decimal(9000)})
    after = book(before, BarKey(1, 8), {pair: mark(pair, 8) for pair in PAIRS[1:]}, PAIRS[:1], MINUTE_NS)
    assert [grant.budget_usd for grant in grants(limits, after, PAIRS).values()] == [9000, 1500, 1500]


@pytest.mark.parametrize(("count", "left"), [(31, 60), (100, 60), (7, 5), (3, 1)])
def test_orders_are_dealt_in_whole_entries(count: int, left: int) -> None:
    """However many pairs there are, as many as the rate has room for may enter, and within a round of bars each of them has its turn."""
    pairs = tuple(map(str, range(count)))
    limits = msgspec.structs.replace(LIMITS, max_orders_per_minute=left)
    turns = dict.fromkeys(pairs, 0)
    for bar in range(100, 100 + count):
        granted = grants(limits, Portfolio(closed=BarKey(1, bar)), pairs)
        assert {grant.orders_allowed for grant in granted.values()} <= {0, 2}
        assert sum(grant.orders_allowed for grant in granted.values()) == left - left % 2
        for pair, grant in granted.items():
            turns[pair] += grant.orders_allowed
    assert set(turns.values()) == {left - left % 2}


def test_orders_go_to_idle_pairs_first() -> None:
    """A pair that holds a position is dealt orders only once each idle one has an entry's."""
    limits = msgspec.structs.replace(LIMITS, max_orders_per_minute=4)
    after = book(portfolio(), BarKey(1, 9), {PAIRS[0]: mark(PAIRS[0], 9, state=PositionState.OPEN)}, [], MINUTE_NS)
    assert [grant.orders_allowed for grant in grants(limits, after, PAIRS).values()] == [0, 2, 2]
