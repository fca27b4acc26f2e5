"""Brokers that tests share: librdkafka's own, and a real one where it can be had."""

import os
import random
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

from common.io.mock_broker import MockBroker
from services.garch_volatility.worker import use_one_thread
from tests.levels import ALL

# Before any test loads the numerics: fits in this process give the same digits as in a worker.
use_one_thread()

# What a property says holds however slow the machine is: nothing of it may depend on the clock.
hypothesis.settings.register_profile("any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("any machine")

KAFKA_SCRIPT = Path(__file__).parents[2] / "shared" / "rehearsal" / "kafka.sh"

#: Share the one Docker engine, and stacks on it their names.
ONE_AFTER_THE_OTHER = ("tests/engine/", "tests/monitoring/")


class Scheduler(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Each test goes to whoever is free; those of the engine all to one worker."""

    def _split_scope(self, nodeid: str) -> str:
        return "engine" if nodeid.startswith(ONE_AFTER_THE_OTHER) else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Scheduler | None:
    """Marks of groups do not reach xdist 3.8 with pytest 9.2, so the folder tells."""
    return Scheduler(config, log) if ALL else None


def pytest_xdist_auto_num_workers() -> int:
    """One per core; two where they have servers beside them."""
    return 2 if ALL else os.cpu_count() or 2


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what tests have measured: each says it with `record_property("says", ...)`, whatever worker it ran in."""
    calls = [report for reports in terminalreporter.stats.values() for report in reports if getattr(report, "when", "") == "call"]
    if said := [str(value) for report in calls for name, value in report.user_properties if name == "says"]:
        terminalreporter.section("what was measured")
        # A subtest's report carries what its test has said so far.
        for line in dict.fromkeys(said):
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def mock_broker() -> Iterator[MockBroker]:
    """One broker of librdkafka for the whole run; tests make topics of their own."""
    broker = MockBroker(topics=())
    yield broker
    broker.close()


@pytest.fixture(scope="session")
def kafka_bootstrap_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Kafka of its own for the whole run, with TEST_LEVEL=all only."""
    require_kafka()
    folder = str(tmp_path_factory.mktemp("kafka"))
    started = subprocess.run([KAFKA_SCRIPT, "start", "--port", str(two_free_ports()), "--dir", folder], capture_output=True, text=True, check=False)
    if started.returncode:
        # One that is merely slow would stay behind.
        subprocess.run([KAFKA_SCRIPT, "kill", "--dir", folder], capture_output=True, check=False)
        pytest.skip(f"needs a real Kafka, which does not start here: {started.stderr.strip()}")
    yield started.stdout.split()[-1]
    subprocess.run([KAFKA_SCRIPT, "stop", "--dir", folder], capture_output=True, check=True)


def require_kafka() -> None:
    """Skip the test where no real Kafka can be had, or none is asked for."""
    if not ALL:
        pytest.skip("needs a real Kafka: set TEST_LEVEL=all")
    if not KAFKA_SCRIPT.exists():
        pytest.skip(f"needs a real Kafka: {KAFKA_SCRIPT.name} is not beside the project")


def two_free_ports() -> int:
    """A free port whose successor is free too."""
    return free_ports(2)[0]


def free_ports(count: int) -> list[int]:
    """Free ports in a row, below those that systems give to clients: nobody takes one while a broker is away."""
    while True:
        first = random.randrange(20_000, 32_000, count)
        ports = list(range(first, first + count))
        if all(map(is_free, ports)):
            return ports


def is_free(port: int) -> bool:
    """Whether nobody listens on a port of loopback, nor has just done so."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
