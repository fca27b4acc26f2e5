"""Reader and group member over librdkafka."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import confluent_kafka
from confluent_kafka import OFFSET_INVALID, KafkaError, KafkaException, Message, TopicPartition

from common.errors import CryptoBotError, InvariantBroken, TransportError
from common.io.kafka_lifeline import Lifeline
from common.io.kafka_settings import LOGGER, TRACE_HEADER, log_error
from common.processor import GroupListener, Position, Record
from common.topics import Topic
from common.trace import NO_TRACE, Trace

#: The first and last-plus-one offset of partitions.
Bounds = Mapping[int, tuple[int, int]]
BoundsOf = Callable[[Topic, Sequence[int]], Bounds]

#: Being fenced so soon after the broker was away is our own doing, once; later, or again, another has the same name.
OWN_GHOST_S = 60.0


class KafkaReader:
    """Reads the partitions that it is given."""

    def __init__(self, settings: Mapping[str, Any], serve: Callable[[], None], bounds_of: BoundsOf, prefix: str = "") -> None:
        self._prefix = prefix
        self._serve = serve
        self._bounds_of = bounds_of
        self._topics: dict[str, Topic] = {}
        self._next: dict[tuple[str, int], int] = {}
        self._ends: dict[tuple[str, int], int] = {}
        self.closed = False
        self._settings = {**settings, "error_cb": self._on_error}
        self._cut_off_at: float | None = None
        self.lifeline = Lifeline()
        self.client = self._new_client()

    def read(self, positions: Sequence[Position]) -> None:
        """Begin at these positions; raises TransportError when one is gone."""
        starts = [self._start(topic, partition, offset) for topic, partition, offset in self._with_bounds(positions)]
        self.client.assign(starts)

    def poll(self, timeout_s: float, max_records: int = 500) -> Sequence[Record]:
        """Wait for one record, then drain what the library has fetched: waiting for many would delay the first."""
        self._serve()
        first = self.client.poll(timeout_s)
        if first is None:
            return ()
        rest = self.client.consume(max_records - 1, 0) if max_records > 1 else ()
        return self._records((first, *rest))

    def pause(self, topic: Topic, partitions: Sequence[int]) -> None:
        """Stop reading; what was fetched already is kept."""
        self.client.pause([self._place(topic, partition) for partition in partitions])

    def resume(self, topic: Topic, partitions: Sequence[int]) -> None:
        """Go on reading."""
        self.client.resume([self._place(topic, partition) for partition in partitions])

    def commit(self, positions: Sequence[Position]) -> None:
        """Refused: a reader has no group."""
        raise TransportError(f"a reader has no group to commit {positions} to")

    def lag(self) -> int:
        """By the ends that the last fetches told: no request, no statistics document."""
        return sum(max(0, self._end(place) - offset) for place, offset in tuple(self._next.items()))

    def close(self) -> None:
        """Let go, without librdkafka's own close.

        That one serves a rebalance which no poll has seen, and may then wait forever for a group handler that has ended, with
        the interpreter's lock held: nothing of the process runs on (librdkafka's issue 4041).
        """
        if not self.closed:
            self.closed = True
            del self.client

    def _new_client(self) -> confluent_kafka.Consumer:
        return confluent_kafka.Consumer(self._settings, logger=LOGGER)

    def _on_error(self, error: KafkaError) -> None:
        if error.code() == KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001 - librdkafka's own codes begin with an underscore
            self._cut_off_at = time.monotonic()
        log_error(error)
        self.lifeline.note(error)

    def _with_bounds(self, positions: Sequence[Position]) -> Iterable[Position]:
        for topic in {position.topic for position in positions}:
            mine = [position for position in positions if position.topic == topic]
            bounds = self._bounds_of(topic, [position.partition for position in mine])
            for _, partition, offset in mine:
                oldest, end = bounds[partition]
                self._ends[self._prefix + topic.name, partition] = end
                yield self._checked(Position(topic, partition, offset or oldest), oldest, end)

    def _checked(self, position: Position, oldest: int, end: int) -> Position:
        if not oldest <= position.offset <= end:
            raise TransportError(f"offset {position.offset} of {position.topic}/{position.partition} is gone: there are {oldest} to {end}")
        return position

    def _start(self, topic: Topic, partition: int, offset: int) -> TopicPartition:
        self._topics[self._prefix + topic.name] = topic
        self._next[self._prefix + topic.name, partition] = offset
        return self._place(topic, partition, offset)

    def _place(self, topic: Topic, partition: int, offset: int = OFFSET_INVALID) -> TopicPartition:
        return TopicPartition(self._prefix + topic.name, partition, offset)

    def _end(self, place: tuple[str, int]) -> int:
        _, end = self.client.get_watermark_offsets(TopicPartition(*place), cached=True)
        return max(end, self._ends.get(place, 0))

    def _records(self, messages: Iterable[Message]) -> list[Record]:
        records = []
        for message in messages:
            if (error := message.error()) is not None:
                self._on_message_error(error, message)
                continue
            record = _record(self._topics, message)
            self._next[self._prefix + record.topic.name, record.partition] = record.offset + 1
            records.append(record)
        return records

    def _on_message_error(self, error: KafkaError, message: Message) -> None:
        if error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001 - librdkafka's own codes begin with an underscore
            raise TransportError(f"the place in {message.topic()}/{message.partition()} is gone: {error.str()}")
        if error.code() in {KafkaError._FATAL, KafkaError.FENCED_INSTANCE_ID}:  # noqa: SLF001 - as above
            raise self._fenced(error)
        LOGGER.warning("%s/%s: %s", message.topic(), message.partition(), error.str())

    def _fenced(self, error: KafkaError) -> CryptoBotError:
        return InvariantBroken(f"{error.str()}; does another replica have the same INSTANCE?")


class KafkaMember(KafkaReader):
    """A group member; its listener is called from within `poll` and `close`."""

    def __init__(  # noqa: PLR0913, PLR0917 - a reader's, and what it is a member for
        self, settings: Mapping[str, Any], serve: Callable[[], None], bounds_of: BoundsOf, prefix: str, topic: Topic, listener: GroupListener
    ) -> None:
        super().__init__({**settings, "on_commit": self._on_commit}, serve, bounds_of, prefix)
        self._topic = topic
        self._listener = listener
        self._owned: list[int] = []
        self._to_restore: list[int] | None = None
        self._failure: BaseException | None = None
        self._handing_over = False
        self._committing: dict[int, int] = {}
        self._assignments = 0

    def join(self) -> None:
        """Ask the group for partitions; they come in some later poll."""
        self.client.subscribe([self._prefix + self._topic.name], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost)

    def take_all(self, partitions: Iterable[int]) -> None:
        """Be the group's only member without asking: the next poll takes up all partitions."""
        self._to_restore = list(partitions)

    def poll(self, timeout_s: float, max_records: int = 500) -> Sequence[Record]:
        """As a reader does; a record fetched before a rebalance within this call is left to the next owner."""
        self._serve()
        if self._to_restore is not None:
            self._take_up()
        first = self.client.poll(timeout_s)
        self._raise_failure()
        if first is None:
            return ()
        assignments = self._assignments
        rest = self.client.consume(max_records - 1, 0) if max_records > 1 else ()
        self._raise_failure()
        return self._records((first, *rest) if assignments == self._assignments else rest)

    def commit(self, positions: Sequence[Position]) -> None:
        """Store where a successor starts: in the background, but before giving partitions away at once."""
        offsets = [self._place(topic, partition, offset) for topic, partition, offset in positions]
        try:
            if self._handing_over:
                self.client.commit(offsets=offsets, asynchronous=False)
            else:
                self.client.commit(offsets=offsets)
                self._committing |= {place.partition: place.offset for place in offsets}
        except KafkaException as error:
            LOGGER.warning("positions not committed, a successor repeats: %s", error.args[0].str())

    def close(self) -> None:
        """Hand over and go; the place in the group is kept for the length of the session."""
        self._handing_over = True
        self._guard(lambda: self._give_up(lost=False))
        super().close()
        self._raise_failure()

    def _on_assign(self, _client: confluent_kafka.Consumer, partitions: Sequence[TopicPartition]) -> None:
        self._assignments += 1
        self._to_restore = sorted(partition.partition for partition in partitions)
        self._guard(self._take_up)
        if self._to_restore is not None:
            # The state could not be restored: read nothing, the next poll tries again.
            self.client.assign([])

    def _on_commit(self, error: KafkaError | None, places: Sequence[TopicPartition]) -> None:
        if error is not None:
            LOGGER.warning("positions not committed, a successor repeats: %s", error.str())
        for place in places:
            if self._committing.get(place.partition) == place.offset:
                del self._committing[place.partition]

    def _on_revoke(self, _client: confluent_kafka.Consumer, _partitions: Sequence[TopicPartition]) -> None:
        self._handing_over = True
        self._guard(lambda: self._give_up(lost=False))
        self._handing_over = False

    def _on_lost(self, _client: confluent_kafka.Consumer, _partitions: Sequence[TopicPartition]) -> None:
        self._guard(lambda: self._give_up(lost=True))

    def _fenced(self, error: KafkaError) -> CryptoBotError:
        """Drop everything; join anew when it was most likely a request of our own that came too late.

        A broker that was away for longer than a session gives a member that comes back another identity. A commit of the
        earlier one that is still on its way is refused as a namesake's, which the library takes for the end.
        """
        self._give_up(lost=True)
        cut_off_at, self._cut_off_at = self._cut_off_at, None
        if cut_off_at is None or time.monotonic() - cut_off_at > OWN_GHOST_S:
            return super()._fenced(error)
        self.client = self._new_client()
        self.join()
        return TransportError(f"the broker was away, joining the group anew: {error.str()}")

    def _take_up(self) -> None:
        partitions = self._to_restore or []
        starts = self._listener.on_assigned(partitions)
        unstated = [self._place(self._topic, partition) for partition in partitions if partition not in starts]
        committed = committed_offsets(self.client, unstated) if unstated else {}
        bounds = self._bounds_of(self._topic, partitions)
        self._next.clear()
        self._ends = {(self._prefix + self._topic.name, partition): end for partition, (_, end) in bounds.items()}
        self.client.assign(
            [
                self._start(self._topic, partition, self._first(partition, starts.get(partition, committed.get(partition, 0)), bounds))
                for partition in partitions
            ]
        )
        self._owned, self._to_restore = partitions, None

    def _first(self, partition: int, wanted: int, bounds: Bounds) -> int:
        oldest, end = bounds[partition]
        if wanted and not oldest <= wanted <= end:
            LOGGER.error("offset %d of %s/%d is gone, going on at the oldest, %d", wanted, self._topic, partition, oldest)
        return wanted if oldest <= wanted <= end else oldest

    def _give_up(self, *, lost: bool) -> None:
        self._assignments += 1
        owned, self._owned, self._to_restore = self._owned, [], None
        self._next.clear()
        under_way, self._committing = self._committing, {}
        if under_way and not lost:
            # A client that goes takes unanswered commits with it.
            self.commit([Position(self._topic, partition, offset) for partition, offset in under_way.items()])
        if owned:
            self._listener.on_revoked(owned, lost=lost)

    def _guard(self, action: Callable[[], None]) -> None:
        """Run a callback of the library; what it raises comes out of `poll` instead of tearing through C."""
        try:
            action()
        except BaseException as error:  # noqa: BLE001 - raised again by poll
            self._failure = error

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure


def committed_offsets(client: confluent_kafka.Consumer, places: list[TopicPartition]) -> dict[int, int]:
    """The offsets by partition that the client's group has committed; raises TransportError."""
    try:
        found = client.committed(places, timeout=10)
    except KafkaException as error:
        raise TransportError(f"committed positions: {error.args[0].str()}") from error
    return {place.partition: place.offset for place in found if place.offset >= 0}


def _record(topics: Mapping[str, Topic], message: Any) -> Record:
    headers = message.headers()
    trace = next((Trace.of(value) for name, value in headers if name == TRACE_HEADER and value), NO_TRACE) if headers else NO_TRACE
    key, value = message.key(), message.value()
    return Record(topics[message.topic()], message.partition(), message.offset(), key.decode(errors="replace") if key else "", value or b"", trace)
