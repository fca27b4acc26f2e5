"""KeyedService over the in-memory broker."""

import random
from collections.abc import Callable, Sequence
from hashlib import sha256

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common import keyed_service
from common.codec import decoder_of, encode
from common.errors import ConfigurationError, DeliveryFailed, InvalidRecord, InvariantBroken
from common.io.memory import Faults, MemoryBroker, MemoryTransport
from common.io.metrics import RecordingObserver
from common.keyed_service import MOST_RECORDS, SNAPSHOT_INTERVAL_NS, TURN_NS, KeyedService, pair_of
from common.messages import DeadLetter, Message, StateSnapshot, Tick, WriterEpoch
from common.metrics import COMMON_METRICS
from common.snapshots import seal
from common.topics import DEAD_LETTERS, HEDGE_RATIOS, KALMAN_STATE, TICKS
from common.trace import Trace
from tests.contract.echo import PAIRS, EchoModel, EchoState, tick

PAIR = PAIRS[0]


class World:
    """A broker, a clock and services that come and go."""

    def __init__(self, pairs: tuple[str, ...] = PAIRS) -> None:
        self.broker = MemoryBroker()
        self.feeder = MemoryTransport(self.broker, instance="feeder").producer()
        self.observer = RecordingObserver(COMMON_METRICS)
        self.now_ns = SNAPSHOT_INTERVAL_NS
        self.pairs = pairs
        self.transport = MemoryTransport(self.broker)

    def service(self, *, instance: str = "a", faults: Faults | None = None, model: EchoModel | None = None) -> KeyedService[EchoState]:
        self.transport = MemoryTransport(self.broker, instance=instance, faults=faults)
        service = KeyedService(
            "echo-service", model or EchoModel(), self.pairs, TICKS, HEDGE_RATIOS, KALMAN_STATE, self.transport, self.observer, lambda: self.now_ns
        )
        service.start()
        return service

    def feed(self, *seqs: int, pair: str = PAIR, session: int = 1) -> None:
        for seq in seqs:
            self.feeder.send(TICKS, pair, tick(pair, seq, session=session), trace=Trace.begin(1000 + seq).with_time(2000 + seq))

    def answers(self, pair: str = PAIR) -> list[tuple[int, float]]:
        """Seq and count of each answer about the pair, in order."""
        decoder = decoder_of(HEDGE_RATIOS)
        messages = [decoder.decode(record.value) for record in self.broker.records(HEDGE_RATIOS) if record.key == pair]
        return [(message.tick.seq, message.estimate.alpha) for message in messages]

    def dead_letters(self) -> list[DeadLetter]:
        return [decoder_of(DEAD_LETTERS).decode(record.value) for record in self.broker.records(DEAD_LETTERS)]

    def snapshots(self) -> list[StateSnapshot]:
        return [decoder_of(KALMAN_STATE).decode(record.value) for record in self.broker.records(KALMAN_STATE)]

    def dropped(self, reason: str) -> float:
        return self.observer.total("crypto_bot_records_dropped_total", {"reason": reason})


def settle(service: KeyedService[EchoState]) -> None:
    while service.turn(0):
        pass


@pytest.fixture
def world() -> World:
    return World()


def test_answers_in_order_with_the_trace_of_the_input(world: World) -> None:
    """Each input is answered once, in order, and its trace travels on, with the time it came and the time it went."""
    world.feed(0, 1, 2)
    settle(world.service())
    assert world.answers() == [(0, 1.0), (1, 2.0), (2, 3.0)]
    traces = [record.trace for record in world.broker.records(HEDGE_RATIOS)]
    assert [trace.times_ns for trace in traces] == [(1000 + seq, 2000 + seq, world.now_ns, world.now_ns) for seq in range(3)]
    assert world.observer.total("crypto_bot_records_consumed_total") == world.observer.total("crypto_bot_records_produced_total") == 3


def test_restores_the_newest_snapshot(world: World) -> None:
    """A successor goes on counting where a stopped service was, and repeats nothing."""
    world.feed(0, 1, 2)
    first = world.service()
    settle(first)
    first.stop()
    world.feed(3)
    second = world.service()
    settle(second)
    assert world.answers() == [(0, 1.0), (1, 2.0), (2, 3.0), (3, 4.0)]
    assert second.health().details["restored_from"] == {"snapshot": 1, "beginning": 4}


def test_repeats_after_a_kill(world: World) -> None:
    """What was answered since the last snapshot is answered again, the same."""
    world.feed(0)
    first = world.service()
    settle(first)  # the first turn with records snapshots
    world.feed(1, 2)
    settle(first)  # within the interval
    settle(world.service())
    assert world.answers() == [(0, 1.0), (1, 2.0), (2, 3.0), (1, 2.0), (2, 3.0)]


def test_snapshots_once_an_interval(world: World) -> None:
    """Only changed pairs are written, at most once in an interval, and the position follows."""
    service = world.service()
    for seq in range(4):
        world.feed(seq)
        settle(service)
    world.feed(0, pair=PAIRS[1])
    world.now_ns += SNAPSHOT_INTERVAL_NS
    settle(service)
    assert [(snapshot.pair, snapshot.offset) for snapshot in world.snapshots() if snapshot.pair == PAIR] == [(PAIR, 0), (PAIR, 3)]
    assert world.transport.committed(TICKS, service.group)[world.broker.partition_of(PAIR)] == 4
    world.now_ns += SNAPSHOT_INTERVAL_NS
    service.turn(0)
    assert len(world.snapshots()) == 3


def test_snapshots_after_many_records(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A burst is snapshotted by its number of records, whatever the clock says."""
    monkeypatch.setattr(keyed_service, "SNAPSHOT_RECORDS", 10)
    service = world.service()
    world.feed(0)
    settle(service)
    world.feed(*range(1, 10))
    settle(service)
    assert len(world.snapshots()) == 1
    world.feed(10)
    settle(service)
    assert [snapshot.offset for snapshot in world.snapshots()] == [0, 10]


@pytest.mark.parametrize("lost", [False, True])
def test_pairs_that_go_to_another_are_shown_no_more(world: World, lost: bool) -> None:
    """Two replicas would show one pair otherwise, one of them for ever as it was."""
    world.feed(0)
    service = world.service()
    settle(service)
    world.observer.gauge("crypto_bot_ready", 1)
    world.observer.gauges["crypto_bot_kalman_beta", (("pair", PAIR),)] = 1.5
    service.on_revoked(range(world.transport.partitions(TICKS)), lost=lost)
    assert ("crypto_bot_kalman_beta", (("pair", PAIR),)) not in world.observer.gauges
    assert ("crypto_bot_ready", ()) in world.observer.gauges


def test_lost_partitions_are_not_snapshotted(world: World) -> None:
    """A member whose place was taken drops its states and leaves the topic to the new owner."""
    world.feed(0)
    old = world.service()
    settle(old)
    world.feed(1)
    settle(old)
    world.service()
    with pytest.raises(InvariantBroken):
        old.turn(0)
    assert [snapshot.offset for snapshot in world.snapshots()] == [0]
    assert old.health().details["pairs"] == []


def test_no_snapshot_before_the_outputs_are_acknowledged(world: World) -> None:
    """When the flush of the outputs fails, neither snapshot nor position is written."""
    service = world.service()
    service.turn(0)
    producer = service._producer
    assert producer is not None

    def lose() -> None:
        raise DeliveryFailed("lost")

    producer.flush = lose  # type: ignore[method-assign]
    world.feed(0)
    with pytest.raises(DeliveryFailed):
        service.turn(0)
    assert world.snapshots() == []
    assert world.transport.committed(TICKS, service.group) == {}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"\xff not json", "undecodable"),
        (b"{}", "undecodable"),
        (tick("no pair", 1), "invalid-pair"),
        (tick(PAIRS[1], 1), "wrong-partition"),
        (tick(PAIR, 1, bid=0), "no-bid"),
    ],
)
def test_sets_aside_what_it_cannot_apply(world: World, value: bytes, reason: str) -> None:
    """A record that cannot be used becomes a dead letter with its source and payload, and stops nothing."""
    assert world.broker.partition_of(PAIR) != world.broker.partition_of(PAIRS[1])
    world.feed(0)
    world.feeder.send(TICKS, PAIR, value)
    world.feed(2)
    settle(world.service())
    (letter,) = world.dead_letters()
    assert (letter.service, letter.source, letter.partition, letter.offset) == ("echo-service", "ticks", world.broker.partition_of(PAIR), 1)
    assert (letter.reason, letter.payload, letter.length) == (reason, value, len(value))
    assert world.answers() == [(0, 1.0), (2, 2.0)]
    assert world.observer.total("crypto_bot_dead_letters_total", {"source": "ticks", "reason": reason}) == 1


def test_passes_over_a_pair_that_has_left(world: World) -> None:
    """The last records of a pair that is no longer configured are counted, and are no dead letters: nobody has made a mistake."""
    world.feeder.send(TICKS, "XXXUSDT-YYYUSDT", tick("XXXUSDT-YYYUSDT", 1), partition=world.broker.partition_of(PAIR))
    world.feed(0)
    settle(world.service())
    assert world.dead_letters() == []
    assert world.answers() == [(0, 1.0)]
    assert world.observer.total("crypto_bot_records_dropped_total", {"topic": "ticks", "reason": "unconfigured-pair"}) == 1


NEW = next(f"A{number}USDT-BTCUSDT" for number in range(20) if MemoryBroker().partition_of(f"A{number}USDT-BTCUSDT") == MemoryBroker().partition_of(PAIR))


def run_with(world: World, *pairs: str) -> None:
    """A service of these pairs that takes what is there and stops."""
    world.pairs = pairs
    service = world.service()
    settle(service)
    service.stop()


def test_answers_what_was_passed_over_before_it_was_told_of_the_pair(world: World) -> None:
    """Records of a pair that came too early for a service are answered once it is told of the pair; what was answered is not repeated."""
    world.feed(0)
    world.feed(0, 1, pair=NEW)
    run_with(world, PAIR)
    assert world.answers(NEW) == []
    world.feed(2, pair=NEW)
    run_with(world, PAIR, NEW)
    assert world.answers(NEW) == [(0, 1.0), (1, 2.0), (2, 3.0)]
    run_with(world, PAIR, NEW)
    assert (len(world.answers(NEW)), world.answers()) == (3, [(0, 1.0)])


def test_a_pair_that_comes_back_is_answered_from_where_it_was_passed_over(world: World) -> None:
    """Away in two starts: its state goes on where it was, every input is answered once, and nothing is called rebuilt."""
    world.feed(0, pair=NEW)
    run_with(world, PAIR, NEW)
    for seq in (1, 2):
        world.feed(seq, pair=NEW)
        world.feed(seq)
        run_with(world, PAIR)
    world.pairs = (PAIR, NEW)
    back = world.service()
    settle(back)
    assert world.answers(NEW) == [(seq, seq + 1.0) for seq in range(3)]
    assert world.answers() == [(1, 1.0), (2, 2.0)]
    assert back.health().details["rebuilt"] == {}


def test_a_snapshot_that_cannot_be_read_is_left_to_the_pairs_next_owner(world: World) -> None:
    """Of a pair that is passed over an unusable snapshot stays as it is: who has the pair next refuses it and says so."""
    world.feeder.send(KALMAN_STATE, NEW, b"?", partition=world.broker.partition_of(NEW))
    world.feed(0, pair=NEW)
    run_with(world, PAIR)
    assert [record.value for record in world.broker.records(KALMAN_STATE)] == [b"?"]


def test_keeps_the_first_part_of_a_large_payload(world: World) -> None:
    """A dead letter holds 64 KiB of the payload at most, and says how long it was."""
    world.feeder.send(TICKS, PAIR, b"x" * 900_000)
    settle(world.service())
    (letter,) = world.dead_letters()
    assert (len(letter.payload), letter.length) == (65_536, 900_000)


def test_drops_what_the_model_has_seen(world: World) -> None:
    """A repeated input is counted and not answered."""
    world.feed(0, 1, 1, 0, 2)
    settle(world.service())
    assert world.answers() == [(0, 1.0), (1, 2.0), (2, 3.0)]
    assert world.dropped("seen-before") == 2


def test_a_new_writer_voids_the_old_one(world: World) -> None:
    """A writer epoch reaches every pair of its partition, and only that one; older writers' records are dropped."""
    partition = world.broker.partition_of(PAIR)
    world.feeder.send(TICKS, "", encode(WriterEpoch(epoch=2)), partition=partition)
    world.feed(0)
    other = next(pair for pair in PAIRS if world.broker.partition_of(pair) != partition)
    world.feed(0, pair=other)
    settle(world.service())
    assert (world.answers(), world.dropped("old-epoch")) == ([], 1)
    assert world.answers(other) == [(0, 1.0)]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda snapshot: msgspec.structs.replace(snapshot, state=snapshot.state.replace("3", "7")), "snapshot-damaged"),
        (lambda snapshot: msgspec.structs.replace(snapshot, schema=2), "snapshot-foreign"),
        (lambda snapshot: msgspec.structs.replace(snapshot, model="other"), "snapshot-foreign"),
        (lambda snapshot: msgspec.structs.replace(snapshot, offset=99), "snapshot-foreign"),
        (lambda snapshot: msgspec.structs.replace(snapshot, pair=PAIRS[1]), "snapshot-foreign"),
        (lambda snapshot: encode(snapshot)[:-20], "undecodable"),
        (
            lambda _: msgspec.structs.replace(seal(EchoModel(), PAIR, 2, EchoState(ticks=3)), state="{", checksum=sha256(b"{").hexdigest()),
            "snapshot-unreadable",
        ),
    ],
)
def test_rebuilds_a_pair_whose_snapshot_is_unusable(world: World, spoil: Callable[[StateSnapshot], StateSnapshot | bytes], reason: str) -> None:
    """A damaged or foreign snapshot is refused by name and its pair rebuilt from the oldest input, labelled so, without publishing anything again."""
    world.feed(0, 1, 2)
    first = world.service()
    settle(first)
    first.stop()
    (snapshot,) = world.snapshots()
    spoilt = spoil(snapshot)
    world.feeder.send(KALMAN_STATE, PAIR, spoilt if isinstance(spoilt, bytes) else encode(spoilt), partition=world.broker.partition_of(PAIR))
    second = world.service()
    settle(second)
    details = second.health().details
    assert (details["restored_from"], list(details["rebuilt"])) == ({"rebuilt": 1, "beginning": 4}, [PAIR])
    assert details["rebuilt"][PAIR].startswith(f"{reason}: ")
    assert second.health().reason == "1 of 5 pairs were rebuilt or lack inputs; /info says which"
    assert world.observer.total("crypto_bot_states_restored_total", {"origin": "rebuilt"}) == 1
    world.feed(3)
    settle(second)
    assert world.answers() == [(0, 1.0), (1, 2.0), (2, 3.0), (3, 4.0)]
    assert world.dropped("published-before") == 3
    assert [(letter.source, letter.reason) for letter in world.dead_letters()] == [("kalman-state", reason)]
    assert [line.fields["pair"] for line in world.observer.logs if line.level == "ERROR"] == [PAIR]


def test_a_half_rebuilt_pair_is_not_taken_for_a_whole_one() -> None:
    """Killed within a rebuild, the next service goes on with it instead of at the committed position."""
    pairs = tuple(pair for pair in PAIRS if MemoryBroker().partition_of(pair) == MemoryBroker().partition_of(PAIR))
    world = World(pairs=pairs[:1])
    for seq in range(8):
        world.feed(seq)
        for pair in pairs[1:]:
            world.feed(seq, pair=pair)
    first = world.service()
    settle(first)
    first.stop()
    broker = world.broker
    broker.truncate(KALMAN_STATE, broker.partition_of(PAIR), 10**6)
    second = world.service(faults=Faults(release=lambda _topic, _partition, unread: min(unread, 2)))
    for _ in range(2):
        world.now_ns += SNAPSHOT_INTERVAL_NS
        second.turn(0)
    assert len(world.snapshots()) == 2
    world.service()
    third = world.service()
    world.feed(8)
    settle(third)
    assert world.answers() == [(seq, seq + 1.0) for seq in range(9)]


def test_a_dead_letter_is_not_repeated_by_a_rebuild(world: World) -> None:
    """Reading the input again for one pair sets nothing aside and answers nothing that was before."""
    world.feed(0)
    world.feeder.send(TICKS, PAIR, b"nonsense")
    first = world.service()
    settle(first)
    first.stop()
    world.broker.truncate(KALMAN_STATE, world.broker.partition_of(PAIR), 10**6)
    second = world.service()
    world.feed(1)
    settle(second)
    assert len(world.dead_letters()) == 1
    assert world.answers() == [(0, 1.0), (1, 2.0)]


def lose(world: World) -> None:
    world.broker.truncate(KALMAN_STATE, world.broker.partition_of(PAIR), 10**6)


def take_back(world: World) -> None:
    world.feeder.send(KALMAN_STATE, PAIR, b"", partition=world.broker.partition_of(PAIR))


@pytest.mark.parametrize("empty", [lose, take_back])
def test_a_state_that_is_gone_is_labelled(world: World, empty: Callable[[World], None]) -> None:
    """A pair whose snapshot was lost or taken back, in a partition that was worked on, is rebuilt and says so."""
    world.feed(0)
    first = world.service()
    settle(first)
    first.stop()
    empty(world)
    second = world.service()
    settle(second)
    assert second.health().details["rebuilt"] == {PAIR: "no-snapshot: none is in the state topic"}
    assert world.dead_letters() == []


def test_an_older_snapshot_of_a_paused_member_skips_nothing(world: World) -> None:
    """A snapshot that lies behind the committed position, with no newer one left, misses no input and repeats no answer."""
    world.feed(0)
    first = world.service()
    settle(first)
    world.feed(1, 2)
    settle(first)
    first.stop()
    older = world.snapshots()[0]
    world.feeder.send(KALMAN_STATE, PAIR, encode(older), partition=world.broker.partition_of(PAIR))
    assert (older.offset, world.transport.committed(TICKS, first.group)[world.broker.partition_of(PAIR)]) == (0, 3)
    world.feed(3)
    second = world.service()
    settle(second)
    assert world.answers() == [(seq, seq + 1.0) for seq in range(4)]
    assert second.health().details["rebuilt"] == second.health().details["missing_inputs"] == {}


def test_inputs_that_retention_took_are_missed_and_named_until_the_state_is_made_anew(world: World) -> None:
    """A pair whose inputs since its snapshot are gone goes on with what there is, and its label outlives it."""
    world.feed(0)
    first = world.service()
    settle(first)
    world.feed(1, 2, 3)
    world.broker.truncate(TICKS, world.broker.partition_of(PAIR), 3)
    second = world.service()
    settle(second)
    missing = {PAIR: f"ticks/{world.broker.partition_of(PAIR)} from 1 to 2"}
    assert second.health().details["missing_inputs"] == missing
    second.stop()
    assert world.answers() == [(0, 1.0), (3, 2.0)]
    third = world.service()
    assert third.turn(0) == 0
    assert third.health().details["missing_inputs"] == missing
    assert [line.fields["missing"] for line in world.observer.logs if line.level == "ERROR"] == [missing, missing]
    world.feed(4, session=2)
    settle(third)
    assert third.health().details["missing_inputs"] == {}


def test_a_new_pair_lacks_nothing() -> None:
    """A pair that joins others in a topic whose beginning is gone is labelled until its first input, and not after."""
    partition_of = MemoryBroker().partition_of
    old, new = [pair for pair in (*PAIRS, *(f"A{number}USDT-BTCUSDT" for number in range(20))) if partition_of(pair) == partition_of(PAIR)][:2]
    world = World(pairs=(old,))
    world.feed(0, 1, 2, pair=old)
    first = world.service()
    settle(first)
    first.stop()
    world.broker.truncate(TICKS, partition_of(PAIR), 2)
    world.pairs = (old, new)
    second = world.service()
    settle(second)
    assert (list(second.health().details["rebuilt"]), list(second.health().details["missing_inputs"])) == ([new], [new])
    world.feed(0, pair=new)
    settle(second)
    details = second.health().details
    assert (details["rebuilt"], details["missing_inputs"], details["restored_from"]) == ({}, {}, {"snapshot": 1, "beginning": 1})
    assert world.answers(new) == [(0, 1.0)]


def test_a_quiet_pair_holds_no_start_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pair without inputs, even without any ever, is snapshotted after so many records of others, so that few are read again."""
    monkeypatch.setattr(keyed_service, "QUIET_RECORDS", 10)
    partition_of = MemoryBroker().partition_of
    pairs = tuple(pair for pair in (*PAIRS, *(f"A{number}USDT-BTCUSDT" for number in range(20))) if partition_of(pair) == partition_of(PAIR))[:2]
    world = World(pairs=pairs)
    first = world.service()
    world.feed(*range(10))
    settle(first)
    world.now_ns += SNAPSHOT_INTERVAL_NS
    world.feed(10)
    settle(first)
    assert [(snapshot.pair, snapshot.offset) for snapshot in world.snapshots()] == [(pairs[0], 9), (pairs[1], 9), (pairs[0], 10)]
    second = world.service()
    settle(second)
    assert (second.health().details["inputs"], second.health().details["restored_from"]) == (1, {"snapshot": 2})


class ForgetfulModel(EchoModel):
    """Passes over every odd tick."""

    def step(self, state: EchoState, message: Message) -> tuple[EchoState, Sequence[Message]]:
        return (state, ()) if isinstance(message, Tick) and message.seq % 2 else super().step(state, message)


def test_an_input_that_changes_no_state_is_not_worth_a_snapshot(world: World) -> None:
    """What the model passes over moves no snapshot; a successor reads it again."""
    world.feed(0)
    service = world.service(model=ForgetfulModel())
    settle(service)
    world.now_ns += SNAPSHOT_INTERVAL_NS
    world.feed(1)
    settle(service)
    assert [snapshot.offset for snapshot in world.snapshots()] == [0]
    assert world.transport.committed(TICKS, service.group)[world.broker.partition_of(PAIR)] == 2


def test_moves_pairs_between_members(world: World) -> None:
    """When a second member joins, each pair goes on counting in exactly one of them."""
    services = [world.service(instance="a")]
    for round_number in range(30):
        if round_number == 10:
            services.append(world.service(instance="b"))
        for pair in PAIRS:
            world.feed(round_number, pair=pair)
        for service in services:
            service.turn(0)
    for service in services * 2:
        settle(service)
    owned = [service.health().details["pairs"] for service in services]
    assert sorted(owned[0] + owned[1]) == sorted(PAIRS)
    assert all(owned)
    for pair in PAIRS:
        assert world.answers(pair) == [(seq, seq + 1.0) for seq in range(30)]


def test_what_comes_back_from_a_rebalance_is_kept(world: World) -> None:
    """A member that is given a partition again, with nobody in between, goes on with the states it had; only what moves is restored."""
    for pair in PAIRS:
        world.feed(0, 1, pair=pair)
    first = world.service(instance="a")
    settle(first)
    second = world.service(instance="b")
    for service in (first, second) * 2:
        settle(service)
    moved = second.health().details["pairs"]
    assert 0 < len(moved) < len(PAIRS)
    assert world.observer.total("crypto_bot_states_restored_total") == len(PAIRS) + len(moved)
    for pair in PAIRS:
        world.feed(2, pair=pair)
    for service in (first, second):
        settle(service)
    assert [world.answers(pair) for pair in PAIRS] == [[(0, 1.0), (1, 2.0), (2, 3.0)]] * len(PAIRS)


def test_what_another_moved_on_is_restored(world: World) -> None:
    """A member that missed a rebalance does not go on with the states it left when somebody else has worked since."""
    world.feed(0)
    first = world.service()
    settle(first)
    partitions = range(world.transport.partitions(TICKS))
    first.on_revoked(partitions, lost=False)
    second = world.service()
    world.feed(1)
    settle(second)
    second.stop()
    assert first.on_assigned(partitions)[world.broker.partition_of(PAIR)] == 2


def test_turns_are_kept_short(world: World) -> None:
    """After a turn that took long the next takes fewer records, for a rebalance would wait for its end."""

    class SlowModel(EchoModel):
        def step(self, state: EchoState, message: Message) -> tuple[EchoState, Sequence[Message]]:
            world.now_ns += TURN_NS // 20
            return super().step(state, message)

    world.feed(*range(600))
    service = world.service(model=SlowModel())
    assert [service.turn(0) for _ in range(3)] == [MOST_RECORDS, 20, 20]


def test_a_member_without_pairs_is_idle() -> None:
    """A member that owns no pair is ready and says that it is idle."""
    world = World(pairs=(PAIR,))
    services = [world.service(instance=name) for name in "ab"]
    for service in services * 2:
        service.turn(0)
    assert sorted((service.health().ready, service.health().role) for service in services) == [(True, "active"), (True, "idle")]


def test_is_not_ready_before_its_states_are_restored(world: World) -> None:
    """Until the first assignment the service says what it waits for."""
    service = world.service()
    health = service.health()
    assert (health.ready, health.reason) == (False, "waiting for partitions and their states")
    service.turn(0)
    assert service.health().ready


def test_refuses_topics_of_different_sizes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Topics that belong together must have the same number of partitions."""
    monkeypatch.setattr(MemoryTransport, "partitions", lambda _self, topic: 6 if topic == KALMAN_STATE else 4)
    with pytest.raises(ConfigurationError, match="same number of partitions"):
        world.service()


def test_shows_a_pair_at_most_once_a_second(world: World) -> None:
    """The last state shown to people is refreshed once a second."""
    service = world.service()
    world.now_ns = 10 * SNAPSHOT_INTERVAL_NS
    for seq in range(3):
        world.feed(seq)
        service.turn(0)
    assert world.observer.pair_states[PAIR] == {"ticks": 1}
    world.now_ns += SNAPSHOT_INTERVAL_NS
    world.feed(3)
    service.turn(0)
    assert world.observer.pair_states[PAIR] == {"ticks": 4}


def test_shows_every_pair_to_whoever_asks(world: World) -> None:
    """What Prometheus reads is a pair's state as it stands, whenever it was shown last."""
    service = world.service()
    for seq in range(3):
        world.feed(seq)
        service.turn(0)
    service.measure(world.observer)
    assert world.observer.pair_states[PAIR] == {"ticks": 3}


def test_a_message_about_no_pair_is_refused() -> None:
    """A writer epoch belongs to a partition, not to a pair."""
    with pytest.raises(InvalidRecord):
        pair_of(WriterEpoch(epoch=1))


@given(seed=st.integers(0, 2**32))
def test_no_schedule_changes_an_answer(seed: int) -> None:
    """Delays, duplicates, lost acknowledgements, kills, late snapshots and members that come and go change no answer and lose none."""
    chance = random.Random(seed)
    faults = Faults(
        duplicate=lambda: chance.random() < 0.1,
        hold=lambda: chance.random() < 0.5,
        release=lambda _topic, _partition, unread: chance.randint(0, unread),
    )
    world = World(pairs=PAIRS[:3])
    fed = dict.fromkeys(world.pairs, 0)
    members = {"a": world.service(faults=faults)}
    transports = {"a": world.transport}
    for _ in range(60):
        pair = chance.choice(world.pairs)
        world.feed(fed[pair], pair=pair)
        fed[pair] += 1
        world.now_ns += chance.choice((0, 0, SNAPSHOT_INTERVAL_NS))
        name = chance.choice("ab")
        event = chance.randrange(11)
        if event == 0:
            if name in members:
                transports[name].abandon()
            members[name], transports[name] = world.service(instance=name, faults=faults), world.transport
        elif event == 1 and len(members) > 1:
            members.pop(name).stop()
        elif event == 2 and (snapshots := world.broker.records(KALMAN_STATE)):
            # A member that was paused writes what its successor has long overtaken.
            old = chance.choice(snapshots)
            world.feeder.send(KALMAN_STATE, old.key, old.value, partition=old.partition)
        elif name in members:
            members[name].turn(0)
    for transport in transports.values():
        transport.abandon()
    last = world.service(instance="last")
    settle(last)
    last.stop()
    for pair in world.pairs:
        answers = world.answers(pair)
        assert {seq for seq, _ in answers} == set(range(fed[pair]))
        assert all(count == seq + 1 for seq, count in answers)
