"""Kafka as a transport."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import confluent_kafka
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from common.errors import ConfigurationError, TransportError
from common.io.kafka_consumers import Bounds, KafkaMember, KafkaReader, committed_offsets
from common.io.kafka_lifeline import Lifeline, check_one
from common.io.kafka_producer import KafkaProducer
from common.io.kafka_security import Troubles, await_cluster
from common.io.kafka_settings import LOGGER, connection_settings, member_settings, producer_settings, reader_settings
from common.io.kafka_topics import TopicAdmin
from common.processor import GroupListener, Position
from common.topics import Topic
from common.topics.layout import Layout, specs_of

R = TypeVar("R")

REQUEST_TIMEOUT_S = 10.0
LEADER_WAIT_S = 0.05
#: How often the client for requests is served, which only has errors to tell, and one that was cut off is looked after.
CONTROL_INTERVAL_S = 1.0
#: An acknowledgement that takes longer is worth telling.
PATIENCE_S = 5.0
LOOK_AGAIN_S = 0.2
#: A topic just made, or a broker just started, has no leader yet, or the client has not heard of it.
_LEADERLESS = (
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001 - librdkafka's own codes begin with an underscore
)
#: Offsets that ask a broker for the oldest and for the end.
_OLDEST, _END = -2, -1


class KafkaTransport:
    """One service's connection to a Kafka cluster.

    `instance` makes its group members static: a restart under the same name takes its partitions back at once. `alone` takes
    all partitions without the group's protocol, for a broker that needs seconds for it (librdkafka's mock: 3 to join, 11 to
    replace a killed member) and a service that runs once. `topic_prefix` goes before every topic and group, so that
    runs share a cluster without seeing each other.
    """

    def __init__(  # noqa: PLR0913 - each has its default
        self,
        bootstrap_servers: str,
        *,
        fetch_wait_max_ms: int = 500,
        client_id: str = "crypto-bot",
        instance: str = "",
        alone: bool = False,
        topic_prefix: str = "",
        security: Mapping[str, Any] | None = None,
    ) -> None:
        """`security` is of `common.io.kafka_security`; raises ConfigurationError for files that are no certificates or keys."""
        self._bootstrap_servers = bootstrap_servers
        self._fetch_wait_max_ms = fetch_wait_max_ms
        self._instance = instance
        self._alone = alone
        self._prefix = topic_prefix
        self._connection = connection_settings(bootstrap_servers, client_id, security)
        self._troubles = Troubles()
        self._lifeline = Lifeline()
        self._partitions: dict[str, int] = {}
        self._producers: list[KafkaProducer] = []
        self._consumers: list[KafkaReader] = []
        self._control = self._client(f"{client_id}-control")
        self._control_at_s = 0.0
        self._group_clients: dict[str, confluent_kafka.Consumer] = {}

    def connect(self, timeout_s: float) -> None:
        """Wait until the cluster answers.

        Raises TransportError when it does not in time, and ConfigurationError at once when it is there but refuses us, or we it.
        """
        await_cluster(self._control, self._troubles, self._bootstrap_servers, timeout_s)

    def require_topics(self, topics: Sequence[Topic], patience_s: float) -> None:
        """Raise ConfigurationError when one is missing, or per-pair topics have unequal numbers of partitions; those just made may need a moment."""
        give_up_at = time.monotonic() + patience_s
        while problem := self._problem_of(topics):
            if time.monotonic() > give_up_at:
                raise ConfigurationError([f"Kafka at {self._bootstrap_servers}: {problem}"])
            time.sleep(LOOK_AGAIN_S)

    def ensure_topics(self, topics: Sequence[Topic], partitions: int, *, disk_gb: float = 3.0) -> None:
        """Create or change these topics as `common.topics` has them; those that are not per pair get one partition. Needs a real broker."""
        TopicAdmin(self._connection).apply(specs_of(topics, Layout(partitions, disk_gb, prefix=self._prefix)))

    def delete_topics(self, topics: Sequence[Topic]) -> None:
        """Delete these topics with all they hold; those that are not there are no error. Needs a real broker."""
        TopicAdmin(self._connection).delete([self._prefix + topic.name for topic in topics])

    def producer(self) -> KafkaProducer:
        """A new producer, connected."""
        producer = KafkaProducer(producer_settings(self._connection), self._prefix)
        _ask("connecting a producer", lambda: producer.warm_up(REQUEST_TIMEOUT_S))
        self._producers = [each for each in self._producers if not each.closed] + [producer]
        return producer

    def partitions(self, topic: Topic) -> int:
        """How many partitions the topic has; asked once."""
        count = self._partitions.get(topic.name)
        if count is None:
            count = self._partitions[topic.name] = self._count(topic)
        return count

    def partition_of(self, topic: Topic, key: str) -> int:
        """The partition that the producer's partitioner chooses for this key."""
        return confluent_kafka.murmur2(key.encode(), self.partitions(topic))

    def oldest_offsets(self, topic: Topic) -> Mapping[int, int]:
        """The offset of the first record that is still there, of every partition."""
        return self._offsets(topic, range(self.partitions(topic)), _OLDEST)

    def end_offsets(self, topic: Topic) -> Mapping[int, int]:
        """The offset after the last record of every partition."""
        return self._offsets(topic, range(self.partitions(topic)), _END)

    def committed(self, topic: Topic, group: str) -> Mapping[int, int]:
        """The group's committed offsets, asked by a client of that group that never joins it."""
        client = self._group_clients.get(group)
        if client is None:
            client = self._group_clients[group] = self._client(self._prefix + group)
        return committed_offsets(client, [TopicPartition(self._prefix + topic.name, number) for number in range(self.partitions(topic))])

    def reader(self, positions: Sequence[Position]) -> KafkaReader:
        """A consumer of exactly these partitions."""
        settings = reader_settings(self._connection, fetch_wait_max_ms=self._fetch_wait_max_ms)
        reader = KafkaReader(settings, self._serve, self._bounds, self._prefix)
        self._keep(reader)
        reader.read(positions)
        return reader

    def member(self, topic: Topic, group: str, listener: GroupListener) -> KafkaMember:
        """A member of a consumer group."""
        partitions = range(self.partitions(topic))
        settings = member_settings(self._connection, fetch_wait_max_ms=self._fetch_wait_max_ms, group=self._prefix + group, instance=self._instance)
        member = KafkaMember(settings, self._serve, self._bounds, self._prefix, topic, listener)
        if self._alone:
            member.take_all(partitions)
        else:
            member.join()
        self._keep(member)
        return member

    def problem(self) -> str:
        """Say that nothing has been acknowledged for seconds."""
        waiting_s = max((producer.waiting_s() for producer in self._producers if not producer.closed), default=0.0)
        return f"nothing sent has been acknowledged for {waiting_s:.0f} s; is the broker away?" if waiting_s > PATIENCE_S else ""

    def queue_fill(self) -> float:
        """How full the fullest producer's queue is, 0 to 1. May be called from other threads."""
        return max((producer.queue_fill() for producer in tuple(self._producers)), default=0.0)

    def close(self) -> None:
        """Close what is still open."""
        for consumer in self._consumers:
            consumer.close()
        for producer in self._producers:
            producer.close()
        for client in (self._control, *self._group_clients.values()):
            client.close()

    def _keep(self, consumer: KafkaReader) -> None:
        """Close it at the end, unless it is by then; closed ones are let go, for a process can have about 1000 clients in all."""
        self._consumers = [each for each in self._consumers if not each.closed] + [consumer]

    def _client(self, group: str) -> confluent_kafka.Consumer:
        settings = {**self._connection, "group.id": group, "enable.auto.commit": False, "error_cb": self._note_trouble}
        try:
            return confluent_kafka.Consumer(settings, logger=LOGGER)
        except KafkaException as error:
            raise ConfigurationError([f"Kafka's client refuses its settings: {error.args[0].str()}; check the variables KAFKA_SSL_*"]) from error

    def _note_trouble(self, error: KafkaError) -> None:
        self._troubles.note(error)
        self._lifeline.note(error)

    def _serve(self) -> None:
        if (now_s := time.monotonic()) >= self._control_at_s:
            self._control_at_s = now_s + CONTROL_INTERVAL_S
            self._control.poll(0)
            producers = [(each.lifeline, each.client) for each in self._producers if not each.closed]
            consumers = [(each.lifeline, each.client) for each in self._consumers if not each.closed]
            check_one([(self._lifeline, self._control), *producers, *consumers], self._bootstrap_servers, now_s)
        for client in self._group_clients.values():
            client.poll(0)
        for producer in self._producers:
            producer.serve()

    def _problem_of(self, topics: Sequence[Topic]) -> str:
        """What is wrong with the topics, with the command that mends it; empty when nothing is."""
        found = _ask("asking for the topics", lambda: self._control.list_topics(timeout=REQUEST_TIMEOUT_S)).topics
        names = {topic: self._prefix + topic.name for topic in topics}
        if missing := [name for name in names.values() if name not in found or not found[name].partitions]:
            return f"{', '.join(missing)} missing: create the topics with `python -m common.topics apply`"
        counts = {name: len(found[name].partitions) for topic, name in names.items() if topic.per_pair}
        if len(set(counts.values())) > 1:
            listed = ", ".join(f"{name} {count}" for name, count in counts.items())
            return f"per-pair topics must have equally many partitions, but have {listed}: see `python -m common.topics check`"
        return ""

    def _count(self, topic: Topic) -> int:
        name = self._prefix + topic.name
        found = _ask(f"asking for {name}", lambda: self._control.list_topics(name, timeout=REQUEST_TIMEOUT_S)).topics[name]
        if found.error is not None or not found.partitions:
            raise TransportError(f"topic {name} does not exist at {self._bootstrap_servers}; create the topics with `python -m common.topics apply`")
        return len(found.partitions)

    def _bounds(self, topic: Topic, partitions: Sequence[int]) -> Bounds:
        oldest, ends = self._offsets(topic, partitions, _OLDEST), self._offsets(topic, partitions, _END)
        return {partition: (oldest[partition], ends[partition]) for partition in partitions}

    def _offsets(self, topic: Topic, partitions: Sequence[int], which: int) -> dict[int, int]:
        places = [TopicPartition(self._prefix + topic.name, partition, which) for partition in partitions]

        def ask() -> dict[int, int]:
            found = self._control.offsets_for_times(places, timeout=REQUEST_TIMEOUT_S)
            for place in found:
                if place.error is not None:
                    raise KafkaException(place.error)
            return {place.partition: place.offset for place in found}

        return _ask(f"offsets of {topic}", ask) if places else {}


def _ask(what: str, request: Callable[[], R]) -> R:
    """Ask until a leader answers; a topic just made has none yet. Raises TransportError."""
    give_up_at = time.monotonic() + REQUEST_TIMEOUT_S
    while True:
        try:
            return request()
        except KafkaException as error:
            if error.args[0].code() not in _LEADERLESS or time.monotonic() > give_up_at:
                raise TransportError(f"{what}: {error.args[0].str()}") from error
        time.sleep(LEADER_WAIT_S)
