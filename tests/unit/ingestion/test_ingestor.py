"""Rules of ticks, bars, sessions and books, through the service on an in-memory broker."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.market import bar_of
from common.messages import BarClose, BarStatus, Tick
from services.ingestion.source import Channel, Frame
from tests.unit.ingestion.support import BAR_0, BAR_MS, OTHER_PAIR, PAIR, T0_MS, FedSource, Rig, book, book_payload, mark, run, trade

NS_PER_MS = 1_000_000
BAR_NS = BAR_MS * NS_PER_MS


def both(at_ms: int, update_id: int, *, connection: int = 1) -> list[Frame]:
    """A book of each leg."""
    return [book("BTCUSDT", at_ms, update_id, connection=connection), book("ETHUSDT", at_ms, update_id, connection=connection)]


def statuses(rig: Rig, pair: str = PAIR) -> list[tuple[int, str, bool]]:
    return [(close.bar - BAR_0, close.status.value, close.end) for close in rig.closes_of(pair)]


def test_tick_holds_both_books() -> None:
    """A book makes a tick once the other leg is known, with each leg's own event time."""
    rig = run([book("BTCUSDT", T0_MS, 1), book("ETHUSDT", T0_MS + 5, 1)])
    (tick,) = rig.ticks_of(PAIR)
    assert (tick.seq, tick.session, tick.bar, tick.event_time_ns) == (0, 1, BAR_0, (T0_MS + 5) * NS_PER_MS)
    assert (tick.y.event_time_ns, tick.x.event_time_ns) == ((T0_MS + 5) * NS_PER_MS, T0_MS * NS_PER_MS)
    assert rig.details["ignored"] == {"waiting-for-other-leg": 1}


def test_frame_counts_for_every_pair() -> None:
    """A frame of a symbol that two pairs share is two ticks; the books balance."""
    frames = [book("ETHUSDT", T0_MS, 1), book("SOLUSDT", T0_MS, 1), book("BTCUSDT", T0_MS, 1), trade("BTCUSDT", T0_MS, 1), trade("SOLUSDT", T0_MS, 1)]
    details = run(frames, SYMBOLS="BTCUSDT,ETHUSDT,SOLUSDT").details
    assert (details["frames"], details["ticks"], details["ignored"]) == (1 + 1 + 2 + 2 + 1, 2, {"waiting-for-other-leg": 2, "trade": 3})
    assert details["balanced"]


def test_close_comes_before_any_tick_of_a_later_bar() -> None:
    """The first frame past the end of the bar closes it for all pairs, in configured order, before its own tick."""
    rig = run([*both(T0_MS, 1), book("SOLUSDT", T0_MS, 1), book("ETHUSDT", T0_MS + BAR_MS, 2)], SYMBOLS="BTCUSDT,ETHUSDT,SOLUSDT")
    assert [type(message) for message in rig.log_of(PAIR)] == [Tick, BarClose, Tick, BarClose]
    assert [type(message) for message in rig.log_of(OTHER_PAIR)] == [Tick, BarClose, BarClose]
    assert statuses(rig, OTHER_PAIR) == [(0, "STALE", False), (1, "EMPTY", True)]


def test_silent_bars_are_closed_empty() -> None:
    """Every bar in between is closed, EMPTY, also of a pair that still waits for a leg."""
    rig = run([*both(T0_MS + 59_000, 1), *both(T0_MS + 3 * BAR_MS + 59_000, 2)], SYMBOLS="BTCUSDT,ETHUSDT,SOLUSDT")
    assert statuses(rig) == [(0, "FRESH", False), (1, "EMPTY", False), (2, "EMPTY", False), (3, "FRESH", True)]
    assert statuses(rig, OTHER_PAIR) == [(bar, "EMPTY", bar == 3) for bar in range(4)]


@pytest.mark.parametrize(("age_ms", "status"), [(1999, "FRESH"), (2000, "FRESH"), (2001, "STALE")])
def test_staleness(age_ms: int, status: str) -> None:
    """A bar is STALE when the older leg of its last tick is older than MAX_LEG_AGE_MS at its end."""
    rig = run([book("BTCUSDT", T0_MS + BAR_MS - age_ms, 1), book("ETHUSDT", T0_MS + BAR_MS - 1, 1)])
    assert statuses(rig) == [(0, status, True)]


def test_late_frame_joins_the_open_bar() -> None:
    """A frame of a closed bar becomes a tick of the open one, no earlier than its begin; its leg keeps its own time."""
    rig = run([*both(T0_MS, 1), book("ETHUSDT", T0_MS + BAR_MS + 10, 2), book("BTCUSDT", T0_MS + BAR_MS - 10, 2)])
    late = rig.ticks_of(PAIR)[-1]
    assert (late.bar, late.event_time_ns) == (BAR_0 + 1, (T0_MS + BAR_MS + 10) * NS_PER_MS)
    assert late.x.event_time_ns == (T0_MS + BAR_MS - 10) * NS_PER_MS


@pytest.mark.parametrize(
    ("again", "outcome"),
    [
        (book("ETHUSDT", T0_MS + 5, 5), "ignored duplicate"),
        (book("ETHUSDT", T0_MS + 4, 4), "ignored duplicate"),
        (book("ETHUSDT", T0_MS + 4, 6), "dead time-backwards"),
        (book("ETHUSDT", T0_MS + 5 + 5001, 4), "tick"),
    ],
    ids=["same", "older", "newer-id-older-time", "id-restarted"],
)
def test_repeated_and_backward_books(again: Frame, outcome: str) -> None:
    """Update ids tell duplicates; a newer id with an older time is nonsense; ids that start again are believed in time."""
    rig = run([book("BTCUSDT", T0_MS, 5), book("ETHUSDT", T0_MS + 5, 5), again])
    details = rig.details
    found = {"tick": details["ticks"] - 1, **{f"ignored {reason}": n for reason, n in details["ignored"].items()}}
    found |= {f"dead {letter.reason}": 1 for letter in rig.dead_letters()}
    assert {name for name, count in found.items() if count} == {"ignored waiting-for-other-leg", outcome}


def test_jump_in_time() -> None:
    """One book from another time is set aside; two that agree move the feed on, and the bars between are written."""
    good = both(T0_MS, 1)
    rig = run([*good, book("ETHUSDT", T0_MS + 900_000_000, 2), book("ETHUSDT", T0_MS + 1, 3), *both(T0_MS + 3_600_000, 4)])
    assert [letter.reason for letter in rig.dead_letters()] == ["time-jump"]
    assert [close.bar - BAR_0 for close in rig.closes_of(PAIR)] == list(range(61))
    assert rig.details["balanced"]


@pytest.mark.parametrize("feed", ["recording", "live"])
@pytest.mark.parametrize(("bar_s", "ahead_s"), [(1, 6), (1, 100), (60, 91), (60, 590)])
def test_one_wrong_time_costs_one_frame(feed: str, bar_s: int, ahead_s: int) -> None:
    """A single book some bars ahead is set aside: no bar closes early, no other book of its symbol is lost."""
    good = [frame for i in range(20) for frame in both(T0_MS + 10 * i, i + 1)]
    wrong = book("ETHUSDT", T0_MS + 1000 * ahead_s, 11)
    rig = run([*good[:20], wrong, *good[20:]], FEED=feed, BAR_INTERVAL_SECONDS=str(bar_s), LIVE_LEAD_TICKS=str(len(good)))
    assert [letter.reason for letter in rig.dead_letters()] == ["time-jump"]
    assert len(rig.ticks_of(PAIR)) == len(good) - 1
    assert len(rig.closes_of(PAIR)) == 1


@pytest.mark.parametrize("bar_s", [1, 60])
@pytest.mark.parametrize("pause_min", [1, 2, 180])
def test_klines_go_on_over_missing_minutes(bar_s: int, pause_min: int) -> None:
    """A book a minute, also after a halt of hours, loses no book; every bar is closed."""
    minutes = [0, 1, 1 + pause_min, 2 + pause_min]
    rig = run([frame for n, minute in enumerate(minutes) for frame in both(T0_MS + minute * BAR_MS, n + 1)], BAR_INTERVAL_SECONDS=str(bar_s))
    assert rig.dead_letters() == []
    assert len(rig.ticks_of(PAIR)) == 2 * len(minutes) - 1
    assert len(rig.closes_of(PAIR)) == (2 + pause_min) * 60 // bar_s + 1


def test_spot_wrong_trade_time_costs_nothing() -> None:
    """A trade with a wrong time neither times the books nor hides the trades that follow."""
    good = [trade(symbol, T0_MS + 10 * i, i, channel=Channel.PUBLIC) for i in range(1, 9) for symbol in ("BTCUSDT", "ETHUSDT")]
    wrong = trade("ETHUSDT", T0_MS + 100_000, 5, channel=Channel.PUBLIC)
    rig = run([*good[:8], book("BTCUSDT", None, 1), wrong, book("ETHUSDT", None, 1), *good[10:]], BINANCE_MARKET="spot", BAR_INTERVAL_SECONDS="1")
    assert rig.dead_letters() == []
    assert (len(rig.ticks_of(PAIR)), len(rig.closes_of(PAIR))) == (1, 1)


def test_too_long_away() -> None:
    """Beyond a limit no bars are filled in: the old session ends and a new one begins."""
    rig = run([*both(T0_MS, 1), *both(T0_MS + 120_000 * BAR_MS, 2)])
    assert [(close.bar - BAR_0, close.session, close.end) for close in rig.closes_of(PAIR)] == [(0, 1, True), (120_000, 2, True)]


def test_source_that_starts_again() -> None:
    """Time going back on a new connection ends the session; nothing of it is known in the next."""
    rig = run([*both(T0_MS + BAR_MS, 7), *both(T0_MS, 1, connection=2)])
    assert [(m.session, m.bar - BAR_0, type(m).__name__) for m in rig.log_of(PAIR)] == [
        (1, 1, "Tick"),
        (1, 1, "BarClose"),
        (2, 0, "Tick"),
        (2, 0, "BarClose"),
    ]
    assert [message.seq for message in rig.log_of(PAIR)] == [0, 1, 2, 3]


def test_reconnect_goes_on() -> None:
    """A new connection that repeats a little is no new session, and what it repeats makes no ticks."""
    rig = run([*both(T0_MS, 1), *both(T0_MS + 100, 2), *both(T0_MS, 1, connection=2), *both(T0_MS + 200, 3, connection=2)])
    assert [tick.event_time_ns // NS_PER_MS - T0_MS for tick in rig.ticks_of(PAIR)] == [0, 100, 100, 200, 200]
    assert rig.details["ignored"]["duplicate"] == 2


def test_data_after_the_end() -> None:
    """What comes after the end of a recording is a new session."""
    source = FedSource()
    rig = Rig(source).start()
    source.feed(*both(T0_MS, 1), Frame(0, Channel.MARKET, b"", ended=True), Frame(0, Channel.PUBLIC, b"", ended=True))
    assert rig.turns().details["ended"]
    source.feed(*both(T0_MS, 1, connection=2), Frame(0, Channel.PUBLIC, b"", ended=True))
    rig.turns()
    assert statuses(rig) == [(0, "STALE", True)] * 2
    assert [close.session for close in rig.closes_of(PAIR)] == [1, 2]


def test_bars_wait_for_the_market_channel() -> None:
    """From a recording a bar closes only once the market channel has passed its end; its marks are those before that."""
    source = FedSource()
    rig = Rig(source).start()
    source.feed(*both(T0_MS, 1), trade("BTCUSDT", T0_MS, 1), trade("ETHUSDT", T0_MS, 1), mark("BTCUSDT", T0_MS + 1, "99.5"), *both(T0_MS + BAR_MS, 2))
    assert statuses(rig.turns()) == []
    assert rig.details["blocked"]
    source.feed(mark("ETHUSDT", T0_MS + BAR_MS, "88.5"))
    (close,) = rig.turns().closes_of(PAIR)
    assert close.x_mark
    assert (str(close.x_mark.price), close.y_mark) == ("99.5", None)


def test_absent_market_channel() -> None:
    """A market channel that stays away is given up for a bar when the books cannot go on, and the log says so."""
    source = FedSource()
    rig = Rig(source).start()
    source.feed(*both(T0_MS, 1), *both(T0_MS + BAR_MS, 2))
    rig.turns()
    rig.clock.advance_ms(10_001)
    assert statuses(rig.turns()) == []
    source.stalled = True
    assert statuses(rig.turns()) == [(0, "STALE", False)]
    assert rig.observer.events("bar closed without the market channel")


def test_spot_takes_time_from_trades() -> None:
    """A spot book takes the largest event time seen on its connection; before there is one it is ignored."""
    frames = [
        book("ETHUSDT", None, 1, e=None),
        trade("BTCUSDT", T0_MS, 1, channel=Channel.PUBLIC),
        book("BTCUSDT", None, 1, e=None),
        trade("ETHUSDT", T0_MS + 70, 1, channel=Channel.PUBLIC),
        book("ETHUSDT", None, 2, e=None),
    ]
    rig = run(frames, BINANCE_MARKET="spot")
    (tick,) = rig.ticks_of(PAIR)
    assert (tick.x.event_time_ns // NS_PER_MS, tick.y.event_time_ns // NS_PER_MS) == (T0_MS, T0_MS + 70)
    assert rig.details["ignored"] == {"no-event-time": 1, "trade": 2, "waiting-for-other-leg": 1}


def test_spot_nonsense_time_is_not_believed() -> None:
    """A spot trade from another time does not time the books: they wait for a second word and take the time that is believed."""
    start = [trade("BTCUSDT", T0_MS, 1, channel=Channel.PUBLIC), trade("ETHUSDT", T0_MS, 1, channel=Channel.PUBLIC), book("BTCUSDT", None, 1)]
    jump = [trade("BTCUSDT", T0_MS + 900_000_000, 2, channel=Channel.PUBLIC), book("ETHUSDT", None, 1), trade("ETHUSDT", T0_MS + 9, 2, channel=Channel.PUBLIC)]
    rig = run([*start, *jump], BINANCE_MARKET="spot")
    (tick,) = rig.ticks_of(PAIR)
    assert tick.event_time_ns == (T0_MS + 9) * NS_PER_MS
    assert rig.dead_letters() == []


def test_spot_before_any_time_is_sure() -> None:
    """However many books come before a second trade: none is timed by nothing, and the session begins with the first true time."""
    books = [book(("BTCUSDT", "ETHUSDT")[i % 2], None, i) for i in range(1, 1101)]
    first, second = (trade("BTCUSDT", T0_MS, number, channel=Channel.PUBLIC) for number in (1, 2))
    rig = run([first, *books, second, trade("ETHUSDT", T0_MS, 1, channel=Channel.PUBLIC)], BINANCE_MARKET="spot")
    assert rig.details["ignored"]["no-event-time"] == 100
    assert {(message.session, message.bar) for message in rig.log_of(PAIR)} == {(1, BAR_0)}
    assert len(rig.ticks_of(PAIR)) == 999
    assert rig.details["balanced"]


def test_first_tick_is_as_new_as_its_newer_leg() -> None:
    """When the second leg's first book is older than the first leg's, no leg of the tick is from its future."""
    (tick,) = run([book("BTCUSDT", T0_MS + 500, 1), book("ETHUSDT", T0_MS + 100, 1)]).ticks_of(PAIR)
    assert tick.event_time_ns == tick.x.event_time_ns == (T0_MS + 500) * NS_PER_MS


def test_replay_waits_for_its_own_marks() -> None:
    """Books that go back in time before the market channel does take no mark price of the play before, and wait for it as ever."""

    def play(connection: int, first: str) -> tuple[list[Frame], list[Frame]]:
        bars = range(4)
        books = [frame for i in bars for frame in both(T0_MS + i * BAR_MS + 500, i + 1, connection=connection)]
        marks = [mark(s, T0_MS + i * BAR_MS, f"{first}{i}")._replace(connection=connection) for i in bars for s in ("BTCUSDT", "ETHUSDT")]
        return books, marks

    def marks_of(rig: Rig) -> list[tuple[int, int, str]]:
        return [(close.session, close.bar - BAR_0, str(close.y_mark.price)) for close in rig.closes_of(PAIR) if close.y_mark]

    source = FedSource()
    rig = Rig(source).start()
    books, marks = play(1, "10")
    source.feed(*books, *marks)
    seen = marks_of(rig.turns())
    assert seen == [(1, bar, f"10{bar}") for bar in range(3)]
    books, marks = play(2, "20")
    source.feed(*books)
    assert marks_of(rig.turns()) == [*seen, (1, 3, "103")]
    source.feed(*marks)
    assert marks_of(rig.turns())[4:] == [(2, bar, f"20{bar}") for bar in range(3)]
    books, marks = play(3, "30")
    source.feed(*marks)
    rig.turns()
    source.feed(*books)
    assert [one for one in marks_of(rig.turns()) if one[0] == 3] == [(3, bar, f"30{bar}") for bar in range(3)]


def test_gap_in_trades() -> None:
    """A jump in the exchange's trade numbers is counted and logged, and stops nothing."""
    rig = run([*both(T0_MS, 1), trade("BTCUSDT", T0_MS, 1), trade("BTCUSDT", T0_MS, 2), trade("BTCUSDT", T0_MS, 5), trade("BTCUSDT", T0_MS, 4)])
    assert rig.details["gaps"] == 1
    assert rig.observer.events("feed gap")[0].fields["missing"] == 2
    assert rig.details["ignored"]["duplicate"] == 1


def test_dead_letter_says_what_and_where() -> None:
    """A frame that is set aside is kept up to 64 KiB with its length and hash, and the next frame is read as ever."""
    huge = book("ETHUSDT", T0_MS, 2)
    huge = huge._replace(payload=huge.payload + b" " * 1_000_000)
    rig = run([*both(T0_MS, 1), huge, book("XRPUSDT", T0_MS, 1), book("ETHUSDT", T0_MS + 1, 3)])
    oversize, unknown = rig.dead_letters()
    assert (oversize.reason, len(oversize.payload), oversize.length, len(oversize.sha256), oversize.offset) == ("oversize", 65536, len(huge.payload), 64, 3)
    assert unknown.reason == "unknown-symbol"
    assert len(rig.ticks_of(PAIR)) == 2
    assert rig.observer.total("crypto_bot_dead_letters_total") == 2


def _noise() -> st.SearchStrategy[Frame]:
    symbols = st.sampled_from(["BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT", "DOGEUSDT"])
    times = st.one_of(st.integers(T0_MS, T0_MS + 3 * BAR_MS), st.sampled_from([1, T0_MS - 10**9, T0_MS + 10**9]))
    ids = st.integers(1, 60)
    books = st.builds(book, symbols, times, ids, connection=st.integers(1, 2), bid=st.sampled_from(["100.0", "100.2", "NaN", "0"]))
    trades = st.builds(trade, symbols, times, ids, connection=st.integers(1, 2))
    marks = st.builds(mark, symbols, times, st.sampled_from(["99", "-1"]))
    others = st.sampled_from([b"", b"{", b'{"result":null,"id":1}', b'{"stream":"x@y","data":{}}', book_payload("ETHUSDT", None, 1)])
    return st.one_of(books, books, trades, marks, others.map(lambda payload: Frame(0, Channel.PUBLIC, payload)))


@settings(max_examples=150, deadline=None)
@given(st.lists(_noise(), max_size=60), st.booleans(), st.sampled_from(["recording", "live"]))
def test_books_balance_and_sequences_hold(frames: list[Frame], ended: bool, feed: str) -> None:
    """Whatever comes: every frame is accounted for, seq has no gap, bars have none within a session, and time never goes back."""
    rig = run(frames, ended=ended, SYMBOLS="BTCUSDT,ETHUSDT,SOLUSDT,DOGEUSDT", PAIRS=f"{PAIR},{OTHER_PAIR}", FEED=feed)
    details = rig.details
    assert details["balanced"]
    assert details["ticks"] == sum(len(rig.ticks_of(pair)) for pair in (PAIR, OTHER_PAIR))
    assert details["pending"] == 0 or not ended
    for pair in (PAIR, OTHER_PAIR):
        log = rig.log_of(pair)
        assert [message.seq for message in log] == list(range(len(log)))
        for session in {message.session for message in log}:
            _assert_in_order([message for message in log if message.session == session])
    assert statuses(rig)[-1:] == [] or statuses(rig)[-1][2] == ended
    assert [close.bar for close in rig.closes_of(PAIR)] == [close.bar for close in rig.closes_of(OTHER_PAIR)]


def _assert_in_order(log: list[Tick | BarClose]) -> None:
    closes = [message.bar for message in log if isinstance(message, BarClose)]
    assert closes == list(range(closes[0], closes[0] + len(closes))) if closes else True
    open_bar, last_ns = log[0].bar, 0
    for message in log:
        assert message.bar == open_bar
        if isinstance(message, BarClose):
            assert message.end_time_ns == (open_bar + 1) * BAR_NS
            open_bar += 1
        else:
            assert message.event_time_ns >= last_ns
            assert bar_of(message.event_time_ns, BAR_NS) == open_bar
            last_ns = message.event_time_ns


def test_status_is_what_the_bar_held() -> None:
    """A bar with fresh ticks is FRESH also when an earlier bar was not."""
    rig = run([*both(T0_MS, 1), *both(T0_MS + 2 * BAR_MS - 100, 2)])
    assert [close.status for close in rig.closes_of(PAIR)] == [BarStatus.STALE, BarStatus.FRESH]
