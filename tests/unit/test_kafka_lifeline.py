"""A client that has forgotten where the broker is: found out, but only while the broker is there."""

import socket
from collections.abc import Iterator

import pytest
from confluent_kafka import KafkaError, KafkaException

from common.errors import Disconnected
from common.io.kafka_lifeline import PATIENCE_S, Lifeline, check_one

ALL_DOWN = KafkaError(KafkaError._ALL_BROKERS_DOWN)


class Client:
    """Answers, or does not."""

    def __init__(self, *, answers: bool) -> None:
        self.answers = answers
        self.asked = 0

    def list_topics(self, timeout: float) -> None:
        assert timeout > 0
        self.asked += 1
        if not self.answers:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))


@pytest.fixture
def listener() -> Iterator[str]:
    """Where something listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def nobody() -> str:
    """Where nothing listens."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{closed.getsockname()[1]}"


def cut_off() -> Lifeline:
    lifeline = Lifeline()
    lifeline.note(ALL_DOWN)
    return lifeline


def test_who_stays_cut_off_from_a_broker_that_is_there_must_restart(listener: str, nobody: str) -> None:
    """The patience begins when the broker is seen to listen, at any of its addresses."""
    lifeline, client = cut_off(), Client(answers=False)
    for second in range(1000):
        check_one([(lifeline, client)], nobody, second)
    addresses = f"{nobody}, {listener}"
    check_one([(lifeline, client)], addresses, 1000)
    check_one([(lifeline, client)], addresses, 1000 + PATIENCE_S)
    with pytest.raises(Disconnected, match="only a restart"):
        check_one([(lifeline, client)], addresses, 1001 + PATIENCE_S)


def test_who_finds_the_broker_again_has_nothing_to_fear(listener: str) -> None:
    """An answer ends the matter, and the next outage has its own patience."""
    lifeline, client = cut_off(), Client(answers=False)
    check_one([(lifeline, client)], listener, 0)
    client.answers = True
    check_one([(lifeline, client)], listener, PATIENCE_S)
    assert not lifeline.cut_off
    client.answers = False
    check_one([(lifeline, client)], listener, 10 * PATIENCE_S)
    lifeline.note(ALL_DOWN)
    check_one([(lifeline, client)], listener, 20 * PATIENCE_S)


def test_a_broker_that_goes_again_ends_the_wait(listener: str, nobody: str) -> None:
    """Only time in which the broker was there counts."""
    lifeline, client = cut_off(), Client(answers=False)
    check_one([(lifeline, client)], listener, 0)
    check_one([(lifeline, client)], nobody, PATIENCE_S)
    check_one([(lifeline, client)], listener, 2 * PATIENCE_S)


def test_clients_are_looked_after_in_turn(listener: str) -> None:
    """One of those that were cut off a second; one that never was is not asked."""
    clients = [Client(answers=False) for _ in range(3)]
    lifelines = [cut_off(), Lifeline(), cut_off()]
    for second in range(6):
        check_one(list(zip(lifelines, clients, strict=True)), listener, second)
    assert [client.asked for client in clients] == [3, 0, 3]


def test_other_errors_do_not_count() -> None:
    """A single connection that breaks is the library's to mend."""
    lifeline = Lifeline()
    lifeline.note(KafkaError(KafkaError._TRANSPORT))
    assert not lifeline.cut_off
