"""PAIRS changes between two starts, with real processes on a real Kafka: the topics and the ledger are kept, and everything goes on."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from common.io.kafka import KafkaTransport
from common.settings import Market
from common.topics import ALL_TOPICS
from scripts.embedded.monitor import ask
from scripts.embedded.options import ROOT, Options
from scripts.embedded.plan import SERVICES, SIMULATOR, SIMULATOR_PORT_OFFSET, environment_of, processes_of
from scripts.embedded.processes import Supervised, stop_all

ETH, SOL = "ETHUSDT-BTCUSDT", "SOLUSDT-BTCUSDT"
BASE_PORT, PATIENCE_S = 18_460, 60.0


class Stack:
    """Simulator and services over one Kafka; the services can be started anew with other pairs."""

    def __init__(self, bootstrap: str, folder: Path, prefix: str) -> None:
        self._bootstrap, self._folder, self._prefix = bootstrap, folder, prefix
        self.processes: dict[str, Supervised] = {}

    def start(self, *pairs: str) -> None:
        """Stop the services, and start them with these pairs; the simulator stays."""
        stop_all([self.processes.pop(name) for name in SERVICES if name in self.processes])
        options = Options("klines", ROOT / "data/klines/usdm-20250510", Market.FUTURES, pairs, "max", None, True, None, BASE_PORT, self._bootstrap, "")
        environment = environment_of(options, self._bootstrap, "", self._folder, {})
        environment |= {"TOPIC_PREFIX": self._prefix, "LEAD_TICKS": "10", "SYMBOLS": "BTCUSDT,ETHUSDT,SOLUSDT"}
        for process in processes_of(options, environment, self._folder / "logs"):
            if process.name not in self.processes:
                self.processes[process.name] = process
                process.start()
        self.wait_until(lambda: bool(self.details("ingestion-service").get("connected")), "a connection to the simulator")
        ask(BASE_PORT + SIMULATOR_PORT_OFFSET, "/simulator/start", method="POST")

    def details(self, service: str) -> dict[str, Any]:
        """Details of a service's health; empty while it does not answer."""
        return dict(ask(BASE_PORT + SERVICES[service][1], "/info")[1].get("details", {}))

    def wait_for_bars(self, session: int, bars: int) -> None:
        """Risk-manager has closed so many more bars of this session than when it was first seen there."""
        first: list[int] = []

        def passed() -> bool:
            closed = self.details("risk-manager-service").get("last_closed") or {}
            if closed.get("session") == session:
                first.append(closed["bar"])
            return bool(first) and first[-1] - first[0] >= bars

        self.wait_until(passed, f"{bars} bars of session {session}")

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait while all processes live."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            ended = {process.name: process.last_line() for process in self.processes.values() if process.pid is None}
            assert not ended
            assert time.monotonic() < deadline, f"never came: {what}"
            time.sleep(0.1)


@pytest.fixture
def stack(kafka_bootstrap_servers: str, tmp_path: Path) -> Iterator[Stack]:
    """Topics of its own, and nothing left behind."""
    prefix = f"pairs-{time.time_ns()}-"
    transport = KafkaTransport(kafka_bootstrap_servers, topic_prefix=prefix)
    transport.ensure_topics(ALL_TOPICS, 6)
    made = Stack(kafka_bootstrap_servers, tmp_path, prefix)
    yield made
    stop_all([made.processes[name] for name in (*SERVICES, SIMULATOR) if name in made.processes])
    transport.delete_topics(ALL_TOPICS)
    transport.close()


def test_a_pair_comes_and_goes(stack: Stack) -> None:
    """One pair, then two, then one again: each change is a session of its own, in which every configured pair is decided on."""
    for session, pairs in enumerate([(ETH,), (ETH, SOL), (SOL,)], start=1):
        stack.start(*pairs)
        stack.wait_for_bars(session, 20)
        execution = stack.details("execution-service")
        assert set(execution["pairs"]) == set(pairs)
        assert min(execution["last_bars"].values()) > 0
        assert stack.details("ingestion-service")["balanced"]
