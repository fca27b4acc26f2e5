"""Which record of a pair may be processed, and when: the hold that keeps timing from changing a decision.

A record of bar k waits until the pair's risk signal of bar k-1, or a later one, also of a later session, is there. A bar that has begun goes on
without waiting. The first bar of a session needs no signal and takes no exposure.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from common.errors import InvalidRecord
from common.market import MOST_BARS_SKIPPED, bar_end_ns
from common.messages import BarClose, BarStatus, Feed, HedgeMessage, HedgeRatio, HedgeRatioClose, ModelStatus, RiskSignal
from common.trace import NO_TRACE, Trace
from services.execution.state import PairState, where

#: Signals by session and bar.
Signals = Mapping[tuple[int, int], RiskSignal]


class Held(NamedTuple):
    """A record in the queue."""

    message: HedgeMessage
    partition: int
    offset: int
    #: Up to the time at which this service had it in hand.
    trace: Trace = NO_TRACE
    #: As it was read, in case it must be set aside.
    value: bytes = b""


class Release(NamedTuple):
    """A record may be processed, with this signal of the bar before."""

    signal: RiskSignal | None


def drop_reason(state: PairState, message: HedgeMessage) -> str | None:
    """Why a record has no effect: it was seen before, or lies in a closed bar or an older session."""
    at = where(message)
    if at.session != state.session:
        return "old-session" if at.session < state.session else None
    if isinstance(message, HedgeRatio) and at.seq <= state.last_seq:
        return "repeated"
    return "closed-bar" if at.bar <= state.closed_bar else None


def release(state: PairState, message: HedgeMessage, signals: Signals) -> Release | None:
    """Whether a record may be processed now."""
    at = where(message)
    if at.session != state.session or at.bar <= state.bar:
        return Release(None)
    exact = signals.get((at.session, at.bar - 1))
    if exact or any(key >= (at.session, at.bar) for key in signals):
        return Release(exact)
    return None


class PairQueue:
    """A pair's records in order, gapless in bars: one that was skipped is put in as MISSING."""

    def __init__(self, state: PairState, bar_interval_ns: int) -> None:
        self._records: deque[Held] = deque()
        self._session = state.session
        self._closed_bar = state.closed_bar
        self._bar_interval_ns = bar_interval_ns

    def __len__(self) -> int:
        return len(self._records)

    @property
    def head(self) -> Held:
        """The oldest record."""
        return self._records[0]

    @property
    def newest(self) -> Held:
        """The record that came last."""
        return self._records[-1]

    def push(self, held: Held) -> None:
        """Take a record in; raises InvalidRecord for one impossibly far ahead."""
        at = where(held.message)
        if at.session > self._session:
            self._session, self._closed_bar = at.session, at.bar - 1
        elif at.session == self._session:
            self._records.extend(self._skipped(held, at.bar))
            self._closed_bar = max(self._closed_bar, at.bar - 1)
        if isinstance(held.message, HedgeRatioClose) and at.session == self._session:
            self._closed_bar = max(self._closed_bar, at.bar)
        self._records.append(held)

    def pop(self) -> Held:
        """Remove the oldest record."""
        return self._records.popleft()

    def _skipped(self, held: Held, bar: int) -> Iterator[Held]:
        if bar - self._closed_bar > MOST_BARS_SKIPPED:
            raise InvalidRecord("bar-far-ahead", f"bar {bar} follows {self._closed_bar}")
        return (held._replace(message=self._missing(held.message, skipped)) for skipped in range(self._closed_bar + 1, bar))

    def _missing(self, cause: HedgeMessage, bar: int) -> HedgeRatioClose:
        source = cause.source
        close = BarClose(
            pair=source.pair,
            seq=source.seq,
            epoch=source.epoch,
            session=source.session,
            bar=bar,
            end_time_ns=bar_end_ns(bar, self._bar_interval_ns),
            status=BarStatus.MISSING,
            feed=cause.close.feed if isinstance(cause, HedgeRatioClose) else Feed.RECORDING,
        )
        return HedgeRatioClose(close=close, status=ModelStatus.DEGRADED, reason="the bar was skipped in the input")
