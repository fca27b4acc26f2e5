"""What a fault hits: the work that is in flight at a kill, and what services drop since they have seen it before."""

import http.client
import re
import sqlite3
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from common.errors import TransportError
from common.processor import Transport
from common.topics import EXECUTIONS, HEDGE_RATIO_CLOSES, HEDGE_RATIOS, TICKS, VOLATILITY_THRESHOLDS, Topic
from scripts.embedded.servers import HOST
from scripts.sessions.ledgers import reading
from services.execution.ledger import LEDGER_FILE

_GROUPS = {"kalman-filter-service": TICKS, "garch-volatility-service": HEDGE_RATIO_CLOSES}
_FILES = {"execution-service": (LEDGER_FILE, (HEDGE_RATIOS,)), "risk-manager-service": ("risk.db", (VOLATILITY_THRESHOLDS, EXECUTIONS))}
_DROPPED = re.compile(r"^crypto_bot_records_dropped_total\{(?P<labels>[^}]*)\} (?P<value>\S+)$", re.MULTILINE)
_REASON = re.compile(r'reason="([^"]*)"')


class Evidence:
    """Measures from outside: by the broker's offsets and the databases, never by asking the victim."""

    def __init__(self, transport: Transport, data: Path) -> None:
        self._transport = transport
        self._data = data

    def in_flight(self, service: str) -> int | None:
        """Records that the service has yet to read, or would have to read again, and those it has yet to publish.

        None when it cannot be told, since the broker is away or the service has not begun.
        """
        try:
            if service in _GROUPS:
                topic = _GROUPS[service]
                committed = self._transport.committed(topic, f"crypto-bot-{service}")
                return sum(end - committed.get(partition, 0) for partition, end in self._transport.end_offsets(topic).items())
            if service in _FILES:
                name, topics = _FILES[service]
                return self._by_database(self._data / name, topics)
        except (TransportError, sqlite3.Error):
            pass
        return None

    def undecided(self) -> int | None:
        """Ticks that execution has not read past: what is on its way through the pipeline."""
        read = self.in_flight("kalman-filter-service"), self.in_flight("execution-service")
        return None if None in read else sum(filter(None, read))

    def _by_database(self, path: Path, topics: tuple[Topic, ...]) -> int:
        with reading(path) as connection:
            rows = connection.execute('SELECT topic, "partition", next_offset FROM positions').fetchall()
            ((waiting,),) = connection.execute("SELECT count(*) FROM outbox").fetchall()
        places = {(str(topic), int(partition)): int(offset) for topic, partition, offset in rows}
        ends = {(topic.name, partition): end for topic in topics for partition, end in self._transport.end_offsets(topic).items()}
        return int(waiting) + sum(end - places.get(place, 0) for place, end in ends.items())


def dropped(port: int) -> Mapping[str, int]:
    """What a service has dropped so far, by reason; nothing when it does not answer."""
    connection = http.client.HTTPConnection(HOST, port, timeout=1.0)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    except (OSError, http.client.HTTPException):
        return {}
    finally:
        connection.close()
    return dropped_in(text)


def dropped_in(text: str) -> Mapping[str, int]:
    """What a page of metrics says was dropped, by reason."""
    found: Counter[str] = Counter()
    for match in _DROPPED.finditer(text):
        reason = _REASON.search(match["labels"])
        found[reason[1] if reason else ""] += round(float(match["value"]))
    return found
