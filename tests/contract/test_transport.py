"""What every transport promises, on every transport."""

import time
from collections.abc import Callable, Mapping, Sequence

import pytest
from confluent_kafka import KafkaException

from common.errors import InvalidRecord, InvariantBroken, TransportError
from common.io.limits import MAX_RECORD_BYTES
from common.processor import Consumer, Position, Record, Transport
from common.topics import Topic
from common.trace import Trace
from tests.contract.conftest import PARTITIONS, Arena

PATIENCE_S = 60.0


class Listener:
    """Remembers what it was told."""

    def __init__(self, starts: Mapping[int, int] | None = None) -> None:
        self.starts = dict(starts or {})
        self.owned: set[int] = set()
        self.told: list[str] = []
        self.failures: list[Exception] = []
        self.before_leaving: Callable[[], None] = lambda: None

    def on_assigned(self, partitions: Sequence[int]) -> Mapping[int, int]:
        self.told.append("assigned")
        if self.failures:
            raise self.failures.pop()
        self.owned = set(partitions)
        return self.starts

    def on_revoked(self, partitions: Sequence[int], *, lost: bool) -> None:
        self.told.append("lost" if lost else "revoked")
        self.before_leaving()
        self.owned -= set(partitions)


def group_of(topic: Topic) -> str:
    """A group of the test's own."""
    return f"group-{topic}"


def from_start(topic: Topic) -> list[Position]:
    return [Position(topic, partition, 0) for partition in range(PARTITIONS)]


def send(transport: Transport, topic: Topic, count: int, *, key: str = "k", first: int = 0, partition: int | None = None) -> None:
    producer = transport.producer()
    for number in range(first, first + count):
        producer.send(topic, key, str(number).encode(), partition=partition)
    producer.flush()


def read(consumer: Consumer, count: int, patience_s: float = PATIENCE_S) -> list[Record]:
    """Poll until so many records are there; fewer when patience ends."""
    records: list[Record] = []
    give_up_at = time.monotonic() + patience_s
    while len(records) < count and time.monotonic() < give_up_at:
        records += consumer.poll(0.1)
    return records


def until(condition: Callable[[], bool], *consumers: Consumer, patience_s: float = PATIENCE_S) -> list[Record]:
    """Poll until the condition holds; returns what was read."""
    records: list[Record] = []
    give_up_at = time.monotonic() + patience_s
    while not condition() and time.monotonic() < give_up_at:
        for consumer in consumers:
            records += consumer.poll(0.05)
    assert condition()
    return records


def values(records: Sequence[Record]) -> list[int]:
    return [int(record.value) for record in records]


def test_keeps_the_order_of_a_key(arena: Arena) -> None:
    """Records of a key arrive in the order sent, with consecutive offsets, in the partition that the transport names."""
    topic, transport = arena.topic(), arena.transport()
    producer = transport.producer()
    keys = [f"PAIR{number}-USDT" for number in range(8)]
    for number in range(40):
        for key in keys:
            producer.send(topic, key, str(number).encode())
    producer.flush()
    records = read(transport.reader(from_start(topic)), 320)
    for key in keys:
        mine = [record for record in records if record.key == key]
        assert values(mine) == list(range(40))
        assert {record.partition for record in mine} == {transport.partition_of(topic, key)}
    for partition in range(PARTITIONS):
        offsets = [record.offset for record in records if record.partition == partition]
        assert offsets == list(range(len(offsets)))


def test_carries_key_value_and_trace(arena: Arena) -> None:
    """What was sent arrives unchanged, the trace beside it."""
    topic, transport = arena.topic(), arena.transport()
    producer, trace = transport.producer(), Trace.begin(1_700_000_000_123_456_789).with_time(1_700_000_000_123_500_000)
    producer.send(topic, "ETHUSDT-BTCUSDT", b'{"a": "\xc3\xa4"}', partition=2, trace=trace)
    producer.send(topic, "", b"", partition=2)
    records = read(transport.reader(from_start(topic)), 2)
    assert records == [
        Record(topic, 2, 0, "ETHUSDT-BTCUSDT", b'{"a": "\xc3\xa4"}', trace),
        Record(topic, 2, 1, "", b""),
    ]


def test_reads_several_topics_from_given_positions(arena: Arena) -> None:
    """A reader starts at each of its positions and sees no other partition."""
    ticks, signals, transport = arena.topic("ticks"), arena.topic("signals"), arena.transport()
    for topic in (ticks, signals):
        send(transport, topic, 5, partition=1)
        send(transport, topic, 5, partition=2)
    reader = transport.reader([Position(ticks, 1, 3), Position(signals, 2, 0)])
    records = read(reader, 7)
    assert sorted((record.topic.name, record.partition, record.offset) for record in records) == sorted(
        [(ticks.name, 1, offset) for offset in (3, 4)] + [(signals.name, 2, offset) for offset in range(5)]
    )
    assert not reader.poll(0.05)


def test_starts_at_the_end(arena: Arena) -> None:
    """From the end offsets on, only what comes later is read."""
    topic, transport = arena.topic(), arena.transport()
    send(transport, topic, 5)
    ends = transport.end_offsets(topic)
    assert sum(ends.values()) == 5
    assert sorted(ends) == list(range(PARTITIONS)) == list(range(transport.partitions(topic)))
    reader = transport.reader([Position(topic, partition, offset) for partition, offset in ends.items()])
    send(transport, topic, 2, first=5)
    assert values(read(reader, 2)) == [5, 6]


def test_a_poll_ends_in_time(arena: Arena) -> None:
    """A poll without records returns after its time-out, at once when it has none."""
    reader = arena.transport().reader(from_start(arena.topic()))
    started = time.monotonic()
    assert not reader.poll(0)
    assert time.monotonic() - started < 0.1
    assert not reader.poll(0.2)
    assert 0.15 < time.monotonic() - started < 1.0


def test_a_poll_returns_no_more_than_asked_for(arena: Arena) -> None:
    """`max_records` bounds a poll and skips nothing."""
    topic, transport = arena.topic(), arena.transport()
    send(transport, topic, 10)
    reader = transport.reader(from_start(topic))
    batches: list[list[int]] = []

    def all_read() -> bool:
        batches.append(values(reader.poll(0.1, 3)))
        return sum(map(len, batches)) == 10

    until(all_read)
    assert [number for batch in batches for number in batch] == list(range(10))
    assert max(map(len, batches)) <= 3


def test_pauses_and_goes_on(arena: Arena) -> None:
    """A paused partition gives nothing, keeps its place and lets the others through."""
    topic, transport = arena.topic(), arena.transport()
    reader = transport.reader(from_start(topic))
    send(transport, topic, 1, partition=1)
    assert values(read(reader, 1)) == [0]
    reader.pause(topic, [1])
    send(transport, topic, 2, partition=1, first=1)
    send(transport, topic, 1, partition=2, first=9)
    assert values(read(reader, 1) + list(reader.poll(0.2))) == [9]
    reader.resume(topic, [1])
    assert values(read(reader, 2)) == [1, 2]


def test_knows_its_lag(arena: Arena) -> None:
    """The lag is what is there and not yet read."""
    topic, transport = arena.topic(), arena.transport()
    send(transport, topic, 10)
    reader = transport.reader(from_start(topic))
    assert reader.lag() == 10
    read(reader, 10)
    assert reader.lag() == 0


def test_an_offset_beyond_the_end_is_an_error(arena: Arena) -> None:
    """A position that the topic never reached means that the topic was made anew: nothing may be skipped silently."""
    topic, transport = arena.topic(), arena.transport()
    send(transport, topic, 3, partition=1)
    with pytest.raises(TransportError, match=rf"offset 7 of {topic}/1 is gone: there are 0 to 3"):
        transport.reader([Position(topic, 1, 7)])


@pytest.mark.mock_gap("cannot delete records", raises=KafkaException)
def test_an_offset_that_retention_took_is_an_error(arena: Arena) -> None:
    """A reader never starts later than it was told; 0 means the oldest there is."""
    topic, transport = arena.topic(), arena.transport()
    send(transport, topic, 10, partition=1)
    arena.truncate(topic, 1, 6)
    assert transport.oldest_offsets(topic)[1] == 6
    with pytest.raises(TransportError, match=rf"offset 2 of {topic}/1 is gone: there are 6 to 10"):
        transport.reader([Position(topic, 1, 2)])
    assert values(read(transport.reader([Position(topic, 1, 0)]), 4)) == [6, 7, 8, 9]


@pytest.mark.mock_gap("cannot delete records", raises=KafkaException)
def test_a_topic_that_retention_emptied_is_at_its_end(arena: Arena) -> None:
    """Nothing to read is no lag, whatever the offsets."""
    topic, transport = arena.topic(), arena.transport()
    send(transport, topic, 5, partition=1)
    arena.truncate(topic, 1, 5)
    reader = transport.reader([Position(topic, 1, 0)])
    assert reader.lag() == 0
    send(transport, topic, 1, partition=1, first=5)
    assert values(read(reader, 1)) == [5]


def test_refuses_a_record_that_is_too_large(arena: Arena) -> None:
    """A record over the limit is refused with its size, one at the limit and everything after goes through."""
    topic, transport = arena.topic(), arena.transport()
    producer = transport.producer()
    with pytest.raises(InvalidRecord, match=r"too-large: 1000001 bytes for topic-\w+ \(k\)"):
        producer.send(topic, "k", bytes(MAX_RECORD_BYTES))
    producer.send(topic, "k", bytes(MAX_RECORD_BYTES - 1), trace=Trace.begin(1))
    producer.send(topic, "k", b"1")
    producer.flush()
    assert [len(record.value) for record in read(transport.reader(from_start(topic)), 2)] == [MAX_RECORD_BYTES - 1, 1]


def test_acknowledged_without_waiting(arena: Arena) -> None:
    """A producer knows whether anything is under way: nothing before the first record, nothing after a flush."""
    topic, transport = arena.topic(), arena.transport()
    producer = transport.producer()
    assert producer.acknowledged()
    producer.send(topic, "k", b"1")
    producer.flush()
    assert producer.acknowledged()
    assert sum(transport.end_offsets(topic).values()) == 1


def test_a_flush_means_acknowledged(arena: Arena) -> None:
    """After a flush every record counts in the end offsets."""
    topic, transport = arena.topic(), arena.transport()
    producer = transport.producer()
    for number in range(1, 4):
        for _ in range(100):
            producer.send(topic, "k", b"x")
        producer.flush()
        assert transport.end_offsets(topic)[transport.partition_of(topic, "k")] == 100 * number


def test_closing_a_producer_flushes_it(arena: Arena) -> None:
    """What was sent before a close arrives."""
    topic, transport = arena.topic(), arena.transport()
    producer = transport.producer()
    for number in range(100):
        producer.send(topic, "k", str(number).encode())
    producer.close()
    assert values(read(arena.transport("b").reader(from_start(topic)), 100)) == list(range(100))


def test_a_reader_has_no_group(arena: Arena) -> None:
    """A reader keeps its own positions; committing them is a mistake."""
    topic = arena.topic()
    with pytest.raises(TransportError, match="no group"):
        arena.transport().reader(from_start(topic)).commit([Position(topic, 0, 1)])


# --- groups ----------------------------------------------------------------------------------------------------------


def test_a_successor_starts_at_what_was_committed(arena: Arena) -> None:
    """A killed member's successor reads again what was not committed, and nothing of what was."""
    topic, first = arena.topic(), arena.transport()
    send(first, topic, 6, partition=1)
    member = first.member(topic, group_of(topic), Listener())
    assert values(read(member, 6)) == list(range(6))
    member.commit([Position(topic, 1, 4)])
    until(lambda: first.committed(topic, group_of(topic)) == {1: 4}, member)
    arena.kill(first)
    successor = arena.transport().member(topic, group_of(topic), Listener())
    assert values(read(successor, 2)) == [4, 5]


def test_without_a_commit_everything_is_read_again(arena: Arena) -> None:
    """At least once: a member killed before its first commit has left nothing behind."""
    topic, first = arena.topic(), arena.transport()
    send(first, topic, 3, partition=2)
    assert values(read(first.member(topic, group_of(topic), Listener()), 3)) == [0, 1, 2]
    assert first.committed(topic, group_of(topic)) == {}
    arena.kill(first)
    assert values(read(arena.transport().member(topic, group_of(topic), Listener()), 3)) == [0, 1, 2]


def test_the_listener_chooses_where_to_start(arena: Arena) -> None:
    """An offset returned on assignment goes before the committed one, forwards and back; the others stay."""
    topic, first = arena.topic(), arena.transport()
    for partition in range(3):
        send(first, topic, 4, partition=partition)
    member = first.member(topic, group_of(topic), Listener())
    read(member, 12)
    member.commit([Position(topic, partition, 2) for partition in range(3)])
    member.close()
    records = read(arena.transport().member(topic, group_of(topic), Listener({0: 0, 1: 3})), 7)
    assert sorted((record.partition, record.offset) for record in records) == [(0, 0), (0, 1), (0, 2), (0, 3), (1, 3), (2, 2), (2, 3)]


def test_a_restore_that_fails_is_tried_again(arena: Arena) -> None:
    """A TransportError while restoring comes out of poll, and the next poll restores; nothing is read in between."""
    topic, transport = arena.topic(), arena.transport()
    send(transport, topic, 2, partition=1)
    listener = Listener()
    listener.failures = [TransportError("state topic is away")]
    member = transport.member(topic, group_of(topic), listener)
    with pytest.raises(TransportError, match="state topic is away"):
        read(member, 1)
    assert values(read(member, 2)) == [0, 1]
    assert listener.told == ["assigned", "assigned"]


def test_closing_hands_over(arena: Arena) -> None:
    """Closing tells the listener, and what it commits then counts."""
    topic, transport = arena.topic(), arena.transport()
    send(transport, topic, 4, partition=3)
    listener = Listener()
    member = transport.member(topic, group_of(topic), listener)
    read(member, 4)
    listener.before_leaving = lambda: member.commit([Position(topic, 3, 4)])
    member.close()
    assert listener.told == ["assigned", "revoked"]
    assert arena.transport("b").committed(topic, group_of(topic)) == {3: 4}


def test_two_members_share_the_partitions(group_arena: Arena) -> None:
    """A second member takes over a part, by whole neighbouring partitions; every record is read by an owner."""
    topic, transport = group_arena.topic(), group_arena.transport()
    listeners = [Listener(), Listener()]
    members = [transport.member(topic, group_of(topic), listeners[0])]
    until(lambda: listeners[0].owned == set(range(PARTITIONS)), *members)
    members.append(group_arena.transport("b").member(topic, group_of(topic), listeners[1]))
    until(lambda: sorted(sorted(listener.owned) for listener in listeners) == [[0, 1], [2, 3]], *members)
    assert set(listeners[0].told[::2]) == {"assigned"}
    assert "assigned" not in listeners[0].told[1::2]
    for partition in range(PARTITIONS):
        send(transport, topic, 5, partition=partition)
    unread = {(partition, offset) for partition in range(PARTITIONS) for offset in range(5)}

    def all_read() -> bool:
        for member, listener in zip(members, listeners, strict=True):
            records = member.poll(0.05)
            assert {record.partition for record in records} <= listener.owned
            unread.difference_update((record.partition, record.offset) for record in records)
        return not unread

    until(all_read)


@pytest.mark.mock_gap("does not replace a static member: the older one stays until its session ends", raises=AssertionError)
def test_a_namesake_takes_the_place(group_arena: Arena) -> None:
    """Of two members with one instance name the older is told to end, long before its session would end."""
    topic = group_arena.topic()
    listeners = [Listener(), Listener()]
    older = group_arena.transport().member(topic, group_of(topic), listeners[0])
    until(lambda: bool(listeners[0].owned), older)
    newer = group_arena.transport().member(topic, group_of(topic), listeners[1])
    until(lambda: bool(listeners[1].owned), newer, patience_s=4.0)
    with pytest.raises(InvariantBroken, match="INSTANCE"):
        read(older, 1)


@pytest.mark.mock_gap("cannot delete records", raises=KafkaException)
def test_a_committed_offset_that_is_gone_goes_on_at_the_oldest(arena: Arena) -> None:
    """A group that was away longer than the retention goes on with what there is."""
    topic, first = arena.topic(), arena.transport()
    send(first, topic, 10, partition=1)
    member = first.member(topic, group_of(topic), Listener())
    read(member, 10)
    member.commit([Position(topic, 1, 2)])
    member.close()
    arena.truncate(topic, 1, 6)
    assert values(read(arena.transport().member(topic, group_of(topic), Listener()), 4)) == [6, 7, 8, 9]
