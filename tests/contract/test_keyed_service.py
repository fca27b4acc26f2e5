"""KeyedService over every transport: killed, stopped and fed nonsense."""

import time
from collections.abc import Callable

import pytest

from common import codec, keyed_service
from common.codec import decoder_of
from common.io.metrics import RecordingObserver
from common.keyed_service import KeyedService
from common.messages import DeadLetter, HedgeMessage, StateSnapshot, TickMessage
from common.processor import Position, Record, Transport
from common.topics import Topic
from tests.contract.conftest import PARTITIONS, Arena
from tests.contract.echo import PAIRS, EchoModel, EchoState, tick

PATIENCE_S = 20.0


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

    def feed(self, first: int, last: int) -> None:
        for seq in range(first, last):
            for pair in PAIRS:
                self.feeder.send(self.ticks, pair, tick(pair, seq))
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

    def answers(self) -> dict[str, list[tuple[int, float]]]:
        """Seq and count of each answer, by pair."""
        found: dict[str, list[tuple[int, float]]] = {pair: [] for pair in PAIRS}
        for record in self.everything(self.ratios):
            message = decoder_of(self.ratios).decode(record.value)
            found[record.key].append((message.tick.seq, message.estimate.alpha))
        return found


def run_until(condition: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + PATIENCE_S
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
    run(second, 200 * len(PAIRS) - first.health().details["inputs"])
    assert bench.answers() == {pair: [(seq, seq + 1.0) for seq in range(200)] for pair in PAIRS}
    assert second.health().details["restored_from"]["snapshot"] > 0


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
