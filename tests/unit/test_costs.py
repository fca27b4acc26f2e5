"""Costs are exact and rounded against the account."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.costs import borrow_usd, fee_usd, funding_usd, round_against, to_cents

AMOUNTS = st.decimals(min_value="0.00000001", max_value="1000000", places=8)


@pytest.mark.parametrize(
    ("quantity", "price", "bps", "fee"),
    [("1", "2000", "5", "-1.00000000"), ("0.001", "50000.1", "5", "-0.02500005"), ("0.001", "0.01", "5", "-0.00000001"), ("3", "7", "0", "0")],
)
def test_fee_is_a_cost_rounded_up_in_size(quantity: str, price: str, bps: str, fee: str) -> None:
    """A fee is negative and never smaller in size than the exact one."""
    assert fee_usd(Decimal(quantity), Decimal(price), Decimal(bps)) == Decimal(fee)


@settings(deadline=None, max_examples=50)
@given(AMOUNTS, AMOUNTS, st.decimals(min_value=0, max_value=100, places=2))
def test_fee_is_within_one_quantum_against_us(quantity: Decimal, price: Decimal, bps: Decimal) -> None:
    """The rounding costs less than one unit, whatever the size and the sign of the quantity."""
    exact = -Fraction(quantity) * Fraction(price) * Fraction(bps) / 10_000
    assert exact - Fraction(1, 10**8) < Fraction(fee_usd(quantity, price, bps)) <= exact
    assert fee_usd(-quantity, price, bps) == fee_usd(quantity, price, bps)


@pytest.mark.parametrize(
    ("quantity", "rate", "amount"),
    [("2", "0.0001", "-0.4"), ("-2", "0.0001", "0.4"), ("2", "-0.0001", "0.4"), ("-2", "-0.0001", "-0.4"), ("0", "0.0001", "0")],
)
def test_longs_pay_a_positive_rate(quantity: str, rate: str, amount: str) -> None:
    """Funding goes from longs to shorts at a positive rate and back at a negative one."""
    assert funding_usd(Decimal(quantity), Decimal(2000), Decimal(rate)) == Decimal(amount)


def test_borrowing_is_linear_in_time() -> None:
    """A day at 3 bps costs 3 bps of the notional, a minute its share."""
    assert borrow_usd(Decimal(-2), Decimal(1000), Decimal(3), 86_400) == Decimal("-0.6")
    assert borrow_usd(Decimal(-2), Decimal(1000), Decimal(3), 60) == Decimal("-0.00041667")


def test_rounding_goes_down() -> None:
    """Profit is rounded to less, cost to more."""
    assert round_against(Decimal("0.000000019")) == Decimal("0.00000001")
    assert round_against(Decimal("-0.000000011")) == Decimal("-0.00000002")
    assert to_cents(Decimal("1.236")) == Decimal("1.24")
