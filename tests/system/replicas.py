"""Single services as processes over a broker that a test feeds, without the rest of the pipeline."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple, Self

from common import messages as m
from common.codec import decoder_of
from common.io.kafka import KafkaTransport
from common.processor import Position, Record
from common.settings import Market
from common.topics import EXECUTIONS, HEDGE_RATIOS, RISK_SIGNALS
from scripts.embedded.monitor import ask
from scripts.embedded.options import ROOT
from scripts.offline import Offline, public_frames
from scripts.sessions.ledgers import Rows, ledger
from services.exchange_simulator.exchange_info import exchange_info
from services.exchange_simulator.store import Wanted, open_recording
from services.execution.ledger import LEDGER_FILE
from tests.replay.schedules import KLINES, Scenario
from tests.system.demo import PATIENCE_S, free_base_port

_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "LD_LIBRARY_PATH")


class Session(NamedTuple):
    """What execution read in an undisturbed run, bar by bar, and what came of it."""

    bars: Sequence[Sequence[Record]]
    ledger: Mapping[str, Rows]
    said: frozenset[m.Message]


def recorded(scenario: Scenario, folder: Path) -> Session:
    """Run the services in this process, and keep execution's inputs."""
    offline = Offline(scenario.settings, public_frames(scenario.frames, Market.FUTURES), scenario.rules, folder)
    offline.run()
    offline.stop()
    bars: dict[int, list[Record]] = {}
    for topic in (HEDGE_RATIOS, RISK_SIGNALS):
        for record in offline.broker.records(topic):
            if record.key:
                bars.setdefault(_bar_of(decoder_of(topic).decode(record.value)), []).append(record)
    said = frozenset(message for message in offline.messages(EXECUTIONS) if isinstance(message, m.Execution))
    return Session([bars[bar] for bar in sorted(bars)], ledger(folder / LEDGER_FILE), said)


def _bar_of(message: Any) -> int:
    match message:
        case m.HedgeRatio():
            return message.tick.bar
        case m.HedgeRatioClose():
            return message.close.bar
        case _:
            return int(message.bar)


def all_said(transport: KafkaTransport) -> list[m.Message]:
    """Everything on `executions` but progress."""
    ends = transport.end_offsets(EXECUTIONS)
    reader = transport.reader([Position(EXECUTIONS, partition, 0) for partition in ends])
    said: list[m.Message] = []
    left = sum(ends.values()) - sum(transport.oldest_offsets(EXECUTIONS).values())
    while left > 0:
        records = reader.poll(1.0)
        left -= len(records)
        said += [decoder_of(EXECUTIONS).decode(record.value) for record in records]
    reader.close()
    return [message for message in said if isinstance(message, m.Execution)]


@contextmanager
def venue(symbols: Sequence[str]) -> Iterator[str]:
    """A REST server that knows the symbols' rules and nothing else."""
    rules = open_recording(KLINES, Wanted(symbols=tuple(symbols))).rules
    document = json.dumps(exchange_info(Market.FUTURES, rules.values(), 0)).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(document)))
            self.end_headers()
            self.wfile.write(document)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@contextmanager
def feeding(transport: KafkaTransport, session: Session, pause_s: float) -> Iterator[Callable[[], None]]:
    """Send bar after bar beside the test, each a little after the one before; gives what lets the rest go at once."""
    hurry = threading.Event()
    producer = transport.producer()

    def feed() -> None:
        for bar in session.bars:
            for record in bar:
                producer.send(record.topic, record.key, record.value)
            hurry.wait(pause_s)
        producer.flush()

    thread = threading.Thread(target=feed)
    thread.start()
    yield hurry.set
    hurry.set()
    thread.join()


class Replica:
    """One service in a process of its own."""

    def __init__(self, module: str, folder: Path, settings: Mapping[str, str]) -> None:
        self.port = free_base_port()
        self._log, self._errors = folder / f"{self.port}.log", folder / f"{self.port}.err"
        inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        own = {"HTTP_PORT": str(self.port), "DATA_DIR": str(folder / "data"), "REDIS_URL": "", "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        with self._log.open("w", encoding="utf-8") as output, self._errors.open("w", encoding="utf-8") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module], cwd=folder, env={**inherited, **settings, **own}, stdin=subprocess.DEVNULL, stdout=output, stderr=errors
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    def info(self) -> Mapping[str, Any]:
        """What it says of itself; empty while it does not answer."""
        return ask(self.port, "/info")[1]

    def wait_for(self, role: str) -> float:
        """Wait until it has this role, ready; returns how long that took, seconds."""
        began_s = time.monotonic()
        self.wait_until(lambda: {"role": role, "ready": True}.items() <= self.info().items(), f"{role} and ready")
        return time.monotonic() - began_s

    def wait_until(self, condition: Callable[[], Any], what: str) -> None:
        """Wait while it lives; fails when it ends, or takes for ever, before the condition holds."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert self.process.poll() is None, f"ended before {what}:\n{self.said()}"
            assert time.monotonic() < deadline, f"never came: {what}\n{self.said()}"
            time.sleep(0.02)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def status(self) -> int:
        """Wait for its end."""
        return self.process.wait(PATIENCE_S)

    def said(self) -> str:
        """Its log and what it wrote to stderr."""
        return self._log.read_text(encoding="utf-8") + self._errors.read_text(encoding="utf-8")
