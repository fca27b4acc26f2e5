"""Whether the clients of a process still find the broker.

librdkafka 2.10 to 2.16 can lose every address for good, bootstrap servers too: a broker that stops answers a last question
about topics with an empty list of brokers (its issue 5301). Such a client never connects again and tells nobody.
"""

import socket
from collections.abc import Callable, Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from common.errors import Disconnected

#: How long a client may take to find a broker that is there.
PATIENCE_S = 30.0
_ANSWER_TIMEOUT_S = 0.5


class Lifeline:
    """Of one client: whether it may be cut off, by what its `error_cb` hears."""

    def __init__(self) -> None:
        self.cut_off = False
        self._there_since_s: float | None = None

    def note(self, error: KafkaError) -> None:
        """Take an error in."""
        if error.code() == KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001 - librdkafka's own codes begin with an underscore
            self.cut_off = True

    def check(self, client: Any, is_there: Callable[[], bool], now_s: float) -> None:
        """Look whether the client is connected again; raises Disconnected when it stays cut off from a broker that is there."""
        if _answers(client):
            self.cut_off, self._there_since_s = False, None
        elif not is_there():
            self._there_since_s = None
        elif self._there_since_s is None:
            self._there_since_s = now_s
        elif now_s - self._there_since_s > PATIENCE_S:
            raise Disconnected(f"a client has not found the broker for {PATIENCE_S:.0f} s, though it is there: only a restart of the process helps")


def check_one(clients: Sequence[tuple[Lifeline, Any]], bootstrap_servers: str, now_s: float) -> None:
    """Look after one of the clients that were cut off, another each second; raises Disconnected when it stays so though a broker is there."""
    cut_off = [(lifeline, client) for lifeline, client in clients if lifeline.cut_off]
    if cut_off:
        lifeline, client = cut_off[int(now_s) % len(cut_off)]
        lifeline.check(client, lambda: _is_there(bootstrap_servers), now_s)


def _is_there(bootstrap_servers: str) -> bool:
    addresses = [address.strip().rpartition(":") for address in bootstrap_servers.split(",")]
    return any(_listens(host, int(port)) for host, _, port in addresses if port.isdecimal())


def _answers(client: Any) -> bool:
    try:
        client.list_topics(timeout=_ANSWER_TIMEOUT_S)
    except KafkaException:
        return False
    return True


def _listens(host: str, port: int) -> bool:
    try:
        socket.create_connection((host.strip("[]"), port), _ANSWER_TIMEOUT_S).close()
    except OSError:
        return False
    return True
