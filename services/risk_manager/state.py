"""The state of risk-manager: what is stored, what waits for its bar, and what a restart need not read again."""

import msgspec

from common.messages import Changepoint, Command, Mark, RiskSignal, Thresholds
from services.risk_manager import changepoint
from services.risk_manager.portfolio import BarKey, Grant, Portfolio, key_of
from services.risk_manager.recorded import Recorded
from services.risk_manager.rules import Evidence, Limits


class Params(msgspec.Struct, frozen=True, kw_only=True):
    """What the core is told; `pairs` in configured order, and for a replay how the bars were closed."""

    pairs: tuple[str, ...]
    bar_interval_ns: int
    limits: Limits
    changepoint: changepoint.Params
    recorded: Recorded | None = None


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """What outlasts a restart of one pair."""

    detector: changepoint.State
    view: Changepoint = Changepoint()
    #: Bar of the last thresholds that the detector has seen.
    watched: BarKey | None = None
    signal: RiskSignal | None = None
    #: Times that the detector began to ask for something.
    changepoint_actions: int = 0


class Inbox(msgspec.Struct, frozen=True, kw_only=True):
    """What a pair has sent and no close has used, oldest first; read again after a restart.

    It grows with the backlog, by a few hundred bytes a bar, and no further than the topics reach. A bound by pausing the reader could
    stop everybody: behind the records of a pair that is ahead lie, in the same partition, those of the pair that is waited for.
    """

    marks: tuple[Mark, ...] = ()
    thresholds: tuple[Thresholds, ...] = ()


class Close(msgspec.Struct, frozen=True, kw_only=True):
    """A closed bar, kept until every pair has its signal; nothing that comes later may change those."""

    key: BarKey
    evidence: Evidence
    grants: dict[str, Grant]
    commands_through: int
    waiting: tuple[str, ...]


class RiskState(msgspec.Struct, frozen=True, kw_only=True):
    """The whole state; all but the inboxes is stored."""

    portfolio: Portfolio
    memories: dict[str, Memory]
    inboxes: dict[str, Inbox]
    closes: tuple[Close, ...] = ()
    #: Commands that the next close obeys.
    commands: tuple[Command, ...] = ()


def initial(params: Params) -> RiskState:
    """Before the first input."""
    memory = Memory(detector=changepoint.initial(params.changepoint))
    return RiskState(portfolio=Portfolio(), memories=dict.fromkeys(params.pairs, memory), inboxes=dict.fromkeys(params.pairs, Inbox()))


def drop_reason(state: RiskState, message: Mark | Thresholds) -> str | None:
    """Why a record is not applied, None if it is.

    A live mark that comes after the grace is dropped: the pair's next one says all that it said but the orders of its bar.
    """
    inbox = state.inboxes.get(message.pair)
    if inbox is None:
        return "unconfigured-pair"
    held: tuple[Mark | Thresholds, ...] = inbox.marks if isinstance(message, Mark) else inbox.thresholds
    if held:
        return "duplicate" if key_of(message) <= key_of(held[-1]) else None
    if is_used(state, message):
        return "duplicate-or-late"
    return None


def is_used(state: RiskState, message: Mark | Thresholds) -> bool:
    """Whether a restart no longer needs to read this record; one that is told of more pairs may need those of other pairs' open bars."""
    key, memory = key_of(message), state.memories.get(message.pair)
    if isinstance(message, Mark) or memory is None:
        return state.portfolio.closed is not None and key <= state.portfolio.closed
    signalled = BarKey(memory.signal.session, memory.signal.bar) if memory.signal else None
    return any(through is not None and key <= through for through in (memory.watched, signalled))


def oldest_mark(state: RiskState) -> Mark | None:
    """Find the mark that has waited longest for its bar to close."""
    return min((inbox.marks[0] for inbox in state.inboxes.values() if inbox.marks), key=key_of, default=None)
