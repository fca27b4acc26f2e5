"""Playback without a network: who gets what, and what it waits for."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import pytest

from common.errors import ConfigurationError
from common.settings import Market
from services.exchange_simulator import playback
from services.exchange_simulator.playback import Listener, Player, State
from services.exchange_simulator.recording import Frame, Recording, StreamSummary
from services.exchange_simulator.rounds import rounds_of
from services.exchange_simulator.subscriptions import Root, Subscriptions

BOOK = "btcusdt@bookTicker"
TRADE = "btcusdt@trade"


def recording(frames: list[Frame], *, damaged: bool = False, exact: bool = True) -> Recording:
    def opened() -> Iterator[Frame]:
        yield from frames
        if damaged:
            raise ConfigurationError(["it is cut off"])

    streams = {stream: [frame for frame in frames if frame.stream == stream] for stream in {frame.stream for frame in frames}}
    summaries = {stream: StreamSummary(len(found), found[-1].time_ns) for stream, found in streams.items()}
    return Recording("test", Market.FUTURES, summaries, frames[0].time_ns, frames[-1].time_ns, 0, {}, opened, exact=exact)


def frame(number: int, stream: str = BOOK) -> Frame:
    return Frame(number * 1_000_000_000, stream, b'{"stream":"x","data":%d}' % number, 21)


def listener(root: Root, *streams: str) -> Listener:
    subscriptions = Subscriptions(Market.FUTURES, root, combined=True)
    subscriptions.add(list(streams))
    return Listener(subscriptions)


async def settle() -> None:
    for _ in range(2000):
        await asyncio.sleep(0)


async def until(condition: Callable[[], bool]) -> None:
    """Let time pass until the condition holds."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event of its own
            await asyncio.sleep(0.001)


def play(source: Recording, scenario: Callable[[Player], Awaitable[None]], *, speed: float | None = None, autostart: bool = True) -> Player:
    """Run a scenario while the player plays."""

    async def run() -> Player:
        player = Player(source, speed, autostart=autostart, monotonic=asyncio.get_running_loop().time)
        task = asyncio.ensure_future(player.run())
        await scenario(player)
        task.cancel()
        return player

    return asyncio.run(run())


def test_playback_waits_for_the_slowest_listener() -> None:
    """With one outbox full nothing is played, whoever else keeps up; it goes on when that outbox has emptied."""

    async def scenario(player: Player) -> None:
        slow, fast = listener(Root.PUBLIC, BOOK), listener(Root.PUBLIC, BOOK)
        player.join(slow)
        player.join(fast)
        await settle()
        fast.outbox.clear()
        player.drained()
        await settle()
        assert player.frames_sent == len(slow.outbox) == playback.OUTBOX_FRAMES
        slow.outbox.clear()
        player.drained()
        await settle()
        assert player.frames_sent == 2 * playback.OUTBOX_FRAMES

    play(recording([frame(number) for number in range(2000)]), scenario)


def test_a_starving_market_socket_lets_books_pile_up() -> None:
    """A client that waits for /market before it reads more of /public gets its frame, however many books lie between."""

    async def scenario(player: Player) -> None:
        public, market = listener(Root.PUBLIC, BOOK), listener(Root.MARKET, TRADE)
        player.join(public)
        player.join(market)
        await settle()
        assert len(public.outbox) == 1000
        assert [one.time_ns for one in market.outbox] == [1_000_000_000_000]
        assert market.end == playback.END_OF_RECORDING

    play(recording([frame(number) for number in range(1000)] + [frame(1000, TRADE)] + [frame(number) for number in range(1001, 3000)]), scenario)


def test_full_speed_waits_while_nobody_listens_to_books() -> None:
    """A recording that is started plays nothing to an empty room, nor to trades alone."""

    async def scenario(player: Player) -> None:
        player.start()
        player.join(listener(Root.MARKET, TRADE))
        await settle()
        assert (player.frames_sent, player.state) == (0, State.PLAYING)
        reader = listener(Root.PUBLIC, BOOK)
        player.join(reader)
        await settle()
        assert player.frames_sent == 10
        assert (player.state, reader.end, len(reader.outbox)) == (State.ENDED, playback.END_OF_RECORDING, 9)

    play(recording([frame(0, TRADE), *(frame(number) for number in range(1, 10))]), scenario, autostart=False)


@pytest.mark.parametrize(("with_market", "started"), [(True, True), (False, False)])
def test_the_first_subscriber_waits_for_its_market_socket(with_market: bool, started: bool) -> None:
    """Where the recording has trades, books do not start before /market is there or a grace is over."""

    async def scenario(player: Player) -> None:
        if with_market:
            player.join(listener(Root.MARKET, TRADE))
        player.join(listener(Root.PUBLIC, BOOK))
        await settle()
        assert (player.frames_sent > 0) is started

    play(recording([frame(0, TRADE), frame(1)]), scenario)


@pytest.mark.parametrize("exact", [True, False])
def test_a_recording_of_books_alone_ends_market_sockets(monkeypatch: pytest.MonkeyPatch, exact: bool) -> None:
    """Nobody waits for /market of a recording that has none, also when its totals are only estimated; where it has some, estimates end nothing."""
    monkeypatch.setattr(playback, "IDLE_GRACE_S", 0.0)

    async def scenario(player: Player) -> None:
        market = listener(Root.MARKET, TRADE)
        player.join(market)
        await settle()
        ends = not player.recording.streams.keys() & {TRADE}
        assert market.end == (playback.END_OF_RECORDING if ends else None)

    play(recording([frame(0), frame(1)], exact=exact), scenario)
    play(recording([frame(0), frame(1, TRADE)], exact=exact), scenario)


def test_unknown_streams_start_nothing() -> None:
    """A subscription to what the recording does not have is no audience."""

    async def scenario(player: Player) -> None:
        player.join(listener(Root.PUBLIC, "nonsense@bookTicker"))
        await settle()
        assert player.state is State.WAITING

    play(recording([frame(0)]), scenario)


def test_damage_ends_with_what_was_readable() -> None:
    """Frames before the damage are played; then every listener is closed with 1011 and the reason."""

    async def scenario(player: Player) -> None:
        reader = listener(Root.PUBLIC, BOOK)
        player.join(reader)
        await settle()
        assert (len(reader.outbox), reader.end) == (2, (1011, "it is cut off"))
        assert (player.state, player.problem) == (State.FAILED, "it is cut off")

    play(recording([frame(0), frame(1)], damaged=True), scenario)


def test_pace_has_no_drift() -> None:
    """Frames are due by their distance from the first one; a late one is not waited for, and delays no later one."""
    now = [100.0]
    schedule = playback._Schedule(2.0, lambda: now[0])
    assert schedule.wait_s(10_000_000_000) == 0
    assert schedule.wait_s(14_000_000_000) == 2.0
    now[0] = 103.0
    assert schedule.wait_s(14_000_000_000) == -1.0
    assert schedule.wait_s(18_000_000_000) == 1.0
    assert playback._Schedule(None, lambda: now[0]).wait_s(99) == 0


# --- loops -----------------------------------------------------------------------------------------------------------

BAR_NS = 1_000_000_000
#: Ten seconds of books and a bar without any.
TEN = recording([frame(number) for number in range(10)])


def looped(source: Recording, scenario: Callable[[Player], Awaitable[None]], *, speed: float | None = None, elapsed_ns: int = 0) -> Player:
    """Run a scenario while the player loops."""

    async def run() -> Player:
        rounds = rounds_of(source, BAR_NS)
        player = Player(source, speed, autostart=True, monotonic=asyncio.get_running_loop().time, rounds=rounds, elapsed_ns=elapsed_ns)
        task = asyncio.ensure_future(player.run())
        await scenario(player)
        task.cancel()
        return player

    return asyncio.run(run())


def hears(player: Player, root: Root, *streams: str) -> Listener:
    subscriptions = Subscriptions(Market.FUTURES, root, combined=True)
    subscriptions.add(list(streams))
    made = player.admit(subscriptions)
    player.join(made)
    return made


def test_a_loop_ends_each_round_for_all_and_plays_the_next_to_those_who_come_back() -> None:
    """Code 4001 after a round's last frame; a new connection hears the next round whole, its times moved on, and is told where it begins."""

    async def scenario(player: Player) -> None:
        for number in range(3):
            reader = hears(player, Root.PUBLIC, BOOK)
            assert (reader.round, player.session_begins_ns(reader)) == (number, number * 11 * BAR_NS)
            await settle()
            assert reader.end == playback.END_OF_ROUND
            assert [one.time_ns for one in reader.outbox] == [(number * 11 + second) * BAR_NS for second in range(10)]
            player.leave(reader)
            await settle()
        assert (player.round, player.shift_ns, player.frames_sent, player.state) == (3, 33 * BAR_NS, 30, State.PLAYING)

    looped(TEN, scenario)


def test_the_next_round_waits_for_those_who_still_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has not read a round to its end loses nothing of the next: it does not begin while an old connection drains."""
    monkeypatch.setattr(playback, "JOIN_GRACE_S", 0.0)

    async def scenario(player: Player) -> None:
        slow, fast = hears(player, Root.PUBLIC, BOOK), hears(player, Root.PUBLIC, BOOK)
        await settle()
        player.leave(fast)
        again = hears(player, Root.PUBLIC, BOOK)
        await settle()
        assert (slow.end, again.round, len(again.outbox)) == (playback.END_OF_ROUND, 1, 0)
        player.leave(slow)
        await asyncio.sleep(0.01)
        assert len(again.outbox) == 10

    looped(TEN, scenario)


def test_a_loop_goes_on_in_the_middle_of_a_round() -> None:
    """After a restart playback stands where time has carried it: round and frames before it are passed over."""

    async def scenario(player: Player) -> None:
        reader = hears(player, Root.PUBLIC, BOOK)
        await settle()
        assert [one.time_ns for one in reader.outbox] == [(2 * 11 + second) * BAR_NS for second in range(4, 10)]
        assert player.session_begins_ns(reader) == 2 * 11 * BAR_NS

    looped(TEN, scenario, elapsed_ns=(2 * 11 + 4) * BAR_NS)


def test_a_loop_in_the_pause_between_two_rounds_goes_on_with_the_next() -> None:
    """A place behind the last frame of a round leads to the first of the next."""

    async def scenario(player: Player) -> None:
        await settle()
        reader = hears(player, Root.PUBLIC, BOOK)
        assert reader.round == 1
        await settle()
        assert [one.time_ns for one in reader.outbox][:2] == [11 * BAR_NS, 12 * BAR_NS]

    looped(TEN, lambda player: _started(player, scenario), elapsed_ns=10 * BAR_NS + 1)


async def _started(player: Player, scenario: Callable[[Player], Awaitable[None]]) -> None:
    player.start()
    await scenario(player)


def test_a_loop_at_a_speed_plays_on_by_itself_and_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a listener rounds come and go as time passes; who connects in the middle joins at the present place."""
    monkeypatch.setattr(playback, "JOIN_GRACE_S", 0.0)

    async def scenario(player: Player) -> None:
        player.start()
        loop = asyncio.get_running_loop()
        began = loop.time()
        await until(lambda: player.round >= 2)
        # Two rounds of eleven seconds at two hundred times their pace.
        assert 0.1 < loop.time() - began < 1.0
        await until(lambda: player.frames_sent % 10 >= 5)
        reader = hears(player, Root.PUBLIC, BOOK)
        await until(lambda: reader.end is not None)
        assert 0 < len(reader.outbox) < 6
        assert reader.outbox[-1].time_ns % (11 * BAR_NS) == 9 * BAR_NS

    looped(TEN, scenario, speed=200.0)


def test_a_market_socket_that_has_heard_all_of_a_round_waits_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """`/market` ends with its last frame of the round; who connects again is not turned away but hears nothing until the next round."""
    monkeypatch.setattr(playback, "IDLE_GRACE_S", 0.0)
    source = recording([frame(0, TRADE), *(frame(number) for number in range(1, 2000))])

    async def scenario(player: Player) -> None:
        public, market = hears(player, Root.PUBLIC, BOOK), hears(player, Root.MARKET, TRADE)
        await settle()
        assert (market.end, len(market.outbox), player.round) == (playback.END_OF_ROUND, 1, 0)
        player.leave(market)
        again = hears(player, Root.MARKET, TRADE)
        await settle()
        assert (again.end, again.round, len(again.outbox)) == (None, 1, 0)
        while player.round == 0:
            public.outbox.clear()
            player.drained()
            await settle()
        player.leave(public)
        hears(player, Root.PUBLIC, BOOK)
        await settle()
        assert [one.time_ns for one in again.outbox] == [2001 * BAR_NS]

    looped(source, scenario)


def test_a_loop_of_books_alone_ends_market_sockets_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody comes back again and again for what no round has."""
    monkeypatch.setattr(playback, "IDLE_GRACE_S", 0.0)

    async def scenario(player: Player) -> None:
        market = hears(player, Root.MARKET, TRADE)
        await settle()
        assert market.end == playback.END_OF_RECORDING

    looped(TEN, scenario)


def test_a_loop_that_is_stopped_ends_as_a_recording_does() -> None:
    """On request the loop ends in the pause between two rounds too, with the code of the end."""

    async def scenario(player: Player) -> None:
        reader = hears(player, Root.PUBLIC, BOOK)
        await until(lambda: len(reader.outbox) >= 3)
        player.stop()
        await asyncio.sleep(0.01)
        assert (player.state, reader.end) == (State.ENDED, playback.END_OF_RECORDING)

    looped(recording([frame(0), frame(1), frame(2), frame(3600)]), scenario, speed=1000.0)
