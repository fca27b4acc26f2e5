"""The Compose files on a real engine: everything comes up, trades, scales and is watched."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scripts.dashboards.boards import BOARDS
from tests.engine.commands import commands_work_as_written
from tests.engine.operations import a_backup_is_restored_into_empty_volumes, each_broken_subject_is_the_one_bad_row, health_check_says_healthy
from tests.engine.stack import Stack, carry_out, compose_words, eventually, have_images, require_engine, run
from tests.repo.compose import PIPELINE

GATEWAY_PORTS = ("INGESTION_PORT", "KALMAN_FILTER_PORT", "GARCH_VOLATILITY_PORT", "EXECUTION_PORT", "RISK_MANAGER_PORT")


@pytest.fixture
def stack(tmp_path: Path, record_property: Callable[[str, object], None]) -> Iterator[Stack]:
    """The base file, up and healthy; taken down with its volumes at the end."""
    require_engine()
    made = Stack(record_property)
    made.environment["DEPLOY_LOG"] = str(tmp_path / "deploy.log")
    have_images(made)
    started = time.monotonic()
    try:
        # As people type it, by the older name where that is there: first what the services rest on, then everything.
        for line in (("kafka", "redis", "prometheus", "grafana"), ("--build",)):
            run(*compose_words()[-1], "up", "-d", *line, environment=made.environment)
        made.compose("up", "--detach", "--wait", "--wait-timeout", "400")
        made.say(f"healthy after {time.monotonic() - started:.0f} s")
        yield made
    finally:
        made.compose("down", "--volumes", "--timeout", "20")


def every_service_is_healthy_at_its_port(stack: Stack) -> None:
    """The gateway leads each usual port to its service."""
    for port, service in zip(GATEWAY_PORTS, PIPELINE, strict=True):
        report = stack.get(port, "/health")
        assert report is not None, service
        assert (report["service"], report["status"]) == (service, "pass")


def it_trades_by_itself(stack: Stack) -> None:
    """Without a key or an env file a first round trip comes of the shipped recording, under the demo's label."""
    assert eventually(lambda: any(float(each["value"][1]) > 0 for each in stack.metric("sum(crypto_bot_round_trips_total)")), 300)
    assert {each["metric"]["profile"] for each in stack.metric("crypto_bot_build_info")} == {"demo"}


def it_fits_its_memory(stack: Stack) -> None:
    """While it trades all containers together use less than 4 GB."""
    used = stack.memory_bytes()
    stack.say(f"{used / 2**20:.0f} MiB in use")
    assert used < 4 * 2**30


def it_is_watched(stack: Stack) -> None:
    """Prometheus reaches every target, the Watchdog reaches Alertmanager, Grafana has the dashboards and their data source."""
    assert eventually(lambda: {each["metric"]["job"] for each in stack.metric("up == 1")} == {*PIPELINE, "prometheus", "alertmanager"}, 60)
    assert eventually(lambda: "Watchdog" in {alert["labels"]["alertname"] for alert in stack.get("ALERTMANAGER_PORT", "/api/v2/alerts") or ()}, 60)
    assert {board.uid for board in BOARDS} <= {board["uid"] for board in stack.get("GRAFANA_PORT", "/api/search")}
    assert stack.get("GRAFANA_PORT", "/api/datasources/uid/prometheus/health")["status"] == "OK"


def what_people_use_inside_a_container_is_there(stack: Stack) -> None:
    """bash, curl, ping and sqlite3 work as user 10001 in a container that cannot be written."""
    script = (
        "set -e; id -u; ping -c 1 -q kafka >/dev/null; curl -sf http://prometheus:9090/-/healthy >/dev/null;"
        " sqlite3 /app/data/trading.db '.backup /app/data/backup.db'; sqlite3 /app/data/backup.db 'PRAGMA integrity_check'; ! touch /app/new 2>/dev/null"
    )
    assert stack.compose("exec", "-T", "execution-service", "/bin/bash", "-c", script).split() == ["10001", "ok"]


def models_scale_behind_one_port(stack: Stack) -> None:
    """Three filters are ready behind the one port, the idle ones too, and Prometheus sees each, and two volatility models."""
    scale = ("--scale", "kalman-filter-service=3", "--scale", "garch-volatility-service=2")
    run(*compose_words()[-1], "up", "-d", *scale, environment=stack.environment)
    for service, count in (("kalman-filter-service", 3), ("garch-volatility-service", 2)):
        assert eventually(lambda: len(stack.metric(f'crypto_bot_ready{{job="{service}"}} == 1')) == count, 60)  # noqa: B023
    seen: set[tuple[str, str]] = set()

    def all_answered() -> bool:
        report = stack.get("KALMAN_FILTER_PORT", "/health")
        seen.update({(report["instance"], report["role"])} if report else ())
        return len({instance for instance, _ in seen}) == 3

    assert eventually(all_answered, 30)
    assert {role for _, role in seen} == {"active", "idle"}


def a_stop_and_a_start_keep_everything(stack: Stack) -> None:
    """After `down` and `up` the broker, the ledger and the place in the recording go on where they stood."""
    ledger = ("exec", "-T", "execution-service", "sqlite3", "-readonly", "/app/data/trading.db")
    decisions = "SELECT count(*) FROM decisions"
    before, marked = int(stack.compose(*ledger, decisions)), int(stack.compose(*ledger, "SELECT max(bar) FROM marks"))
    stack.compose("down", "--timeout", "20")
    stack.compose("up", "--detach", "--wait", "--wait-timeout", "400")
    assert int(stack.compose(*ledger, decisions)) >= before > 0
    assert eventually(lambda: int(stack.compose(*ledger, "SELECT max(bar) FROM marks")) > marked + 20, 120)


def how_execution_is(stack: Stack) -> None:
    """Its diagnosis inside the container finds nothing amiss, but that risk may have halted trading: at this speed days of losses pass."""
    said = stack.compose("exec", "-T", "execution-service", "bash", "-c", "python -m services.execution.diagnostics || true")
    amiss = [line.split()[1] for line in said.splitlines() if line.startswith(("degraded", "failed"))]
    assert "verdict:" in said
    assert set(amiss) <= {"risk"}, said


def topics_may_be_applied_again(stack: Stack) -> None:
    """The one-shot service ends well at every start, and the topics are what they should be."""
    stack.compose("run", "--rm", "--no-deps", "topics", "python", "-m", "common.topics", "check")


def nobody_elses_stack_is_touched(_: Stack) -> None:
    """While a stack is there that a run did not start, it refuses to begin."""
    with pytest.raises(pytest.fail.Exception, match="did not start is there"):
        require_engine()


#: In this order, on one stack; several tests could come to run on two workers at once, which would each start one.
CHECKS: tuple[Callable[[Stack], None], ...] = (
    every_service_is_healthy_at_its_port,
    it_trades_by_itself,
    it_fits_its_memory,
    it_is_watched,
    what_people_use_inside_a_container_is_there,
    how_execution_is,
    models_scale_behind_one_port,
    a_stop_and_a_start_keep_everything,
    topics_may_be_applied_again,
    health_check_says_healthy,
    commands_work_as_written,
    each_broken_subject_is_the_one_bad_row,
    a_backup_is_restored_into_empty_volumes,
    nobody_elses_stack_is_touched,
)


def test_the_stack(stack: Stack, subtests: pytest.Subtests) -> None:
    """Everything comes up, trades, is watched, scales, and goes on after a stop; each check counts for itself."""
    carry_out(CHECKS, stack, subtests)
