"""Ticks and bars of the configured pairs: one gapless sequence a pair, one close a bar and pair."""

import zlib
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from common.market import Pair, bar_end_ns
from common.messages import BarClose, BarStatus, Feed, MarkPrice, Quote, Tick, WriterEpoch
from services.ingestion.accounting import Accounting
from services.ingestion.settings import Conflate

_NO_MARKS: Mapping[str, MarkPrice] = {}


class Emission(NamedTuple):
    """A record for `ticks`; `barrier` asks to have it and all before it acknowledged before the next is sent.

    `read_at_ns` is when the oldest frame behind a tick was read, and when a bar was closed.
    """

    key: str
    message: Tick | BarClose | WriterEpoch
    read_at_ns: int = 0
    barrier: bool = False


class PairHistory(NamedTuple):
    """What the log says of a pair: its next seq, and its last close and tick in the session that goes on."""

    next_seq: int = 0
    last_close: BarClose | None = None
    last_tick: Tick | None = None


class LogState(NamedTuple):
    """Where the log stands at the start; `open_bar` is None when the next frame opens a new session or the first one.

    `pairs` are the configured ones and those that have left, as far as they take part in the newest session.
    """

    epoch: int
    session: int = 0
    open_bar: int | None = None
    pairs: Mapping[str, PairHistory] = {}
    #: Whether the session in the log is one of another set of pairs, so that it has to end.
    other_pairs: bool = False


def pairs_id(names: Iterable[str]) -> str:
    """The name of a set of pairs, whatever their order."""
    return f"{zlib.crc32(','.join(sorted(names)).encode()):08x}"


@dataclass(frozen=True, slots=True)
class BarParams:
    """What ticks and bars depend on."""

    pairs: tuple[Pair, ...]
    bar_interval_ns: int
    max_leg_age_ns: int
    feed: Feed
    conflate: Conflate = Conflate.BEHIND
    behind_after_ns: int = 50_000_000
    #: Most ticks of a pair that may be undecided.
    lead_ticks: int = 1000


class _Draft(NamedTuple):
    """A tick that has no seq yet."""

    event_time_ns: int
    y: Quote
    x: Quote
    read_at_ns: int


@dataclass(slots=True)
class _PairState:
    pair: Pair
    name: str
    next_seq: int
    #: Of the last tick: its bar, its event time and the event time of its older leg.
    tick_bar: int | None = None
    event_time_ns: int = 0
    oldest_leg_ns: int = 0
    #: Ticks written and not known to be decided: seq and wall time of writing.
    undecided: deque[tuple[int, int]] = field(default_factory=deque)
    pending: _Draft | None = None


class BarKeeper:
    """Turns books into ticks and time into bar closes; knows nothing of frames, sockets or the clock."""

    def __init__(self, params: BarParams, log: LogState, accounting: Accounting) -> None:
        self.outputs: deque[Emission] = deque()
        self.quotes: dict[str, Quote] = {}
        self.open_bar = log.open_bar
        self.session = log.session
        #: Mark prices of the last closes in the log.
        self.marks: Mapping[str, MarkPrice] = _NO_MARKS
        self.ended = False
        self._params = params
        self._epoch = log.epoch
        self._accounting = accounting
        self._conflating = params.feed is Feed.LIVE
        self._first_close = not any(history.last_close for history in log.pairs.values())
        self._pairs = [_recovered(pair, log.pairs.get(str(pair), PairHistory())) for pair in params.pairs]
        self._by_name = {state.name: state for state in self._pairs}
        self._pairs_id = pairs_id(self._by_name)
        symbols = {symbol for pair in params.pairs for symbol in (pair.y, pair.x)}
        self._of_symbol = {symbol: [state for state in self._pairs if symbol in (state.pair.y, state.pair.x)] for symbol in symbols}
        self._restore_quotes(log)
        self._complete(log)

    # Ticks.

    def pairs_with(self, symbol: str) -> int:
        """How many pairs have the symbol."""
        return len(self._of_symbol.get(symbol, ()))

    def put_book(self, symbol: str, quote: Quote, read_at_ns: int, now_ns: int) -> None:
        """A new book makes a tick of every pair whose other leg is known; its bar must be open."""
        self.quotes[symbol] = quote
        for state in self._of_symbol[symbol]:
            y, x = self.quotes.get(state.pair.y), self.quotes.get(state.pair.x)
            if y is None or x is None:
                self._accounting.ignored["waiting-for-other-leg"] += 1
            else:
                self._offer(state, _Draft(self._event_time_ns(state, y, x), y, x, read_at_ns), now_ns)

    def at_bound(self, symbol: str) -> bool:
        """Whether a pair with this symbol has as many undecided ticks as it may."""
        return any(self._leads(state) for state in self._of_symbol[symbol])

    def decided(self, name: str, seq: int) -> None:
        """Everything of a pair up to `seq` is decided; other programs' pairs are none of ours."""
        state = self._by_name.get(name)
        if state is not None:
            while state.undecided and state.undecided[0][0] <= seq:
                state.undecided.popleft()

    def release(self, now_ns: int) -> None:
        """Write the held ticks that may go."""
        for state in self._pairs:
            if state.pending is not None and self._may_write(state, now_ns):
                self._flush(state, now_ns)

    def pairs_behind(self, now_ns: int) -> int:
        """How many pairs of a live feed are behind."""
        return sum(self._is_behind(state, now_ns) for state in self._pairs) if self._conflating else 0

    def holds_until_progress(self, now_ns: int) -> bool:
        """Whether a tick is held that may go with the next word of progress, which is near."""
        return any(state.pending is not None and not self._is_behind(state, now_ns) for state in self._pairs)

    def flush(self, now_ns: int) -> None:
        """Write every held tick."""
        for state in self._pairs:
            self._flush(state, now_ns)

    def _event_time_ns(self, state: _PairState, y: Quote, x: Quote) -> int:
        """That of the newer leg; a book of a closed bar joins the open one, and a pair's time never goes back."""
        opened_ns = (self.open_bar or 0) * self._params.bar_interval_ns
        return max(y.event_time_ns, x.event_time_ns, state.event_time_ns, opened_ns)

    def _is_behind(self, state: _PairState, now_ns: int) -> bool:
        """Whether decisions on a pair lag."""
        return bool(state.undecided) and now_ns - state.undecided[0][1] > self._params.behind_after_ns

    def _leads(self, state: _PairState) -> bool:
        """Whether as many ticks of a pair are undecided as may be."""
        return len(state.undecided) >= self._params.lead_ticks

    def _may_write(self, state: _PairState, now_ns: int) -> bool:
        return not (self._leads(state) or self._is_behind(state, now_ns))

    def _is_late(self, draft: _Draft, now_ns: int) -> bool:
        """Whether a book has waited so long that newer ones must have come, which the end of the turn will tell."""
        return now_ns - draft.read_at_ns > self._params.behind_after_ns

    def _offer(self, state: _PairState, draft: _Draft, now_ns: int) -> None:
        if not self._conflating:
            self._write(state, draft, now_ns)
        elif state.pending is not None:
            state.pending = draft._replace(read_at_ns=min(draft.read_at_ns, state.pending.read_at_ns))
            self._accounting.conflated += 1
        elif self._params.conflate is Conflate.EVERY_READ or self._is_late(draft, now_ns) or not self._may_write(state, now_ns):
            state.pending = draft
            self._accounting.pending += 1
        else:
            self._write(state, draft, now_ns)
        state.event_time_ns = draft.event_time_ns

    def _flush(self, state: _PairState, now_ns: int) -> None:
        if state.pending is not None:
            self._write(state, state.pending, now_ns)
            self._accounting.pending -= 1
            state.pending = None

    def _write(self, state: _PairState, draft: _Draft, now_ns: int) -> None:
        bar = self.open_bar or 0
        tick = Tick(
            pair=state.name,
            seq=state.next_seq,
            epoch=self._epoch,
            session=self.session,
            bar=bar,
            event_time_ns=draft.event_time_ns,
            y=draft.y,
            x=draft.x,
        )
        self.outputs.append(Emission(state.name, tick, draft.read_at_ns))
        state.undecided.append((state.next_seq, now_ns))
        state.next_seq += 1
        state.tick_bar = bar
        state.oldest_leg_ns = min(draft.y.event_time_ns, draft.x.event_time_ns)
        self._accounting.ticks += 1

    # Bars.

    def close_bar(self, marks: Mapping[str, MarkPrice], now_ns: int) -> None:
        """Close the open bar of all pairs and open the next."""
        self.flush(now_ns)
        self._close_all(marks, now_ns)
        self.open_bar = (self.open_bar or 0) + 1

    def end(self, marks: Mapping[str, MarkPrice], now_ns: int) -> None:
        """End the session: close the open bar as the last one."""
        self.flush(now_ns)
        if self.open_bar is not None:
            self._close_all(marks, now_ns, end=True)
        self.open_bar = None
        self.ended = True

    def begin(self, bar: int) -> int:
        """Open the first bar of a new session; nothing of the one before is known in it."""
        self.session += 1
        self.open_bar = bar
        self.ended = False
        self._first_close = True
        self.quotes.clear()
        for state in self._pairs:
            state.tick_bar = None
            state.event_time_ns = 0
        return bar

    def _close_all(self, marks: Mapping[str, MarkPrice], now_ns: int, *, end: bool = False) -> None:
        """Close the open bar of all pairs; at either end of a session, wait until they are safe.

        So after a crash no pair can be in a session, or past its first bar, that another has not reached.
        """
        bar = self.open_bar or 0
        for state in self._pairs:
            self.outputs.append(Emission(state.name, self._close(state, bar, marks, end=end), now_ns))
        if end or self._first_close:
            self._make_last_safe()
        self._first_close = False

    def _close(self, state: _PairState, bar: int, marks: Mapping[str, MarkPrice], *, end: bool) -> BarClose:
        end_time_ns = bar_end_ns(bar, self._params.bar_interval_ns)
        status = self._status(state, bar, end_time_ns)
        close = BarClose(
            pair=state.name,
            seq=state.next_seq,
            epoch=self._epoch,
            session=self.session,
            bar=bar,
            end_time_ns=end_time_ns,
            status=status,
            feed=self._params.feed,
            end=end,
            y_mark=marks.get(state.pair.y),
            x_mark=marks.get(state.pair.x),
            pairs_id=self._pairs_id,
        )
        state.next_seq += 1
        self._accounting.bars[status.value] += 1
        return close

    def _status(self, state: _PairState, bar: int, end_time_ns: int) -> BarStatus:
        if state.tick_bar != bar:
            return BarStatus.EMPTY
        return BarStatus.STALE if end_time_ns - state.oldest_leg_ns > self._params.max_leg_age_ns else BarStatus.FRESH

    # Recovery.

    def _restore_quotes(self, log: LogState) -> None:
        """Books of the last ticks, so that a restart does not make a pair wait for its other leg."""
        if log.open_bar is None:
            return
        for name, state in self._by_name.items():
            tick = log.pairs.get(name, PairHistory()).last_tick
            for symbol, quote in ((state.pair.y, tick.y), (state.pair.x, tick.x)) if tick else ():
                known = self.quotes.get(symbol)
                if known is None or known.event_time_ns < quote.event_time_ns:
                    self.quotes[symbol] = quote

    def _complete(self, log: LogState) -> None:
        """Write the closes that a crash left out in some partitions, and end a session of another set of pairs.

        Pairs that have left and pairs that are new take part in that end: so every pair that somebody waits for has a last
        record in the session, and nobody waits for a bar that a pair never had.
        """
        closes = [history.last_close for history in log.pairs.values() if history.last_close]
        if log.open_bar is None or not (closes or log.other_pairs):
            return
        through = max((close.bar for close in closes), default=log.open_bar)
        newest = [close for close in closes if close.bar == through]
        ended = any(close.end for close in newest)
        self.marks = marks = _marks_of(newest)
        last = log.open_bar if log.other_pairs and not ended else through
        for state in (*self._pairs, *self._left(log)):
            last_close = log.pairs.get(state.name, PairHistory()).last_close
            first = last if last_close is None else last_close.bar + 1
            for bar in range(first, last + 1):
                at_end = bar == last and (ended or log.other_pairs)
                self.outputs.append(Emission(state.name, self._close(state, bar, marks if bar == through else _NO_MARKS, end=at_end)))
        if ended or log.other_pairs:
            self.open_bar = None
            self.ended = ended
            self._make_last_safe()

    def _left(self, log: LogState) -> Sequence[_PairState]:
        """Pairs of the log that are no longer configured."""
        return [_recovered(Pair.parse(name), history) for name, history in log.pairs.items() if name not in self._by_name]

    def _make_last_safe(self) -> None:
        if self.outputs:
            self.outputs[-1] = self.outputs[-1]._replace(barrier=True)


def _recovered(pair: Pair, history: PairHistory) -> _PairState:
    state = _PairState(pair, str(pair), history.next_seq)
    if history.last_tick is not None:
        state.tick_bar = history.last_tick.bar
        state.event_time_ns = history.last_tick.event_time_ns
        state.oldest_leg_ns = min(history.last_tick.y.event_time_ns, history.last_tick.x.event_time_ns)
    return state


def _marks_of(closes: Iterable[BarClose]) -> dict[str, MarkPrice]:
    found: dict[str, MarkPrice] = {}
    for close in closes:
        pair = Pair.parse(close.pair)
        found |= {symbol: mark for symbol, mark in ((pair.y, close.y_mark), (pair.x, close.x_mark)) if mark is not None}
    return found
