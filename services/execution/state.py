"""What execution knows of one pair, and the unit of work that changes it."""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any, NamedTuple, TypeVar

from msgspec.structs import replace

from common.market import Leg, Pair
from common.matching import MatchingRules, WorkingOrder
from common.messages import (
    Action,
    Execution,
    Feed,
    HedgeMessage,
    HedgeRatio,
    MarkPrice,
    Part,
    PositionState,
    RiskSignal,
    Thresholds,
    Verdict,
    strictest,
)
from common.rules import SymbolRules
from services.execution.account import ZERO, Account, open_account

M = TypeVar("M", bound=Execution)


@dataclass(frozen=True, slots=True)
class Params:
    """What does not change while execution runs."""

    pair: Pair
    y_rules: SymbolRules
    x_rules: SymbolRules
    starting_usd: Decimal
    max_position_usd: Decimal
    fee_bps: Decimal
    matching: MatchingRules
    bar_interval_ns: int
    max_leg_age_ns: int
    unhedged_ns: int
    cost_margin: float
    cool_down_bars: int
    time_stop_half_lives: float
    time_stop_bars: int
    advisory_gates: frozenset[str]
    #: Largest share of an entry's gross notional that rounding may leave without a hedge.
    max_hedge_error: float
    #: Whether a leg may be sold that is not held.
    shorts_allowed: bool
    #: What a short costs a day where it is borrowed; 0 where funding settles it.
    borrow_bps_per_day: Decimal

    def rules(self, leg: Leg) -> SymbolRules:
        """The venue's rules of one leg."""
        return self.y_rules if leg is Leg.Y else self.x_rules


class Hold(StrEnum):
    """Why a bar takes no new exposure; empty when it may."""

    NONE = ""
    FIRST_BAR = "first bar of the session"
    MISSING = "no signal of the previous bar"
    EXPIRED = "signal of the previous bar came late"


class Risk(Part, frozen=True):
    """The risk signal in use."""

    bar: int
    verdict: Verdict
    budget_usd: Decimal
    orders_allowed: int
    thresholds: Thresholds


class Order(WorkingOrder, frozen=True, kw_only=True):
    """A working order of one leg."""

    leg: Leg
    #: Middle of the book at the decision; 0 for an order that an older program sent.
    decided_price: Decimal = ZERO


class Terms(Part, frozen=True):
    """An entry's terms, frozen at its decision."""

    direction: Action
    seq: int
    bar: int
    event_time_ns: int
    notional_usd: Decimal
    beta: float
    z: float
    scale: float
    #: The position's own spread log y - beta log x, of mids.
    spread: float
    exit_z: float
    stop_z: float
    last_bar: int


class Position(Part, frozen=True):
    """A pair's position: both legs, from the entry's decision until both are flat."""

    state: PositionState = PositionState.IDLE
    terms: Terms | None = None
    closing: Action | None = None
    orders: tuple[Order, ...] = ()
    #: Orders sent so far, for the client ids.
    attempts: int = 0
    traded: bool = False
    #: Event time of the first fill; 0 before it.
    first_fill_ns: int = 0
    #: The account's figures before the first fill.
    realised_before_usd: Decimal = ZERO
    fees_before_usd: Decimal = ZERO
    funding_before_usd: Decimal = ZERO
    unhedged_usd_seconds: Decimal = ZERO


class FundingClock(Part, frozen=True):
    """The next funding of a leg: the newest announcement, and the last instant that has been paid."""

    mark: MarkPrice
    paid_ns: int = 0


class Counts(Part, frozen=True):
    """What a pair has done so far."""

    decisions: int = 0
    orders: int = 0
    rejected: int = 0
    fills: int = 0
    round_trips: int = 0


#: As `away_session`: the pair is not in PAIRS now.
STILL_AWAY = 2**53


class PairState(Part, frozen=True):
    """Everything about one pair; as JSON it is a row of the ledger."""

    account: Account
    position: Position = Position()
    session: int = -1
    #: The bar in progress and the last one closed.
    bar: int = -1
    closed_bar: int = -1
    last_seq: int = -1
    event_time_ns: int = 0
    feed: Feed = Feed.RECORDING
    #: The last tick with its estimate: the last book.
    hedge: HedgeRatio | None = None
    risk: Risk | None = None
    hold: Hold = Hold.NONE
    #: The bar in which a missing seq was noticed.
    gap_bar: int | None = None
    #: Why the pair takes no new exposure, whatever the bar; empty while it may.
    exposure_stop: str = ""
    #: How old the last tick was, live, when that was too old for new exposure; empty otherwise.
    old_data: str = ""
    #: What a command asks for before a signal carries it.
    own_verdict: Verdict = Verdict.ACTIVE
    last_command_id: int = 0
    orders_in_bar: int = 0
    #: No entry before this bar.
    cool_until_bar: int = 0
    z: float | None = None
    blocking_gate: str = ""
    y_funding: FundingClock | None = None
    x_funding: FundingClock | None = None
    ended: bool = False
    counts: Counts = Counts()
    #: The last session in which the pair was not in PAIRS for a while, so that signals up to it may have been passed over.
    away_session: int = -1

    @property
    def waits_for_ever(self) -> bool:
        """Whether a record is held until its signal comes: from a recording, unless the pair was away and has missed it."""
        return self.feed is Feed.RECORDING and (self.session < 0 or self.session > self.away_session)

    @property
    def verdict(self) -> Verdict:
        """What may be done now: the strictest of the signal, a command not yet in it, and what keeps this bar or the pair from new exposure."""
        verdict = strictest(self.own_verdict, self.risk.verdict) if self.risk else self.own_verdict
        kept = self.hold is not Hold.NONE or bool(self.exposure_stop or self.old_data) or self.gap_bar == self.bar
        if kept and verdict is Verdict.ACTIVE:
            verdict = Verdict.REDUCE_ONLY
        return verdict


def initial_state(params: Params) -> PairState:
    """The state of a pair in a new ledger."""
    return PairState(account=open_account(params.starting_usd))


class Where(NamedTuple):
    """What a record of `hedge-ratios` is about."""

    session: int
    bar: int
    seq: int
    event_time_ns: int


def where(message: HedgeMessage) -> Where:
    """Session, bar, seq and event time of a record."""
    source = message.source
    return Where(source.session, source.bar, source.seq, message.event_time_ns)


def risk_of(signal: RiskSignal) -> Risk:
    """What is used of a risk signal."""
    return Risk(bar=signal.bar, verdict=signal.verdict, budget_usd=signal.budget_usd, orders_allowed=signal.orders_allowed, thresholds=signal.thresholds)


class Change:
    """One input's effect on a pair: the state as it becomes and what there is to say about it."""

    __slots__ = ("at", "outputs", "params", "state")

    def __init__(self, params: Params, state: PairState, at: Where) -> None:
        self.params = params
        self.state = state
        self.at = at
        self.outputs: list[Execution] = []

    def set(self, **fields: Any) -> None:
        """Change fields of the state."""
        self.state = replace(self.state, **fields)

    def set_position(self, **fields: Any) -> None:
        """Change fields of the position."""
        self.state = replace(self.state, position=replace(self.state.position, **fields))

    def count(self, name: str) -> None:
        """Add one to a count."""
        counts = self.state.counts
        self.set(counts=replace(counts, **{name: getattr(counts, name) + 1}))

    def emit(self, kind: type[M], /, **fields: Any) -> None:
        """Say that something happened at this input."""
        session, bar, seq, event_time_ns = self.at
        self.outputs.append(kind(pair=str(self.params.pair), session=session, bar=bar, seq=seq, event_time_ns=event_time_ns, **fields))
