"""Starting and stopping a service as a process: usage, settings, ports, brokers, signals, exit status."""

import json
import os
import signal
import socket
import subprocess
import sys
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from common import bootstrap
from common.bootstrap import StopSignal, connect, limits_of
from common.errors import TransportError
from common.io.http import listen
from common.settings import Settings
from common.version import VERSION
from tests.unit.bootstrapped import ExampleSettings, build

ROOT = Path(__file__).parents[2]


class Run:
    """A started service."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        with listen("127.0.0.1", 0) as free:
            self.port = free.getsockname()[1]
        variables = {"HTTP_PORT": str(self.port), "REDIS_URL": "redis://127.0.0.1:1/0", "PATH": os.environ["PATH"], **environment}
        command = [sys.executable, "-m", "tests.unit.bootstrapped", *arguments]
        self.process = subprocess.Popen(command, cwd=ROOT, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.seen: list[dict[str, Any]] = []

    def wait_for(self, event: str) -> dict[str, Any]:
        """Read the log up to an event."""
        assert self.process.stdout
        for text in self.process.stdout:
            self.seen.append(json.loads(text))
            if self.seen[-1]["event"] == event:
                return self.seen[-1]
        raise AssertionError(f"{event!r} was not logged: {self.seen} {self.end()}")

    def get(self, path: str) -> tuple[int, bytes]:
        """Ask the service."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def end(self) -> tuple[int, str, str]:
        """Wait for the end: status, the rest of stdout, stderr."""
        output, errors = self.process.communicate(timeout=20)
        return self.process.returncode, output, errors


@pytest.fixture
def runs() -> Iterator[list[Run]]:
    """Runs that are ended if a test does not."""
    started: list[Run] = []
    yield started
    for run in started:
        if run.process.poll() is None:
            run.process.kill()
        run.process.communicate()


def test_a_replica_keeps_its_name(runs: list[Run], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without INSTANCE it is called by host and port, in log and group: a restart takes its partitions back at once."""
    run = Run()
    runs.append(run)
    assert run.wait_for("started")["instance"] == f"{socket.gethostname()}-{run.port}"
    made = Mock()
    monkeypatch.setattr(bootstrap, "KafkaTransport", made)
    connect(Settings(), "example-service", "host-8001")
    assert made.call_args.kwargs["instance"] == "host-8001"


def test_a_broker_that_goes_away_during_the_start_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Away between the connection and the look at the topics: it connects again, until the time for the start is over."""
    made = Mock()
    monkeypatch.setattr(bootstrap, "KafkaTransport", made)
    made.return_value.require_topics.side_effect = [TransportError("away"), None]
    connect(Settings(), "example-service", "host-8001")
    assert made.return_value.connect.call_count == 2
    monkeypatch.setattr("common.bootstrap.time.monotonic", iter(range(0, 1000, 25)).__next__)
    made.return_value.require_topics.side_effect = TransportError("away")
    with pytest.raises(TransportError, match="away"):
        connect(Settings(), "example-service", "host-8001")


def test_a_service_s_life(runs: list[Run]) -> None:
    """It answers all pages, registers nothing when Redis is away, and ends cleanly on SIGTERM."""
    run = Run(CONTROL_TOKEN="hunter2", INSTANCE="host-7", KAFKA_BOOTSTRAP_SERVERS="kafka:9092")
    runs.append(run)
    run.wait_for("started")
    status, health = run.get("/health")
    assert (status, json.loads(health)["status"], json.loads(health)["instance"]) == (200, "pass", "host-7")
    assert [run.get(path)[0] for path in ("/health/live", "/health/ready", "/turns", "/nowhere")] == [200, 200, 200, 404]
    metrics = run.get("/metrics")[1].decode()
    assert 'crypto_bot_build_info{profile="standard",service="example-service",version="0.1.0"} 1.0' in metrics
    assert "crypto_bot_turns_total" in metrics
    sizes = dict(line.split() for line in metrics.splitlines() if line.startswith(("crypto_bot_disk_", "crypto_bot_memory_limit")))
    assert 0 < float(sizes["crypto_bot_disk_free_bytes"]) <= float(sizes["crypto_bot_disk_size_bytes"])
    assert float(sizes["crypto_bot_memory_limit_bytes"]) > 2**20
    info = json.loads(run.get("/info")[1])
    assert info["settings"]["control_token"] == "***"
    assert info["settings"]["kafka_bootstrap_servers"] == "kafka:9092"
    assert info["details"]["turns"] > 0
    run.process.send_signal(signal.SIGTERM)
    run.wait_for("snapshot taken")
    status, output, errors = run.end()
    assert (status, errors) == (0, "")
    everything = output + str(run.seen)
    assert "hunter2" not in everything
    assert sum("the registry is away" in line["event"] for line in run.seen) == 1


def test_interrupt_is_a_clean_stop(runs: list[Run]) -> None:
    """Ctrl-C stops like SIGTERM, and a second one changes nothing."""
    run = Run(REDIS_URL="")
    runs.append(run)
    run.wait_for("started")
    run.process.send_signal(signal.SIGINT)
    run.process.send_signal(signal.SIGINT)
    assert run.end()[0] == 0


def test_signal_during_the_start(runs: list[Run]) -> None:
    """A service that still waits for Kafka ends at once when asked to."""
    run = Run(BEHAVIOUR="slow-kafka", REDIS_URL="")
    runs.append(run)
    run.wait_for("connecting")
    run.process.send_signal(signal.SIGTERM)
    assert run.end()[0] == 0


def in_process(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str, **environment: str) -> tuple[object, str, str]:
    """Run what ends before anything is started: status, stdout, stderr."""
    monkeypatch.setattr(sys, "argv", ["example-service", *arguments])
    monkeypatch.setattr(os, "environ", environment)
    with pytest.raises(SystemExit) as ended:
        bootstrap.run("example-service", ExampleSettings, build)
    return ended.value.code, *capsys.readouterr()


def test_every_wrong_setting_is_listed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """All problems are shown at once with variable, value, rule and example, never a secret's value; status 2."""
    wrong = {"TURNS_TO_LIVE": "none", "BAR_INTERVAL_SECONDS": "0", "CONTROL_TOKEN_FILE": "/nowhere/token", "CONTROL_TOKEN": "hunter2"}
    status, output, errors = in_process(monkeypatch, capsys, **wrong)
    assert (status, output) == (2, "")
    assert errors.splitlines()[0] == "example-service: configuration: 3 problems"
    assert "BAR_INTERVAL_SECONDS='0': Expected `int` >= 1; for example BAR_INTERVAL_SECONDS=60" in errors
    assert "TURNS_TO_LIVE='none'" in errors
    assert "hunter2" not in errors


def test_help_lists_every_setting(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """--help shows every setting with its rule, even when the environment is wrong."""
    status, output, _ = in_process(monkeypatch, capsys, "--help", BAR_INTERVAL_SECONDS="nonsense")
    assert status == 0
    assert all(f"  {name.upper()}\n" in output for name in ExampleSettings.__struct_fields__)
    assert "secret; or a file named by the variable with _FILE" in output
    assert "whole number >= 1 and <= 60; default: 60" in output


def test_arguments_are_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """An argument is wrong usage: status 2 and a hint."""
    status, _, errors = in_process(monkeypatch, capsys, "--port", "1")
    assert status == 2
    assert errors == "example-service: takes no arguments, but got --port 1; --help lists its settings\n"


@pytest.mark.parametrize(
    ("behaviour", "status", "line"),
    [
        ("foreign-ledger", 2, "  ledger.db: belongs to another account"),
        ("no-kafka", 1, "example-service: example-service: no Kafka at localhost:9092"),
    ],
)
def test_what_cannot_start_says_why(runs: list[Run], behaviour: str, status: int, line: str) -> None:
    """Problems found while connecting or recovering are plain lines, not tracebacks."""
    run = Run(BEHAVIOUR=behaviour, REDIS_URL="")
    runs.append(run)
    returned, _, errors = run.end()
    assert returned == status
    assert line in errors.splitlines()
    assert "Traceback" not in errors


def test_failure_ends_the_process(runs: list[Run]) -> None:
    """A lost delivery ends the process with status 1, a traceback in the log and no snapshot."""
    run = Run(BEHAVIOUR="delivery", REDIS_URL="")
    runs.append(run)
    status, output, _ = run.end()
    assert status == 1
    lines = [json.loads(text) for text in output.splitlines()]
    failure = next(line for line in lines if line["level"] == "CRITICAL")
    assert "Traceback" in failure["exception"]
    assert not any(line["event"] == "snapshot taken" for line in lines)


def test_a_loop_that_does_not_stop_is_cut_off(runs: list[Run]) -> None:
    """A turn that never ends does not keep the process: it says so and ends with status 1 after the time-out."""
    run = Run(BEHAVIOUR="stuck", REDIS_URL="", STOP_TIMEOUT_S="0.3")
    runs.append(run)
    run.wait_for("started")
    run.process.send_signal(signal.SIGTERM)
    status, output, _ = run.end()
    assert status == 1
    assert "not stopped in time" in output


def test_port_in_use(runs: list[Run]) -> None:
    """A taken port is one line that names port, variable and fix; status 2."""
    with listen("127.0.0.1", 0) as taken:
        run = Run(HTTP_PORT=str(taken.getsockname()[1]))
        runs.append(run)
        status, _, errors = run.end()
    assert status == 2
    assert errors.splitlines()[0] == "example-service: configuration: 1 problem"
    assert "set HTTP_PORT to a free port" in errors


def test_limits_follow_the_settings() -> None:
    """Budgets come from the settings; an output may be due only once a bar, so longer bars allow longer silence."""
    limits = limits_of(Settings(step_budget_ms=250, dead_letter_limit=0.2, bar_interval_seconds=60))
    assert (limits.step_budget_s, limits.dead_letter_limit, limits.progress_within_s) == (0.25, 0.2, 150)


def test_stop_before_waiting_ends_at_once() -> None:
    """Until the loop runs a signal ends the program, afterwards it is remembered until it is waited for."""
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    try:
        stop = StopSignal()
        with pytest.raises(SystemExit):
            signal.raise_signal(signal.SIGTERM)
        stop.begin_waiting()
        assert not stop.wait(0)
        signal.raise_signal(signal.SIGTERM)
        assert stop.wait(0)
    finally:
        for number, handler in zip((signal.SIGTERM, signal.SIGINT), before, strict=True):
            signal.signal(number, handler)


def test_the_version_is_the_project_s() -> None:
    """What services say of their version is what the project's file says."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["version"] == VERSION
