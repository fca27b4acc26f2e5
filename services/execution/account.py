"""The paper account of one pair: exact money by average cost, wallet = starting + realised + fees + funding at every event."""

from decimal import ROUND_DOWN, Decimal, localcontext
from typing import NamedTuple

from msgspec.structs import replace

from common.costs import CENT, MONEY, round_against
from common.errors import InvariantBroken
from common.market import Leg, Side
from common.messages import Part, Tick

ZERO = Decimal(0)


class Holding(Part, frozen=True):
    """What is held of one leg."""

    #: Signed, base currency.
    quantity: Decimal = ZERO
    #: Signed value at which it was acquired, USD: negative for a short.
    cost_usd: Decimal = ZERO


class Account(Part, frozen=True):
    """The books of one pair; a cost is negative."""

    starting_usd: Decimal
    #: Starting money less what was bought plus what was sold, with fees and funding: the other side of the books.
    cash_usd: Decimal
    realised_usd: Decimal = ZERO
    fees_usd: Decimal = ZERO
    funding_usd: Decimal = ZERO
    y: Holding = Holding()
    x: Holding = Holding()

    def holding(self, leg: Leg) -> Holding:
        """What is held of one leg."""
        return self.y if leg is Leg.Y else self.x

    @property
    def flat(self) -> bool:
        """Whether nothing is held."""
        return not (self.y.quantity or self.x.quantity)

    @property
    def wallet_usd(self) -> Decimal:
        """Starting + realised + fees + funding."""
        with localcontext(MONEY):
            return self.starting_usd + self.realised_usd + self.fees_usd + self.funding_usd


class Deal(NamedTuple):
    """What a fill does: quantity in base currency and positive, price in quote currency, a fee that is a cost negative."""

    leg: Leg
    side: Side
    quantity: Decimal
    price: Decimal
    fee_usd: Decimal


class Valuation(NamedTuple):
    """What the open legs are worth at a book."""

    unrealised_usd: Decimal
    gross_exposure_usd: Decimal


def open_account(starting_usd: Decimal) -> Account:
    """An account that holds money only."""
    return Account(starting_usd=starting_usd, cash_usd=starting_usd)


def split_equity(total_usd: Decimal, parts: int) -> list[Decimal]:
    """Equal shares to the cent; what does not divide goes to the first."""
    share = (total_usd / parts).quantize(CENT, rounding=ROUND_DOWN)
    return [total_usd - share * (parts - 1), *[share] * (parts - 1)]


def apply_fill(account: Account, deal: Deal) -> tuple[Account, Decimal]:
    """Book a fill.

    Returns
    -------
    The account after it, and the profit that it realised before its fee, USD.

    Raises
    ------
    InvariantBroken
        When the two sides of the books differ.
    """
    with localcontext(MONEY):
        signed = deal.quantity if deal.side is Side.BUY else -deal.quantity
        holding, realised = _trade(account.holding(deal.leg), signed, deal.price)
        changed = replace(
            account,
            cash_usd=account.cash_usd - signed * deal.price + deal.fee_usd,
            realised_usd=account.realised_usd + realised,
            fees_usd=account.fees_usd + deal.fee_usd,
            **{deal.leg.value: holding},
        )
        return _checked(changed), realised


def equity_usd(account: Account, worth: Valuation) -> Decimal:
    """The wallet and what the open legs have gained."""
    with localcontext(MONEY):
        return account.wallet_usd + worth.unrealised_usd


def apply_funding(account: Account, amount_usd: Decimal) -> Account:
    """Book a payment of funding or borrowing; a cost is negative."""
    with localcontext(MONEY):
        return _checked(replace(account, cash_usd=account.cash_usd + amount_usd, funding_usd=account.funding_usd + amount_usd))


def value(account: Account, book: Tick | None) -> Valuation:
    """Longs at the bid, shorts at the ask."""
    if account.flat or book is None:
        return Valuation(ZERO, ZERO)
    with localcontext(MONEY):
        unrealised = gross = ZERO
        for leg in Leg:
            holding, quote = account.holding(leg), book.quote(leg)
            worth = holding.quantity * (quote.bid if holding.quantity > 0 else quote.ask)
            unrealised += worth - holding.cost_usd
            gross += abs(worth)
        return Valuation(unrealised, gross)


def _trade(holding: Holding, signed: Decimal, price: Decimal) -> tuple[Holding, Decimal]:
    """Add to, reduce or turn a holding; the cost that a part releases is rounded up and the rest stays, so that the sum closes exactly."""
    if holding.quantity * signed >= 0:
        return Holding(quantity=holding.quantity + signed, cost_usd=holding.cost_usd + signed * price), ZERO
    closed = signed if abs(signed) <= abs(holding.quantity) else -holding.quantity
    left = holding.quantity + closed
    released = -round_against(holding.cost_usd * closed / holding.quantity) if left else holding.cost_usd
    realised = -closed * price - released
    opened = signed - closed
    return Holding(quantity=left + opened, cost_usd=holding.cost_usd - released + opened * price), realised


def _checked(account: Account) -> Account:
    books = account.cash_usd + account.y.cost_usd + account.x.cost_usd
    wallet = account.starting_usd + account.realised_usd + account.fees_usd + account.funding_usd
    if books != wallet:
        raise InvariantBroken(f"the books do not close: cash and cost {books}, starting + realised + fees + funding {wallet}")
    return account
