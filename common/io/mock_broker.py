"""librdkafka's own broker, within this process: Kafka's protocol without Kafka, for embedded runs and tests.

It has 4 partitions a topic, keeps 5 MiB or 100,000 records of each, compacts nothing and ends with its process. Its clients
need a `fetch.wait.max.ms` of 1 to 5, for it holds every fetch for the full wait.
"""

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import confluent_kafka

from common.io.kafka_settings import LOGGER
from common.topics import ALL_TOPICS, Topic

FETCH_WAIT_MAX_MS = 1


class MockBroker:
    """Serves on a free port of the loopback until it is closed."""

    def __init__(self, topics: Sequence[Topic] = ALL_TOPICS) -> None:
        with _signals_left_to_others():
            self._client = confluent_kafka.Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1}, logger=LOGGER)
        (broker,) = self._client.list_topics(timeout=5).brokers.values()
        self.bootstrap_servers = f"{broker.host}:{broker.port}"
        self.create(topics)

    def create(self, topics: Sequence[Topic]) -> None:
        """Make topics: it has no request for it, asking about one is enough."""
        for topic in topics:
            self._client.list_topics(topic.name, timeout=5)

    def close(self) -> None:
        """Stop serving; all data is gone."""
        self._client.close()


@contextmanager
def _signals_left_to_others() -> Iterator[None]:
    """Threads made meanwhile get no signal: one that interrupts the broker's ends it, and its clients wait for minutes."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
