"""What is peculiar to Kafka: brokers that are away, full queues, topics that must be made."""

import dataclasses
import gc
import logging
import time
import weakref
from collections.abc import Callable

import pytest
from confluent_kafka import KafkaError

from common.errors import DeliveryFailed, InvariantBroken, TransportError
from common.io.kafka import KafkaTransport
from common.io.kafka_producer import KafkaProducer
from common.io.kafka_settings import Repeated, connection_settings, producer_settings
from common.io.mock_broker import FETCH_WAIT_MAX_MS, MockBroker
from common.processor import Position
from common.topics import ALL_TOPICS, KALMAN_STATE, TICKS, Topic
from tests.contract.conftest import new_topic
from tests.contract.test_transport import Listener, read, until


def producer_of(bootstrap_servers: str, **changes: int) -> KafkaProducer:
    producer = KafkaProducer(
        {**producer_settings(connection_settings(bootstrap_servers, "test")), **{name.replace("_", "."): value for name, value in changes.items()}}
    )
    producer.warm_up(5)
    return producer


def test_a_lost_record_ends_the_producer() -> None:
    """Once a record was not acknowledged in time, flush, send and serve say so for good."""
    broker = MockBroker(topics=[TICKS])
    producer = producer_of(broker.bootstrap_servers, delivery_timeout_ms=3000, request_timeout_ms=500)
    # Without a leader found, librdkafka now and then keeps a record for ever.
    producer.send(TICKS, "k", b"0")
    producer.flush()
    broker.close()
    producer.send(TICKS, "k", b"1")
    for attempt in (producer.flush, lambda: producer.send(TICKS, "k", b"2"), producer.serve):
        with pytest.raises(DeliveryFailed, match="a record of ticks/"):
            attempt()


def test_a_full_queue_holds_the_sender_back(mock_broker: MockBroker) -> None:
    """With room for ten unacknowledged records a thousand go through, in order."""
    topic = new_topic("narrow")
    mock_broker.create([topic])
    producer = producer_of(mock_broker.bootstrap_servers, queue_buffering_max_messages=10)
    for number in range(1000):
        producer.send(topic, "k", str(number).encode())
    producer.close()
    transport = KafkaTransport(mock_broker.bootstrap_servers, fetch_wait_max_ms=FETCH_WAIT_MAX_MS)
    assert transport.end_offsets(topic)[transport.partition_of(topic, "k")] == 1000
    transport.close()


def test_says_where_it_looked_for_kafka() -> None:
    """A broker that does not answer is an error that names address, time and setting."""
    broker = MockBroker(topics=())
    broker.close()
    transport = KafkaTransport(broker.bootstrap_servers)
    started = time.monotonic()
    with pytest.raises(TransportError, match=f"no Kafka at {broker.bootstrap_servers} after 0.5 s: start it or set KAFKA_BOOTSTRAP_SERVERS"):
        transport.connect(0.5)
    assert time.monotonic() - started < 2
    transport.close()


def test_closed_clients_are_let_go(mock_broker: MockBroker) -> None:
    """Tries without end, while a broker is away, must not use up the clients that a process can have."""
    topic = new_topic("closed")
    mock_broker.create([topic])
    transport = KafkaTransport(mock_broker.bootstrap_servers, fetch_wait_max_ms=FETCH_WAIT_MAX_MS)
    closed = []
    for _ in range(2):
        for client in (transport.reader([Position(topic, 0, 0)]), transport.producer()):
            client.close()
            closed.append(weakref.ref(client))
    del client
    gc.collect()
    # Each kind's newest is kept until the next one of its kind.
    assert [ref() is None for ref in closed] == [True, True, False, False]
    transport.close()


def test_runs_share_a_cluster_by_prefix(mock_broker: MockBroker) -> None:
    """Topics and groups of one prefix are invisible under another."""
    topic = new_topic("shared")
    mock_broker.create([dataclasses.replace(topic, name=prefix + topic.name) for prefix in ("one-", "two-")])
    one, two = (
        KafkaTransport(mock_broker.bootstrap_servers, fetch_wait_max_ms=FETCH_WAIT_MAX_MS, alone=True, topic_prefix=prefix) for prefix in ("one-", "two-")
    )
    one.producer().send(topic, "", b"1", partition=0)
    member = one.member(topic, "group", Listener())
    (record,) = read(member, 1)
    member.commit([Position(topic, 0, 1)])
    member.close()
    assert (record.topic, one.committed(topic, "group")) == (topic, {0: 1})
    assert (dict(two.end_offsets(topic)), two.committed(topic, "group")) == (dict.fromkeys(range(4), 0), {})
    for transport in (one, two):
        transport.close()


def test_says_the_same_once_in_ten_seconds() -> None:
    """Repeated lines are counted instead of written; another facility's go through."""
    repeated = Repeated()

    def line(facility: str, at_s: float) -> logging.LogRecord:
        record = logging.LogRecord("x", logging.ERROR, "x", 1, "%s: %s", (facility, at_s), None)
        record.created = at_s
        return record

    shown = [record.getMessage() for record in map(line, ["FAIL", "FAIL", "GETPID", "FAIL", "FAIL"], [0, 1, 2, 9, 10]) if repeated.filter(record)]
    assert shown == ["FAIL: 0", "GETPID: 2", "FAIL: 10 (and 2 alike before)"]


def test_makes_topics_once(kafka_bootstrap_servers: str) -> None:
    """Topics are made with their partitions, a second time changes nothing, and one that was not made or is deleted is named."""
    transport = KafkaTransport(kafka_bootstrap_servers, topic_prefix="once-")
    for _ in range(2):
        transport.ensure_topics(ALL_TOPICS, 6)
    assert {topic.name: transport.partitions(topic) for topic in ALL_TOPICS} == {topic.name: 6 if topic.per_pair else 1 for topic in ALL_TOPICS}
    assert transport.end_offsets(KALMAN_STATE) == dict.fromkeys(range(6), 0)
    with pytest.raises(TransportError, match=r"topic once-nowhere-\w+ does not exist"):
        transport.partitions(new_topic("nowhere"))
    for _ in range(2):
        transport.delete_topics(ALL_TOPICS)
    transport.close()
    assert eventually(lambda: not is_there(kafka_bootstrap_servers, TICKS))


def is_there(bootstrap_servers: str, topic: Topic) -> bool:
    """Asked anew, for a transport asks once."""
    transport = KafkaTransport(bootstrap_servers, topic_prefix="once-")
    try:
        return transport.partitions(topic) > 0
    except TransportError:
        return False
    finally:
        transport.close()


def eventually(condition: Callable[[], bool]) -> bool:
    """A broker needs a moment for what it has promised."""
    give_up_at = time.monotonic() + 10
    while not condition():
        if time.monotonic() > give_up_at:
            return False
    return True


def test_a_member_that_is_fenced_by_its_own_ghost_joins_anew(kafka_bootstrap_servers: str) -> None:
    """Fenced soon after the broker was away it drops its state and takes its place again; fenced without that it ends."""
    topic, listeners = new_topic("ghost"), [Listener(), Listener()]
    transports = [KafkaTransport(kafka_bootstrap_servers, client_id=f"test-ghost-{number}", instance="same") for number in range(2)]
    transports[0].ensure_topics([topic], 4)
    older = transports[0].member(topic, "ghosts", listeners[0])
    until(lambda: bool(listeners[0].owned), older)
    older._on_error(KafkaError(KafkaError._ALL_BROKERS_DOWN))
    newer = transports[1].member(topic, "ghosts", listeners[1])
    until(lambda: bool(listeners[1].owned), newer)
    with pytest.raises(TransportError, match="joining the group anew"):
        read(older, 1)
    assert listeners[0].told == ["assigned", "lost"]
    until(lambda: bool(listeners[0].owned), older)
    with pytest.raises(InvariantBroken, match="INSTANCE"):
        read(newer, 1)
    producer = transports[0].producer()
    producer.send(topic, "k", b"1")
    producer.flush()
    assert [record.value for record in read(older, 1)] == [b"1"]
    for transport in transports:
        transport.close()
