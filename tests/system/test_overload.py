"""A live feed that comes as fast as it is read, real processes on a real Kafka: memory stays flat, the newest is kept, nobody starves another."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from scripts.bench.figures import FLAT_OUT, Case
from scripts.bench.looped import looped
from scripts.bench.pipeline import PAIR, Pipeline, Plan
from scripts.embedded.monitor import ask
from scripts.embedded.options import ROOT
from scripts.embedded.plan import SERVICES

BASE_PORT = 18_440
#: Enough for half a minute as fast as it goes; the run ends before.
RECORDED_S = 1_900
FLAT_OUT_S, PAUSED_S = 6.0, 2.5
PATIENCE_S = 40.0
#: Budgets, and how much a process may grow while it is overloaded.
MOST_MB = {
    "ingestion-service": 150,
    "kalman-filter-service": 150,
    "garch-volatility-service": 450,
    "risk-manager-service": 450,
    "execution-service": 250,
}
MOST_GROWTH_MB = 25


class Overloaded:
    """A running pipeline and what its services say."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    def details(self, service: str) -> dict[str, Any]:
        """Details of a service's health."""
        port = BASE_PORT + SERVICES[service][1]
        return dict(ask(port, "/info", timeout_s=10)[1]["details"])

    @property
    def books(self) -> dict[str, Any]:
        """Ingestion's books."""
        return self.details("ingestion-service")

    @property
    def last_seq(self) -> int:
        """The last seq that execution has decided."""
        return int(self.details("execution-service")["last_seqs"][PAIR])

    def resident_mb(self) -> dict[str, float]:
        """Memory of each service."""
        return {name: usage.rss_mb for name, usage in self._pipeline.usage().items() if name in MOST_MB}

    def total(self, service: str, metric: str) -> int:
        """Sum of a metric over its labels."""
        return self._pipeline.metrics(service).total(metric)

    @contextmanager
    def paused(self, service: str) -> Iterator[None]:
        """A process that stands still without being gone."""
        pid = int(ask(BASE_PORT + SERVICES[service][1], "/info")[1]["pid"])
        os.kill(pid, signal.SIGSTOP)
        try:
            time.sleep(PAUSED_S)
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for something that the pipeline must come to by itself."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, f"never came: {what}"
            time.sleep(0.1)

    def wait_until_it_keeps_up(self) -> None:
        """The newest is decided on again: ingestion writes more than one tick a bar."""
        before = self.books
        self.wait_until(lambda: self.books["ticks"] - before["ticks"] > 200 + 2 * (self.books["bars"] - before["bars"]), "decisions on the newest ticks")


@pytest.fixture
def overloaded(kafka_bootstrap_servers: str, tmp_path: Path) -> Iterator[Overloaded]:
    """The pipeline, playing flat out."""
    recording = looped(ROOT / "data/ticks/usdm-20240808", tmp_path / "recordings", RECORDED_S, print)
    with Pipeline(
        Plan(kafka_bootstrap_servers, recording, Case(FLAT_OUT, "every-tick"), tmp_path, BASE_PORT, {"BAR_INTERVAL_SECONDS": "1"}), print
    ) as pipeline:
        pipeline.play()
        made = Overloaded(pipeline)
        made.wait_until(lambda: made.last_seq > 100, "the first decisions")
        yield made


def test_overload_keeps_the_newest_and_nothing_grows(overloaded: Overloaded) -> None:
    """Flat out, with garch and then the filter standing still for a while: conflation, no growth, the others go on, and all are back afterwards."""
    at_first = overloaded.resident_mb()
    time.sleep(FLAT_OUT_S)
    assert overloaded.books["conflated"] > 1000

    before, expired = overloaded.last_seq, overloaded.total("execution-service", "crypto_bot_holds_expired_total")
    with overloaded.paused("garch-volatility-service"):
        assert overloaded.last_seq > before, "the filter and execution decide without thresholds"
        assert overloaded.total("execution-service", "crypto_bot_holds_expired_total") > expired, "and only to reduce"
    overloaded.wait_until_it_keeps_up()

    with overloaded.paused("kalman-filter-service"):
        books = overloaded.books
        time.sleep(PAUSED_S)
        later = overloaded.books
        assert later["conflated"] > books["conflated"] + 1000
        assert later["ticks"] - books["ticks"] <= later["bars"] - books["bars"] + 1, "one tick a bar, the newest"
        written = later["ticks"] + later["bars"]
    overloaded.wait_until(lambda: overloaded.last_seq > written, "decisions on what came meanwhile")
    overloaded.wait_until_it_keeps_up()

    books, memory = overloaded.books, overloaded.resident_mb()
    assert books["balanced"]
    assert books["dead_letters"] == 0
    assert overloaded.total("execution-service", "crypto_bot_sequence_gaps_total") == 0
    assert {name: mb for name, mb in memory.items() if mb > MOST_MB[name]} == {}
    assert {name: mb for name, mb in memory.items() if mb > at_first[name] + MOST_GROWTH_MB} == {}
