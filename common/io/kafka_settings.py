"""What the clients have in common: settings for low latency that lose nothing. What is not named keeps librdkafka's default."""

import logging
from collections import Counter
from collections.abc import Mapping
from typing import Any

from confluent_kafka import KafkaError

LOGGER = logging.getLogger("common.io.kafka")
#: The header that carries `Record.trace`.
TRACE_HEADER = "trace"
#: A record that is not acknowledged by then ends the process; its restart replays.
DELIVERY_TIMEOUT_MS = 120_000
#: Most records of a producer that are not acknowledged; then `send` waits.
QUEUE_RECORDS = 100_000

_CONNECTION: dict[str, Any] = {
    "broker.address.family": "v4",
    "socket.keepalive.enable": True,
    "retry.backoff.ms": 20,
    "retry.backoff.max.ms": 500,
    "reconnect.backoff.ms": 50,
    "reconnect.backoff.max.ms": 1000,
}

_PRODUCER: dict[str, Any] = {
    "acks": "all",
    "enable.idempotence": True,
    "linger.ms": 0,
    # A burst becomes one request instead of one a record.
    "max.in.flight": 1,
    "compression.type": "none",
    "delivery.timeout.ms": DELIVERY_TIMEOUT_MS,
    "request.timeout.ms": 5000,
    "partitioner": "murmur2_random",
    "queue.buffering.max.messages": QUEUE_RECORDS,
    "queue.buffering.max.kbytes": 65_536,
    # Above our own limit of a record, below the broker's of a batch.
    "message.max.bytes": 1_040_000,
    "delivery.report.only.error": True,
}

_CONSUMER: dict[str, Any] = {
    "fetch.min.bytes": 1,
    "fetch.error.backoff.ms": 50,
    "fetch.queue.backoff.ms": 50,
    "queued.min.messages": 10_000,
    "queued.max.messages.kbytes": 16_384,
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "allow.auto.create.topics": False,
}

_MEMBER: dict[str, Any] = {
    "group.protocol": "classic",
    "partition.assignment.strategy": "range",
    # The least that brokers allow.
    "session.timeout.ms": 6000,
    # A member hears of a rebalance by a heartbeat, and the others stand still until the last one has.
    "heartbeat.interval.ms": 500,
    "max.poll.interval.ms": 60_000,
}


def connection_settings(bootstrap_servers: str, client_id: str, security: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What every client needs; `security` is of `common.io.kafka_security`."""
    return {"bootstrap.servers": bootstrap_servers, "client.id": client_id, **_CONNECTION, **(security or {})}


def producer_settings(connection: dict[str, Any]) -> dict[str, Any]:
    """Acknowledged by all, idempotent, one request at a time, nothing waited for."""
    return {**connection, **_PRODUCER}


def reader_settings(connection: dict[str, Any], *, fetch_wait_max_ms: int) -> dict[str, Any]:
    """Given partitions from given offsets; one that is gone is an error. The group's name is demanded by the library, never used."""
    return {**connection, **_CONSUMER, "fetch.wait.max.ms": fetch_wait_max_ms, "group.id": f"{connection['client.id']}-reader", "auto.offset.reset": "error"}


def member_settings(connection: dict[str, Any], *, fetch_wait_max_ms: int, group: str, instance: str) -> dict[str, Any]:
    """A group member by the classic protocol; static when it has an instance name, so that a restart moves no partition."""
    static = {"group.instance.id": instance} if instance else {}
    return {**connection, **_CONSUMER, **_MEMBER, **static, "fetch.wait.max.ms": fetch_wait_max_ms, "group.id": group, "auto.offset.reset": "earliest"}


def log_error(error: KafkaError) -> None:
    """Say when no broker is left; of single connections the library's own log tells already."""
    LOGGER.log(logging.ERROR if error.code() == KafkaError._ALL_BROKERS_DOWN else logging.DEBUG, "%s", error.str())  # noqa: SLF001 - librdkafka's own


class Repeated(logging.Filter):
    """Lets a kind of line through once in ten seconds: a broker that is away would fill the log, several lines a second."""

    INTERVAL_S = 10.0

    def __init__(self) -> None:
        super().__init__()
        self._next: dict[tuple[object, ...], float] = {}
        self._hidden: Counter[tuple[object, ...]] = Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        """Lines are of a kind when level, form and first argument agree; the library's is its facility, such as FAIL."""
        first = record.args[:1] if isinstance(record.args, tuple) else ()
        kind = (record.levelno, record.msg, *first)
        if record.created < self._next.get(kind, 0.0):
            self._hidden[kind] += 1
            return False
        self._next[kind] = record.created + self.INTERVAL_S
        if hidden := self._hidden.pop(kind, 0):
            record.msg = f"{record.msg} (and {hidden} alike before)"
        return True


LOGGER.addFilter(Repeated())
