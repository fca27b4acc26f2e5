"""The service over an in-memory broker: restarts, holds, progress, dead letters, HTTP."""

from decimal import Decimal
from itertools import count, pairwise
from pathlib import Path
from random import Random
from typing import Any

import fastapi
import pytest
from fastapi.testclient import TestClient
from msgspec.structs import replace

from common.codec import decoder_of, encode
from common.errors import ConfigurationError, TransportError
from common.io.memory import Faults, MemoryBroker, MemoryTransport
from common.io.metrics import RecordingObserver
from common.messages import (
    Command,
    CommandApplied,
    CommandKind,
    Decision,
    Execution,
    Feed,
    HedgeMessage,
    HedgeRatio,
    HedgeRatioClose,
    HoldExpired,
    Mark,
    Message,
    RiskHeartbeat,
    RoundTrip,
)
from common.metrics import COMMON_METRICS
from common.topics import COMMANDS, DEAD_LETTERS, EXECUTIONS, HEDGE_RATIOS, PROGRESS, RISK_SIGNALS, Topic
from common.trace import NO_TRACE, Trace
from services.execution import offsets
from services.execution.committed import Committed
from services.execution.edge import MOST_RECORDS, ExecutionService
from services.execution.latency import percentile
from services.execution.ledger import Ledger
from services.execution.metrics import METRICS
from services.execution.routes import routes
from services.execution.settings import ExecutionSettings
from tests.unit.execution.builders import FIRST_BAR, PAIR, close, hedge, mark_price, rules, signal

OTHER = "SOLUSDT-BTCUSDT"
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
SETTINGS = ExecutionSettings(symbols=SYMBOLS)
STAMP = {"environment": "paper", "venue": "simulator-futures", "account": "paper"}
MS = 1_000_000


class Clock:
    """A wall clock that moves when told to."""

    def __init__(self) -> None:
        self.now_ns = 10**18

    def __call__(self) -> int:
        return self.now_ns


class World:
    """A broker and, one after the other, the services that use it."""

    def __init__(self, folder: Path, settings: ExecutionSettings = SETTINGS, partitions: int = 2) -> None:
        self.folder, self.settings = folder, settings
        self.broker = MemoryBroker(partitions)
        self.clock = Clock()
        self.observer = RecordingObserver((*COMMON_METRICS, *METRICS))
        self.feeder = MemoryTransport(self.broker).producer()
        self.ledger: Ledger | None = None
        self.service: ExecutionService | None = None

    def build(self, faults: Faults | None = None, committed: Committed | None = None) -> ExecutionService:
        self.ledger = Ledger(self.folder / "trading.db", stamp=STAMP, synchronous="OFF")
        transport = MemoryTransport(self.broker, faults=faults)
        venue = {symbol: rules(symbol) for symbol in SYMBOLS}
        self.service = ExecutionService(self.settings, transport, self.observer, self.clock, venue, self.ledger, committed)
        return self.service

    def start(self, faults: Faults | None = None) -> ExecutionService:
        service = self.build(faults)
        service.start()
        return service

    def kill(self) -> None:
        """The process ends here: what is not committed is gone."""
        assert self.ledger is not None
        self.ledger.close()
        self.service = self.ledger = None

    def send(self, topic: Topic, message: Message, key: str = PAIR, trace: Trace = NO_TRACE) -> None:
        self.feeder.send(topic, key, encode(message), trace=trace)

    def feed(self, *messages: HedgeMessage, trace: Trace = NO_TRACE) -> None:
        for message in messages:
            pair = message.tick.pair if isinstance(message, HedgeRatio) else message.close.pair
            self.send(HEDGE_RATIOS, message, pair, trace)

    def written(self, topic: Topic = EXECUTIONS) -> list[Any]:
        return [decoder_of(topic).decode(record.value) for record in self.broker.records(topic)]

    def executions(self, pair: str = PAIR) -> list[Execution]:
        """What was said of a pair, each thing once, in the order in which it was first said."""
        said = dict.fromkeys(encode(message) for message in self.written() if message.pair == pair)
        return [decoder_of(EXECUTIONS).decode(value) for value in said]


def of_pair(message: HedgeMessage, pair: str) -> HedgeMessage:
    if isinstance(message, HedgeRatioClose):
        return replace(message, close=replace(message.close, pair=pair))
    return replace(message, tick=replace(message.tick, pair=pair))


def scenario() -> list[tuple[Topic, Message]]:
    """Four bars of two pairs: an entry, partial fills, an exit, a second entry that cools down; signals as risk-manager gives them."""
    records: list[tuple[Topic, Message]] = []
    zs: dict[int, list[float]] = {FIRST_BAR: [3, 3], FIRST_BAR + 1: [1, 3, 3, 3, 2], FIRST_BAR + 2: [2, 0.2, 0.1], FIRST_BAR + 3: [3, 0]}
    seq = 0
    for bar, values in zs.items():
        for second, z in enumerate(values, start=1):
            seq += 1
            message = hedge(seq, bar, second, z=z, y=2000 + z, y_size=1.5 if z == 3 else 1000)
            records += [(HEDGE_RATIOS, of_pair(message, pair)) for pair in (PAIR, OTHER)]
        seq += 1
        records += [(HEDGE_RATIOS, of_pair(close(seq, bar, end=bar == FIRST_BAR + 3), pair)) for pair in (PAIR, OTHER)]
        records += [(RISK_SIGNALS, replace(signal(bar), pair=pair)) for pair in (PAIR, OTHER)]
    return records


def send_all(world: World, records: list[tuple[Topic, Message]]) -> None:
    for topic, message in records:
        world.send(topic, message, _key(message))


def _key(message: Any) -> str:
    if isinstance(message, HedgeRatio):
        return message.tick.pair
    return message.close.pair if isinstance(message, HedgeRatioClose) else str(message.pair)


def run_dry(service: ExecutionService) -> None:
    """Turn until nothing is left to read."""
    while service.turn(0):
        pass
    service.turn(0)


def late_signals() -> Faults:
    """Ticks run ahead of the signals that they wait for: of these one comes in five polls."""
    asked = count()
    return Faults(release=lambda topic, _partition, _unread: 3 if topic == HEDGE_RATIOS else int(next(asked) % 5 == 4))


def reference(tmp_path: Path, records: list[tuple[Topic, Message]]) -> dict[str, list[Execution]]:
    (tmp_path / "reference").mkdir()
    world = World(tmp_path / "reference")
    send_all(world, records)
    run_dry(world.start())
    world.kill()
    return {pair: world.executions(pair) for pair in (PAIR, OTHER)}


def test_the_scenario_trades(tmp_path: Path) -> None:
    """The recorded scenario has what the restart tests are about."""
    said = reference(tmp_path, scenario())[PAIR]
    assert len([each for each in said if isinstance(each, Decision)]) == 2
    assert len([each for each in said if isinstance(each, RoundTrip)]) == 1
    assert [mark.bar for mark in said if isinstance(mark, Mark)] == [FIRST_BAR + count for count in range(4)]


def test_restarts_at_every_turn_change_nothing(tmp_path: Path) -> None:
    """Killed after any number of turns, some with records held back, the next one says the same things in the same order."""
    records = scenario()
    expected = reference(tmp_path, records)
    held = 0
    for turns in range(36):
        folder = tmp_path / str(turns)
        folder.mkdir()
        world = World(folder)
        send_all(world, records)
        service = world.start(late_signals())
        for _ in range(turns):
            service.turn(0)
        held += bool(service.health().details["held"])
        world.kill()
        run_dry(world.start())
        world.kill()
        assert {pair: world.executions(pair) for pair in (PAIR, OTHER)} == expected, f"killed after {turns} turns"
    assert held > 10


@pytest.mark.parametrize("seed", range(8))
def test_any_schedule_says_the_same(tmp_path: Path, seed: int) -> None:
    """Batches, duplicates, late signals and kills at random: the decisions are equal."""
    records = scenario()
    expected = reference(tmp_path, records)
    random = Random(seed)
    world = World(tmp_path)
    world.feeder = MemoryTransport(world.broker, faults=Faults(duplicate=lambda: random.random() < 0.2)).producer()
    send_all(world, records)
    faults = Faults(release=lambda topic, _partition, _unread: random.randint(0, 6 if topic == HEDGE_RATIOS else 1), duplicate=lambda: random.random() < 0.1)
    service = world.start(faults)
    for _ in range(60):
        service.turn(0)
        if random.random() < 0.15:
            world.kill()
            service = world.start(faults)
    world.kill()
    run_dry(world.start())
    world.kill()
    assert {pair: world.executions(pair) for pair in (PAIR, OTHER)} == expected


def test_repetitions_have_no_effect_and_are_counted(world: World) -> None:
    """A record that is delivered again is dropped; a jump in seq is counted."""
    service = world.start()
    world.feed(hedge(1, FIRST_BAR, 1, y=2000), hedge(2, FIRST_BAR, 2, y=2100), hedge(1, FIRST_BAR, 1, y=2000), hedge(5, FIRST_BAR, 3, y=2100))
    world.feed(close(6, FIRST_BAR), close(6, FIRST_BAR), hedge(7, FIRST_BAR, 4, y=1))
    run_dry(service)
    hedge_seen = service.snapshot.states[PAIR].hedge
    assert hedge_seen is not None
    assert hedge_seen.tick.seq == 5
    dropped = {dict(labels)["reason"]: count for (name, labels), count in world.observer.counts.items() if name == "crypto_bot_records_dropped_total"}
    assert dropped == {"repeated": 1, "closed-bar": 2}
    assert world.observer.total("crypto_bot_sequence_gaps_total") == 1


def test_ticks_wait_for_the_signal_and_hold_no_other_pair(world: World) -> None:
    """Without its signal a pair waits; another pair in the same partition goes on."""
    service = world.start()
    for pair in (PAIR, OTHER):
        world.feed(of_pair(close(1, FIRST_BAR), pair), of_pair(hedge(2, FIRST_BAR + 1, 1), pair))
    world.send(RISK_SIGNALS, replace(signal(FIRST_BAR), pair=OTHER), OTHER)
    run_dry(service)
    assert service.health().details["held"] == {PAIR: 1}
    assert service.health().details["last_seqs"] == {PAIR: 1, OTHER: 2}
    assert world.observer.total("crypto_bot_records_held_total") == 1
    world.send(RISK_SIGNALS, signal(FIRST_BAR))
    run_dry(service)
    assert service.health().details["held"] == {}
    assert world.observer.total("crypto_bot_records_held_total") == 1


def test_a_signal_waits_for_what_it_lets_happen(world: World) -> None:
    """A signal alone costs no commit; a successor reads it again, until it goes with the next thing that happens."""
    service = world.start()
    world.feed(close(1, FIRST_BAR))
    run_dry(service)
    world.send(RISK_SIGNALS, signal(FIRST_BAR))
    run_dry(service)
    world.kill()
    service = world.start()
    run_dry(service)
    world.feed(hedge(2, FIRST_BAR + 1, 1), close(3, FIRST_BAR + 1))
    run_dry(service)
    assert service.health().details["last_seqs"][PAIR] == 3
    world.kill()
    service = world.start()
    world.feed(hedge(4, FIRST_BAR + 1, 2))
    run_dry(service)
    assert service.health().details["held"] == {}


def test_a_recording_waits_for_ever(world: World) -> None:
    """No passing of wall time lets a recording go on without its signal."""
    service = world.start()
    world.feed(close(1, FIRST_BAR), hedge(2, FIRST_BAR + 1, 1))
    run_dry(service)
    world.clock.now_ns += 3600 * 10**9
    run_dry(service)
    assert service.health().details["held"] == {PAIR: 1}


def test_a_live_feed_waits_for_a_while_and_commits_that_it_did(world: World) -> None:
    """After MAX_SIGNAL_WAIT_MS the bar goes on, reduces only, and says so; the late signal changes nothing in it."""
    service = world.start()
    world.feed(close(1, FIRST_BAR, feed=Feed.LIVE), hedge(2, FIRST_BAR + 1, 1, z=3))
    run_dry(service)
    world.clock.now_ns += 249 * MS
    service.turn(0)
    assert service.health().details["held"] == {PAIR: 1}
    world.clock.now_ns += 1 * MS
    service.turn(0)
    world.send(RISK_SIGNALS, signal(FIRST_BAR))
    world.feed(hedge(3, FIRST_BAR + 1, 2, z=3))
    run_dry(service)
    world.kill()
    service = world.start()
    world.feed(hedge(4, FIRST_BAR + 1, 3, z=3))
    run_dry(service)
    (expired,) = [each for each in world.executions() if isinstance(each, HoldExpired)]
    assert (expired.bar, expired.seq, expired.risk_bar) == (FIRST_BAR + 1, 1, -1)
    assert service.snapshot.states[PAIR].blocking_gate == "hold"
    assert not [each for each in world.executions() if isinstance(each, Decision)]


def test_a_live_backlog_is_not_waited_for_bar_by_bar(world: World) -> None:
    """While risk-manager is away only the newest bar waits, so what is decided on does not grow older and older; then all goes on as before."""
    service = world.start()
    world.feed(close(1, FIRST_BAR, feed=Feed.LIVE), *(close(seq, FIRST_BAR + seq - 1, feed=Feed.LIVE) for seq in range(2, 40)), hedge(40, FIRST_BAR + 39, 1))
    run_dry(service)
    world.clock.now_ns += 250 * MS
    run_dry(service)
    assert (service.health().details["last_bars"][PAIR], service.health().details["held"]) == (FIRST_BAR + 38, {PAIR: 1})
    world.send(RISK_SIGNALS, signal(FIRST_BAR + 38))
    world.feed(hedge(41, FIRST_BAR + 39, 2, z=3))
    run_dry(service)
    assert [each.seq for each in world.executions() if isinstance(each, Decision)] == [41]


def test_each_live_bar_has_its_own_time_to_wait(world: World) -> None:
    """In a backlog the next bar waits anew: its signal can only come once the bar before is marked."""
    service = world.start()
    world.feed(close(1, FIRST_BAR, feed=Feed.LIVE), hedge(2, FIRST_BAR + 1, 1), close(3, FIRST_BAR + 1, feed=Feed.LIVE), hedge(4, FIRST_BAR + 2, 1, z=3))
    run_dry(service)
    world.clock.now_ns += 250 * MS
    service.turn(0)
    assert service.health().details["last_bars"][PAIR] == FIRST_BAR + 1
    world.send(RISK_SIGNALS, signal(FIRST_BAR + 1))
    run_dry(service)
    assert [each.bar for each in world.executions() if isinstance(each, HoldExpired)] == [FIRST_BAR + 1]
    assert [each.bar for each in world.executions() if isinstance(each, Decision)] == [FIRST_BAR + 2]


def test_commands_are_obeyed_at_once_and_survive_a_restart(world: World) -> None:
    """A halt is committed with the last seq before it, and repeated delivery says nothing new."""
    service = world.start()
    world.feed(close(1, FIRST_BAR))
    run_dry(service)
    halt = Command(id=3, target="portfolio", kind=CommandKind.HALT, who="me", why="test", issued_at_ns=0)
    world.send(COMMANDS, halt, "portfolio")
    world.send(COMMANDS, halt, "portfolio")
    service.turn(0)
    world.kill()
    service = world.start()
    world.send(RISK_SIGNALS, signal(FIRST_BAR))
    world.feed(hedge(2, FIRST_BAR + 1, 1, z=3))
    run_dry(service)
    (applied,) = [each for each in world.executions() if isinstance(each, CommandApplied)]
    assert (applied.command_id, applied.seq) == (3, 1)
    assert service.snapshot.states[PAIR].blocking_gate == "trading"


def live_session() -> list[HedgeMessage]:
    """Four live bars: two ticks with an edge in each."""
    session: list[HedgeMessage] = []
    for bar in range(FIRST_BAR, FIRST_BAR + 4):
        seq = len(session)
        session += [hedge(seq + 1, bar, 1, z=3), hedge(seq + 2, bar, 2, z=3), close(seq + 3, bar, feed=Feed.LIVE)]
    return session


def play_live(world: World) -> list[Execution]:
    """A hold expires, an operator flattens within a bar, another hold expires, the flatten is lifted."""
    service = world.start()
    first, second, third, fourth = (live_session()[start : start + 3] for start in range(0, 12, 3))
    world.feed(*first, *second)
    run_dry(service)
    world.clock.now_ns += 250 * MS
    run_dry(service)
    world.send(RISK_SIGNALS, signal(FIRST_BAR))
    world.send(RISK_SIGNALS, signal(FIRST_BAR + 1))
    world.feed(*third[:2])
    run_dry(service)
    for number, kind in enumerate((CommandKind.FLATTEN, CommandKind.RESUME), start=1):
        world.send(COMMANDS, Command(id=number, target=PAIR, kind=kind, who="me", why="test", issued_at_ns=0), PAIR)
    run_dry(service)
    world.feed(third[2], fourth[0])
    run_dry(service)
    world.clock.now_ns += 250 * MS
    run_dry(service)
    world.send(RISK_SIGNALS, signal(FIRST_BAR + 2, commands_through=2))
    world.feed(*fourth[1:])
    run_dry(service)
    return world.executions()


def test_a_live_session_replays_from_what_was_committed(tmp_path: Path) -> None:
    """Holds that expired and commands that were obeyed act at the same places again, whatever the clock says and the signals' time."""
    (tmp_path / "live").mkdir()
    (tmp_path / "again").mkdir()
    said = play_live(World(tmp_path / "live"))
    facts = [each for each in said if isinstance(each, HoldExpired | CommandApplied)]
    assert [type(fact) for fact in facts] == [HoldExpired, CommandApplied, HoldExpired]
    assert [each.action for each in said if isinstance(each, Decision)] == ["ENTER_SHORT", "FLATTEN"]
    world = World(tmp_path / "again")
    committed = Committed([*facts, *facts])
    service = world.build(committed=committed)
    service.start()
    world.feed(*live_session())
    for bar in range(FIRST_BAR, FIRST_BAR + 3):
        run_dry(service)
        world.clock.now_ns += 3600 * 10**9
        run_dry(service)
        world.send(RISK_SIGNALS, signal(bar, commands_through=2 if bar == FIRST_BAR + 2 else 0))
    run_dry(service)
    assert world.executions() == said
    assert committed.left() == []


def test_progress_is_told_and_told_again_at_the_start(world: World) -> None:
    """Ingestion hears the last decided seq, also from a successor that has nothing to decide."""
    service = world.start()
    world.feed(hedge(1, FIRST_BAR, 1), hedge(2, FIRST_BAR, 2), close(3, FIRST_BAR))
    run_dry(service)
    assert world.written(PROGRESS)[-1].decided == {PAIR: 3}
    world.kill()
    before = len(world.written(PROGRESS))
    world.start()
    assert [each.decided for each in world.written(PROGRESS)[before:]] == [{PAIR: 3}]


def test_progress_comes_every_few_ticks(world: World) -> None:
    """However fast the ticks come, ingestion is not left without word for longer than a turn in which enough are decided."""
    service = world.start()
    world.feed(*(hedge(seq, FIRST_BAR, seq / 100) for seq in range(1, 101)))
    while service.turn(0):
        pass
    told = [each.decided[PAIR] for each in world.written(PROGRESS)]
    assert told[-1] == 100
    assert max(later - earlier for earlier, later in pairwise([0, *told])) <= MOST_RECORDS


def test_passes_over_a_pair_that_has_left(world: World) -> None:
    """Records of a pair that is not configured are counted, and are no dead letters."""
    service = world.start()
    world.feeder.send(HEDGE_RATIOS, PAIR, encode(of_pair(close(7, FIRST_BAR), "AUSDT-BUSDT")), partition=0)
    world.feeder.send(RISK_SIGNALS, PAIR, encode(replace(signal(FIRST_BAR), pair="AUSDT-BUSDT")), partition=0)
    run_dry(service)
    assert world.written(DEAD_LETTERS) == []
    assert world.observer.total("crypto_bot_records_dropped_total", {"topic": "hedge-ratios", "reason": "unconfigured-pair"}) == 2


def test_a_successor_that_is_told_of_a_pair_decides_what_came_too_early(world: World) -> None:
    """Records of the session are read again, and the pair waits for no signal that may have been missed."""
    everything, world.settings = world.settings, ExecutionSettings(symbols=SYMBOLS, pairs=(OTHER,))
    service = world.start()
    world.feed(close(1, FIRST_BAR), of_pair(close(1, FIRST_BAR), OTHER))
    world.send(RISK_SIGNALS, replace(signal(FIRST_BAR), pair=OTHER), OTHER)
    world.feed(close(2, FIRST_BAR + 1), of_pair(close(2, FIRST_BAR + 1), OTHER), of_pair(hedge(3, FIRST_BAR + 2, 3), OTHER))
    run_dry(service)
    world.kill()
    world.settings = everything
    service = world.start()
    world.feed(close(3, FIRST_BAR + 2))
    run_dry(service)
    for _ in range(2):
        world.clock.now_ns += 250 * MS
        run_dry(service)
    assert [each.bar for each in world.executions() if isinstance(each, Mark)] == [FIRST_BAR, FIRST_BAR + 1, FIRST_BAR + 2]
    assert [each.bar for each in world.executions() if isinstance(each, HoldExpired)] == [FIRST_BAR + 1, FIRST_BAR + 2]


def test_of_other_pairs_few_records_are_kept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many records of pairs that are not configured come, the place that is stored is at most so many of them behind."""
    monkeypatch.setattr(offsets, "MOST_FOR_OTHERS", 3)
    service = world.start()
    world.feed(*(of_pair(close(seq, FIRST_BAR + seq), "AUSDT-BUSDT") for seq in range(10)), close(1, FIRST_BAR))
    run_dry(service)
    assert world.ledger
    assert 7 in {position.offset for position in world.ledger.positions()}


def test_a_pair_that_was_away_does_not_wait_for_ever(world: World) -> None:
    """Back in the session in which it was left out, a pair waits for its signal as a live one does, and says so; in the next session it waits again."""
    world.feed(close(1, FIRST_BAR))
    run_dry(world.start())
    world.kill()
    everything, world.settings = world.settings, ExecutionSettings(symbols=SYMBOLS, pairs=(OTHER,))
    world.start()
    world.kill()
    world.settings = everything
    service = world.start()
    world.feed(close(2, FIRST_BAR + 1))
    run_dry(service)
    world.clock.now_ns += 250_000_000
    run_dry(service)
    assert [each.bar for each in world.executions() if isinstance(each, HoldExpired)] == [FIRST_BAR + 1]
    world.feed(close(3, FIRST_BAR, session=2), close(4, FIRST_BAR + 1, session=2))
    run_dry(service)
    world.clock.now_ns += 10**12
    run_dry(service)
    assert service.health().details["held"] == {PAIR: 1}


def test_idle_ticks_write_nothing(world: World) -> None:
    """A tick that changes nothing costs no commit."""
    service = world.start()
    world.feed(close(1, FIRST_BAR))
    world.send(RISK_SIGNALS, signal(FIRST_BAR))
    run_dry(service)
    commits = len(world.observer.observations["crypto_bot_ledger_commit_seconds", ()])
    world.feed(*(hedge(seq, FIRST_BAR + 1, seq) for seq in range(2, 20)))
    run_dry(service)
    assert len(world.observer.observations["crypto_bot_ledger_commit_seconds", ()]) == commits


@pytest.mark.parametrize(
    ("topic", "value", "reason"),
    [
        pytest.param(HEDGE_RATIOS, b"{", "undecodable", id="broken"),
        pytest.param(HEDGE_RATIOS, encode(RiskHeartbeat(sent_at_ns=1)), "undecodable", id="message of another topic"),
        pytest.param(RISK_SIGNALS, b"\xff", "undecodable", id="broken signal"),
        pytest.param(RISK_SIGNALS, encode(replace(signal(1), pair="A")), "invalid-pair", id="signal of no pair"),
        pytest.param(HEDGE_RATIOS, encode(of_pair(close(1, 1), "A")), "invalid-pair", id="no pair"),
        pytest.param(HEDGE_RATIOS, encode(hedge(1, 1, 1, y=-1)), "unusable-book", id="negative price"),
        pytest.param(HEDGE_RATIOS, encode(hedge(1, 1, 1)).replace(b'"1000"', b'"NaN"'), "unusable-book", id="not a number"),
        pytest.param(HEDGE_RATIOS, encode(close(1, 1, y_mark=mark_price("NaN", "0.0001", 9))), "unusable-mark", id="mark price not a number"),
        pytest.param(HEDGE_RATIOS, encode(close(1, 1, x_mark=mark_price("Infinity", "0.0001", 9))), "unusable-mark", id="mark price infinite"),
        pytest.param(HEDGE_RATIOS, encode(close(1, 1, x_mark=mark_price("-5", "0.0001", 9))), "unusable-mark", id="mark price negative"),
        pytest.param(HEDGE_RATIOS, encode(close(1, 1, y_mark=mark_price("2000", "sNaN", 9))), "unusable-mark", id="funding rate not a number"),
    ],
)
def test_what_cannot_be_used_becomes_a_dead_letter(world: World, topic: Topic, value: bytes, reason: str) -> None:
    """A bad record goes to dead letters with its place and reason, and stops nothing."""
    service = world.start()
    world.feeder.send(topic, PAIR, value, partition=0)
    world.feed(close(1, FIRST_BAR))
    run_dry(service)
    (letter,) = world.written(DEAD_LETTERS)
    assert (letter.service, letter.source, letter.reason, letter.offset, letter.length) == ("execution-service", topic.name, reason, 0, len(value))
    assert [mark.bar for mark in world.executions() if isinstance(mark, Mark)] == [FIRST_BAR]
    world.kill()
    run_dry(world.start())
    assert len(world.written(DEAD_LETTERS)) == 2, "the outbox is published again until it is cleared"


def test_a_dead_letter_needs_nothing_else_to_happen(world: World) -> None:
    """A record that cannot be used is set aside in the turn that read it, also while nothing is decided."""
    service = world.start()
    world.feeder.send(HEDGE_RATIOS, PAIR, b"junk", partition=0)
    run_dry(service)
    assert [letter.reason for letter in world.written(DEAD_LETTERS)] == ["undecodable"]


def test_latency_is_measured_from_the_socket(world: World) -> None:
    """The trace of a tick becomes the latency, whole and per hop, and goes on with what was decided."""
    service = world.start()
    decided_ns = world.clock.now_ns
    read_ns, sent_ns = decided_ns - 3 * MS, decided_ns - 2 * MS
    world.feed(hedge(1, FIRST_BAR, 1), close(2, FIRST_BAR), trace=Trace.begin(read_ns).with_time(sent_ns).with_hop(sent_ns, sent_ns))
    run_dry(service)
    world.clock.now_ns += 10**9
    service.turn(0)
    assert service.health().details["tick_to_decision_ms"] == pytest.approx({"p50": 3, "p99": 3, "max": 3})
    hops = service.latency_counts()["hops"]
    assert {hop: round(percentile(counts, 1)) for hop, counts in hops.items()} == {
        "ingestion": 1,
        "ticks": 0,
        "kalman-filter": 0,
        "hedge-ratios": 2,
        "execution": 0,
    }
    marks = [record.trace for record in world.broker.records(EXECUTIONS) if b'"mark"' in record.value]
    assert [trace.times_ns for trace in marks] == [(read_ns, sent_ns, sent_ns, sent_ns, decided_ns, decided_ns)]


def test_stop_leaves_nothing_to_publish(world: World) -> None:
    """After a clean stop the successor repeats nothing but its progress."""
    service = world.start()
    world.feed(close(1, FIRST_BAR))
    run_dry(service)
    service.stop()
    before = {topic: len(world.written(topic)) for topic in (EXECUTIONS, PROGRESS)}
    world.start()
    assert {topic: len(world.written(topic)) - count for topic, count in before.items()} == {EXECUTIONS: 0, PROGRESS: 1}


def test_a_ledger_that_is_ahead_of_the_broker_is_refused(world: World) -> None:
    """A broker that lost its data, or another one, is not taken for the old one."""
    service = world.start()
    world.feed(close(1, FIRST_BAR))
    run_dry(service)
    world.kill()
    world.broker = MemoryBroker(2)
    with pytest.raises(ConfigurationError, match="the ledger has read to 1"):
        world.start()


def test_records_that_retention_has_taken_are_passed_over(world: World) -> None:
    """The next start says what is gone and goes on at the oldest record; the bars between are marked as missing."""
    service = world.start()
    world.feed(close(1, FIRST_BAR))
    run_dry(service)
    world.kill()
    world.feed(*(close(2 + bar, FIRST_BAR + 1 + bar) for bar in range(4)))
    partition = next(record.partition for record in world.broker.records(HEDGE_RATIOS))
    world.broker.truncate(HEDGE_RATIOS, partition, 3)
    for bar in range(5):
        world.send(RISK_SIGNALS, signal(FIRST_BAR + bar))
    run_dry(world.start())
    assert [mark.bar for mark in world.executions() if isinstance(mark, Mark)] == [FIRST_BAR + bar for bar in range(5)]
    (entry,) = [entry for entry in world.observer.logs if entry[0] == "ERROR"]
    assert entry[2] == {"topic": HEDGE_RATIOS.name, "partition": partition, "offset": 1, "oldest": 3}


def test_a_start_that_failed_is_tried_again(tmp_path: Path) -> None:
    """What the first try handed to the producer is not lost when the second one succeeds and the outbox is emptied."""
    world = World(tmp_path)
    world.feed(close(1, FIRST_BAR))
    service = world.start(Faults(hold=lambda: True))
    run_dry(service)
    world.kill()
    assert world.written() == []
    held = True
    service = world.build(Faults(hold=lambda: held))
    reader, failures = service._transport.reader, [TransportError("the broker is away")]

    def failing_reader(positions: Any) -> Any:
        if failures:
            raise failures.pop()
        return reader(positions)

    service._transport.reader = failing_reader  # type: ignore[method-assign]
    with pytest.raises(TransportError):
        service.start()
    service.start()
    held = False
    service._producer.deliver()  # type: ignore[attr-defined]
    world.clock.now_ns += 2 * 10**9
    service.turn(0)
    assert [mark.bar for mark in world.executions() if isinstance(mark, Mark)] == [FIRST_BAR]
    world.kill()


def test_nothing_waits_for_a_broker_that_is_away(tmp_path: Path) -> None:
    """While nothing is acknowledged the service turns on and keeps its outbox, so that it can renew its lease."""
    world = World(tmp_path)
    world.feed(close(1, FIRST_BAR))
    service = world.start(Faults(hold=lambda: True))
    service._producer.flush = lambda: pytest.fail("it waits")  # type: ignore[method-assign]
    for _ in range(3):
        world.clock.now_ns += 60 * 10**9
        service.turn(0)
    assert world.written() == []
    world.kill()
    run_dry(world.start())
    assert [mark.bar for mark in world.executions() if isinstance(mark, Mark)] == [FIRST_BAR]


def test_an_open_position_keeps_its_pair(tmp_path: Path) -> None:
    """A pair may not be dropped from the settings while it holds something."""
    world = World(tmp_path)
    send_all(world, scenario()[:24])
    run_dry(world.start())
    assert world.service is not None
    assert not world.service.snapshot.states[PAIR].account.flat
    world.kill()
    world.settings = ExecutionSettings(symbols=("BTCUSDT", "SOLUSDT"))
    with pytest.raises(ConfigurationError, match="open position of ETHUSDT-BTCUSDT"):
        world.start()
    world.kill()


def test_a_flat_pair_may_be_dropped(world: World) -> None:
    """A pair that holds nothing leaves the settings, although a signal of it is still stored; the others go on."""
    service = world.start()
    for pair in (PAIR, OTHER):
        world.feed(of_pair(close(1, FIRST_BAR), pair))
        world.send(RISK_SIGNALS, replace(signal(FIRST_BAR), pair=pair), pair)
    run_dry(service)
    world.kill()
    world.settings = ExecutionSettings(symbols=("BTCUSDT", "SOLUSDT"))
    service = world.start()
    world.feed(of_pair(hedge(2, FIRST_BAR + 1, 1), OTHER))
    run_dry(service)
    assert service.health().details["last_seqs"] == {OTHER: 2}


def test_rules_are_needed_for_every_symbol(world: World) -> None:
    """A symbol that the venue does not trade stops the service at its start."""
    service = world.build()
    service._rules = {}
    with pytest.raises(ConfigurationError, match="BTCUSDT"):
        service.start()


class TestHttp:
    @pytest.fixture
    def client(self, world: World) -> TestClient:
        send_all(world, scenario())
        service = world.start()
        run_dry(service)
        world.clock.now_ns += 10**9
        service.turn(0)
        application = fastapi.FastAPI()
        application.include_router(routes(service, world.settings))
        return TestClient(application)

    def test_positions(self, client: TestClient) -> None:
        """Every pair with state and legs."""
        (first, _) = client.get("/positions").json()["positions"]
        assert (first["pair"], first["state"], first["legs"]["y"]) == (PAIR, "IDLE", {"symbol": "ETHUSDT", "quantity": "0.000"})

    def test_orders(self, client: TestClient) -> None:
        """The newest first, each as it stands, as many as asked for."""
        orders = client.get("/orders", params={"limit": 3}).json()["orders"]
        assert len(orders) == 3
        assert {order["status"] for order in orders} == {"FILLED"}
        assert client.get("/orders", params={"limit": 0}).status_code == 422

    def test_profit_adds_up(self, client: TestClient) -> None:
        """Net is gross and fees and funding, equity what it started with and made, per pair and in total."""
        answer = client.get("/pnl").json()
        for amounts in (*answer["pairs"].values(), answer["total"]):
            exact = {name: Decimal(amount["exact"]) for name, amount in amounts.items()}
            assert exact["net_usd"] == exact["gross_usd"] + exact["fees_usd"] + exact["funding_usd"]
            assert exact["equity_usd"] == exact["starting_usd"] + exact["net_usd"] + exact["unrealised_usd"]
        assert answer["total"]["starting_usd"] == {"usd": "100000.00", "exact": "100000.00"}
        assert Decimal(answer["total"]["fees_usd"]["usd"]) < 0

    def test_latency_of_hops(self, client: TestClient) -> None:
        """Counts by bucket, whole and of every hop; none before a tick with a trace."""
        shown = client.get("/latency").json()
        assert shown["end_to_end"] == {}
        assert list(shown["hops"]) == ["ingestion", "ticks", "kalman-filter", "hedge-ratios", "execution"]

    def test_explain_names_the_gate_that_blocks(self, client: TestClient) -> None:
        """Every gate with value and limit, the distance to an entry, and which one blocks."""
        answer = client.get(f"/pairs/{PAIR}/explain").json()
        assert (answer["state"], answer["blocking_gate"], answer["distance_to_entry"]) == ("IDLE", "entry-z", 2.0)
        (gate,) = [each for each in answer["gates"] if each["name"] == "entry-z"]
        told = {"name": "entry-z", "value": "0", "limit": "2", "passed": False, "advisory": False, "verdict": "block", "distance": 2.0, "unit": "z"}
        assert told.items() <= gate.items()

    def test_an_unknown_pair_is_told_the_known_ones(self, client: TestClient) -> None:
        """404 helps on."""
        answer = client.get("/pairs/A-B/explain")
        assert answer.status_code == 404
        assert answer.json()["detail"] == f"no pair A-B; there are {PAIR}, {OTHER}"


def test_a_decision_can_be_traced(world: World) -> None:
    """Decision, orders and fill carry the trace of their tick in log lines, ledger and answers; the ledger keeps it over a restart."""
    service = world.start()
    world.feed(close(1, FIRST_BAR))
    world.send(RISK_SIGNALS, signal(FIRST_BAR))
    traces = [Trace.begin(1_800_000_000_000_000_000 + seq) for seq in range(4)]
    for seq, trace in enumerate(traces[2:], start=2):
        world.feed(hedge(seq, FIRST_BAR + 1, seq, z=3), trace=trace)
    run_dry(service)
    lines = {line.event: line.fields for line in reversed(world.observer.logs) if "trace_id" in line.fields}
    assert {event: fields["trace_id"] for event, fields in lines.items()} == {"decision": traces[2].id, "order": traces[2].id, "fill": traces[3].id}
    assert {fields["pair"] for fields in lines.values()} == {PAIR}

    def answers(of: ExecutionService) -> tuple[Any, ...]:
        application = fastapi.FastAPI()
        application.include_router(routes(of, world.settings))
        client = TestClient(application)
        orders = {order["leg"]: order["trace_id"] for order in client.get("/orders").json()["orders"]}
        return orders, [fill["trace_id"] for fill in client.get("/fills").json()["fills"]], client.get(f"/pairs/{PAIR}/explain").json()["trace_id"]

    assert answers(service) == ({"y": traces[2].id, "x": traces[3].id}, [traces[3].id], traces[3].id)
    world.kill()
    again = world.start()
    again.turn(0)
    assert answers(again)[:2] == ({"y": traces[2].id, "x": traces[3].id}, [traces[3].id])


def test_a_pair_can_be_explained_before_the_ledger_is_read(world: World) -> None:
    """A service that has not started answers what it waits for, and knows its pairs from its settings."""
    application = fastapi.FastAPI()
    application.include_router(routes(world.build(), world.settings))
    client = TestClient(application)
    assert client.get(f"/pairs/{PAIR}/explain").json()["missing"] == ["execution is recovering: its ledger is not read yet; /health tells what it waits for"]
    assert client.get("/pairs/A-B/explain").status_code == 404


def test_views_before_the_first_tick(world: World) -> None:
    """Nothing known yet is an answer too."""
    service = world.start()
    application = fastapi.FastAPI()
    application.include_router(routes(service, world.settings))
    client = TestClient(application)
    assert client.get(f"/pairs/{PAIR}/explain").json()["note"].startswith("no tick yet in this session")
    assert client.get("/orders").json() == {"orders": [], "known": 0}
    assert client.get("/pnl").json()["total"]["net_usd"]["usd"] == "0.00"
