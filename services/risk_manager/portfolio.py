"""The portfolio at the close of a bar, made of the marks of all pairs."""

from collections.abc import Mapping, Sequence
from decimal import ROUND_DOWN, Decimal
from typing import NamedTuple

import msgspec

from common.market import NANOSECONDS
from common.messages import Mark, PositionState, Thresholds
from services.risk_manager.rules import Evidence, Halt, Limits

_DAY_NS = 86_400 * NANOSECONDS
_CENT = Decimal("0.01")
_NONE = Decimal(0)
#: States from which a pair may take on more exposure within the next bar.
_MAY_GROW = frozenset({PositionState.IDLE, PositionState.ENTERING, PositionState.HEDGING})


class BarKey(NamedTuple):
    """A bar of a market session; sessions come first, since time may go back between two."""

    session: int
    bar: int


def key_of(message: Mark | Thresholds) -> BarKey:
    """Tell the bar that a message belongs to."""
    return BarKey(message.session, message.bar)


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a pair's last mark."""

    key: BarKey
    starting_usd: Decimal
    equity_usd: Decimal
    gross_exposure_usd: Decimal
    may_grow: bool


class Portfolio(msgspec.Struct, frozen=True, kw_only=True):
    """All pairs together after the bar `closed`."""

    closed: BarKey | None = None
    accounts: dict[str, Account] = {}
    capital_usd: Decimal = _NONE
    equity_usd: Decimal = _NONE
    high_water_mark_usd: Decimal = _NONE
    #: UTC day of the closed bar, counted from the Unix epoch, and the equity before its first bar.
    day: int = -1
    day_start_usd: Decimal = _NONE
    #: Orders of each of the last bars that a minute may reach back to, newest last.
    recent_orders: tuple[int, ...] = ()
    missing: tuple[str, ...] = ()
    halts: tuple[Halt, ...] = ()
    commands_through: int = 0

    @property
    def gross_exposure_usd(self) -> Decimal:
        """Gross notional of all pairs, USD."""
        return sum((account.gross_exposure_usd for account in self.accounts.values()), _NONE)

    @property
    def evidence(self) -> Evidence:
        """What the rules look at; the pair's part is not filled in."""
        return Evidence(
            equity_usd=self.equity_usd,
            high_water_mark_usd=self.high_water_mark_usd,
            day_start_usd=self.day_start_usd,
            gross_exposure_usd=self.gross_exposure_usd,
            orders_last_minute=sum(self.recent_orders),
            missing=self.missing,
            halts=self.halts,
        )


class Grant(msgspec.Struct, frozen=True):
    """What a pair may hold and send in the next bar."""

    budget_usd: Decimal
    orders_allowed: int


def book(portfolio: Portfolio, key: BarKey, marks: Mapping[str, Mark], missing: Sequence[str], bar_interval_ns: int) -> Portfolio:
    """Close a bar on its marks; a pair without one keeps its last.

    A pair's starting equity is money paid in: when a pair joins or leaves, the high-water mark and the start of the day
    move by it, so that neither counts as profit or loss.
    """
    accounts = portfolio.accounts | {pair: _account(mark) for pair, mark in marks.items()}
    capital_usd = sum((account.starting_usd for account in accounts.values()), _NONE)
    equity_usd = sum((account.equity_usd for account in accounts.values()), _NONE)
    paid_in_usd = capital_usd - portfolio.capital_usd
    day = key.bar * bar_interval_ns // _DAY_NS
    day_start_usd = portfolio.day_start_usd if day == portfolio.day else portfolio.equity_usd
    orders = sum(mark.orders_in_bar for mark in marks.values())
    return msgspec.structs.replace(
        portfolio,
        closed=key,
        accounts=accounts,
        capital_usd=capital_usd,
        equity_usd=equity_usd,
        high_water_mark_usd=max(portfolio.high_water_mark_usd + paid_in_usd, equity_usd),
        day=day,
        day_start_usd=day_start_usd + paid_in_usd,
        recent_orders=(*portfolio.recent_orders, orders)[-bars_of_a_minute(bar_interval_ns) :],
        missing=tuple(missing),
    )


def grants(limits: Limits, portfolio: Portfolio, pairs: Sequence[str]) -> dict[str, Grant]:
    """Share out what is left of the portfolio's limits.

    A pair may keep what it holds. What is left of the gross exposure goes in equal parts to the pairs that may take on
    more, so all budgets together stay within the limit; the orders that are left go in equal parts to all.
    """
    left_usd = max(limits.max_gross_exposure_usd - portfolio.gross_exposure_usd, _NONE)
    growing = {pair for pair in pairs if pair not in portfolio.accounts or portfolio.accounts[pair].may_grow}
    share_usd = left_usd / max(len(growing), 1)
    orders_left = max(limits.max_orders_per_minute - sum(portfolio.recent_orders), 0)
    return {pair: Grant(_budget(limits, portfolio.accounts.get(pair), share_usd if pair in growing else _NONE), orders_left // len(pairs)) for pair in pairs}


def bars_of_a_minute(bar_interval_ns: int) -> int:
    """Bars before the next one that share a minute with it."""
    return -(-60 * NANOSECONDS // bar_interval_ns)


def _account(mark: Mark) -> Account:
    return Account(
        key=key_of(mark),
        starting_usd=mark.starting_usd,
        equity_usd=mark.equity_usd,
        gross_exposure_usd=mark.gross_exposure_usd,
        may_grow=mark.state in _MAY_GROW,
    )


def _budget(limits: Limits, account: Account | None, share_usd: Decimal) -> Decimal:
    held_usd = account.gross_exposure_usd if account else _NONE
    return min(limits.max_position_usd, held_usd + share_usd).quantize(_CENT, rounding=ROUND_DOWN)
