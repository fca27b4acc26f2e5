"""Traces found on a broker by their time, and what the command says of them."""

import json
import time
from collections.abc import Iterator
from functools import reduce
from typing import NamedTuple

import pytest

from common.codec import encode
from common.io.kafka import KafkaTransport
from common.io.mock_broker import FETCH_WAIT_MAX_MS, MockBroker
from common.messages import Decision, Fill, OrderStatus
from common.topics import EXECUTIONS
from common.trace import Trace
from scripts.trace import main
from tests.unit.execution.builders import PAIR
from tests.unit.traces.builders import READ_NS, SEQ, decided, filled, order_event, tick_records


class Kept(NamedTuple):
    """A broker that has a tick's records, and when its frame was read."""

    bootstrap_servers: str
    read_at_ns: int

    @property
    def id(self) -> str:
        return Trace.begin(self.read_at_ns).id


#: How long before it a frame was read on which an order was decided that is still open.
OPEN_EARLIER_NS = 200_000_000


def moved(trace: Trace, by_ns: int) -> Trace:
    """The same times, later."""
    first, *rest = trace.times_ns
    return reduce(lambda made, at_ns: made.with_time(at_ns + by_ns), rest, Trace.begin(first + by_ns))


@pytest.fixture(scope="module")
def kept() -> Iterator[Kept]:
    broker = MockBroker()
    transport = KafkaTransport(broker.bootstrap_servers, fetch_wait_max_ms=FETCH_WAIT_MAX_MS)
    producer = transport.producer()
    read_at_ns = time.time_ns()
    for found in (*tick_records(), *decided(), *filled()):
        producer.send(found.topic, PAIR, encode(found.message), trace=moved(found.trace, read_at_ns - READ_NS))
    still_open = order_event(OrderStatus.INTENT, SEQ + 5, "cb-0-12-x-2")
    producer.send(EXECUTIONS, PAIR, encode(still_open), trace=moved(decided()[0].trace, read_at_ns - OPEN_EARLIER_NS - READ_NS))
    producer.flush()
    yield Kept(broker.bootstrap_servers, read_at_ns)
    transport.close()
    broker.close()


def test_an_id_leads_to_tick_decision_order_and_fill(kept: Kept, capsys: pytest.CaptureFixture[str]) -> None:
    """The fill's own trace is another, which its order leads to; the beginning of an id will do."""
    for written in (kept.id, kept.id[:12]):
        assert main([written, "--bootstrap", kept.bootstrap_servers, "--json"], {}) == 0
        found = json.loads(capsys.readouterr().out)
        (way,) = found["ways"]
        assert (found["trace_id"], way["pair"]) == (kept.id, PAIR)
        assert [hop["service"] for hop in way["hops"]] == ["ingestion-service", "kalman-filter-service", "execution-service"]
        decisions = [found.message for found in decided() if isinstance(found.message, Decision)]
        fills = [found.message for found in filled() if isinstance(found.message, Fill)]
        assert [each["action"] for each in way["decisions"]] == [each.action for each in decisions]
        assert [each["trade_id"] for each in way["fills"]] == [each.trade_id for each in fills]


def test_an_order_that_is_still_open_is_looked_for_to_the_end(kept: Kept, capsys: pytest.CaptureFixture[str]) -> None:
    """However long ago it was decided; it shows as it stands."""
    written = Trace.begin(kept.read_at_ns - OPEN_EARLIER_NS).id
    assert main([written, "--bootstrap", kept.bootstrap_servers, "--json"], {}) == 0
    (way,) = json.loads(capsys.readouterr().out)["ways"]
    assert [(order["client_id"], order["status"]) for order in way["orders"]] == [("cb-0-12-x-2", "INTENT")]


def test_it_is_read_by_people_too(kept: Kept, capsys: pytest.CaptureFixture[str]) -> None:
    """By default it is lines; the broker may stand in the environment."""
    assert main([kept.id, "--pair", PAIR], {"KAFKA_BOOTSTRAP_SERVERS": kept.bootstrap_servers}) == 0
    assert capsys.readouterr().out.startswith(f"trace {kept.id}, read from the socket at ")


@pytest.mark.parametrize(
    ("written", "options", "said"),
    [
        ("{id:.6}", [], "{id:.6} is ambiguous, say more digits; among others there are {id}"),
        ("{id}", ["--pair", "A-B"], "trace {id} is of ETHUSDT-BTCUSDT, not of A-B"),
        ("0123456789abcdef", [], "retention has left ticks from"),
        ("7fffffffffffffff", [], "of which no record is there"),
    ],
)
def test_what_is_not_found_says_why(kept: Kept, capsys: pytest.CaptureFixture[str], written: str, options: list[str], said: str) -> None:
    """Status 1 and one line."""
    assert main([written.format(id=kept.id), "--bootstrap", kept.bootstrap_servers, *options], {}) == 1
    output, errors = capsys.readouterr()
    assert output == ""
    assert said.format(id=kept.id) in errors
    assert errors.count("\n") == 1


@pytest.mark.parametrize(("arguments", "environment"), [(["no-id"], {}), (["0123456789abcdef"], {"KAFKA_BOOTSTRAP_SERVERS": "nonsense"})])
def test_wrong_usage(arguments: list[str], environment: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """Status 2, before any broker is asked."""
    assert main(arguments, environment) == 2
    assert capsys.readouterr().err.startswith("trace: ")
