"""Watching a run."""

import http.server
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from common import messages as m
from common.codec import encode
from common.io.memory import MemoryBroker, MemoryTransport
from common.topics import DEAD_LETTERS, EXECUTIONS, RISK_SIGNALS, VOLATILITY_THRESHOLDS
from scripts.embedded.monitor import TopicWatch, ask
from scripts.embedded.tally import Tally
from tests.unit.embedded.example import PAIR, dead_letter, decision, mark, signal, thresholds


def wait_until(condition: Callable[[], object]) -> None:
    """The watch has a thread of its own."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture
def broker() -> MemoryBroker:
    """A broker of this test."""
    return MemoryBroker(4)


@pytest.fixture
def watch(broker: MemoryBroker) -> Iterator[TopicWatch]:
    """A watch on the broker."""
    made = TopicWatch(MemoryTransport(broker), Tally((PAIR,)))
    yield made
    made.close()


def test_the_watch_counts_what_the_services_publish(broker: MemoryBroker, watch: TopicWatch) -> None:
    """Messages of all four topics end up in the tally."""
    producer = MemoryTransport(broker).producer()
    for topic, message in (
        (VOLATILITY_THRESHOLDS, thresholds()),
        (EXECUTIONS, decision()),
        (EXECUTIONS, mark(end=True)),
        (RISK_SIGNALS, signal()),
        (DEAD_LETTERS, dead_letter()),
    ):
        producer.send(topic, PAIR, encode(message))
    wait_until(lambda: watch.tally.ended and watch.tally.dead_letters)
    with watch.lock:
        assert (watch.tally.counts["decisions"], watch.tally.counts["bars"], watch.tally.bars_by_model) == (1, 1, {"EWMA": 1})
    assert watch.problem == ""


def test_a_record_that_cannot_be_read_is_a_problem_and_no_end(broker: MemoryBroker, watch: TopicWatch) -> None:
    """The topic is named, and what comes after it is still counted."""
    producer = MemoryTransport(broker).producer()
    producer.send(EXECUTIONS, PAIR, encode(m.WriterEpoch(epoch=1)))
    producer.send(EXECUTIONS, PAIR, encode(decision()))
    wait_until(lambda: watch.tally.counts["decisions"])
    assert watch.problem.startswith("executions holds a record that cannot be read")


class Answers(http.server.BaseHTTPRequestHandler):
    """Answers by path."""

    def do_GET(self) -> None:
        body = {"/good": b'{"pid": 7}', "/list": b"[1]", "/bad": b"<html>"}.get(self.path, b'{"status": "fail"}')
        self.send_response(503 if self.path == "/fail" else 200)
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def port() -> Iterator[int]:
    """Port of a server that answers."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_answer_is_a_status_and_a_body(port: int) -> None:
    """Whatever the status; what is no JSON object is an empty body or no answer."""
    assert ask(port, "/good") == (200, {"pid": 7})
    assert ask(port, "/fail", method="POST") == (503, {"status": "fail"})
    assert ask(port, "/list") == (200, {})
    assert ask(port, "/bad") == (0, {})


def test_nobody_there_is_no_answer() -> None:
    """A service that is down, or does not answer in time, is (0, {})."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert ask(port, "/info", timeout_s=0.05) == (0, {})
    assert ask(port, "/info") == (0, {})
