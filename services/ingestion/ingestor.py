"""The core of ingestion: books in order become ticks and bars, when the rules of alignment allow it."""

from collections.abc import Mapping
from enum import StrEnum

from common.market import MOST_BARS_AWAY, NANOSECONDS, bar_end_ns, bar_of
from common.messages import Feed, MarkPrice
from common.settings import Market
from services.ingestion.accounting import Accounting
from services.ingestion.bars import BarKeeper, BarParams, LogState
from services.ingestion.intake import Book, Ended, Intake, IntakeParams

#: Records of closes after which the caller may publish before more are made.
_CLOSES_AT_ONCE = 2000
#: More closes than this for the time away are not written: a new session begins instead.
_MOST_CLOSES = 200_000
#: Live: how long after its end a bar is closed when no frame does it.
_TIMER_GRACE_NS = NANOSECONDS


class Block(StrEnum):
    """Why the next book must wait."""

    NOT = ""
    MARKET = "the market channel has not passed the end of the bar"
    LEAD = "decisions lag by as many ticks as they may"


class Ingestor:
    """One market's intake and bars; wall time comes in with the calls and serves the live rules only."""

    def __init__(self, intake: IntakeParams, bars: BarParams, log: LogState) -> None:
        self.accounting = Accounting()
        self.bars = BarKeeper(bars, log, self.accounting)
        going_on = self.bars.open_bar is not None
        self.intake = Intake(intake, self.accounting, now_ns=_last_known_ns(log, bars) if going_on else None)
        if going_on:
            self.intake.remember(self.bars.quotes, self.bars.marks)
        self.block = Block.NOT
        self._interval_ns = bars.bar_interval_ns
        self._recording = bars.feed is Feed.RECORDING
        self._waits_for_market = self._recording and intake.market is Market.FUTURES
        self._most_bars_away = min(MOST_BARS_AWAY, _MOST_CLOSES // len(bars.pairs))
        self._bars_at_once = max(1, _CLOSES_AT_ONCE // len(bars.pairs))
        self._market_excused_through = -1
        #: Begin of the market session as the source tells it, event time, ns; 0 when it does not.
        self._session_begins_ns = 0

    @property
    def ended(self) -> bool:
        """Whether the recording has ended and nothing came since."""
        return self.bars.ended and not self.intake.ready

    def advance(self, now_ns: int) -> bool:
        """Apply what is ready as far as it may go; returns whether to publish and call again at once."""
        self.block = Block.NOT
        ready = self.intake.ready
        while ready and self.block is Block.NOT:
            item = ready[0]
            if isinstance(item, Book):
                if not self._open_for(item, now_ns):
                    return self.block is Block.NOT
                self._apply(item, now_ns)
            elif isinstance(item, Ended):
                self._end(now_ns)
            else:
                if item.rewound:
                    self._begin_again(now_ns)
                ready.popleft()
        return False

    def excuse_market(self) -> None:
        """Close the open bar without the market channel, which does not come."""
        self._market_excused_through = self.bars.open_bar if self.bars.open_bar is not None else -1

    def on_timer(self, now_ns: int) -> None:
        """Live: close bars whose end has passed, by the newest event time and the wall time since it was read.

        All frames that came before `now_ns` must have been read.
        """
        bars, last_ns = self.bars, self.intake.now_ns
        if self._recording or bars.open_bar is None or last_ns is None or not self.intake.moved_at_ns or self.intake.ready:
            return
        event_now_ns = last_ns + now_ns - self.intake.moved_at_ns
        through = bar_of(event_now_ns - _TIMER_GRACE_NS, self._interval_ns)
        if through - bars.open_bar <= self._most_bars_away:
            self._close_until(min(through, bars.open_bar + self._bars_at_once), now_ns)

    def _open_for(self, book: Book, now_ns: int) -> bool:
        """Close what lies before the book's bar; returns whether the book may be applied now."""
        if book.frame.session_begins_ns != self._session_begins_ns and not self._turn_to(book.frame.session_begins_ns, now_ns):
            return False
        bars, bar = self.bars, bar_of(book.quote.event_time_ns, self._interval_ns)
        if bars.open_bar is not None and bar - bars.open_bar > self._most_bars_away:
            self.intake.notices.append(("away for too many bars: a new session begins", {"bars": bar - bars.open_bar}))
            bars.end(self._marks_at_end_of(bars.open_bar), now_ns)
        open_bar = bars.begin(bar) if bars.open_bar is None else bars.open_bar
        reached = min(bar, open_bar + self._bars_at_once)
        self._close_until(reached, now_ns)
        return bar <= reached and self.block is Block.NOT and self._within_lead(book)

    def _turn_to(self, session_begins_ns: int, now_ns: int) -> bool:
        """Go on to the session that begins then, also where nobody told the end of the one before; returns whether that may be done now."""
        open_bar = self.bars.open_bar
        if open_bar is not None and bar_end_ns(open_bar - 1, self._interval_ns) < session_begins_ns:
            if not self._market_has_passed(open_bar):
                self.block = Block.MARKET
                return False
            self.bars.end(self._marks_at_end_of(open_bar), now_ns)
        self._session_begins_ns = session_begins_ns
        return True

    def _marks_at_end_of(self, bar: int) -> Mapping[str, MarkPrice]:
        """The mark prices of a bar, none of a session before."""
        marks = self.intake.marks.at_end_of(bar)
        return {symbol: mark for symbol, mark in marks.items() if mark.event_time_ns >= self._session_begins_ns}

    def _close_until(self, bar: int, now_ns: int) -> None:
        while self.bars.open_bar is not None and self.bars.open_bar < bar:
            if not self._market_has_passed(self.bars.open_bar):
                self.block = Block.MARKET
                return
            self.bars.close_bar(self._marks_at_end_of(self.bars.open_bar), now_ns)

    def _market_has_passed(self, bar: int) -> bool:
        intake = self.intake
        gone = intake.market_is_done_with(self._session_begins_ns) or bar <= self._market_excused_through
        return not self._waits_for_market or gone or intake.marks.has_passed(bar)

    def _within_lead(self, book: Book) -> bool:
        if self._recording and self.bars.at_bound(book.symbol):
            self.block = Block.LEAD
        return self.block is Block.NOT

    def _apply(self, book: Book, now_ns: int) -> None:
        self.intake.ready.popleft()
        self.accounting.pending -= book.weight
        self.bars.put_book(book.symbol, book.quote, book.frame.read_at_ns, now_ns)

    def _begin_again(self, now_ns: int) -> None:
        if self.bars.open_bar is not None:
            self.bars.end(self._marks_at_end_of(self.bars.open_bar), now_ns)
        self.intake.begin_again()

    def _end(self, now_ns: int) -> None:
        open_bar = self.bars.open_bar
        if open_bar is not None and not self._market_has_passed(open_bar):
            self.block = Block.MARKET
            return
        self.bars.end({} if open_bar is None else self._marks_at_end_of(open_bar), now_ns)
        self.intake.ready.popleft()


def _last_known_ns(log: LogState, bars: BarParams) -> int:
    """Event time of the newest record of the log, at least the begin of the open bar."""
    ticks = [history.last_tick.event_time_ns for history in log.pairs.values() if history.last_tick]
    return max([bar_end_ns((log.open_bar or 0) - 1, bars.bar_interval_ns), *ticks])
