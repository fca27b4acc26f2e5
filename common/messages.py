"""Every message that travels over Kafka: tagged, frozen, versioned, with the unit of every field.

How messages may evolve (tested in `tests/unit/test_messages.py`):

1. A new field has a default, so an older message still reads.
2. A field is never renamed, never changes its unit or meaning; a new name is a new field.
3. Unknown fields are ignored, so an older reader survives a newer writer.
4. What cannot follow these rules is a new message with a new tag; `version` counts the changes of one tag.

Prices, quantities and money are Decimal (strings on the wire), statistics are float, times are integer
nanoseconds UTC. Wall times never appear in a message that a decision depends on: they travel in headers.
"""

from decimal import Decimal
from enum import StrEnum
from typing import Annotated

import msgspec

from common.market import Leg, Side

#: What is larger is damage: 64 bits and SQLite hold it with room for sums, and times reach to the year 2116.
_MOST = 1 << 62
#: The largest bar, of a second each: the year 2286.
_MOST_BARS = 10_000_000_000


def _doc(description: str) -> msgspec.Meta:
    return msgspec.Meta(description=description)


def _whole(description: str, *, least: int = 0, most: int = _MOST) -> msgspec.Meta:
    """A whole number within bounds."""
    return msgspec.Meta(ge=least, le=most, description=description)


PairName = Annotated[str, _doc("pair, dependent leg first: `ETHUSDT-BTCUSDT`")]
Seq = Annotated[int, _whole("position in the pair's stream of ticks and bar closes, gapless")]
Bar = Annotated[int, _whole("bar number: event time divided by the bar interval, since the Unix epoch", most=_MOST_BARS)]
Session = Annotated[int, _whole("market session; event time may go back only between two")]
Epoch = Annotated[int, _whole("writer epoch of ingestion; records of an older epoch after a newer one are dropped")]
EventTimeNs = Annotated[int, _whole("event time, ns UTC")]
Usd = Annotated[Decimal, _doc("USD")]
Symbol = Annotated[str, _doc("symbol as the exchange spells it: `BTCUSDT`")]
ClientId = Annotated[str, _doc("derived from pair, seq of the deciding tick, leg and attempt")]


class Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", gc=False):
    """Base of all messages; the tag is in `type`."""

    version: Annotated[int, _whole("version of this message type")] = 1


class Part(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Base of what messages are made of."""


# --- ticks -----------------------------------------------------------------------------------------------------------


class Feed(StrEnum):
    """Where the market data comes from."""

    RECORDING = "recording"
    LIVE = "live"


class BarStatus(StrEnum):
    """What a bar held: a last tick with both legs fresh, ticks that ended stale, or none; MISSING is a bar that a stage had to fill in."""

    FRESH = "FRESH"
    STALE = "STALE"
    EMPTY = "EMPTY"
    MISSING = "MISSING"


class Quote(Part, frozen=True):
    """One leg's best bid and ask."""

    bid: Annotated[Decimal, _doc("best bid, quote currency")]
    bid_size: Annotated[Decimal, _doc("size at the best bid, base currency")]
    ask: Annotated[Decimal, _doc("best ask, quote currency")]
    ask_size: Annotated[Decimal, _doc("size at the best ask, base currency")]
    event_time_ns: EventTimeNs


class MarkPrice(Part, frozen=True):
    """The exchange's mark price and funding of one symbol."""

    price: Annotated[Decimal, _doc("mark price, quote currency")]
    funding_rate: Annotated[Decimal, _doc("rate of the next funding, a fraction of notional; longs pay when positive")]
    next_funding_time_ns: EventTimeNs
    event_time_ns: EventTimeNs


class WriterEpoch(Message, frozen=True, tag="writer-epoch"):
    """Ingestion has started: every older writer's records after this one are void."""

    epoch: Epoch


class Tick(Message, frozen=True, tag="tick"):
    """Both legs' best bid and ask at one instant."""

    pair: PairName
    seq: Seq
    epoch: Epoch
    session: Session
    bar: Bar
    event_time_ns: Annotated[int, _whole("event time of this tick, ns UTC; never decreases within a pair and session")]
    y: Annotated[Quote, _doc("book of the dependent leg")]
    x: Annotated[Quote, _doc("book of the hedge leg")]

    def quote(self, leg: Leg) -> Quote:
        """The book of one leg."""
        return self.y if leg is Leg.Y else self.x

    def oldest_leg_age_ns(self) -> int:
        """Age of the older of the two books at this tick, ns."""
        return self.event_time_ns - min(self.y.event_time_ns, self.x.event_time_ns)


class BarClose(Message, frozen=True, tag="bar-close"):
    """A bar of a pair has ended."""

    pair: PairName
    seq: Seq
    epoch: Epoch
    session: Session
    bar: Bar
    end_time_ns: Annotated[int, _whole("end of the bar, ns UTC")]
    status: Annotated[BarStatus, _doc("whether the filter's state may move with this bar")]
    feed: Annotated[Feed, _doc("a recording waits for late signals, a live feed does not")]
    end: Annotated[bool, _doc("the recording ends with this bar")] = False
    y_mark: Annotated[MarkPrice | None, _doc("newest mark price of the dependent leg before the end of the bar")] = None
    x_mark: Annotated[MarkPrice | None, _doc("newest mark price of the hedge leg before the end of the bar")] = None
    pairs_id: Annotated[str, _doc("names the set of pairs that this market session has; empty in a bar that was filled in")] = ""


# --- hedge-ratios ----------------------------------------------------------------------------------------------------


class ModelStatus(StrEnum):
    """Whether a model's answer may be acted upon."""

    WARMING = "WARMING"
    READY = "READY"
    DEGRADED = "DEGRADED"


class HedgeEstimate(Part, frozen=True):
    """The filter's view of one tick, taken before any update with it."""

    alpha: Annotated[float, _doc("intercept, log price of y at the centre of x")]
    beta: Annotated[float, _doc("hedge ratio: notional of x that hedges one unit of notional of y")]
    innovation: Annotated[float, _doc("log price of y less its prediction")]
    parameter_variance: Annotated[float, _doc("x'Px: variance of the prediction due to alpha and beta")]
    alpha_variance: Annotated[float, _doc("posterior variance of alpha")]
    beta_variance: Annotated[float, _doc("posterior variance of beta")]


class HedgeRatio(Message, frozen=True, tag="hedge-ratio"):
    """The filter's answer to a tick, against its state at the last closed bar; the tick rides along."""

    tick: Tick
    status: ModelStatus
    estimate: Annotated[HedgeEstimate | None, _doc("absent while the filter warms up")] = None

    @property
    def source(self) -> Tick:
        """The tick that it answers."""
        return self.tick

    @property
    def pair(self) -> str:
        """The pair that it is about."""
        return self.tick.pair

    @property
    def event_time_ns(self) -> int:
        """Event time of the tick, ns UTC."""
        return self.tick.event_time_ns


class HedgeRatioClose(Message, frozen=True, tag="hedge-ratio-close"):
    """The filter's answer to a bar close."""

    close: BarClose
    status: ModelStatus
    last_tick: Annotated[Tick | None, _doc("last tick of the bar, absent when it had none")] = None
    estimate: Annotated[HedgeEstimate | None, _doc("of the bar's last tick, before the update; absent unless the bar moved the state")] = None
    reason: Annotated[str, _doc("why the status is not READY")] = ""

    @property
    def source(self) -> BarClose:
        """The bar close that it answers."""
        return self.close

    @property
    def pair(self) -> str:
        """The pair that it is about."""
        return self.close.pair

    @property
    def event_time_ns(self) -> int:
        """End of the bar, ns UTC."""
        return self.close.end_time_ns


# --- volatility-thresholds -------------------------------------------------------------------------------------------


class VolatilityModel(StrEnum):
    """The model that made a forecast."""

    NONE = "NONE"
    EWMA = "EWMA"
    GARCH = "GARCH"


class Thresholds(Message, frozen=True, tag="thresholds"):
    """Volatility forecast and thresholds, known at the close of `bar` and valid for the next."""

    pair: PairName
    seq: Seq
    session: Session
    bar: Bar
    bar_status: BarStatus
    status: ModelStatus
    feed: Feed
    end: Annotated[bool, _doc("the recording ends with this bar")] = False
    innovation: Annotated[float | None, _doc("the bar's innovation, log price")] = None
    standardised_innovation: Annotated[
        float | None, _doc("surprise (e - phi e of the bar before) over sqrt((1 - phi^2)(x'Px + h)), h forecast one bar earlier")
    ] = None
    forecast_variance: Annotated[float, _doc("h: variance of the next bar's innovation beyond x'Px, log price squared")] = 0.0
    volatility_model: VolatilityModel = VolatilityModel.NONE
    model_age_bars: Annotated[int, _whole("bars since a fit was last put to use, given up or not; 0 before the first")] = 0
    entry_z: Annotated[float, _doc("enter at |z| of at least this")] = 0.0
    exit_z: Annotated[float, _doc("leave at |z| of at most this")] = 0.0
    stop_z: Annotated[float, _doc("stop at |z| of at least this, in units frozen at entry")] = 0.0
    half_life_bars: Annotated[float, _doc("half-life of the innovation's autocorrelation, bars; 0 when unknown")] = 0.0
    expected_edge_bps: Annotated[float, _doc("expected gross profit of a round trip at the entry threshold, bps of y's notional")] = 0.0
    cost_bps: Annotated[float, _doc("fees and spreads of a round trip of both legs, bps of y's notional")] = 0.0
    reason: Annotated[str, _doc("why the status is not READY, or why a fit was refused")] = ""
    fits_accepted: Annotated[int, _whole("fits accepted so far in this pair's history")] = 0
    fits_refused: Annotated[int, _whole("fits refused or failed so far in this pair's history")] = 0


# --- risk-signals ----------------------------------------------------------------------------------------------------


class Verdict(StrEnum):
    """What may be done, from least to most strict."""

    ACTIVE = "ACTIVE"
    REDUCE_ONLY = "REDUCE_ONLY"
    HALTED = "HALTED"
    FLATTEN = "FLATTEN"

    @property
    def strictness(self) -> int:
        """0 for ACTIVE up to 3 for FLATTEN."""
        return _BY_STRICTNESS.index(self)


_BY_STRICTNESS = tuple(Verdict)


def strictest(*verdicts: Verdict) -> Verdict:
    """The verdict that allows least, ACTIVE without any."""
    return max(verdicts, key=_BY_STRICTNESS.index, default=Verdict.ACTIVE)


class RuleResult(Part, frozen=True):
    """One risk rule's finding."""

    rule: Annotated[str, _doc("name of the rule")]
    value: Annotated[float, _doc("what was measured, in the rule's unit; evidence, never computed with")]
    limit: Annotated[float, _doc("what the rule allows, same unit")]
    verdict: Verdict


class ChangepointAction(StrEnum):
    """What the changepoint detector asks for."""

    NONE = "NONE"
    REDUCE_ONLY = "REDUCE_ONLY"
    FLATTEN = "FLATTEN"


class Changepoint(Part, frozen=True):
    """The changepoint detector's view at the close of a bar."""

    recent_mass: Annotated[float, _doc("probability that the last change lies within the watched window")] = 0.0
    expected_run_length: Annotated[float, _doc("expected bars since the last change")] = 0.0
    action: ChangepointAction = ChangepointAction.NONE


class RiskSignal(Message, frozen=True, tag="risk-signal"):
    """What a pair may do, decided at the close of `bar`."""

    pair: PairName
    session: Session
    bar: Bar
    verdict: Verdict
    budget_usd: Annotated[Decimal, _doc("gross notional that the pair may hold, USD")]
    orders_allowed: Annotated[int, _whole("orders that the pair may send in the next bar")]
    commands_through: Annotated[int, _whole("id of the last command that the verdict reflects; 0 before the first")]
    reasons: Annotated[tuple[RuleResult, ...], _doc("every rule's finding")]
    thresholds: Annotated[Thresholds, _doc("of the same bar")]
    changepoint: Changepoint
    marks_missing: Annotated[tuple[str, ...], _doc("pairs without whose mark of the bar the portfolio was closed")] = ()


class RiskHeartbeat(Message, frozen=True, tag="risk-heartbeat"):
    """risk-manager is alive; serves liveness only."""

    sent_at_ns: Annotated[int, _whole("wall time, ns UTC")]


# --- executions ------------------------------------------------------------------------------------------------------


class PositionState(StrEnum):
    """The states of a pair's position."""

    IDLE = "IDLE"
    ENTERING = "ENTERING"
    HEDGING = "HEDGING"
    OPEN = "OPEN"
    EXITING = "EXITING"
    UNWINDING = "UNWINDING"


class Action(StrEnum):
    """What the strategy decided."""

    ENTER_LONG = "ENTER_LONG"
    ENTER_SHORT = "ENTER_SHORT"
    EXIT = "EXIT"
    STOP = "STOP"
    TIME_STOP = "TIME_STOP"
    UNWIND = "UNWIND"
    FLATTEN = "FLATTEN"


class OrderStatus(StrEnum):
    """The life of an order."""

    INTENT = "INTENT"
    WORKING = "WORKING"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    FILLED = "FILLED"
    CANCELLED = "CANCELLED"
    REJECTED = "REJECTED"


class Gate(Part, frozen=True):
    """One condition of an entry: what was measured against which limit."""

    name: Annotated[str, _doc("name of the gate, from a fixed set")]
    value: Annotated[str, _doc("what was measured, in the gate's unit")]
    limit: Annotated[str, _doc("what the gate asks for")]
    passed: Annotated[bool, _doc("whether what was measured is within the limit")]
    advisory: Annotated[bool, _doc("reported, but does not block")] = False


class Execution(Message, frozen=True):
    """Base of what execution writes about a pair."""

    pair: PairName
    session: Session
    bar: Annotated[int, _whole("bar that this record is booked to", most=_MOST_BARS)]
    seq: Annotated[int, _whole("seq of the tick or bar close that caused it")]
    event_time_ns: EventTimeNs


class Decision(Execution, frozen=True, tag="decision"):
    """The strategy decided to act."""

    action: Action
    reason: Annotated[str, _doc("why, in words")]
    z: Annotated[float | None, _doc("standardised innovation at the deciding tick; absent when no model takes part")]
    beta: Annotated[float, _doc("hedge ratio used, frozen for the life of the position")]
    scale: Annotated[float, _doc("sqrt(x'Px + h) at the decision, log price")]
    notional_usd: Annotated[Decimal, _doc("gross notional aimed at, USD")]
    gates: Annotated[tuple[Gate, ...], _doc("every gate at the decision")] = ()


class OrderEvent(Execution, frozen=True, tag="order"):
    """An order came into being or changed."""

    client_id: ClientId
    leg: Leg
    symbol: Symbol
    side: Side
    quantity: Annotated[Decimal, _doc("ordered, base currency")]
    filled: Annotated[Decimal, _doc("filled so far, base currency")]
    reduce_only: Annotated[bool, _doc("the order may only make a position smaller")]
    status: OrderStatus
    reason: Annotated[str, _doc("why, for refusals and cancellations")] = ""


class Fill(Execution, frozen=True, tag="fill"):
    """A part of an order was executed."""

    trade_id: Annotated[str, _doc("unique per fill")]
    client_id: ClientId
    leg: Leg
    symbol: Symbol
    side: Side
    quantity: Annotated[Decimal, _doc("base currency")]
    price: Annotated[Decimal, _doc("quote currency")]
    fee_usd: Annotated[Decimal, _doc("USD; a cost is negative")]
    realised_usd: Annotated[Decimal, _doc("profit realised by this fill before fees, USD")]
    decided_price: Annotated[Decimal, _doc("middle of the book at the order's decision, quote currency; 0 when unknown")] = Decimal(0)


class FundingPayment(Execution, frozen=True, tag="funding"):
    """Funding was paid or received on an open leg."""

    leg: Leg
    symbol: Symbol
    amount_usd: Annotated[Decimal, _doc("USD; a cost is negative")]


class RoundTrip(Execution, frozen=True, tag="round-trip"):
    """A position was opened and is flat again."""

    action: Annotated[Action, _doc("how it was closed")]
    direction: Annotated[Action, _doc("how it was opened")]
    opened_seq: Annotated[int, _whole("seq of the deciding tick of the entry")]
    opened_bar: Annotated[int, _whole("bar of the deciding tick of the entry")]
    gross_usd: Annotated[Decimal, _doc("realised before fees and funding, USD")]
    fees_usd: Annotated[Decimal, _doc("USD; a cost is negative")]
    funding_usd: Annotated[Decimal, _doc("USD; a cost is negative")]
    net_usd: Annotated[Decimal, _doc("sum of the three, USD")]
    unhedged_usd_seconds: Annotated[Decimal, _doc("notional of the unhedged leg times the event time it was unhedged")] = Decimal(0)


class Mark(Execution, frozen=True, tag="mark"):
    """The account of a pair at a bar close: longs at the bid, shorts at the ask of the last book."""

    end: Annotated[bool, _doc("the recording ends with this bar")]
    feed: Feed
    state: PositionState
    y_quantity: Annotated[Decimal, _doc("signed, base currency")]
    x_quantity: Annotated[Decimal, _doc("signed, base currency")]
    starting_usd: Annotated[Decimal, _doc("the pair's share of the starting equity, USD")]
    realised_usd: Annotated[Decimal, _doc("realised so far before fees and funding, USD")]
    fees_usd: Annotated[Decimal, _doc("so far, USD; a cost is negative")]
    funding_usd: Annotated[Decimal, _doc("so far, USD; a cost is negative")]
    wallet_usd: Annotated[Decimal, _doc("starting + realised + fees + funding, USD")]
    unrealised_usd: Annotated[Decimal, _doc("of the open legs, USD")]
    equity_usd: Annotated[Decimal, _doc("wallet + unrealised, USD")]
    gross_exposure_usd: Annotated[Decimal, _doc("sum of both legs' absolute notional, USD")]
    orders_in_bar: Annotated[int, _whole("orders sent in this bar")] = 0
    blocking_gate: Annotated[str, _doc("first gate that blocked an entry at the bar's last tick; empty when none did")] = ""
    z: Annotated[float | None, _doc("standardised innovation at the bar's last tick")] = None


class HoldExpired(Execution, frozen=True, tag="hold-expired"):
    """Live only: the signal of the previous bar did not come in time; to the end of `bar` only `risk_bar`'s is used, and only to reduce."""

    risk_bar: Annotated[int, _whole("bar of the signal in use; -1 when there is none", least=-1)]


class CommandApplied(Execution, frozen=True, tag="command-applied"):
    """Execution obeyed a command before a signal carried it; `seq` is the last tick before it."""

    command_id: Annotated[int, _whole("id of the command")]
    kind: "CommandKind"


class StopCause(StrEnum):
    """Why a pair takes no new exposure although its signal would let it."""

    DEAD_LETTERS = "dead-letters"
    OLD_DATA = "old-data"


class ExposureStop(Execution, frozen=True, tag="exposure-stop"):
    """Too much of what execution reads cannot be used, or a live tick is too old by the clock: a pair takes no new exposure, or may again.

    `seq` is the last tick before it. Each cause is stopped and lifted by itself.
    """

    stopped: Annotated[bool, _doc("no new exposure from the next tick on; false when it is allowed again")]
    reason: Annotated[str, _doc("what was measured, against which limit; empty when it is allowed again")]
    cause: Annotated[StopCause, _doc("what is wrong, or was")] = StopCause.DEAD_LETTERS


#: How many ticks execution may decide before it tells so. A lead that is no shorter never waits for longer than these take.
PROGRESS_TICKS = 8


class Progress(Message, frozen=True, tag="progress"):
    """The last decided seq of each pair; not through the ledger."""

    decided: Annotated[dict[str, Seq], _doc("pair to seq")]


# --- commands and dead letters ---------------------------------------------------------------------------------------


#: The target of a command that means every pair.
PORTFOLIO = "portfolio"


class CommandKind(StrEnum):
    """What an operator may ask for."""

    HALT = "halt"
    RESUME = "resume"
    FLATTEN = "flatten"


class Command(Message, frozen=True, tag="command"):
    """An operator's order to the system."""

    id: Annotated[int, _whole("given by risk-manager, ascending without gaps", least=1)]
    target: Annotated[str, _doc("a pair, or `portfolio`")]
    kind: CommandKind
    who: Annotated[str, _doc("person who asked")]
    why: Annotated[str, _doc("reason that the person gave")]
    issued_at_ns: Annotated[int, _whole("wall time, ns UTC; for people only")]


class DeadLetter(Message, frozen=True, tag="dead-letter"):
    """What could not be parsed or applied."""

    service: Annotated[str, _doc("service that set it aside")]
    source: Annotated[str, _doc("topic, or stream of the exchange")]
    partition: Annotated[int, _whole("of the source record; -1 for a frame", least=-1)]
    offset: Annotated[int, _whole("of the source record; for a frame its number since the start of the process")]
    reason: Annotated[str, _doc("short label from a fixed set")]
    detail: Annotated[str, _doc("what exactly is wrong, in words")]
    payload: Annotated[bytes, _doc("the first 64 KiB (base64 in JSON)")]
    length: Annotated[int, _whole("of the whole payload, bytes")]
    sha256: Annotated[str, _doc("of the whole payload, hexadecimal")]
    key: Annotated[str, _doc("of the source record, at most 1024 characters; empty for a frame")] = ""


class DeadLetterReplayed(Message, frozen=True, tag="dead-letter-replayed"):
    """An operator has published a dead letter's payload again: it is not to be published once more."""

    source: Annotated[str, _doc("topic of the source record, to which it was published again")]
    partition: Annotated[int, _whole("of the source record and of the new one")]
    offset: Annotated[int, _whole("of the source record")]
    sha256: Annotated[str, _doc("of the payload, hexadecimal")]


class StateSnapshot(Message, frozen=True, tag="state-snapshot"):
    """A model's state for one pair after all inputs up to `offset`."""

    pair: PairName
    model: Annotated[str, _doc("model that the state belongs to")]
    schema: Annotated[int, _whole("version of the state's layout")]
    offset: Annotated[int, _whole("of the last input handled, in the input topic's partition", least=-1)]
    checksum: Annotated[str, _doc("SHA-256 of `state`, hexadecimal")]
    state: Annotated[str, _doc("the state as JSON text")]
    missing: Annotated[str, _doc("inputs that the state lacks because they were no longer kept when it was rebuilt; empty for none")] = ""
    unanswered_from: Annotated[int, _whole("inputs from this offset on were passed over, since the pair was not configured; -1 for none", least=-1)] = -1


TickMessage = WriterEpoch | Tick | BarClose
HedgeMessage = HedgeRatio | HedgeRatioClose
RiskMessage = RiskSignal | RiskHeartbeat
LetterMessage = DeadLetter | DeadLetterReplayed
ExecutionMessage = Decision | OrderEvent | Fill | FundingPayment | RoundTrip | Mark | HoldExpired | CommandApplied | ExposureStop
