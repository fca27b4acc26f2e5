"""Start is recovery: whatever a killed predecessor left behind, the log goes on without a gap."""

import random
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.codec import decoder_of, encode
from common.errors import TransportError
from common.io.memory import Faults, MemoryBroker, MemoryTransport
from common.market import MOST_BARS_AWAY, MOST_BARS_SKIPPED, Pair
from common.messages import BarClose, BarStatus, Feed, Tick, WriterEpoch
from common.processor import Producer
from common.topics import TICKS, Topic
from common.trace import NO_TRACE, Trace
from services.ingestion.bars import LogState
from services.ingestion.recovery import take_over
from services.ingestion.source import Channel, Frame, ListSource
from tests.unit.ingestion.support import BAR_0, BAR_MS, OTHER_PAIR, PAIR, T0_MS, Rig, book, mark, shape, trade

NS_PER_MS = 1_000_000
THREE = {"SYMBOLS": "BTCUSDT,ETHUSDT,SOLUSDT"}


class OneByOne(ListSource):
    """Gives one frame a channel and turn."""

    def read(self, channels: Sequence[Channel], max_frames: int, timeout_s: float) -> list[Frame]:
        return [frame for channel in channels for frame in super(OneByOne, self).read([channel], min(1, max_frames), timeout_s)]


def _recording() -> list[Frame]:
    """Four bars of two pairs with a silence, late books, trades and mark prices."""
    frames = []
    for number, at_ms in enumerate([0, 10, 59_990, 60_005, 60_010, 3 * BAR_MS + 1, 3 * BAR_MS + 2]):
        symbol = ["BTCUSDT", "ETHUSDT", "SOLUSDT"][number % 3]
        frames += [book(symbol, T0_MS + at_ms, number + 1), trade(symbol, T0_MS + at_ms, number + 1), mark(symbol, T0_MS + at_ms, str(100 + number))]
    frames.append(book("ETHUSDT", T0_MS + 3 * BAR_MS - 5, 99))
    return frames


class Halting(ListSource):
    """Gives frames of either channel in portions that a seed says, also none."""

    def __init__(self, frames: list[Frame], seed: int) -> None:
        super().__init__(frames)
        self._random = random.Random(seed)

    def read(self, channels: Sequence[Channel], max_frames: int, timeout_s: float) -> list[Frame]:
        portions = [(channel, min(max_frames, self._random.choice([0, 0, 1, 2, 9]))) for channel in channels]
        return [frame for channel, most in portions for frame in super(Halting, self).read([channel], most, timeout_s)]


def _unkilled() -> Rig:
    return Rig(OneByOne(_recording()), **THREE).run()


@pytest.mark.parametrize("killed_after", range(24))
def test_kill_after_every_turn(killed_after: int) -> None:
    """A service that is killed between two turns and started again writes the same log as one that was not."""
    rig = Rig(OneByOne(_recording()), **THREE).start().turns(killed_after).kill()
    while rig.service.turn(0):
        pass
    rig.turns()
    expected = _unkilled()
    for pair in (PAIR, OTHER_PAIR):
        assert shape(rig.log_of(pair)) == shape(expected.log_of(pair))
    assert rig.details["ended"]


class _DyingTransport(MemoryTransport):
    """Its producer fails for good after so many records."""

    def __init__(self, broker: MemoryBroker, lives: int) -> None:
        super().__init__(broker)
        self.lives = lives

    def producer(self) -> Any:
        return _DyingProducer(self, super().producer())


class _DyingProducer:
    def __init__(self, transport: _DyingTransport, producer: Producer) -> None:
        self._transport = transport
        self._producer = producer
        self.flush, self.close = producer.flush, producer.close

    def send(self, topic: Topic, key: str, value: bytes, *, partition: int | None = None, trace: Trace = NO_TRACE) -> None:
        self._transport.lives -= 1
        if self._transport.lives < 0:
            raise TransportError("killed")
        self._producer.send(topic, key, value, partition=partition, trace=trace)


@pytest.mark.parametrize("lives", range(21))
def test_kill_at_every_record(lives: int) -> None:
    """Killed between any two records, also between the closes of two pairs: no gap in seq or bars, and all pairs have the same bars."""
    rig = Rig(OneByOne(_recording()), **THREE)
    rig.transport = rig.service._transport = _DyingTransport(rig.broker, lives)
    with pytest.raises(TransportError):
        rig.run()
    rig.kill()
    while rig.service.turn(0):
        pass
    rig.turns()
    bars = [close.bar - BAR_0 for close in rig.closes_of(PAIR)]
    assert bars == [0, 1, 2, 3]
    assert [close.bar - BAR_0 for close in rig.closes_of(OTHER_PAIR)] == bars
    for pair in (PAIR, OTHER_PAIR):
        log = rig.log_of(pair)
        assert [message.seq for message in log] == list(range(len(log)))
        assert [close.end for close in rig.closes_of(pair)] == [False, False, False, True]


@pytest.mark.parametrize("seed", range(20))
def test_channels_may_run_apart(seed: int) -> None:
    """However books, trades and mark prices arrive relative to each other, the log is the same, mark prices and all."""
    rig = Rig(Halting(_recording(), seed), **THREE).start()
    while not rig.details["ended"]:
        rig.turns(1)
    for pair in (PAIR, OTHER_PAIR):
        assert shape(rig.log_of(pair)) == shape(_unkilled().log_of(pair))
    assert any(close.x_mark for close in rig.closes_of(PAIR))


def test_first_closes_are_safe_for_all_pairs() -> None:
    """The first close of a session is acknowledged for every pair before anything follows, whatever a crash loses after it."""
    broker = MemoryBroker(partitions=4)
    rig = Rig(ListSource(_recording(), ended=False), broker, **THREE)
    rig.transport = rig.service._transport = MemoryTransport(broker, faults=Faults(hold=lambda: True))
    rig.run().transport.abandon()
    assert [[close.bar - BAR_0 for close in rig.closes_of(pair)] for pair in (PAIR, OTHER_PAIR)] == [[0], [0]]


def test_what_cannot_be_sent_stays_due() -> None:
    """A broker that is away for a while costs no record: the next turn sends what the last one could not."""
    rig = Rig(OneByOne(_recording()), **THREE)
    transport = rig.transport = rig.service._transport = _DyingTransport(rig.broker, 9)
    with pytest.raises(TransportError):
        rig.run()
    transport.lives = 1000
    while rig.service.turn(0):
        pass
    for pair in (PAIR, OTHER_PAIR):
        assert shape(rig.log_of(pair)) == shape(_unkilled().log_of(pair))


def test_bars_away_are_written_empty() -> None:
    """The bars between the last close before a stop and the first frame after it are closed, EMPTY."""
    rig = Rig(ListSource([book("BTCUSDT", T0_MS, 1), book("ETHUSDT", T0_MS, 1)], ended=False), FEED="live").run()
    rig.source = ListSource([book("BTCUSDT", T0_MS + 40 * BAR_MS, 9), book("ETHUSDT", T0_MS + 40 * BAR_MS, 9)], ended=False)
    rig.kill().turns()
    assert [(close.bar - BAR_0, close.status.value) for close in rig.closes_of(PAIR)] == [(0, "STALE")] + [(bar, "EMPTY") for bar in range(1, 40)]
    assert {close.session for close in rig.closes_of(PAIR)} == {1}


@pytest.mark.parametrize(("bars_away", "session"), [(MOST_BARS_AWAY, 1), (MOST_BARS_AWAY + 1, 2), (MOST_BARS_SKIPPED - 1, 2)])
def test_no_pause_is_longer_than_what_readers_take(bars_away: int, session: int) -> None:
    """However long nobody was there: bars are closed up to a limit, beyond it a session begins, and no reader sees more bars skipped than it accepts."""
    rig = Rig(ListSource([book(symbol, T0_MS, 1) for symbol in ("BTCUSDT", "ETHUSDT")], ended=False), FEED="live", BAR_INTERVAL_SECONDS="1").run()
    later = [book(symbol, T0_MS + bars_away * 1000, 9) for symbol in ("BTCUSDT", "ETHUSDT")]
    rig.source = ListSource([*later, book("BTCUSDT", T0_MS + bars_away * 1000 + 1000, 10)], ended=False)
    rig.kill().turns(60)
    closes = rig.closes_of(PAIR)
    assert closes[-1].session == session
    assert all(after.session > before.session or after.bar == before.bar + 1 for before, after in pairwise(closes))


def test_recording_played_again() -> None:
    """The same recording played again over the same log, interrupted or not, is a new session."""
    frames = [book(symbol, T0_MS + at_ms, at_ms + 1) for at_ms in (0, 30_000) for symbol in ("BTCUSDT", "ETHUSDT")]
    for ended in (True, False):
        rig = Rig(ListSource(frames, ended=ended)).run()
        rig.source = ListSource(frames)
        rig.kill().turns()
        sessions = [(message.session, type(message).__name__) for message in rig.log_of(PAIR)]
        assert sessions[-4:] == [(2, "Tick"), (2, "Tick"), (2, "Tick"), (2, "BarClose")]
        assert sessions[:4] == [(1, "Tick"), (1, "Tick"), (1, "Tick"), (1, "BarClose")]
        assert rig.closes_of(PAIR)[0].end


def test_other_bar_interval() -> None:
    """A log of another bar interval is a session that is over."""
    frames = [book(symbol, T0_MS, 1) for symbol in ("BTCUSDT", "ETHUSDT")] + [book("ETHUSDT", T0_MS + BAR_MS, 2)]
    first = Rig(ListSource(frames)).run()
    again = Rig(ListSource(frames), first.broker, BAR_INTERVAL_SECONDS="30").run()
    assert {message.session for message in again.log_of(PAIR)} == {1, 2}
    assert [message.seq for message in again.log_of(PAIR)] == list(range(len(again.log_of(PAIR))))


ONE = {"SYMBOLS": "BTCUSDT,ETHUSDT"}


def _books(bar: int, *symbols: str) -> list[Frame]:
    return [book(symbol, T0_MS + bar * BAR_MS, bar + 1) for symbol in symbols or ("BTCUSDT", "ETHUSDT", "SOLUSDT")]


def _story(rig: Rig, pair: str) -> list[tuple[int, int, bool]]:
    """Session, bar and whether it is the last, of every close."""
    return [(close.session, close.bar - BAR_0, close.end) for close in rig.closes_of(pair)]


def _with_pairs(rig: Rig, environment: dict[str, str], *frames: Frame) -> Rig:
    """The same log with other settings and frames."""
    return Rig(ListSource(frames, ended=False), rig.broker, FEED="live", **environment).run()


@pytest.mark.parametrize("first_bars", [0, 1, 2])
def test_new_pair_begins_a_session(first_bars: int) -> None:
    """A pair that is configured later ends the session for all: it too has that end, and the next frame opens a session of the new set."""
    frames = [frame for bar in range(first_bars + 1) for frame in _books(bar, "BTCUSDT", "ETHUSDT")]
    rig = _with_pairs(Rig(ListSource(())), ONE, *frames)
    rig = _with_pairs(rig, THREE, *_books(9), *_books(10))
    if not first_bars:  # Nobody has closed a bar yet: the pair joins in time for the first.
        assert _story(rig, OTHER_PAIR)[0] == _story(rig, PAIR)[0] == (1, 0, False)
        return
    assert _story(rig, PAIR) == [*((1, bar, False) for bar in range(first_bars)), (1, first_bars, True), (2, 9, False)]
    assert _story(rig, OTHER_PAIR) == [(1, first_bars, True), (2, 9, False)]


def test_pair_that_leaves_ends_the_session() -> None:
    """A pair that is no longer configured has its end like all others; when it comes back, its seq goes on."""
    rig = _with_pairs(Rig(ListSource(())), THREE, *_books(0), *_books(1))
    rig = _with_pairs(rig, ONE, *_books(2, "BTCUSDT", "ETHUSDT"), *_books(3, "BTCUSDT", "ETHUSDT"))
    rig = _with_pairs(rig, THREE, *_books(4), *_books(5))
    assert _story(rig, PAIR) == [(1, 0, False), (1, 1, True), (2, 2, False), (2, 3, True), (3, 4, False)]
    assert _story(rig, OTHER_PAIR) == [(1, 0, False), (1, 1, True), (2, 3, True), (3, 4, False)]
    for pair in (PAIR, OTHER_PAIR):
        assert [message.seq for message in rig.log_of(pair)] == list(range(len(rig.log_of(pair))))


def test_wholly_other_pairs_go_on_with_the_session() -> None:
    """With no pair in common the session of the log still ends and the next one counts on, for its readers know its number."""
    rig = _with_pairs(Rig(ListSource(())), ONE, *_books(0), *_books(1))
    rig = _with_pairs(rig, {"SYMBOLS": "BTCUSDT,SOLUSDT"}, *_books(4, "BTCUSDT", "SOLUSDT"), *_books(5, "BTCUSDT", "SOLUSDT"))
    assert _story(rig, PAIR) == [(1, 0, False), (1, 1, True)]
    assert _story(rig, OTHER_PAIR) == [(1, 1, True), (2, 4, False)]


def test_order_of_pairs_is_no_change() -> None:
    """The same pairs in another order, or more symbols without pairs, go on in the same session."""
    rig = _with_pairs(Rig(ListSource(())), THREE | {"PAIRS": f"{PAIR},{OTHER_PAIR}"}, *_books(0), *_books(1))
    rig = _with_pairs(rig, {"SYMBOLS": "BTCUSDT,ETHUSDT,SOLUSDT,XRPUSDT", "PAIRS": f"{OTHER_PAIR},{PAIR}"}, *_books(2), *_books(3))
    assert _story(rig, PAIR) == _story(rig, OTHER_PAIR) == [(1, bar, False) for bar in range(3)]


@pytest.mark.parametrize("lives", range(12))
@pytest.mark.parametrize(("first", "second"), [(ONE, THREE), (THREE, ONE)])
def test_kill_while_the_session_ends(first: dict[str, str], second: dict[str, str], lives: int) -> None:
    """Killed between any two records of the change: every pair has one end in the old session and the new set begins one together."""
    rig = _with_pairs(Rig(ListSource(())), first, *_books(0), *_books(1), *_books(2))
    dying = Rig(ListSource([*_books(5), *_books(6)]), rig.broker, FEED="live", **second)
    dying.transport = dying.service._transport = _DyingTransport(rig.broker, lives)
    with pytest.raises(TransportError):
        dying.run()
    rig = _with_pairs(rig, second, *_books(7), *_books(8))
    for pair in (PAIR, OTHER_PAIR):
        story = _story(rig, pair)
        assert [close for close in story if close[0] == 1][-1] == (1, 2, True)
        assert sum(end for session, _, end in story if session == 1) == 1
        assert [message.seq for message in rig.log_of(pair)] == list(range(len(rig.log_of(pair))))
    newest = [_story(rig, pair)[-1] for pair in ((PAIR, OTHER_PAIR) if second is THREE else (PAIR,))]
    assert all(close == newest[0] and close[0] >= 2 for close in newest)


def test_log_that_retention_has_emptied() -> None:
    """Epoch, session and seq go on above all that was ever written, so that no reader takes the new records for old ones."""
    rig = _with_pairs(Rig(ListSource(())), ONE, *_books(0), *_books(1))
    before = rig.log_of(PAIR)[-1]
    for partition, end in MemoryTransport(rig.broker).end_offsets(TICKS).items():
        rig.broker.truncate(TICKS, partition, end)
    after = _with_pairs(rig, ONE, *_books(3), *_books(4)).log_of(PAIR)[0]
    assert (after.epoch > before.epoch, after.session > before.session, after.seq > before.seq) == (True, True, True)


def _close(pair: str, seq: int, epoch: int, bar: int = BAR_0) -> BarClose:
    return BarClose(
        pair=pair,
        seq=seq,
        epoch=epoch,
        session=1,
        bar=bar,
        end_time_ns=(bar + 1) * BAR_MS * NS_PER_MS,
        status=BarStatus.EMPTY,
        feed=Feed.RECORDING,
    )


def _take_over(broker: MemoryBroker, *names: str) -> LogState:
    transport = MemoryTransport(broker)
    return take_over(transport, transport.producer(), [Pair.parse(name) for name in names], BAR_MS * NS_PER_MS)


def test_marker_in_every_partition() -> None:
    """A marker with an epoch above all others goes into every partition before the log is read back."""
    broker = MemoryBroker(partitions=5)
    assert [_take_over(broker, PAIR).epoch for _ in range(3)] == [1, 2, 3]
    decoder = decoder_of(TICKS)
    found = [(record.partition, decoder.decode(record.value).epoch) for record in broker.records(TICKS)]
    assert sorted(found) == [(partition, epoch) for partition in range(5) for epoch in (1, 2, 3)]


def test_epoch_is_above_that_of_any_partition() -> None:
    """A marker that a crashed predecessor wrote into some partitions only counts too."""
    broker = MemoryBroker(partitions=3)
    broker.append(TICKS, 1, "", encode(WriterEpoch(epoch=7)))
    broker.append(TICKS, 2, "", encode(WriterEpoch(epoch=3)))
    assert _take_over(broker, PAIR).epoch == 8


def test_late_writer_is_void() -> None:
    """Records of an older writer after a newer one's marker do not count when the log is read back."""
    broker = MemoryBroker(partitions=1)
    for message in (WriterEpoch(epoch=1), _close(PAIR, 0, 1), WriterEpoch(epoch=2), _close(PAIR, 1, 1, BAR_0 + 1)):
        broker.append(TICKS, 0, getattr(message, "pair", ""), encode(message))
    state = _take_over(broker, PAIR)
    assert (state.epoch, state.pairs[PAIR].next_seq, state.open_bar) == (3, 1, BAR_0 + 1)


def test_far_back() -> None:
    """A pair whose last record lies far back is found, also when retention has taken the beginning."""
    broker = MemoryBroker(partitions=1)
    noise = [encode(_close(OTHER_PAIR, seq, 1, BAR_0 + seq)) for seq in range(3000)]
    for value in [encode(WriterEpoch(epoch=1)), encode(_close(PAIR, 7, 1)), *noise]:
        broker.append(TICKS, 0, "", value)
    assert _take_over(broker, PAIR).pairs[PAIR].next_seq == 8
    broker.truncate(TICKS, 0, 1)
    assert _take_over(broker, PAIR).pairs[PAIR].next_seq == 8
    broker.truncate(TICKS, 0, 1500)
    assert _take_over(broker, PAIR).pairs[PAIR].next_seq > 8, "above whatever it was"


def test_foreign_records_are_passed_over() -> None:
    """Records that are none of ours do not stop the start."""
    broker = MemoryBroker(partitions=1)
    for value in (b"junk", encode(_close(PAIR, 4, 1)), b"{}"):
        broker.append(TICKS, 0, "", value)
    assert _take_over(broker, PAIR).pairs[PAIR].next_seq == 5


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 12), max_size=5))
def test_any_series_of_kills(kills: list[int]) -> None:
    """However often it is killed, the log is that of an undisturbed run."""
    rig = Rig(OneByOne(_recording()), **THREE).start()
    for turns in kills:
        rig.turns(turns).kill()
    while rig.service.turn(0):
        pass
    rig.turns()
    assert shape(rig.log_of(PAIR)) == shape(_unkilled().log_of(PAIR))
    assert all(isinstance(message, Tick | BarClose) for message in rig.log_of(PAIR))
