"""An in-memory broker: the transport of tests and backtests, held to the same contract suite as Kafka.

It is deterministic: what a poll returns depends on what was sent and on the order of the calls, never on time or threads.
A killed service is its transport dropped or abandoned; a new transport with the same `instance` takes its place in the group.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from common.errors import DeliveryFailed, InvariantBroken, TransportError
from common.io.limits import require_size
from common.io.memory_broker import Log, MemoryBroker
from common.processor import GroupListener, Position, Record
from common.topics import Topic
from common.trace import NO_TRACE, Trace

#: A flush waits this long for a broker that is away.
DELIVERY_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Faults:
    """What a seeded test does to a transport; every function is asked anew on each occasion."""

    #: Whether a record is written twice.
    duplicate: Callable[[], bool] | None = None
    #: Whether sent records stay in the producer, unacknowledged; `flush` delivers them, `abandon` loses them.
    hold: Callable[[], bool] | None = None
    #: How many of the unread records of a topic's partition a poll may see: (topic, partition, unread) -> count.
    release: Callable[[Topic, int, int], int] | None = None


class _Cursor:
    """A reader's place in one partition."""

    __slots__ = ("log", "offset", "partition", "paused", "topic")

    def __init__(self, log: Log, position: Position) -> None:
        self.topic, self.partition, offset = position
        self.log = log
        self.offset = offset or log.first_offset
        self.paused = False
        if not log.first_offset <= self.offset <= log.end:
            raise TransportError(f"offset {offset} of {self.topic}/{self.partition} is gone: there are {log.first_offset} to {log.end}")

    @property
    def unread(self) -> int:
        return self.log.end - self.offset

    def take(self, most: int) -> list[Record]:
        start = self.offset - self.log.first_offset
        if start < 0:
            raise TransportError(f"offset {self.offset} of {self.topic}/{self.partition} is gone: the oldest is {self.log.first_offset}")
        records = self.log.records[start : start + most]
        self.offset += len(records)
        return records


class _Consumer:
    """A reader of given partitions; polls begin at another partition each time, so that none starves."""

    def __init__(self, transport: "MemoryTransport", positions: Iterable[Position]) -> None:
        self._transport = transport
        self._broker = transport.broker
        self._turn = 0
        self._cursors: list[_Cursor] = []
        self._place(positions)

    def poll(self, timeout_s: float, max_records: int = 500) -> Sequence[Record]:
        self._transport.deliver()
        with self._broker.changed:
            records = self._take(max_records)
            if not records and timeout_s > 0:
                self._broker.wait_for(self._may_go_on, timeout_s)
                records = self._take(max_records)
        return records

    def pause(self, topic: Topic, partitions: Sequence[int]) -> None:
        self._set_paused(topic, partitions, paused=True)

    def resume(self, topic: Topic, partitions: Sequence[int]) -> None:
        self._set_paused(topic, partitions, paused=False)

    def commit(self, positions: Sequence[Position]) -> None:
        raise TransportError(f"a reader has no group to commit {positions} to")

    def lag(self) -> int:
        return sum(cursor.unread for cursor in tuple(self._cursors))

    def close(self) -> None:
        self._cursors = []

    def abandon(self) -> None:
        """End as a killed process does."""
        self._cursors = []

    def _place(self, positions: Iterable[Position]) -> None:
        with self._broker.changed:
            self._cursors = [_Cursor(self._broker.log(position.topic, position.partition), position) for position in positions]

    def _may_go_on(self) -> bool:
        return not self._broker.away and any(cursor.unread and not cursor.paused for cursor in self._cursors)

    def _take(self, max_records: int) -> list[Record]:
        records: list[Record] = []
        if self._broker.away:
            return records
        self._turn += 1
        first = self._turn % len(self._cursors) if self._cursors else 0
        for cursor in self._cursors[first:] + self._cursors[:first]:
            unread = cursor.unread
            if unread and not cursor.paused:
                records += cursor.take(min(max_records - len(records), self._visible(cursor, unread)))
        return records

    def _visible(self, cursor: _Cursor, unread: int) -> int:
        release = self._transport.faults.release
        return max(0, release(cursor.topic, cursor.partition, unread)) if release else unread

    def _set_paused(self, topic: Topic, partitions: Sequence[int], *, paused: bool) -> None:
        with self._broker.changed:
            for cursor in self._cursors:
                if cursor.topic == topic and cursor.partition in partitions:
                    cursor.paused = paused


class _Member(_Consumer):
    """A group member under the eager protocol: all give up everything, then each takes up its range."""

    def __init__(self, transport: "MemoryTransport", topic: Topic, group_name: str, listener: GroupListener) -> None:
        super().__init__(transport, ())
        self.joined = -1
        self._topic = topic
        self._listener = listener
        self._owned: list[int] | None = None
        with self._broker.changed:
            self._group = self._broker.group(topic, group_name)
            self._group.members[transport.instance] = self
            self._regroup()

    def poll(self, timeout_s: float, max_records: int = 500) -> Sequence[Record]:
        self._rebalance()
        records = super().poll(timeout_s, max_records)
        if self._out_of_step():
            self._rebalance()
            return records or super().poll(0, max_records)
        return records

    def commit(self, positions: Sequence[Position]) -> None:
        self._require_membership()
        if self._broker.away:
            return  # As with Kafka, a successor repeats.
        with self._broker.changed:
            self._group.committed.update({position.partition: position.offset for position in positions})

    def close(self) -> None:
        if self._is_member():
            self._give_up(lost=False)
        self.abandon()

    def abandon(self) -> None:
        super().abandon()
        with self._broker.changed:
            if self._is_member():
                del self._group.members[self._transport.instance]
                self._regroup()

    def _is_member(self) -> bool:
        return self._group.members.get(self._transport.instance) is self

    def _require_membership(self) -> None:
        if not self._is_member():
            self._give_up(lost=True)
            raise InvariantBroken(f"another member named {self._transport.instance!r} has taken this one's place; give each replica its own INSTANCE")

    def _regroup(self) -> None:
        self._group.generation += 1
        self._broker.changed.notify_all()

    def _out_of_step(self) -> bool:
        return self.joined != self._group.generation or (self._owned is None and self._group.settled())

    def _may_go_on(self) -> bool:
        return self._out_of_step() or super()._may_go_on()

    def _rebalance(self) -> None:
        self._require_membership()
        generation = self._group.generation
        if self.joined != generation:
            self._give_up(lost=False)
            with self._broker.changed:
                self.joined = generation
                self._broker.changed.notify_all()
        if self._owned is None and self._group.settled():
            self._take_up()

    def _take_up(self) -> None:
        with self._broker.changed:
            partitions = self._group.share_of(self._transport.instance, self._broker.partitions)
        starts = dict(self._listener.on_assigned(partitions))
        self._place(Position(self._topic, partition, self._start_of(partition, starts)) for partition in partitions)
        self._owned = partitions

    def _start_of(self, partition: int, starts: Mapping[int, int]) -> int:
        log = self._broker.log(self._topic, partition)
        wanted = starts.get(partition, self._group.committed.get(partition, 0))
        return wanted if log.first_offset <= wanted <= log.end else log.first_offset

    def _give_up(self, *, lost: bool) -> None:
        owned, self._owned = self._owned, None
        if owned is not None:
            self._listener.on_revoked(owned, lost=lost)
        self._cursors = []


class _Producer:
    """Writes at once; with faults, some later."""

    def __init__(self, transport: "MemoryTransport") -> None:
        self._broker = transport.broker
        self._faults = transport.faults
        self._held: deque[tuple[Topic, int, str, bytes, Trace]] = deque()

    def send(self, topic: Topic, key: str, value: bytes, *, partition: int | None = None, trace: Trace = NO_TRACE) -> None:
        require_size(topic, key, value)
        if partition is None:
            partition = self._broker.partition_of(key)
        if self._faults.hold or self._broker.away or self._held:
            self._held.append((topic, partition, key, value, trace))
            self.deliver()
        else:
            self._write(topic, partition, key, value, trace)

    def deliver(self) -> None:
        """Write all that is held, unless the faults hold it on."""
        if self._broker.away or (self._held and self._faults.hold and self._faults.hold()):
            return
        while self._held:
            self._write(*self._held.popleft())

    def flush(self) -> None:
        with self._broker.changed:
            self._broker.wait_for(lambda: not self._broker.away, DELIVERY_TIMEOUT_S)
        if self._broker.away:
            raise DeliveryFailed(f"{len(self._held)} records are not acknowledged after {DELIVERY_TIMEOUT_S:g} s")
        while self._held:
            self._write(*self._held.popleft())

    def acknowledged(self) -> bool:
        return not self._held

    def close(self) -> None:
        self.flush()

    def abandon(self) -> None:
        """End as a killed process does: what is held is lost."""
        self._held.clear()

    def _write(self, topic: Topic, partition: int, key: str, value: bytes, trace: Trace) -> None:
        self._broker.append(topic, partition, key, value, trace)
        if self._faults.duplicate and self._faults.duplicate():
            self._broker.append(topic, partition, key, value, trace)


class MemoryTransport:
    """One service's connection to the broker; `instance` is its static name within groups."""

    def __init__(self, broker: MemoryBroker, *, instance: str = "only", faults: Faults | None = None) -> None:
        self.broker = broker
        self.instance = instance
        self.faults = faults or Faults()
        self._producers: list[_Producer] = []
        self._handles: list[_Consumer | _Producer] = []

    def producer(self) -> _Producer:
        """A new producer."""
        producer = _Producer(self)
        self._producers.append(producer)
        self._handles.append(producer)
        return producer

    def partitions(self, topic: Topic) -> int:
        """The same for every topic."""
        self.broker.require_reach()
        return len(self.broker.logs(topic))

    def partition_of(self, topic: Topic, key: str) -> int:  # noqa: ARG002 - every topic has as many
        """The partition that records of this key go to."""
        return self.broker.partition_of(key)

    def oldest_offsets(self, topic: Topic) -> Mapping[int, int]:
        """The offset of the first record that is still there, of every partition."""
        self.broker.require_reach()
        with self.broker.changed:
            return {partition: log.first_offset for partition, log in enumerate(self.broker.logs(topic))}

    def end_offsets(self, topic: Topic) -> Mapping[int, int]:
        """The offset after the last record of every partition."""
        self.broker.require_reach()
        with self.broker.changed:
            return {partition: log.end for partition, log in enumerate(self.broker.logs(topic))}

    def committed(self, topic: Topic, group: str) -> Mapping[int, int]:
        """The group's committed offsets."""
        self.broker.require_reach()
        with self.broker.changed:
            return dict(self.broker.group(topic, group).committed)

    def reader(self, positions: Sequence[Position]) -> _Consumer:
        """A consumer of exactly these partitions."""
        consumer = _Consumer(self, positions)
        self._handles.insert(0, consumer)
        return consumer

    def member(self, topic: Topic, group: str, listener: GroupListener) -> _Consumer:
        """A member of a consumer group; replaces one of the same instance."""
        consumer = _Member(self, topic, group, listener)
        self._handles.insert(0, consumer)
        return consumer

    def deliver(self) -> None:
        """Let held records through, as far as the faults let them."""
        for producer in self._producers:
            producer.deliver()

    def problem(self) -> str:
        """Say that the broker is away."""
        return "the broker is away" if self.broker.away else ""

    def queue_fill(self) -> float:
        """Nothing ever waits."""
        return 0.0

    def close(self) -> None:
        """Close what is still open."""
        for handle in self._handles:
            handle.close()

    def abandon(self) -> None:
        """End as a killed process does: nothing is flushed, no listener is called, groups go on without it."""
        for handle in self._handles:
            handle.abandon()


__all__ = ["Faults", "MemoryBroker", "MemoryTransport"]
