"""`python -m services.execution.diagnostics`: how execution is, beside a running one or without one; changes nothing.

Everything is asked at once and given up after a moment. The ledger is read only, and its lease is left alone.
"""

import argparse
import logging
import os
import shutil
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from common.errors import ConfigurationError, TransportError
from common.io.exchange import ExchangeClient
from common.io.kafka import KafkaTransport
from common.io.kafka_security import security_settings
from common.io.logs import redact, redact_text
from common.io.registry import redis_client
from common.messages import OrderEvent
from common.settings import load
from common.topics import ALL_TOPICS
from common.version import VERSION
from services.execution.diagnosis import Finding, State, as_document, as_lines, clock_of, decisions_of, intents_of, limits_of, positions_of, risk_of, worst
from services.execution.ledger import LEDGER_FILE
from services.execution.settings import ExecutionSettings
from services.execution.state import PairState

#: What does not answer by then counts as away, seconds; the second is for everything together.
ANSWER_S = 1.5
DEADLINE_S = 2.0
#: Checking a large file is broken off after this, seconds.
INTEGRITY_S = 1.5
LAST_DECISIONS = 5
#: Newest order events that are looked through for orders that are not final: those of many more orders than may work at once.
_ORDER_EVENTS = 5000
_LEAST_FREE_BYTES = 256 * 2**20

Probe = Callable[[ExecutionSettings], list[Finding]]


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Exit status: 0 all is well, 1 something is degraded or failed, 2 wrong usage or settings."""
    options = _parser().parse_args(arguments)
    try:
        settings = load(ExecutionSettings, environment)
    except ConfigurationError as error:
        sys.stderr.write("".join(f"diagnostics: {problem}\n" for problem in error.problems))
        return 2
    findings = examine(settings)
    if options.json:
        about = {"checked_at": datetime.now(UTC).isoformat(timespec="seconds"), "version": VERSION, "exchange": settings.exchange.value}
        document = redact(as_document(findings, **about, market=settings.binance_market.value))
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n")
    else:
        sys.stdout.write("".join(f"{redact_text(line)}\n" for line in as_lines(findings)))
    return 0 if worst(findings) is State.OK else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m services.execution.diagnostics",
        description="Say how execution is: ledger, positions, open intents, connections, clock, limits, risk state, last decisions. Changes nothing.",
        epilog="It is set up by the same environment variables as execution. Exit status: 0 all is well, 1 degraded or failed, 2 wrong usage or settings.",
    )
    parser.add_argument("--json", action="store_true", help="one JSON document instead of lines")
    return parser


def examine(settings: ExecutionSettings) -> list[Finding]:
    """Every subject, all asked at once."""
    found: dict[Probe, list[Finding]] = {}
    threads = [threading.Thread(target=lambda probe=probe: found.update({probe: _asked(probe, settings)}), daemon=True) for probe in _PROBES]
    give_up_at = time.monotonic() + DEADLINE_S
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, give_up_at - time.monotonic()))
    answers = dict(found)
    return [finding for probe in _PROBES for finding in _complete(answers.get(probe), _PROBES[probe])] + [limits_of(settings)]


def _asked(probe: Probe, settings: ExecutionSettings) -> list[Finding]:
    subject = _PROBES[probe][0]
    try:
        return probe(settings)
    except (ConfigurationError, TransportError) as error:
        return [Finding(subject, State.FAILED, str(error).replace("\n", "; "))]
    except Exception as error:  # noqa: BLE001 - whatever breaks a probe is what we are to tell
        return [Finding(subject, State.FAILED, f"{type(error).__name__}: {error}")]


def _complete(found: list[Finding] | None, subjects: tuple[str, ...]) -> list[Finding]:
    """A finding for each subject: what rests on one that failed is not known."""
    found = found or [Finding(subjects[0], State.FAILED, f"no answer within {DEADLINE_S:g} s")]
    known = {finding.subject for finding in found}
    return found + [Finding(subject, State.FAILED, f"not known without the {subjects[0]}") for subject in subjects if subject not in known]


# --- ledger ----------------------------------------------------------------------------------------------------------


def _ledger(settings: ExecutionSettings) -> list[Finding]:
    path = Path(settings.data_dir) / LEDGER_FILE
    pairs = [str(pair) for pair in settings.trading_pairs()]
    if not path.exists():
        return [Finding("ledger", State.FAILED, f"{path} is not there: execution has not started with this DATA_DIR yet")]
    sizes = _sizes(path)
    try:
        with closing(_open(path)) as connection:
            # One transaction: what is read first and last is of the same moment, however much is written meanwhile.
            connection.execute("BEGIN")
            states = {pair: msgspec.json.decode(text, type=PairState) for pair, text in connection.execute("SELECT pair, state FROM pairs")}
            orders = _newest_orders(connection)
            return [
                _file_of(path, connection, settings, sizes),
                positions_of(states, pairs),
                intents_of(orders, states),
                risk_of(states, pairs),
                decisions_of(_last_decisions(connection)),
            ]
    except (sqlite3.Error, msgspec.DecodeError) as error:
        return [Finding("ledger", State.FAILED, f"{path} cannot be read ({error}); stop execution, keep the file and restore a backup", sizes)]


def _open(path: Path) -> sqlite3.Connection:
    """Open read only. A file that is open anywhere has its write-ahead log beside it; without one nothing changes, and even a reader would make one."""
    mode = "mode=ro" if path.with_name(f"{path.name}-wal").exists() else "mode=ro&immutable=1"
    connection = sqlite3.connect(f"file:{path}?{mode}", uri=True, timeout=ANSWER_S, isolation_level=None)
    connection.execute("PRAGMA query_only=ON")
    return connection


def _file_of(path: Path, connection: sqlite3.Connection, settings: ExecutionSettings, sizes: Mapping[str, Any]) -> Finding:
    stored = dict(connection.execute("SELECT name, value FROM stamps").fetchall())
    foreign = [f"{name} is {stored.get(name)!r}, not {value!r}" for name, value in settings.stamp.items() if stored.get(name) != value]
    integrity = _integrity(connection)
    details: dict[str, Any] = {**sizes, "integrity": integrity, "stamp": stored, "writer": _writer(connection)}
    free_bytes = shutil.disk_usage(path.parent).free
    problems = [f"damaged: {integrity}"] if integrity not in {"ok", _UNFINISHED} else []
    problems += [f"belongs to another account ({'; '.join(foreign)})"] if foreign else []
    if problems:
        return Finding("ledger", State.FAILED, f"{path}: {'; '.join(problems)}", details)
    text = f"{path}: {details['size_bytes'] / 2**20:.1f} MB, last write {details['last_write']}, integrity {integrity}, {details['writer']}"
    if free_bytes < _LEAST_FREE_BYTES:
        return Finding("ledger", State.DEGRADED, f"{text}; only {free_bytes / 2**20:.0f} MB of disk are left", details)
    return Finding("ledger", State.OK, text, details)


_UNFINISHED = "not checked to the end in time"


def _integrity(connection: sqlite3.Connection) -> str:
    """Let SQLite check the whole file; broken off when that takes long."""
    timer = threading.Timer(INTEGRITY_S, connection.interrupt)
    timer.start()
    try:
        return "; ".join(str(line) for (line,) in connection.execute("PRAGMA integrity_check(5)").fetchall())
    except sqlite3.OperationalError as error:
        if "interrupted" in str(error):
            return _UNFINISHED
        raise
    finally:
        timer.cancel()


def _sizes(path: Path) -> dict[str, Any]:
    files = [path, *(file for file in (path.with_name(f"{path.name}-wal"),) if file.exists() and file.stat().st_size)]
    written = datetime.fromtimestamp(max(file.stat().st_mtime for file in files), UTC)
    return {"path": str(path), "size_bytes": sum(file.stat().st_size for file in files), "last_write": written.isoformat(timespec="seconds")}


def _writer(connection: sqlite3.Connection) -> str:
    """Who wrote it last; whether that one still lives is not asked, for it would mean to touch its lease."""
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'lease'").fetchall():
        return "no writer yet"
    rows = connection.execute("SELECT holder, epoch FROM lease").fetchall()
    return f"last writer {rows[0][0]} (epoch {rows[0][1]})" if rows else "no writer yet"


def _newest_orders(connection: sqlite3.Connection) -> list[OrderEvent]:
    newest: dict[str, str] = {}
    for client_id, payload in connection.execute("SELECT client_id, payload FROM order_events ORDER BY id DESC LIMIT ?", (_ORDER_EVENTS,)):
        newest.setdefault(client_id, payload)
    return [msgspec.json.decode(payload, type=OrderEvent) for payload in newest.values()]


def _last_decisions(connection: sqlite3.Connection) -> list[dict[str, Any]]:
    names = ("pair", "session", "bar", "seq", "action", "reason", "z")
    rows = connection.execute(f"SELECT {', '.join(names)} FROM decisions ORDER BY id DESC LIMIT ?", (LAST_DECISIONS,))  # noqa: S608 - our own names
    return [dict(zip(names, row, strict=True)) for row in rows]


# --- connections -----------------------------------------------------------------------------------------------------


def _kafka(settings: ExecutionSettings) -> list[Finding]:
    transport = KafkaTransport(
        settings.kafka_bootstrap_servers, client_id="diagnostics", topic_prefix=settings.topic_prefix, security=security_settings(settings)
    )
    transport.connect(ANSWER_S)
    transport.require_topics(ALL_TOPICS, 0)
    return [Finding("kafka", State.OK, f"{settings.kafka_bootstrap_servers} answers and has all {len(ALL_TOPICS)} topics")]


def _redis(settings: ExecutionSettings) -> list[Finding]:
    client = redis_client(settings.redis_url, settings.redis_password, settings.redis_ca_file)
    if client is None:
        return [Finding("redis", State.OK, "none is configured")]
    shown = redact_text(settings.redis_url)
    try:
        client.ping()
    except Exception as error:  # noqa: BLE001 - whatever it says: trading goes on without it
        return [Finding("redis", State.DEGRADED, f"{shown} does not answer ({type(error).__name__}: {error}); the registry is away, trading is not touched")]
    return [Finding("redis", State.OK, f"{shown} answers")]


def _venue(settings: ExecutionSettings) -> list[Finding]:
    client = ExchangeClient(settings.binance_market, settings.rest_url, timeout_s=ANSWER_S)
    try:
        offset_ns = client.clock_offset_ns(time.time_ns)
    finally:
        client.close()
    return [Finding("venue", State.OK, f"{settings.rest_url} answers"), clock_of(offset_ns)]


#: What is asked, and the subjects that it answers, the first being what all others of it rest on.
_PROBES: Mapping[Probe, tuple[str, ...]] = {
    _ledger: ("ledger", "positions", "intents", "risk", "decisions"),
    _kafka: ("kafka",),
    _redis: ("redis",),
    _venue: ("venue", "clock"),
}


if __name__ == "__main__":
    # What the libraries have to say is in the findings.
    logging.disable(logging.CRITICAL)
    status = main(sys.argv[1:], os.environ)
    sys.stdout.flush()
    # A probe that hangs must not keep us.
    os._exit(status)
