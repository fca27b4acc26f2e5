"""The books of a pair: exact, and closed at every event."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from common.costs import fee_usd
from common.errors import InvariantBroken
from common.market import Leg, Side
from services.execution.account import Account, Deal, apply_fill, apply_funding, open_account, split_equity, value
from tests.unit.execution.builders import tick

ZERO = Decimal(0)
DEALS = st.builds(
    lambda leg, side, quantity, price: Deal(leg, side, quantity, price, fee_usd(quantity, price, Decimal(5))),
    st.sampled_from(Leg),
    st.sampled_from(Side),
    st.decimals(min_value="0.00000001", max_value="100000", places=8),
    st.decimals(min_value="0.00000001", max_value="1000000", places=8),
)


def deal(side: Side, quantity: str, price: str, leg: Leg = Leg.Y) -> Deal:
    return Deal(leg, side, Decimal(quantity), Decimal(price), ZERO)


def after(*deals: Deal) -> tuple[Account, list[Decimal]]:
    account, realised = open_account(Decimal(1000)), []
    for each in deals:
        account, profit = apply_fill(account, each)
        realised.append(profit)
    return account, realised


@pytest.mark.parametrize(
    ("deals", "realised", "quantity", "cost"),
    [
        pytest.param([("BUY", "1", "100"), ("SELL", "1", "110")], ["0", "10"], "0", "0", id="long gains when the price rises"),
        pytest.param([("SELL", "1", "100"), ("BUY", "1", "90")], ["0", "10"], "0", "0", id="short gains when it falls"),
        pytest.param([("BUY", "1", "100"), ("BUY", "1", "110"), ("SELL", "1", "120")], ["0", "0", "15"], "1", "105", id="average cost"),
        pytest.param([("BUY", "1", "100"), ("SELL", "3", "110")], ["0", "10"], "-2", "-220", id="a turn closes, then opens the other way"),
        pytest.param([("BUY", "3", "1"), ("SELL", "1", "1"), ("SELL", "1", "1"), ("SELL", "1", "1")], ["0", "0", "0", "0"], "0", "0", id="thirds"),
    ],
)
def test_realised_profit(deals: list[tuple[str, str, str]], realised: list[str], quantity: str, cost: str) -> None:
    """Profit is realised against the average cost of what is closed."""
    account, profits = after(*(deal(Side(side), size, price) for side, size, price in deals))
    assert profits == [Decimal(each) for each in realised]
    assert (account.y.quantity, account.y.cost_usd) == (Decimal(quantity), Decimal(cost))


@settings(deadline=None, max_examples=50)
@given(st.lists(DEALS, max_size=30), st.lists(st.decimals(min_value=-100, max_value=100, places=8), max_size=5))
def test_the_books_close_at_every_event(deals: list[Deal], payments: list[Decimal]) -> None:
    """Whatever is traded, in whatever parts and turns, wallet and cash tell the same story in exact fractions."""
    account = open_account(Decimal(100_000))
    cash = Fraction(100_000)
    for each in deals:
        account, _ = apply_fill(account, each)
        signed = Fraction(each.quantity) * (1 if each.side is Side.BUY else -1)
        cash += Fraction(each.fee_usd) - signed * Fraction(each.price)
        costs = Fraction(account.y.cost_usd) + Fraction(account.x.cost_usd)
        assert Fraction(account.wallet_usd) == cash + costs
    for amount in payments:
        account = apply_funding(account, amount)
        cash += Fraction(amount)
    assert Fraction(account.wallet_usd) == cash + Fraction(account.y.cost_usd) + Fraction(account.x.cost_usd)
    assert account.fees_usd <= 0


@settings(deadline=None, max_examples=50)
@given(st.lists(DEALS, min_size=1, max_size=20))
def test_flat_again_means_all_is_realised(deals: list[Deal]) -> None:
    """Closing what is left makes the profit equal to what was taken in less what was paid, to the last digit."""
    account = open_account(Decimal(0))
    for each in deals:
        account, _ = apply_fill(account, each)
    taken = sum((Fraction(each.quantity) * Fraction(each.price) * (-1 if each.side is Side.BUY else 1) for each in deals), Fraction(0))
    for leg in Leg:
        if left := account.holding(leg).quantity:
            side = Side.SELL if left > 0 else Side.BUY
            account, _ = apply_fill(account, Deal(leg, side, abs(left), Decimal(7), ZERO))
            taken += Fraction(left) * 7
    assert account.flat
    assert account.y.cost_usd == account.x.cost_usd == 0
    assert Fraction(account.realised_usd) == taken


@settings(deadline=None, max_examples=50)
@given(st.lists(DEALS, min_size=1, max_size=20))
def test_a_part_realises_no_more_than_its_share(deals: list[Deal]) -> None:
    """A close in part rounds against the account, by less than the smallest unit of money, whichever the side."""
    account = open_account(Decimal(0))
    for each in deals:
        before = account.holding(each.leg)
        signed = each.quantity if each.side is Side.BUY else -each.quantity
        account, realised = apply_fill(account, each)
        if before.quantity * signed < 0:
            closed = signed if abs(signed) < abs(before.quantity) else -before.quantity
            share = Fraction(before.cost_usd) * Fraction(closed) / Fraction(before.quantity)
            exact = -Fraction(closed) * Fraction(each.price) + share
            assert 0 <= exact - Fraction(realised) < Fraction(1, 10**8)


def test_books_that_do_not_close_end_the_program() -> None:
    """Money that came from nowhere is noticed at the next event."""
    account, _ = after(deal(Side.BUY, "1", "100"))
    with pytest.raises(InvariantBroken, match="do not close"):
        apply_funding(replace(account, cash_usd=account.cash_usd + Decimal("0.00000001")), Decimal(1))


def test_longs_are_worth_the_bid_and_shorts_the_ask() -> None:
    """A position is worth what closing it would bring."""
    account, _ = after(deal(Side.BUY, "2", "2000", Leg.Y), deal(Side.SELL, "0.1", "50000", Leg.X))
    worth = value(account, tick(1, 1, 0, y=2000, x=50_000, half_spread=0.5))
    assert worth.unrealised_usd == Decimal("-1.05")
    assert worth.gross_exposure_usd == Decimal(2) * Decimal("1999.5") + Decimal("0.1") * Decimal("50000.5")


@settings(deadline=None, max_examples=50)
@given(st.decimals(min_value="0.01", max_value="1e9", places=2), st.integers(min_value=1, max_value=40))
def test_equity_is_split_to_the_cent(total: Decimal, parts: int) -> None:
    """Shares add up; all but the first are equal and of whole cents."""
    shares = split_equity(total, parts)
    assert sum(shares) == total
    assert len(shares) == parts
    assert len(set(shares[1:])) <= 1
    assert 0 <= shares[0] - shares[-1] < Decimal("0.01") * parts
