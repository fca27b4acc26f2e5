"""The portfolio at the close of a bar, made of the marks of all pairs."""

from collections.abc import Collection, Mapping, Sequence
from decimal import ROUND_DOWN, Decimal
from typing import NamedTuple

import msgspec

from common.market import NANOSECONDS
from common.messages import Mark, PositionState, Thresholds
from services.risk_manager.rules import Evidence, Halt, Limits

_DAY_NS = 86_400 * NANOSECONDS
_CENT = Decimal("0.01")
_NONE = Decimal(0)
#: Orders of an entry, one a leg.
_ENTRY_ORDERS = 2
#: States in which what a pair will hold is not known yet, since its entry is under way.
_IN_FLIGHT = frozenset({PositionState.ENTERING, PositionState.HEDGING})


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
    state: PositionState = PositionState.IDLE


class Portfolio(msgspec.Struct, frozen=True, kw_only=True):
    """All pairs together after the bar `closed`."""

    closed: BarKey | None = None
    accounts: dict[str, Account] = {}
    #: Budgets of the pairs at the bar before.
    granted_usd: dict[str, Decimal] = {}
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

    A pair's starting equity is money paid in: when a pair joins, the high-water mark and the start of the day move by it,
    so that it does not count as profit.
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


def keep_only(portfolio: Portfolio, pairs: Sequence[str]) -> Portfolio:
    """Let the other pairs leave, each with its starting money and what it has made of it.

    The high-water mark and the start of the day shrink as the equity does, so that drawdown and daily loss, fractions of
    them, stay as they were. Taking the leaving equity off them would make the loss of a pair that stays look larger, and
    a profit of the day could leave nothing to compare with.
    """
    if portfolio.accounts.keys() <= set(pairs):
        return portfolio
    accounts = {pair: account for pair, account in portfolio.accounts.items() if pair in pairs}
    leaving = [account for pair, account in portfolio.accounts.items() if pair not in accounts]
    equity_usd = sum((account.equity_usd for account in accounts.values()), _NONE)
    kept, of = (equity_usd, portfolio.equity_usd) if portfolio.equity_usd > 0 else (Decimal(1), Decimal(1))
    return msgspec.structs.replace(
        portfolio,
        accounts=accounts,
        granted_usd={pair: budget_usd for pair, budget_usd in portfolio.granted_usd.items() if pair in pairs},
        capital_usd=portfolio.capital_usd - sum((account.starting_usd for account in leaving), _NONE),
        equity_usd=equity_usd,
        high_water_mark_usd=portfolio.high_water_mark_usd * kept / of,
        day_start_usd=portfolio.day_start_usd * kept / of,
    )


def grants(limits: Limits, portfolio: Portfolio, pairs: Sequence[str]) -> dict[str, Grant]:
    """Share out what is left of the portfolio's limits.

    A pair may keep what it holds; one whose entry is under way, or whose mark is missing, keeps what it was granted for it.
    What is left of the gross exposure goes in equal parts to the pairs that are idle, so all budgets together stay within
    the limit.
    """
    reserved_usd = {pair: _reserved_usd(portfolio, pair) for pair in pairs}
    idle = {pair for pair in pairs if _is_idle(portfolio, pair)}
    left_usd = max(limits.max_gross_exposure_usd - sum(reserved_usd.values(), _NONE), _NONE)
    share_usd = left_usd / max(len(idle), 1)
    orders = _deal_orders(limits, portfolio, pairs, idle)
    return {pair: Grant(_budget_usd(limits, reserved_usd[pair] + (share_usd if pair in idle else _NONE)), orders[pair]) for pair in pairs}


def bars_of_a_minute(bar_interval_ns: int) -> int:
    """Bars before the next one that share a minute with it."""
    return -(-60 * NANOSECONDS // bar_interval_ns)


def _account(mark: Mark) -> Account:
    return Account(
        key=key_of(mark),
        starting_usd=mark.starting_usd,
        equity_usd=mark.equity_usd,
        gross_exposure_usd=mark.gross_exposure_usd,
        state=mark.state,
    )


def _is_idle(portfolio: Portfolio, pair: str) -> bool:
    account = portfolio.accounts.get(pair)
    return pair not in portfolio.missing and (account is None or account.state is PositionState.IDLE)


def _reserved_usd(portfolio: Portfolio, pair: str) -> Decimal:
    """Tell what a pair holds or may yet come to hold without a new share."""
    account = portfolio.accounts.get(pair)
    held_usd = account.gross_exposure_usd if account else _NONE
    in_flight = pair in portfolio.missing or (account is not None and account.state in _IN_FLIGHT)
    return max(held_usd, portfolio.granted_usd.get(pair, _NONE)) if in_flight else held_usd


def _budget_usd(limits: Limits, usd: Decimal) -> Decimal:
    return min(limits.max_position_usd, usd).quantize(_CENT, rounding=ROUND_DOWN)


def _deal_orders(limits: Limits, portfolio: Portfolio, pairs: Sequence[str], idle: Collection[str]) -> dict[str, int]:
    """Deal the orders that are left in lots of an entry, to idle pairs first; another pair begins each bar, so each has its turn."""
    first = portfolio.closed.bar % len(pairs) if portfolio.closed else 0
    in_turn = sorted((*pairs[first:], *pairs[:first]), key=lambda pair: pair not in idle)
    orders_left = max(limits.max_orders_per_minute - sum(portfolio.recent_orders), 0)
    lots, more = divmod(orders_left // _ENTRY_ORDERS, len(pairs))
    return {pair: _ENTRY_ORDERS * (lots + (turn < more)) for turn, pair in enumerate(in_turn)}
