"""What trading costs, in exact money: a cost is negative, and rounding goes against the account."""

from decimal import ROUND_FLOOR, ROUND_HALF_EVEN, Context, Decimal, DivisionByZero, InvalidOperation, Overflow

#: Wide enough that sums and products of prices, quantities and money of 30 digits each are exact.
MONEY = Context(prec=60, rounding=ROUND_HALF_EVEN, traps=[InvalidOperation, DivisionByZero, Overflow])
#: The smallest unit that fees, funding and released cost are booked in, USD.
MONEY_QUANTUM = Decimal("1e-8")
CENT = Decimal("0.01")

_BPS = Decimal(10_000)
_SECONDS_PER_DAY = Decimal(86_400)


def notional_usd(quantity: Decimal, price: Decimal) -> Decimal:
    """Exact value of a quantity at a price, with the quantity's sign."""
    return MONEY.multiply(quantity, price)


def fee_usd(quantity: Decimal, price: Decimal, fee_bps: Decimal) -> Decimal:
    """Fee of a fill: zero or negative, rounded to a larger cost."""
    return _cost(MONEY.multiply(notional_usd(quantity.copy_abs(), price), MONEY.divide(fee_bps, _BPS)))


def borrow_usd(quantity: Decimal, price: Decimal, bps_per_day: Decimal, seconds: int) -> Decimal:
    """Cost of owing a quantity for some time, linear in it: zero or negative, rounded to a larger cost."""
    daily = MONEY.multiply(notional_usd(quantity.copy_abs(), price), MONEY.divide(bps_per_day, _BPS))
    return _cost(MONEY.divide(MONEY.multiply(daily, Decimal(seconds)), _SECONDS_PER_DAY))


def funding_usd(quantity: Decimal, mark_price: Decimal, rate: Decimal) -> Decimal:
    """Funding of a signed quantity: longs pay a positive rate, shorts receive it; rounded against the account."""
    return round_against(MONEY.multiply(notional_usd(quantity, mark_price), rate).copy_negate())


def round_against(amount_usd: Decimal) -> Decimal:
    """Round an amount of money down: less profit, more cost."""
    return amount_usd.quantize(MONEY_QUANTUM, rounding=ROUND_FLOOR, context=MONEY)


def to_cents(amount_usd: Decimal) -> Decimal:
    """An amount as people read it; the exact one stays the record."""
    return amount_usd.quantize(CENT, rounding=ROUND_HALF_EVEN, context=MONEY)


def _cost(amount_usd: Decimal) -> Decimal:
    return round_against(amount_usd.copy_negate()) if amount_usd else Decimal(0)
