"""Finds the records of a trace on a broker: the id says when to look, the brokers know what they got when."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import confluent_kafka
from confluent_kafka import KafkaException, TopicPartition

from common.codec import Decoder, decoder_of
from common.errors import InvalidRecord, TransportError
from common.io.kafka_security import Troubles, await_cluster, security_settings
from common.io.kafka_settings import LOGGER, TRACE_HEADER, connection_settings, reader_settings
from common.settings import Settings
from common.topics import EXECUTIONS, PROGRESS, TICKS, Topic
from common.trace import NO_TRACE, Trace
from scripts.traces.ids import Span
from scripts.traces.way import SERVICES, Found, decided_orders, unfinished

#: Clocks of brokers and producers may differ by this much.
_CLOCKS_MS = 1000
_TIMEOUT_S = 10.0
_PATIENCE_S = 30.0
_BATCH = 2000
#: A trace that more ids than this begin like is ambiguous enough.
_MOST_IDS = 5
#: What execution says, also without a trace; and all that is read.
_SAID = (EXECUTIONS, PROGRESS)
_READ = (*SERVICES, PROGRESS)


class Search(NamedTuple):
    """What was found: the records of the trace, what execution said since, the ids, and when the oldest record of `ticks` is of."""

    own: Sequence[Found]
    executions: Sequence[Found]
    ids: Sequence[str]
    oldest_tick_ms: int | None


class _Place(NamedTuple):
    topic: Topic
    start: int
    end: int


class TraceTopics:
    """A client that reads without a group and leaves nothing behind."""

    def __init__(self, settings: Settings) -> None:
        """Raises TransportError when the broker does not answer or lacks the topics."""
        self._prefix = settings.topic_prefix
        connection = connection_settings(settings.kafka_bootstrap_servers, "trace", security_settings(settings))
        troubles = Troubles()
        # librdkafka's own broker holds every fetch for the full wait.
        reader = reader_settings(connection, fetch_wait_max_ms=20)
        self._client = confluent_kafka.Consumer({**reader, "auto.offset.reset": "earliest", "error_cb": troubles.note}, logger=LOGGER)
        self._decoders: Mapping[Topic, Decoder[Any]] = {topic: decoder_of(topic) for topic in _READ}
        known = await_cluster(self._client, troubles, settings.kafka_bootstrap_servers, _TIMEOUT_S).topics
        if missing := [topic.name for topic in _READ if self._prefix + topic.name not in known]:
            raise TransportError(
                f"there is no topic {', '.join(missing)} at {settings.kafka_bootstrap_servers}: is it crypto-bot's broker, and TOPIC_PREFIX right?"
            )
        self._partitions = {topic: sorted(known[self._prefix + topic.name].partitions) for topic in _READ}

    def search(self, span: Span, within_s: float) -> Search:
        """Look for a trace in what was produced from its time on, for so long; for an order that is still open to the end of what execution says."""
        since_ms = span.first_ns // 1_000_000 - _CLOCKS_MS
        until_ms = span.last_ns // 1_000_000 + _CLOCKS_MS + round(within_s * 1000)
        own: list[Found] = []
        executions: list[Found] = []
        ids: dict[str, None] = {}
        for found in self._records(_READ, since_ms, until_ms):
            if found.topic in _SAID:
                executions.append(found)
            if found.trace and span.holds(found.trace.read_at_ns):
                own.append(found)
                ids[found.trace.id] = None
                if len(ids) > _MOST_IDS:
                    break
        if len(ids) == 1 and unfinished(decided_orders(own), executions):
            executions = [*self._records(_SAID, since_ms, None)]
        return Search(own, executions, tuple(ids), None if own else self._oldest_ms(TICKS))

    def close(self) -> None:
        """Let go."""
        self._client.close()

    def _records(self, topics: Sequence[Topic], since_ms: int, until_ms: int | None) -> Iterator[Found]:
        """Everything that was produced in that time, up to where the topics end now."""
        left = {(self._prefix + topic.name, number): place for topic in topics for number, place in self._places(topic, since_ms)}
        self._read_from([TopicPartition(name, number, place.start) for (name, number), place in left.items()])
        give_up_at = time.monotonic() + _PATIENCE_S
        while left:
            messages: Sequence[Any] = self._client.consume(_BATCH, 0.1)
            for message in messages:
                key = message.topic(), message.partition()
                if message.error() is not None or key not in left:
                    continue
                place, (_, time_ms) = left[key], message.timestamp()
                late = until_ms is not None and time_ms > until_ms
                if not late and message.offset() < place.end:
                    yield from self._found(place.topic, message, time_ms)
                if late or message.offset() + 1 >= place.end:
                    del left[key]
                    self._client.pause([TopicPartition(*key)])
            if messages:
                give_up_at = time.monotonic() + _PATIENCE_S
            elif time.monotonic() > give_up_at:
                raise TransportError(f"records are there that cannot be read: nothing came for {_PATIENCE_S:g} s")

    def _read_from(self, places: list[TopicPartition]) -> None:
        """Read there; a partition that was left behind before stays paused unless it is resumed."""
        self._client.assign(places)
        self._client.resume(places)

    def _found(self, topic: Topic, message: Any, time_ms: int) -> Iterator[Found]:
        trace = next((Trace.of(value) for name, value in message.headers() or () if name == TRACE_HEADER and value), NO_TRACE)
        if not trace and topic not in _SAID:
            return
        try:
            yield Found(topic, message.partition(), message.offset(), time_ms, trace, self._decoders[topic].decode(message.value() or b""))
        except InvalidRecord:
            return  # Its readers set it aside.

    def _places(self, topic: Topic, since_ms: int) -> Iterator[tuple[int, _Place]]:
        """Where to begin in each partition that got anything since."""
        name = self._prefix + topic.name
        try:
            wanted = [TopicPartition(name, number, max(0, since_ms)) for number in self._partitions[topic]]
            for found in self._client.offsets_for_times(wanted, _TIMEOUT_S):
                first, end = self._client.get_watermark_offsets(TopicPartition(name, found.partition), _TIMEOUT_S)
                # Without an answer all is older, or, on librdkafka's own broker, the question was not understood.
                start = max(first, found.offset) if found.offset >= 0 else first
                if end > first and (found.offset >= 0 or self._time_of(name, found.partition, end - 1) >= since_ms):
                    yield found.partition, _Place(topic, start, end)
        except KafkaException as error:
            raise TransportError(f"{name}: {error.args[0].str()}") from error

    def _time_of(self, name: str, partition: int, offset: int) -> int:
        """When a record was produced, ms; 0 when it does not come."""
        self._read_from([TopicPartition(name, partition, offset)])
        give_up_at = time.monotonic() + _TIMEOUT_S
        while time.monotonic() < give_up_at:
            message = self._client.poll(0.5)
            if message is not None and message.error() is None:
                return int(message.timestamp()[1])
        return 0

    def _oldest_ms(self, topic: Topic) -> int | None:
        """When the oldest record of a topic was produced."""
        times = []
        for number in self._partitions[topic]:
            first, end = self._client.get_watermark_offsets(TopicPartition(self._prefix + topic.name, number), _TIMEOUT_S)
            if end > first:
                times.append(self._time_of(self._prefix + topic.name, number, first))
        return min(times, default=None)
