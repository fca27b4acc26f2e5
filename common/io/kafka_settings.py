"""Client settings for low latency that lose nothing; what is not named keeps librdkafka's default."""

from typing import Any

#: A record that is not acknowledged by then ends the process; its restart replays.
DELIVERY_TIMEOUT_MS = 120_000

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
    "queue.buffering.max.messages": 100_000,
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

#: For consumers that are not on the path to a decision: fewer, fuller fetches.
_LAZY: dict[str, Any] = {"fetch.min.bytes": 100_000, "fetch.wait.max.ms": 50}

_MEMBER: dict[str, Any] = {
    "group.protocol": "classic",
    "partition.assignment.strategy": "range",
    "session.timeout.ms": 6000,
    "heartbeat.interval.ms": 2000,
    "max.poll.interval.ms": 60_000,
}


def connection_settings(bootstrap_servers: str, client_id: str) -> dict[str, Any]:
    """What every client needs."""
    return {"bootstrap.servers": bootstrap_servers, "client.id": client_id, **_CONNECTION}


def producer_settings(connection: dict[str, Any]) -> dict[str, Any]:
    """Acknowledged by all, idempotent, one request at a time, nothing waited for."""
    return {**connection, **_PRODUCER}


def reader_settings(connection: dict[str, Any], *, fetch_wait_max_ms: int, lazy: bool) -> dict[str, Any]:
    """Given partitions from given offsets; one that is gone is an error. The group's name is demanded by the library, never used."""
    pace = _LAZY if lazy else {"fetch.wait.max.ms": fetch_wait_max_ms}
    return {**connection, **_CONSUMER, **pace, "group.id": f"{connection['client.id']}-reader", "auto.offset.reset": "error"}


def member_settings(connection: dict[str, Any], *, fetch_wait_max_ms: int, group: str, instance: str) -> dict[str, Any]:
    """A group member by the classic protocol; static when it has an instance name, so that a restart moves no partition."""
    static = {"group.instance.id": instance} if instance else {}
    return {**connection, **_CONSUMER, **_MEMBER, **static, "fetch.wait.max.ms": fetch_wait_max_ms, "group.id": group, "auto.offset.reset": "earliest"}
