"""Watches a run: reads what the services publish and asks them how they are."""

import http.client
import threading
from collections.abc import Mapping
from typing import Any

import msgspec

from common.codec import decoder_of
from common.errors import InvalidRecord, TransportError
from common.processor import Consumer, Position, Transport
from common.topics import DEAD_LETTERS, EXECUTIONS, RISK_SIGNALS, VOLATILITY_THRESHOLDS, Topic
from scripts.embedded.servers import HOST
from scripts.embedded.tally import Tally

_WATCHED = (EXECUTIONS, RISK_SIGNALS, VOLATILITY_THRESHOLDS, DEAD_LETTERS)


class TopicWatch:
    """Feeds a tally from the topics, in a thread of its own."""

    def __init__(self, transport: Transport, tally: Tally) -> None:
        self.tally = tally
        self.problem = ""
        self.lock = threading.Lock()
        self._decoders = {topic: decoder_of(topic) for topic in _WATCHED}
        self._reader: Consumer = transport.reader([Position(topic, number, 0) for topic in _WATCHED for number in range(transport.partitions(topic))])
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="topics", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                records = self._reader.poll(0.1)
            except TransportError as error:
                self.problem = f"the watcher lost the broker: {error}"
                return
            with self.lock:
                for record in records:
                    self._add(record.topic, record.value)

    def _add(self, topic: Topic, value: bytes) -> None:
        try:
            self.tally.add(self._decoders[topic].decode(value))
        except InvalidRecord as error:
            self.problem = f"{topic} holds a record that cannot be read: {error}"

    def close(self) -> None:
        """Stop watching."""
        self._stop.set()
        self._thread.join(5)
        self._reader.close()


def serves_pages(port: int) -> bool:
    """Whether the dashboard of this machine answers."""
    connection = http.client.HTTPConnection(HOST, port, timeout=1.0)
    try:
        connection.request("GET", "/_stcore/health")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def ask(port: int, path: str, *, method: str = "GET", timeout_s: float = 2.0) -> tuple[int, Mapping[str, Any]]:
    """Status and JSON body of a request to a local service; (0, {}) when it does not answer."""
    connection = http.client.HTTPConnection(HOST, port, timeout=timeout_s)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        body = msgspec.json.decode(response.read())
        return response.status, body if isinstance(body, dict) else {}
    except (OSError, http.client.HTTPException, msgspec.DecodeError):
        return 0, {}
    finally:
        connection.close()
