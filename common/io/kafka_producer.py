"""The producer over librdkafka.

Delivery reports and errors are served from `flush` and every `poll` of a consumer of the same transport: all in the thread of
the service, which polls for ever. A thread for them would only compete with it for the interpreter, and to look for them in
every `send` would let go of the interpreter once for every record of a burst.
"""

import time
from collections.abc import Mapping
from typing import Any

import confluent_kafka
from confluent_kafka import KafkaError, KafkaException, Message

from common.errors import DeliveryFailed, TransportError
from common.io.kafka_lifeline import Lifeline
from common.io.kafka_settings import DELIVERY_TIMEOUT_MS, LOGGER, QUEUE_RECORDS, TRACE_HEADER, log_error
from common.io.limits import require_size
from common.topics import Topic
from common.trace import NO_TRACE, Trace

Headers = list[tuple[str, str | bytes | None]]


class KafkaProducer:
    """Sends at once; blocks only while the queue is full."""

    def __init__(self, settings: Mapping[str, Any], prefix: str = "") -> None:
        self._prefix = prefix
        self._failure: str | None = None
        self.closed = False
        self._sent = self._acknowledged = 0
        self._moved_s = time.monotonic()
        self.lifeline = Lifeline()
        self.client = confluent_kafka.Producer({**settings, "on_delivery": self._on_delivery, "error_cb": self._on_error}, logger=LOGGER)

    def warm_up(self, timeout_s: float) -> None:
        """Connect and fetch what the first record would wait for."""
        self.client.list_topics(timeout=timeout_s)

    def send(self, topic: Topic, key: str, value: bytes, *, partition: int | None = None, trace: Trace = NO_TRACE) -> None:
        """Hand over a record."""
        require_size(topic, key, value)
        self.check()
        headers: Headers | None = [(TRACE_HEADER, trace)] if trace else None
        give_up_at: float | None = None
        while not self._queued(topic, key, value, -1 if partition is None else partition, headers):
            give_up_at = give_up_at or time.monotonic() + DELIVERY_TIMEOUT_MS / 1000
            if time.monotonic() > give_up_at:
                raise DeliveryFailed(f"the queue of unacknowledged records has been full for {DELIVERY_TIMEOUT_MS // 1000} s")
            self.client.poll(0.05)
            self.check()

    def flush(self) -> None:
        """Wait for the acknowledgement of everything sent, at most as long as a delivery may take."""
        left = self.client.flush(DELIVERY_TIMEOUT_MS / 1000 + 5)
        self.check()
        if left:
            raise DeliveryFailed(f"{left} records are not acknowledged after {DELIVERY_TIMEOUT_MS // 1000} s")

    def acknowledged(self) -> bool:
        """Whether nothing sent is still under way."""
        self.check()
        return not len(self.client)

    def serve(self) -> None:
        """Run the callbacks that are due."""
        if not self.closed:
            self.client.poll(0)
            self.check()
            self._follow_acknowledgements()

    def waiting_s(self) -> float:
        """How long records have waited since the last acknowledgement, by the last `serve`, s; 0 while none waits."""
        return time.monotonic() - self._moved_s if self._acknowledged < self._sent else 0.0

    def queue_fill(self) -> float:
        """How full the queue of records is that are not acknowledged, 0 to 1."""
        return 0.0 if self.closed else len(self.client) / QUEUE_RECORDS

    def check(self) -> None:
        """Raise DeliveryFailed once a record was lost."""
        if self._failure:
            raise DeliveryFailed(self._failure)

    def close(self) -> None:
        """Flush and let go."""
        if self.closed:
            return
        self.closed = True
        try:
            self.flush()
        finally:
            self.client.close()

    def _follow_acknowledgements(self) -> None:
        # What the library has to tell counts as under way too, so that the number may fall.
        acknowledged = self._sent - len(self.client)
        if acknowledged > self._acknowledged or acknowledged == self._sent:
            self._acknowledged, self._moved_s = acknowledged, time.monotonic()

    def _queued(self, topic: Topic, key: str, value: bytes, partition: int, headers: Headers | None) -> bool:
        try:
            self.client.produce(self._prefix + topic.name, value, key.encode(), partition, headers=headers)
        except BufferError:
            return False
        except KafkaException as error:
            raise TransportError(f"{topic}: {error.args[0].str()}") from error
        self._sent += 1
        return True

    def _on_error(self, error: KafkaError) -> None:
        log_error(error)
        self.lifeline.note(error)

    def _on_delivery(self, error: KafkaError | None, message: Message) -> None:
        if error and not self._failure:
            self._failure = f"a record of {message.topic()}/{message.partition()} was not acknowledged: {error.str()}"
            LOGGER.error("%s", self._failure)
