"""KeyedService over every transport: killed, stopped and fed nonsense."""

import time
from collections.abc import Callable

import msgspec
import pytest
from confluent_kafka import KafkaException

from common import codec, keyed_service
from common.codec import decoder_of, encode
from common.io.metrics import RecordingObserver
from common.keyed_service import KeyedService
from common.messages import DeadLetter, HedgeMessage, StateSnapshot, TickMessage
from common.processor import Position, Record, Transport
from common.topics import Topic
from tests.contract.conftest import PARTITIONS, Arena
from tests.contract.echo import PAIRS, EchoModel, EchoState, tick

PATIENCE_S = 60.0


class Bench:
    """Topics of the test's own around services that come and go."""

    def __init__(self, arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
        self.arena = arena
        self.ticks, self.ratios, self.states, self.letters = (arena.topic(name) for name in ("ticks", "ratios", "states", "letters"))
        for topic, messages in ((self.ticks, TickMessage), (self.ratios, HedgeMessage), (self.states, StateSnapshot), (self.letters, DeadLetter)):
            monkeypatch.setitem(codec.MESSAGES_OF_TOPIC, topic, messages)
        monkeypatch.setattr(keyed_service, "DEAD_LETTERS", self.letters)
        self.outside = arena.transport("outside")
        self.feeder = self.outside.producer()

    def service(self) -> tuple[KeyedService[EchoState], Transport]:
        transport = self.arena.transport()
        name = f"echo-{self.ticks}"
        service = KeyedService(name, EchoModel(), PAIRS, self.ticks, self.ratios, self.states, transport, RecordingObserver(), time.time_ns)
        service.start()
        return service, transport

    def send(self, seq: int) -> None:
        for pair in PAIRS:
            self.feeder.send(self.ticks, pair, tick(pair, seq))

    def feed(self, first: int, last: int) -> None:
        for seq in range(first, last):
            self.send(seq)
        self.feeder.flush()

    def everything(self, topic: Topic) -> list[Record]:
        """All records of a topic."""
        reader = self.outside.reader([Position(topic, partition, 0) for partition in range(PARTITIONS)])
        expected, records = reader.lag(), list[Record]()
        give_up_at = time.monotonic() + PATIENCE_S
        while len(records) < expected and time.monotonic() < give_up_at:
            records += reader.poll(0.1)
        reader.close()
        return records

    def snapshots(self) -> list[StateSnapshot]:
        return [decoder_of(self.states).decode(record.value) for record in self.everything(self.states)]

    def answers(self) -> dict[str, list[tuple[int, float]]]:
        """Seq and count of each answer, by pair."""
        found: dict[str, list[tuple[int, float]]] = {pair: [] for pair in PAIRS}
        for record in self.everything(self.ratios):
            message = decoder_of(self.ratios).decode(record.value)
            found[record.key].append((message.tick.seq, message.estimate.alpha))
        return found


def run_until(condition: Callable[[], bool], patience_s: float = PATIENCE_S) -> None:
    give_up_at = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < give_up_at, "took too long"


def run(service: KeyedService[EchoState], inputs: int) -> None:
    """Turn until the service has had so many inputs."""
    run_until(lambda: service.turn(0.1) < 0 or service.health().details["inputs"] >= inputs)


@pytest.fixture
def bench(arena: Arena, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(arena, monkeypatch)


def test_a_kill_loses_and_changes_no_answer(bench: Bench) -> None:
    """Whatever a killed service had not committed, its successor answers again, the same."""
    bench.feed(0, 20)
    first, transport = bench.service()
    run(first, 40)
    bench.arena.kill(transport)
    bench.feed(20, 30)
    second, _ = bench.service()
    run_until(lambda: second.turn(0.1) < 0 or all({seq for seq, _ in answers} == set(range(30)) for answers in bench.answers().values()))
    assert all(count == seq + 1 for answers in bench.answers().values() for seq, count in answers)


def test_a_stop_with_work_in_flight_repeats_nothing(bench: Bench) -> None:
    """A stopped service has published, sealed and committed exactly what it took; its successor goes on after it."""
    bench.feed(0, 200)
    first, _ = bench.service()
    run(first, 1)
    assert first.health().details["inputs"] < 200 * len(PAIRS)
    first.stop()
    second, _ = bench.service()
    answered = first.health().details["outputs"]
    run_until(lambda: second.turn(0.1) < 0 or answered + second.health().details["outputs"] >= 200 * len(PAIRS))
    assert second.health().details["restored_from"]["snapshot"] > 0
    second.stop()
    assert bench.answers() == {pair: [(seq, seq + 1.0) for seq in range(200)] for pair in PAIRS}


def test_poison_stops_nothing(bench: Bench) -> None:
    """Bytes that are no message end as dead letters with their place, and the answers around them come."""
    bench.feed(0, 2)
    poison = [b"\x00\xff", b"", b'{"type":"tick"}', b"[" * 100_000]
    for value in poison:
        bench.feeder.send(bench.ticks, PAIRS[0], value)
    bench.feed(2, 4)
    service, _ = bench.service()
    run(service, 4 * len(PAIRS) + len(poison))
    service.stop()
    letters = [decoder_of(bench.letters).decode(record.value) for record in bench.everything(bench.letters)]
    assert [(letter.reason, letter.payload, letter.length) for letter in letters] == [("undecodable", value[:65_536], len(value)) for value in poison]
    assert bench.answers()[PAIRS[0]] == [(seq, seq + 1.0) for seq in range(4)]


SPOILT: tuple[tuple[str, Callable[[StateSnapshot], StateSnapshot | bytes]], ...] = (
    ("undecodable", lambda snapshot: encode(snapshot)[:-30]),
    ("snapshot-damaged", lambda snapshot: msgspec.structs.replace(snapshot, state=snapshot.state.replace("10", "11"))),
    ("snapshot-foreign", lambda snapshot: msgspec.structs.replace(snapshot, model="garch")),
    ("snapshot-foreign", lambda snapshot: msgspec.structs.replace(snapshot, schema=2)),
    ("snapshot-foreign", lambda snapshot: msgspec.structs.replace(snapshot, offset=10**6)),
)


def test_unusable_snapshots_are_refused_and_their_pairs_rebuilt(bench: Bench) -> None:
    """Cut short, damaged, another model's, a newer layout's or from beyond the input's end: each is refused by name, rebuilt, labelled and set aside once."""
    first = worked_on(bench)
    newest = {snapshot.pair: snapshot for snapshot in bench.snapshots()}
    for pair, (_, spoil) in zip(PAIRS, SPOILT, strict=True):
        spoilt = spoil(newest[pair])
        bench.feeder.send(bench.states, pair, spoilt if isinstance(spoilt, bytes) else encode(spoilt))
    bench.feed(10, 11)
    second, _ = bench.service()
    run(second, 11 * len(PAIRS))
    rebuilt = second.health().details["rebuilt"]
    assert [rebuilt[pair].split(":")[0] for pair in PAIRS] == [reason for reason, _ in SPOILT]
    second.stop()
    assert bench.answers() == {pair: [(seq, seq + 1.0) for seq in range(11)] for pair in PAIRS}
    letters = [decoder_of(bench.letters).decode(record.value) for record in bench.everything(bench.letters)]
    assert sorted((letter.service, letter.source, letter.reason) for letter in letters) == sorted(
        (first.name, str(bench.states), reason) for reason, _ in SPOILT
    )
    third, _ = bench.service()
    run_until(lambda: third.turn(0.1) < 0 or third.health().details["restored_from"] == {"snapshot": len(PAIRS)})


@pytest.mark.mock_gap("cannot delete records", raises=KafkaException)
def test_an_emptied_state_topic_is_rebuilt_from_the_inputs(bench: Bench) -> None:
    """Without any state every pair is rebuilt, labelled so, and publishes nothing a second time."""
    worked_on(bench)
    for partition, end in bench.outside.end_offsets(bench.states).items():
        bench.arena.truncate(bench.states, partition, end)
    bench.feed(10, 11)
    second, _ = bench.service()
    run(second, 11 * len(PAIRS))
    assert second.health().details["rebuilt"] == dict.fromkeys(sorted(PAIRS), "no-snapshot: none is in the state topic")
    second.stop()
    assert bench.answers() == {pair: [(seq, seq + 1.0) for seq in range(11)] for pair in PAIRS}


def test_an_older_snapshot_skips_nothing(bench: Bench) -> None:
    """When a member that was paused leaves a snapshot from before the committed position, no input is missed and no answer repeated."""
    bench.feed(0, 1)
    first, _ = bench.service()
    run(first, len(PAIRS))
    first.stop()
    older = bench.snapshots()
    worked_on(bench, first=1)
    for snapshot in older:
        bench.feeder.send(bench.states, snapshot.pair, encode(snapshot))
    bench.feed(10, 11)
    second, _ = bench.service()
    run(second, 10 * len(PAIRS))
    assert second.health().details["restored_from"] == {"snapshot": len(PAIRS)}
    second.stop()
    assert bench.answers() == {pair: [(seq, seq + 1.0) for seq in range(11)] for pair in PAIRS}


@pytest.mark.mock_gap("cannot delete records", raises=KafkaException)
def test_inputs_that_retention_took_are_named(bench: Bench) -> None:
    """A pair whose inputs since its snapshot are gone goes on with what there is and says what it lacks."""
    bench.feed(0, 10)
    partition = bench.outside.partition_of(bench.ticks, PAIRS[0])
    bench.arena.truncate(bench.ticks, partition, bench.outside.end_offsets(bench.ticks)[partition] - 1)
    service, _ = bench.service()
    run_until(lambda: service.turn(0.1) < 0 or bench.outside.committed(bench.ticks, service.group).keys() >= {partition})
    missing = service.health().details["missing_inputs"]
    assert PAIRS[0] in missing
    assert set(missing.values()) == {f"{bench.ticks}/{partition} from 0 to {bench.outside.oldest_offsets(bench.ticks)[partition] - 1}"}
    service.stop()


def worked_on(bench: Bench, first: int = 0) -> KeyedService[EchoState]:
    """A service that has had ten ticks a pair and stopped."""
    bench.feed(first, 10)
    service, _ = bench.service()
    run(service, (10 - first) * len(PAIRS))
    service.stop()
    return service
