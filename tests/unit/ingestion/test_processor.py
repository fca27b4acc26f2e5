"""Lead, conflation, the timer and what the service says of itself."""

import math
from collections.abc import Sequence
from typing import Any

import pytest

from common.codec import encode
from common.errors import ConfigurationError
from common.messages import Progress
from common.settings import Market, load
from common.topics import PROGRESS, TICKS
from services.ingestion.settings import IngestionSettings
from services.ingestion.source import Channel, Frame, ListSource
from services.ingestion.streams import ANY_STREAM, AttemptBudget, Backoff, StreamWatch, subscriptions
from tests.unit.ingestion.support import BAR_0, BAR_MS, BEGIN_NS, OTHER_PAIR, PAIR, T0_MS, FedSource, Rig, book, run, trade

LIVE = {"FEED": "live"}


def _legs(at_ms: int = T0_MS) -> list[Frame]:
    return [book("BTCUSDT", at_ms, 1), book("ETHUSDT", at_ms, 1)]


def _decide(rig: Rig, seq: int, pair: str = PAIR) -> None:
    rig.broker.append(PROGRESS, 0, pair, encode(Progress(decided={pair: seq, "XRPUSDT-BTCUSDT": 9})))


# Lead.


def test_recording_stops_at_the_bound() -> None:
    """No more than LEAD_TICKS ticks of a pair are undecided; progress lets as many more through, and no frame is lost."""
    rig = Rig(ListSource([*_legs(), *[book("ETHUSDT", T0_MS + i, i + 1) for i in range(1, 50)]]), LEAD_TICKS="10").start()
    assert len(rig.turns(5).ticks_of(PAIR)) == 10
    _decide(rig, 3)
    assert len(rig.turns(5).ticks_of(PAIR)) == 14
    for _ in range(40):
        _decide(rig, rig.log_of(PAIR)[-1].seq)
        rig.turns(2)
    assert len(rig.ticks_of(PAIR)) == 50
    assert rig.details["conflated"] == 0
    assert rig.details["ended"]


def test_bad_progress_is_set_aside() -> None:
    """What is no progress becomes a dead letter with its place, and the next word counts."""
    rig = Rig(ListSource([*_legs(), *[book("ETHUSDT", T0_MS + i, i + 1) for i in range(1, 50)]]), LEAD_TICKS="10").start().turns(5)
    rig.broker.append(PROGRESS, 0, PAIR, b"nonsense")
    _decide(rig, 3)
    assert len(rig.turns(5).ticks_of(PAIR)) == 14
    assert [(letter.source, letter.reason, letter.offset, letter.payload) for letter in rig.dead_letters()] == [("progress", "undecodable", 0, b"nonsense")]
    assert rig.observer.total("crypto_bot_dead_letters_total", {"source": "progress", "reason": "undecodable"}) == 1


def test_closes_are_exempt_from_the_bound() -> None:
    """A pair at its bound does not keep bars from closing: execution needs the closes to go on."""
    frames = [*_legs(), book("ETHUSDT", T0_MS + 1, 2), book("ETHUSDT", T0_MS + BAR_MS, 3)]
    rig = Rig(ListSource(frames), LEAD_TICKS="2").start().turns(4)
    assert len(rig.ticks_of(PAIR)) == 2
    assert [close.bar for close in rig.closes_of(PAIR)] == [BAR_0]


def test_one_pair_at_its_bound_holds_all() -> None:
    """A recording is read as one stream: while one pair is at its bound no later frame of another is applied."""
    frames = [*_legs(), book("ETHUSDT", T0_MS + 1, 2), book("SOLUSDT", T0_MS + 2, 1)]
    rig = Rig(ListSource(frames), LEAD_TICKS="1", SYMBOLS="BTCUSDT,ETHUSDT,SOLUSDT").start().turns(4)
    assert rig.ticks_of(OTHER_PAIR) == []
    assert rig.details["blocked"]


def test_socket_is_not_read_while_blocked() -> None:
    """While the bound holds, frames stay in the source, so that the socket feels it."""
    rig = Rig(ListSource([*_legs(), *[book("ETHUSDT", T0_MS + i, i + 1) for i in range(1, 3000)]]), LEAD_TICKS="10").start()
    rig.turns(20)
    assert rig.source.status()["queued"] > 2000


# Conflation.


def test_live_feed_conflates_when_behind() -> None:
    """When a tick is undecided for 50 ms, newer books replace each other until decisions come; then the newest is written."""
    source = FedSource()
    rig = Rig(source, **LIVE).start()
    source.feed(*_legs())
    rig.turns().clock.advance_ms(51)
    read_at_ns = rig.clock.now_ns
    source.feed(*[book("ETHUSDT", T0_MS + i, i + 1, read_at_ns=read_at_ns + i) for i in (1, 2, 3)])
    rig.turns()
    assert len(rig.ticks_of(PAIR)) == 1
    assert (rig.details["conflated"], rig.details["pending"], rig.details["pairs_behind"]) == (2, 1, 1)
    _decide(rig, 0)
    rig.turns()
    assert [tick.event_time_ns // 1_000_000 - T0_MS for tick in rig.ticks_of(PAIR)] == [0, 3]
    assert [record.trace.read_at_ns for record in rig.broker.records(TICKS) if record.key == PAIR][-1] == read_at_ns + 1


def test_not_behind_writes_every_tick() -> None:
    """While decisions keep up nothing is conflated."""
    source = FedSource()
    rig = Rig(source, **LIVE).start()
    for i in range(5):
        source.feed(*_legs() if i == 0 else [book("ETHUSDT", T0_MS + i, i + 1)])
        rig.turns(1)
        _decide(rig, i)
        rig.clock.advance_ms(49)
    assert (len(rig.ticks_of(PAIR)), rig.details["conflated"]) == (5, 0)


def test_a_burst_beyond_the_lead_is_conflated() -> None:
    """Live, LIVE_LEAD_TICKS ticks of a pair are under way at most; progress lets the newest go, timed from the oldest it stands for."""
    source = FedSource()
    rig = Rig(source, **LIVE, LIVE_LEAD_TICKS="8").start()
    source.feed(*_legs(), *[book("ETHUSDT", T0_MS + i, i + 1, read_at_ns=BEGIN_NS + i) for i in range(1, 30)])
    rig.turns()
    assert (len(rig.ticks_of(PAIR)), rig.details["conflated"], rig.details["pending"]) == (8, 21, 1)
    assert rig.details["pairs_behind"] == 0, "decisions do not lag"
    _decide(rig, 0)
    assert [tick.event_time_ns // 1_000_000 - T0_MS for tick in rig.turns().ticks_of(PAIR)] == [*range(8), 29]
    assert [record.trace.read_at_ns for record in rig.broker.records(TICKS) if record.key == PAIR][-1] == BEGIN_NS + 8


def test_what_waited_too_long_is_conflated() -> None:
    """Frames that were read long ago are made one tick a turn, the newest: while they waited, others have come."""
    source = FedSource()
    rig = Rig(source, **LIVE).start()
    rig.clock.advance_ms(51)
    source.feed(*_legs(), *[book("ETHUSDT", T0_MS + i, i + 1) for i in range(1, 10)])
    rig.turns(1)
    assert [tick.event_time_ns // 1_000_000 - T0_MS for tick in rig.ticks_of(PAIR)] == [9]
    assert rig.details["conflated"] == 9


def test_the_first_of_a_burst_do_not_wait_for_the_rest() -> None:
    """Live, the first turn takes few frames, those after it many, until there are no more; a lone frame is again in a turn of its own."""
    source = FedSource()
    rig = Rig(source, **LIVE, LIVE_LEAD_TICKS="1000").start()
    source.feed(*_legs(), *[book("ETHUSDT", T0_MS + i, i + 1) for i in range(1, 200)])
    handled = [rig.service.turn(0) for _ in range(4)]
    assert handled == [16, 128, 57, 0]
    source.feed(*[book("ETHUSDT", T0_MS + i, i + 1) for i in range(200, 230)])
    assert rig.service.turn(0) == 16


@pytest.mark.parametrize(("undecided_ms", "patience_s"), [(49, 0.001), (51, 0.01)])
def test_progress_is_looked_for_often_while_it_is_near(undecided_ms: int, patience_s: float) -> None:
    """A tick that is held for progress does not wait out a turn without frames; one that is held for a process that is away may."""
    source = FedSource()
    rig = Rig(source, **LIVE, LIVE_LEAD_TICKS="8").start()
    source.feed(*_legs(), *[book("ETHUSDT", T0_MS + i, i + 1) for i in range(1, 10)])
    rig.turns().clock.advance_ms(undecided_ms)
    rig.service.turn(1.0)
    assert source.waited_s == patience_s


def test_a_close_writes_what_is_held_first() -> None:
    """A tick is only ever replaced by a later one of its own bar."""
    source = FedSource()
    rig = Rig(source, **LIVE).start()
    source.feed(*_legs())
    rig.turns().clock.advance_ms(51)
    source.feed(book("ETHUSDT", T0_MS + 5, 2), book("ETHUSDT", T0_MS + BAR_MS, 3), book("ETHUSDT", T0_MS + BAR_MS + 1, 4))
    rig.turns()
    assert [(type(message).__name__, message.bar - BAR_0) for message in rig.log_of(PAIR)] == [("Tick", 0), ("Tick", 0), ("BarClose", 0)]


def test_every_read() -> None:
    """With CONFLATE=every-read only the newest tick of each read is written."""
    source = FedSource()
    rig = Rig(source, **LIVE, CONFLATE="every-read").start()
    source.feed(*_legs(), *[book("ETHUSDT", T0_MS + i, i + 1) for i in range(1, 8)])
    rig.turns(1)
    assert [tick.event_time_ns // 1_000_000 - T0_MS for tick in rig.ticks_of(PAIR)] == [7]
    assert rig.details["conflated"] == 7


def test_stop_writes_what_is_held() -> None:
    """A clean stop leaves no tick behind."""
    source = FedSource()
    rig = Rig(source, **LIVE).start()
    source.feed(*_legs())
    rig.turns().clock.advance_ms(51)
    source.feed(book("ETHUSDT", T0_MS + 5, 2))
    rig.turns()
    rig.service.stop()
    assert len(rig.ticks_of(PAIR)) == 2


# The timer.


def test_timer_closes_bars_of_a_silent_live_feed() -> None:
    """Without frames a live bar closes a second after its end, reckoned from the event time of the last book."""
    source = FedSource()
    rig = Rig(source, **LIVE).start()
    source.feed(*[frame._replace(read_at_ns=rig.clock.now_ns) for frame in _legs(T0_MS + 10_000)])
    rig.turns().clock.advance_ms(50_999)
    assert rig.turns().closes_of(PAIR) == []
    rig.clock.advance_ms(1)
    assert [close.bar for close in rig.turns().closes_of(PAIR)] == [BAR_0]
    rig.clock.advance_ms(3 * BAR_MS)
    assert [(close.bar - BAR_0, close.status.value) for close in rig.turns(5).closes_of(PAIR)] == [(0, "STALE"), (1, "EMPTY"), (2, "EMPTY"), (3, "EMPTY")]


def test_timer_waits_for_frames_that_are_there() -> None:
    """After a stall the frames that wait are taken first: each makes its tick in its own bar, none is closed over it."""
    source = FedSource()
    rig = Rig(source, **LIVE, BAR_INTERVAL_SECONDS="1").start()
    began_ns = rig.clock.now_ns
    frames = [book(("BTCUSDT", "ETHUSDT")[i % 2], T0_MS + 2 * i, i + 1, read_at_ns=began_ns + 2_000_000 * i) for i in range(3000)]
    source.feed(*frames[:200])
    rig.turns(20)
    rig.clock.advance_ms(6000)
    source.feed(*frames[200:])
    rig.turns(200)
    assert [close.status.value for close in rig.closes_of(PAIR)] == ["FRESH"] * 5
    assert all(tick.event_time_ns == max(tick.y.event_time_ns, tick.x.event_time_ns) for tick in rig.ticks_of(PAIR))


def test_timer_counts_only_up_to_the_last_read() -> None:
    """What arrives while a turn is stuck in publishing is not closed over by the timer of that turn."""

    class SlowToRead(FedSource):
        def read(self, channels: Sequence[Channel], max_frames: int, timeout_s: float) -> Sequence[Frame]:
            found = super().read(channels, max_frames, timeout_s)
            rig.clock.advance_ms(5000)
            return found

    source = SlowToRead()
    rig = Rig(source, **LIVE, BAR_INTERVAL_SECONDS="1").start()
    source.feed(*[frame._replace(read_at_ns=rig.clock.now_ns) for frame in _legs()])
    assert rig.turns(1).closes_of(PAIR) == []
    assert [close.bar - BAR_0 * 60 for close in rig.turns(1).closes_of(PAIR)] == [0, 1, 2, 3]


def test_timer_after_an_outage_of_spot() -> None:
    """On spot a trade moves time before the first book comes: no bar is closed that has not ended."""
    source = FedSource()
    rig = Rig(source, **LIVE, BINANCE_MARKET="spot").start()

    def feed(after_ms: int, number: int, *, books: bool = True) -> None:
        rig.clock.advance_ms(after_ms)
        at_ms = T0_MS + 5_000 + (rig.clock.now_ns - began_ns) // 1_000_000
        frames = [trade(symbol, at_ms, number, channel=Channel.PUBLIC, connection=number) for symbol in ("BTCUSDT", "ETHUSDT")]
        frames += [book(symbol, None, number, connection=number) for symbol in ("BTCUSDT", "ETHUSDT") if books]
        source.feed(*[frame._replace(read_at_ns=rig.clock.now_ns) for frame in frames])
        rig.turns()

    began_ns = rig.clock.now_ns
    feed(0, 1)
    feed(50_000, 2, books=False)
    rig.clock.advance_ms(10)
    assert rig.turns().closes_of(PAIR) == []
    feed(20, 3)
    rig.service.stop()
    assert rig.ticks_of(PAIR)[-1].event_time_ns == (T0_MS + 55_030) * 1_000_000


def test_no_timer_for_recordings() -> None:
    """A recording's bars close by its own time only."""
    source = FedSource()
    rig = Rig(source).start()
    source.feed(*_legs())
    rig.turns().clock.advance_ms(10 * BAR_MS)
    assert rig.turns().closes_of(PAIR) == []


# Health and metrics.


def test_health_names_what_it_waits_for() -> None:
    """The service is ready once connected and confirmed, or when the recording has ended."""

    class Waiting(FedSource):
        def status(self) -> dict[str, Any]:
            return {**super().status(), "connected": False, "waiting_for": "waiting for the first event of btcusdt@bookTicker"}

    source = Waiting()
    rig = Rig(source).start()
    health = rig.service.health()
    assert (health.ready, health.reason, health.details["connected"]) == (False, "waiting for the first event of btcusdt@bookTicker", False)
    assert run(_legs()).service.health().ready


def test_metrics_agree_with_the_books() -> None:
    """What Prometheus counts is what the books say."""
    rig = run([*_legs(), book("ETHUSDT", T0_MS, 1), book("ETHUSDT", T0_MS + 1, 2, bid="0"), book("ETHUSDT", T0_MS + BAR_MS, 3)])
    details, total = rig.details, rig.observer.total
    assert total("crypto_bot_frames_total", {"outcome": "tick"}) == details["ticks"] == 2
    assert total("crypto_bot_frames_total", {"outcome": "ignored"}) == total("crypto_bot_frames_ignored_total") == 2
    assert total("crypto_bot_frames_total", {"outcome": "dead-letter"}) == details["dead_letters"] == 1
    assert total("crypto_bot_bars_closed_total") == details["bars"] == 2
    assert total("crypto_bot_records_produced_total", {"topic": "ticks"}) == 4
    assert rig.observer.gauges["crypto_bot_session", ()] == 1


class HeardSource(ListSource):
    """Tells of streams that were heard, or not yet."""

    def status(self) -> dict[str, Any]:
        streams = {"btcusdt@bookTicker": {"last_event_age_ms": 1500}, "ethusdt@bookTicker": {"last_event_age_ms": None}, "btcusdt@trade": {}}
        return {**super().status(), "streams": streams}


def test_the_age_of_books_is_measured_when_somebody_asks() -> None:
    """By symbol, from the stream of books alone, and endless before the first; the end of a recording is told beside it."""
    rig = Rig(HeardSource(_legs())).run()
    rig.service.measure(rig.observer)
    ages = {labels: value for (name, labels), value in rig.observer.gauges.items() if name == "crypto_bot_book_age_seconds"}
    assert ages == {(("symbol", "BTCUSDT"),): 1.5, (("symbol", "ETHUSDT"),): math.inf}
    assert rig.observer.gauges["crypto_bot_feed_ended", ()] == 1


# Settings and stream rules.


@pytest.mark.parametrize(
    ("environment", "feed", "url"),
    [
        ({}, "recording", "ws://127.0.0.1:8010"),
        ({"SIMULATOR_ADDRESS": "exchange-simulator:8010"}, "recording", "ws://exchange-simulator:8010"),
        ({"SIMULATOR_ADDRESS": "exchange-simulator:8010", "EXCHANGE": "binance"}, "live", "wss://fstream.binance.com"),
        ({"EXCHANGE": "binance"}, "live", "wss://fstream.binance.com"),
        ({"EXCHANGE": "binance", "BINANCE_MARKET": "spot"}, "live", "wss://stream.binance.com:9443"),
        ({"FEED": "live", "BINANCE_WS_URL": "ws://localhost:9/"}, "live", "ws://localhost:9"),
    ],
)
def test_defaults_follow_the_exchange(environment: dict[str, str], feed: str, url: str) -> None:
    """Feed and URL come from the exchange and market unless given."""
    settings = load(IngestionSettings, environment)
    assert (settings.feed_in_use, settings.ws_url) == (feed, url)


def test_binance_is_no_recording() -> None:
    """A feed that cannot be paused must not be called a recording."""
    with pytest.raises(ConfigurationError, match="FEED"):
        load(IngestionSettings, {"EXCHANGE": "binance", "FEED": "recording"})


def test_futures_need_two_connections() -> None:
    """On futures books and trades come from different roots, market first; spot has one connection and no marks."""
    market, public = subscriptions(Market.FUTURES, ["BTCUSDT"])
    assert public.url("ws://h") == "ws://h/public/stream?streams=btcusdt@bookTicker"
    assert market.url("ws://h") == "ws://h/market/stream?streams=btcusdt@aggTrade/btcusdt@trade/btcusdt@markPrice@1s"
    (spot,) = subscriptions(Market.SPOT, ["BTCUSDT"])
    assert spot.url("ws://h") == "ws://h/stream?streams=btcusdt@bookTicker/btcusdt@aggTrade/btcusdt@trade"


def test_many_symbols_are_subscribed_by_message() -> None:
    """More names than a URL takes go into one SUBSCRIBE request."""
    _, public = subscriptions(Market.FUTURES, [f"COIN{i}USDT" for i in range(400)])
    request = public.message("ws://h")
    assert public.url("ws://h") == "ws://h/public/stream"
    assert request is not None
    assert request["params"] == list(public.names)
    assert subscriptions(Market.FUTURES, ["BTCUSDT"])[1].message("ws://h") is None


def test_silence() -> None:
    """A stream is silent after its time-out; one that made us reconnect is given twice as long."""
    watch = StreamWatch(subscriptions(Market.FUTURES, ["BTCUSDT"])[1], 10)
    watch.hear("btcusdt@bookTicker", 100)
    both = ["btcusdt@bookTicker", ANY_STREAM]
    assert watch.silent(110, 0) == []
    assert watch.silent(111, 0) == both
    watch.forgive(both)
    assert watch.silent(120, 0) == []
    assert watch.silent(121, 0) == both
    assert watch.silent(121, 105) == []


def test_silence_of_a_channel() -> None:
    """Optional streams may be silent one by one; all of them together are not, once one was heard."""
    watch = StreamWatch(subscriptions(Market.FUTURES, ["BTCUSDT"])[0], 10)
    assert watch.silent(1000, 0) == []
    watch.hear("btcusdt@trade", 100)
    watch.hear("btcusdt@markPrice@1s", 105)
    assert watch.silent(115, 0) == []
    assert watch.silent(116, 0) == [ANY_STREAM]


def test_backoff() -> None:
    """Waits double up to the most, are shortened by up to a half, and begin anew after a success."""
    backoff = Backoff(0.5, 30.0)
    assert [backoff.next_s(0.0) for _ in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert backoff.next_s(0.999) == pytest.approx(15.015)
    backoff.reset()
    assert backoff.next_s(0.0) == 0.5


def test_attempt_budget() -> None:
    """Attempts beyond the budget wait for the oldest to leave the window."""
    budget = AttemptBudget(attempts=2, window_s=300)
    for now_s in (0.0, 10.0):
        assert budget.wait_s(now_s) == 0
        budget.spend(now_s)
    assert budget.wait_s(20.0) == 280
    assert budget.wait_s(300.0) == 0


def test_gaps_do_not_flood_the_log() -> None:
    """The first gap of a kind of stream is logged, and a minute later how many there were besides; each is counted."""
    source = FedSource()
    rig = Rig(source, FEED="live").start()
    source.feed(*(trade("BTCUSDT", T0_MS, trade_id) for trade_id in range(1, 200, 2)))
    rig.turns(10)
    assert [line.fields["untold"] for line in rig.observer.events("feed gap")] == [0]
    rig.clock.advance_ms(60_000)
    source.feed(trade("BTCUSDT", T0_MS, 300))
    rig.turns()
    assert [line.fields["untold"] for line in rig.observer.events("feed gap")] == [0, 98]
    assert rig.observer.total("crypto_bot_feed_gaps_total", {"stream": "trade"}) == 100
