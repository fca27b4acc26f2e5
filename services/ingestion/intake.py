"""From frames to books in order: decoding, dead letters, duplicates, gaps, and where time is on each channel."""

import hashlib
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from common.dead_letters import MAX_PAYLOAD_BYTES
from common.errors import InvalidRecord
from common.market import NANOSECONDS, bar_of
from common.messages import DeadLetter, Feed, MarkPrice, Quote
from common.settings import Market
from services.ingestion.accounting import Accounting
from services.ingestion.clock import FeedClock, Judgement
from services.ingestion.frames import BookTicker, Control, MarkUpdate, Trade, parse, stream_of
from services.ingestion.marks import MarkBook
from services.ingestion.source import Channel, Frame

SERVICE = "ingestion-service"
#: An update id that goes back is a duplicate, unless its time has gone on by more than this.
_STUCK_ID_NS = 5 * NANOSECONDS
#: Most spot books that wait for a second word on a jump in time.
_MOST_HELD = 1000

_UNSURE = frozenset({Judgement.HELD, Judgement.AGREES})


class Book(NamedTuple):
    """A usable book of one symbol; `number` is its frame's on the channel, `weight` the number of pairs that have it."""

    frame: Frame
    number: int
    symbol: str
    update_id: int
    quote: Quote
    weight: int


class Moved(NamedTuple):
    """Time has jumped, which two frames agree upon."""

    rewound: bool


class Ended(NamedTuple):
    """The recording has ended."""

    number: int


@dataclass(frozen=True, slots=True)
class IntakeParams:
    """What reading frames depends on: `weights` says of each configured symbol how many pairs have it."""

    market: Market
    feed: Feed
    bar_interval_ns: int
    weights: dict[str, int]

    @property
    def forward_limit_ns(self) -> int:
        """Time may step ahead so far on one frame's word: more than a bar, for klines come one a bar, or a pause of a slow market."""
        return max(5 * NANOSECONDS, self.bar_interval_ns * 3 // 2)

    @property
    def agreement_ns(self) -> int:
        """Events beyond that agree when they lie so near to each other."""
        return max(120 * NANOSECONDS, 10 * self.bar_interval_ns)

    @property
    def back_limit_ns(self) -> int:
        """A new connection may begin so far back: a recording goes on where it was, a live feed may repeat itself."""
        return 10 * NANOSECONDS if self.feed is Feed.RECORDING else 3600 * NANOSECONDS


class Intake:
    """Reads frames; `ready` holds what comes of them for the bars, `letters` what was set aside, `notices` what the log should say."""

    def __init__(self, params: IntakeParams, accounting: Accounting, *, now_ns: int | None = None) -> None:
        self.ready: deque[Book | Moved | Ended] = deque()
        self.letters: deque[DeadLetter] = deque()
        self.notices: deque[tuple[str, dict[str, object]]] = deque()
        #: Mark prices of the books' time; the market channel writes to others while it has gone back and the books have not.
        self.marks = self._new_marks = MarkBook()
        self.market_ended = False
        self.frames_read = dict.fromkeys(Channel, 0)
        #: Wall time at which the frame was read that moved `now_ns` last.
        self.moved_at_ns = 0
        self._params = params
        self._accounting = accounting
        self._clock = self._new_clock(now_ns)
        self._market_clock = self._new_clock(None)
        #: The market session that each channel's newest frame belongs to, and the newest that the market channel has ended, by their begins.
        self._session_begins_ns = dict.fromkeys(Channel, 0)
        self._market_ended_begins_ns = -1
        self._held: list[Book] = []
        self._last_book: dict[str, tuple[int, int]] = {}
        self._last_trade: dict[tuple[str, str], tuple[int, int]] = {}
        #: Spot connections that have said a time.
        self._timed: set[int] = set()

    @property
    def now_ns(self) -> int | None:
        """Event time of the public channel; None before the first frames."""
        return self._clock.now_ns

    @property
    def market_rewound(self) -> bool:
        """Whether the market channel has gone back in time and the books have yet to."""
        return self._new_marks is not self.marks

    @property
    def unsettled(self) -> int:
        """Public frames read since the oldest that may still become ticks."""
        oldest = next((item.number for item in self.ready if not isinstance(item, Moved)), None)
        if oldest is None and self._held:
            oldest = self._held[0].number
        return 0 if oldest is None else self.frames_read[Channel.PUBLIC] - oldest + 1

    def market_is_done_with(self, session_begins_ns: int) -> bool:
        """Whether the market channel brings nothing more of the session that begins then."""
        ahead = self._session_begins_ns[Channel.MARKET] > session_begins_ns or self._market_ended_begins_ns >= session_begins_ns
        return self.market_ended or self.market_rewound or ahead

    def remember(self, quotes: Mapping[str, Quote], marks: Mapping[str, MarkPrice]) -> None:
        """Recovery: these books and mark prices are in the log already."""
        self._last_book = {symbol: (-1, quote.event_time_ns) for symbol, quote in quotes.items()}
        for symbol, mark in marks.items():
            self.marks.put(symbol, mark)

    def read(self, frame: Frame) -> None:
        """Take in one frame."""
        self.frames_read[frame.channel] += 1
        if frame.ended:
            self._end(frame)
            return
        if frame.session_begins_ns != self._session_begins_ns[frame.channel]:
            self._session_begins_ns[frame.channel] = frame.session_begins_ns
            if frame.channel is Channel.MARKET or self._params.market is Market.SPOT:
                self._last_trade.clear()  # A recording that loops says its ids again.
        try:
            parsed = parse(frame.payload)
        except InvalidRecord as error:
            weight = self._weight((stream_of(frame.payload) or "").partition("@")[0].upper())
            self._accounting.frames += weight
            self._set_aside(frame, self.frames_read[frame.channel], error, weight)
            return
        if isinstance(parsed, BookTicker):
            self._read_book(frame, parsed)
        elif isinstance(parsed, Trade):
            self._read_trade(frame, parsed)
        elif isinstance(parsed, MarkUpdate):
            self._read_mark(frame, parsed)
        else:
            self._read_other(parsed.name if isinstance(parsed, Control) else "other-stream", parsed.problem if isinstance(parsed, Control) else "")

    def _new_clock(self, now_ns: int | None) -> FeedClock:
        params = self._params
        return FeedClock(forward_limit_ns=params.forward_limit_ns, agreement_ns=params.agreement_ns, back_limit_ns=params.back_limit_ns, now_ns=now_ns)

    def _weight(self, symbol: str) -> int:
        return self._params.weights.get(symbol, 0) or 1

    # Books.

    def _read_book(self, frame: Frame, parsed: BookTicker) -> None:
        weight = self._weight(parsed.symbol)
        self._accounting.frames += weight
        number = self.frames_read[frame.channel]
        if not self._params.weights.get(parsed.symbol):
            self._refuse_symbol(frame, parsed.symbol)
        elif frame.channel is not Channel.PUBLIC:
            self._accounting.ignored["other-stream"] += weight
        elif self._params.market is Market.SPOT:
            self._read_untimed(Book(frame, number, parsed.symbol, parsed.update_id, _quote(parsed, 0), weight))
        elif parsed.event_time_ns is None:
            self._set_aside(frame, number, InvalidRecord("missing-field", "a futures bookTicker has an event time `E`"), weight)
        else:
            self._read_timed(Book(frame, number, parsed.symbol, parsed.update_id, _quote(parsed, parsed.event_time_ns), weight))

    def _read_timed(self, book: Book) -> None:
        judgement = self._observe(book.frame, book.symbol, book.quote.event_time_ns)
        if judgement is Judgement.SURE and not self._held:
            self._admit(book)
            return
        self._resolve(judgement)
        if judgement in _UNSURE:
            self._hold(book)
        else:
            self._admit(book)

    def _read_untimed(self, book: Book) -> None:
        """A spot book takes the largest time seen, once its connection has said one."""
        suspect_ns, now_ns = self._clock.suspect_ns, self._clock.now_ns
        if suspect_ns is not None and len(self._held) < _MOST_HELD and book.frame.connection in self._timed:
            self._hold(_at(book, suspect_ns))
        elif now_ns is not None and book.frame.connection in self._timed:
            self._admit(_at(book, now_ns))
        else:
            self._accounting.ignored["no-event-time"] += book.weight

    def _observe(self, frame: Frame, symbol: str, event_time_ns: int) -> Judgement:
        """Let an event move the clock of the books, and note when it did."""
        before_ns = self._clock.now_ns
        judgement = self._clock.observe(event_time_ns, frame.connection, symbol)
        if self._clock.now_ns != before_ns:
            self.moved_at_ns = frame.read_at_ns
        return judgement

    def _resolve(self, judgement: Judgement) -> None:
        """What one more event time means for the books that are held."""
        if judgement in {Judgement.SURE, Judgement.HELD}:
            self._refute()
        elif judgement is not Judgement.AGREES:
            self._confirm(judgement)

    def _hold(self, book: Book) -> None:
        self._held.append(book)
        self._accounting.pending += book.weight

    def _take_held(self) -> list[Book]:
        held, self._held = self._held, []
        self._accounting.pending -= sum(book.weight for book in held)
        return held

    def _refute(self) -> None:
        """Nobody confirmed the jump: a futures book of that time is nonsense, a spot book only had its time from others."""
        for book in self._take_held():
            if self._params.market is Market.FUTURES:
                self._set_aside(
                    book.frame, book.number, InvalidRecord("time-jump", f"event time {book.quote.event_time_ns} is far from all others"), book.weight
                )
            elif self._clock.now_ns is None:
                self._accounting.ignored["no-event-time"] += book.weight
            else:
                self._admit(_at(book, self._clock.now_ns))

    def _confirm(self, judgement: Judgement) -> None:
        self._last_book.clear()
        self.ready.append(Moved(rewound=judgement is Judgement.REWOUND))
        for book in self._take_held():
            self._admit(book)

    def _admit(self, book: Book) -> None:
        """Let a book through unless it is old news."""
        last_id, last_time_ns = self._last_book.get(book.symbol, (-1, 0))
        event_time_ns = book.quote.event_time_ns
        if book.update_id <= last_id and event_time_ns <= last_time_ns + _STUCK_ID_NS:
            self._accounting.ignored["duplicate"] += book.weight
        elif event_time_ns < last_time_ns:
            detail = f"event time {event_time_ns} of {book.symbol} is below {last_time_ns} seen before"
            self._set_aside(book.frame, book.number, InvalidRecord("time-backwards", detail), book.weight)
        else:
            self._last_book[book.symbol] = (book.update_id, event_time_ns)
            self._accounting.pending += book.weight
            self.ready.append(book)

    def begin_again(self) -> None:
        """The books have gone back in time: go on with the mark prices from there, unless the market channel has yet to go back."""
        if not self.market_rewound:
            self._new_marks = MarkBook()
            self._market_clock = self._new_clock(None)
        self.marks = self._new_marks

    # Trades, mark prices and the rest.

    def _read_trade(self, frame: Frame, trade: Trade) -> None:
        weight = self._weight(trade.symbol)
        self._accounting.frames += weight
        if trade.symbol not in self._params.weights:
            self._refuse_symbol(frame, trade.symbol)
            return
        believed = self._tell_time(frame, trade.symbol, trade.event_time_ns)
        last_id, last_time_ns = self._last_trade.get((trade.symbol, trade.kind), (-1, 0))
        if trade.trade_id <= last_id:
            self._accounting.ignored["duplicate"] += weight
        elif trade.event_time_ns < last_time_ns:
            detail = f"event time {trade.event_time_ns} of {trade.symbol} is below {last_time_ns} seen before"
            self._set_aside(frame, self.frames_read[frame.channel], InvalidRecord("time-backwards", detail), weight)
        else:
            self._last_trade[trade.symbol, trade.kind] = (trade.trade_id, trade.event_time_ns if believed else last_time_ns)
            self._accounting.ignored["trade"] += weight
            if -1 < last_id < trade.trade_id - 1:
                self._accounting.gaps += 1
                self.notices.append(("feed gap", {"symbol": trade.symbol, "stream": trade.kind, "missing": trade.trade_id - last_id - 1}))

    def _read_mark(self, frame: Frame, update: MarkUpdate) -> None:
        weight = self._weight(update.symbol)
        self._accounting.frames += weight
        if update.symbol not in self._params.weights:
            self._refuse_symbol(frame, update.symbol)
        else:
            if self._tell_time(frame, update.symbol, update.mark.event_time_ns):
                self._new_marks.put(update.symbol, update.mark)
            self._accounting.ignored["mark-price"] += weight

    def _tell_time(self, frame: Frame, symbol: str, event_time_ns: int) -> bool:
        """Let an event move the clock of its channel; returns whether its time is believed."""
        if self._params.market is Market.SPOT:
            self._timed.add(frame.connection)
            judgement = self._observe(frame, symbol, event_time_ns)
            self._resolve(judgement)
            return judgement not in _UNSURE
        return frame.channel is Channel.MARKET and self._tell_market_time(frame, symbol, event_time_ns)

    def _tell_market_time(self, frame: Frame, symbol: str, event_time_ns: int) -> bool:
        self.market_ended = False
        judgement = self._market_clock.observe(event_time_ns, frame.connection, symbol)
        if judgement in _UNSURE:
            return False
        if judgement is Judgement.REWOUND:
            self._rewind_market(event_time_ns)
        self._new_marks.reach(bar_of(event_time_ns, self._params.bar_interval_ns))
        return True

    def _rewind_market(self, event_time_ns: int) -> None:
        """A recording plays anew: books of the play before keep its mark prices until they have gone back too."""
        self._new_marks = MarkBook()
        books_ns = self._clock.now_ns
        if self._params.feed is Feed.LIVE or books_ns is None or books_ns <= event_time_ns + self._params.back_limit_ns:
            self.marks = self._new_marks

    def _read_other(self, name: str, problem: str) -> None:
        self._accounting.frames += 1
        self._accounting.ignored["other-stream" if name == "other-stream" else "control"] += 1
        if problem:
            self.notices.append(("the exchange refuses a request", {"problem": problem}))

    # Ends and dead letters.

    def _end(self, frame: Frame) -> None:
        if frame.channel is Channel.MARKET:
            self._market_ended_begins_ns = frame.session_begins_ns or self._market_ended_begins_ns
            self.market_ended = not frame.session_begins_ns
            return
        if self._held and (self._clock.now_ns is None or self._params.market is Market.SPOT):
            self._clock.trust()
            self._confirm(Judgement.MOVED)
        self._refute()
        self.ready.append(Ended(self.frames_read[frame.channel]))
        self._clock = self._new_clock(None)
        self._timed.clear()

    def _refuse_symbol(self, frame: Frame, symbol: str) -> None:
        if symbol in self._params.weights:
            self._accounting.ignored["no-pair"] += 1
        else:
            self._set_aside(frame, self.frames_read[frame.channel], InvalidRecord("unknown-symbol", f"{symbol[:40]!r} is not in SYMBOLS"), 1)

    def _set_aside(self, frame: Frame, number: int, error: InvalidRecord, weight: int) -> None:
        self._accounting.dead_letters += weight
        payload = frame.payload
        letter = DeadLetter(
            service=SERVICE,
            source=str(frame.channel),
            partition=-1,
            offset=number,
            reason=error.reason,
            detail=error.detail[:500],
            payload=payload[:MAX_PAYLOAD_BYTES],
            length=len(payload),
            sha256=hashlib.sha256(payload).hexdigest(),
        )
        self.letters.append(letter)


def _quote(parsed: BookTicker, event_time_ns: int) -> Quote:
    return Quote(bid=parsed.bid, bid_size=parsed.bid_size, ask=parsed.ask, ask_size=parsed.ask_size, event_time_ns=event_time_ns)


def _at(book: Book, event_time_ns: int) -> Book:
    quote = book.quote
    timed = Quote(bid=quote.bid, bid_size=quote.bid_size, ask=quote.ask, ask_size=quote.ask_size, event_time_ns=event_time_ns)
    return book._replace(quote=timed)
