"""The topic `dead-letters` on a broker: read to its end, and payloads published again."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import confluent_kafka
from confluent_kafka import KafkaException, TopicPartition

from common.codec import Decoder, decoder_of, encode
from common.errors import DeliveryFailed, InvalidRecord, TransportError
from common.io.kafka_security import Troubles, await_cluster, security_settings
from common.io.kafka_settings import LOGGER, connection_settings, producer_settings, reader_settings
from common.messages import DeadLetter, DeadLetterReplayed, LetterMessage
from common.settings import Settings
from common.topics import DEAD_LETTERS
from scripts.letters.entries import Entry, Origin

#: Header of a record published again: the dead letter's place.
REPLAYED_HEADER = "dead-letter"
_TIMEOUT_S = 10.0
_PATIENCE_S = 30.0
_BATCH = 1000


class LetterTopic:
    """Reads entries in order of their partitions; `replayed` and `strange` are complete once the last one has been read."""

    def __init__(self, settings: Settings, progress: Callable[[int, int], None]) -> None:
        self.replayed: set[Origin] = set()
        #: Records of the topic that are none of ours.
        self.strange = 0
        self._name = settings.topic_prefix + DEAD_LETTERS.name
        self._prefix = settings.topic_prefix
        self._settings = settings
        self._progress = progress
        self._connection = connection_settings(settings.kafka_bootstrap_servers, "dead-letters", security_settings(settings))
        troubles = Troubles()
        reader = reader_settings(self._connection, fetch_wait_max_ms=settings.kafka_fetch_wait_max_ms)
        # From where retention has taken what stood there, it goes on with the oldest.
        self._client = confluent_kafka.Consumer({**reader, "auto.offset.reset": "earliest", "error_cb": troubles.note}, logger=LOGGER)
        self._decoder: Decoder[LetterMessage] = decoder_of(DEAD_LETTERS)
        found = await_cluster(self._client, troubles, settings.kafka_bootstrap_servers, _TIMEOUT_S).topics.get(self._name)
        if found is None or not found.partitions:
            raise TransportError(
                f"topic {self._name} does not exist at {settings.kafka_bootstrap_servers}; create the topics with `python -m common.topics apply`"
            )
        self._partitions = sorted(found.partitions)

    def entries(self) -> Iterator[Entry]:
        """Every dead letter up to where the topic ends now; marks of replays are kept aside."""
        bounds = {number: self._bounds(number) for number in self._partitions}
        left = {number: last for number, (first, last) in bounds.items() if last > first}
        total, read = sum(last - first for first, last in bounds.values()), 0
        self._client.assign([TopicPartition(self._name, number, bounds[number][0]) for number in left])
        give_up_at = time.monotonic() + _PATIENCE_S
        while left:
            messages = self._client.consume(_BATCH, 0.5)
            for message in messages:
                if self._is_before_end(message, left):
                    read += 1
                    yield from self._entry(message)
            give_up_at = self._still_patient(give_up_at, moved=bool(messages))
            left = {number: last for number, last in left.items() if self._position(number) < last}
            self._progress(read, total)

    def publish_again(self, entry: Entry) -> None:
        """Put the payload where its record stood, with its key, then note that it was; raises DeliveryFailed."""
        letter, failures = entry.letter, list[str]()
        settings: dict[str, Any] = producer_settings(self._connection)
        producer = confluent_kafka.Producer(settings, logger=LOGGER)
        done = DeadLetterReplayed(source=letter.source, partition=letter.partition, offset=letter.offset, sha256=letter.sha256)
        for topic, partition, key, value in (
            (letter.source, letter.partition, letter.key, letter.payload),
            (DEAD_LETTERS.name, entry.partition, letter.source, encode(done)),
        ):
            producer.produce(
                self._prefix + topic,
                value,
                key.encode(),
                partition,
                headers=[(REPLAYED_HEADER, entry.place.encode())],
                on_delivery=lambda error, _: failures.append(error.str()) if error else None,
            )
            if producer.flush(_TIMEOUT_S) or failures:
                raise DeliveryFailed(f"{entry.place}: {topic}/{partition} did not take it: {''.join(failures) or 'no answer'}")
        producer.close()

    def close(self) -> None:
        """Let go."""
        self._client.close()

    @staticmethod
    def _is_before_end(message: Any, left: Mapping[int, int]) -> bool:
        return message.error() is None and message.offset() < left.get(message.partition(), 0)

    def _entry(self, message: Any) -> Iterator[Entry]:
        try:
            found = self._decoder.decode(message.value() or b"")
        except InvalidRecord:
            self.strange += 1
            return
        if isinstance(found, DeadLetter):
            _, time_ms = message.timestamp()
            yield Entry(message.partition(), message.offset(), datetime.fromtimestamp(time_ms / 1000, UTC), found)
        else:
            self.replayed.add(Origin(found.source, found.partition, found.offset, found.sha256))

    def _bounds(self, partition: int) -> tuple[int, int]:
        try:
            first, last = self._client.get_watermark_offsets(TopicPartition(self._name, partition), _TIMEOUT_S)
        except KafkaException as error:
            raise TransportError(f"{self._name}/{partition}: {error.args[0].str()}") from error
        return first, last

    def _position(self, partition: int) -> int:
        positions: Sequence[TopicPartition] = self._client.position([TopicPartition(self._name, partition)])
        return positions[0].offset

    @staticmethod
    def _still_patient(give_up_at: float, *, moved: bool) -> float:
        now = time.monotonic()
        if not moved and now > give_up_at:
            raise TransportError(f"dead letters are there that cannot be read: nothing came for {_PATIENCE_S:g} s")
        return now + _PATIENCE_S if moved else give_up_at
