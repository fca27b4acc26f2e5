"""The transports under one suite."""

import contextlib
import uuid
from collections.abc import Iterator
from typing import Protocol

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from common.io.kafka import KafkaTransport
from common.io.memory import MemoryBroker, MemoryTransport
from common.io.mock_broker import FETCH_WAIT_MAX_MS, MockBroker
from common.processor import Transport
from common.topics import Retention, Topic

PARTITIONS = 4


class Arena(Protocol):
    """A broker with topics of a test's own, and ways to reach and to hurt it."""

    name: str

    def topic(self, name: str = "topic") -> Topic:
        """A new, empty topic."""
        ...

    def transport(self, instance: str = "a") -> Transport:
        """A new connection."""
        ...

    def kill(self, transport: Transport) -> None:
        """End a connection without a word."""
        ...

    def truncate(self, topic: Topic, partition: int, first_offset: int) -> None:
        """Forget the records before an offset."""
        ...


def new_topic(name: str) -> Topic:
    return Topic(f"{name}-{uuid.uuid4().hex[:8]}", "pair", Retention.BY_SIZE, "a test's own")


class MemoryArena:
    name = "memory"

    def __init__(self) -> None:
        self._broker = MemoryBroker(PARTITIONS)

    def topic(self, name: str = "topic") -> Topic:
        return new_topic(name)

    def transport(self, instance: str = "a") -> MemoryTransport:
        return MemoryTransport(self._broker, instance=instance)

    def kill(self, transport: Transport) -> None:
        assert isinstance(transport, MemoryTransport)
        transport.abandon()

    def truncate(self, topic: Topic, partition: int, first_offset: int) -> None:
        self._broker.truncate(topic, partition, first_offset)

    @contextlib.contextmanager
    def outage(self) -> Iterator[None]:
        """The broker is out of reach."""
        self._broker.set_away(away=True)
        try:
            yield
        finally:
            self._broker.set_away(away=False)

    def close(self) -> None:
        """Nothing outlives the test."""


class KafkaArena:
    """A killed connection stays open until the end of the test: a process that hangs, whose place another takes."""

    name = "kafka"
    fetch_wait_max_ms = 500
    alone = False
    truncate_timeout_s = 10.0

    def __init__(self, bootstrap_servers: str) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._transports: list[KafkaTransport] = []
        self._admin = self.transport("admin")

    def topic(self, name: str = "topic") -> Topic:
        topic = new_topic(name)
        self._admin.ensure_topics([topic], PARTITIONS)
        return topic

    def transport(self, instance: str = "a") -> KafkaTransport:
        transport = KafkaTransport(
            self._bootstrap_servers, fetch_wait_max_ms=self.fetch_wait_max_ms, client_id=f"test-{instance}", instance=instance, alone=self.alone
        )
        self._transports.append(transport)
        return transport

    def kill(self, transport: Transport) -> None:
        """Never touch it again."""

    def truncate(self, topic: Topic, partition: int, first_offset: int) -> None:
        admin = AdminClient({"bootstrap.servers": self._bootstrap_servers})
        for future in admin.delete_records([TopicPartition(topic.name, partition, first_offset)], request_timeout=self.truncate_timeout_s).values():
            future.result(10)

    def close(self) -> None:
        for transport in self._transports:
            transport.close()


class MockArena(KafkaArena):
    """As the embedded run uses it: every service once, without the group's protocol."""

    name = "mock"
    fetch_wait_max_ms = FETCH_WAIT_MAX_MS
    alone = True
    truncate_timeout_s = 0.1

    def __init__(self, broker: MockBroker) -> None:
        super().__init__(broker.bootstrap_servers)
        self._broker = broker

    def topic(self, name: str = "topic") -> Topic:
        topic = new_topic(name)
        self._broker.create([topic])
        return topic

    def outage(self) -> contextlib.AbstractContextManager[None]:
        raise NotImplementedError


class MockGroupsArena(MockArena):
    """With the group's protocol, which takes seconds there."""

    name = "mock-groups"
    alone = False


def _arena(request: pytest.FixtureRequest) -> MemoryArena | KafkaArena:
    match request.param:
        case "memory":
            return MemoryArena()
        case "mock":
            return MockArena(request.getfixturevalue("mock_broker"))
        case "mock-groups":
            return MockGroupsArena(request.getfixturevalue("mock_broker"))
        case _:
            return KafkaArena(request.getfixturevalue("kafka_bootstrap_servers"))


def _note_gap(request: pytest.FixtureRequest) -> None:
    """A test marked `mock_gap` fails on the mock broker; once it does not, the mark goes."""
    if request.param.startswith("mock") and (gap := request.node.get_closest_marker("mock_gap")):
        request.node.add_marker(pytest.mark.xfail(strict=True, raises=gap.kwargs["raises"], reason=f"librdkafka's mock broker {gap.args[0]}"))


@pytest.fixture(params=["memory", "mock", "kafka"])
def arena(request: pytest.FixtureRequest) -> Iterator[Arena]:
    """Each broker in turn; the real one with TEST_LEVEL=all only."""
    _note_gap(request)
    made = _arena(request)
    yield made
    made.close()


@pytest.fixture(params=["memory", "mock-groups", "kafka"])
def group_arena(request: pytest.FixtureRequest) -> Iterator[Arena]:
    """For what takes more than one member."""
    _note_gap(request)
    made = _arena(request)
    yield made
    made.close()
