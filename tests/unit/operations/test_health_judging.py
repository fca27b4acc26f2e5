"""What the servers answer, judged: services, Kafka, Redis, monitoring."""

import json
from pathlib import Path
from typing import Any

import pytest

from common.topics.differences import Difference, Remedy
from scripts.operations import health_broker as broker
from scripts.operations import health_monitoring as monitoring
from scripts.operations import health_services as services
from scripts.operations.health_containers import Container
from scripts.operations.health_rows import Row, State, explained
from scripts.operations.health_services import Answer
from tests.repo.tree import ROOT

AWAY = Answer(0, None, "does not answer")
UNWELL = Answer(503, {"role": "active", "reason": "the broker is away"}, "/health answers 503")


def good(body: Any) -> Answer:
    return Answer(200, body, "")


def replica(service: str, number: int = 1, address: str = "10.0.0.2") -> Container:
    return Container(service, f"{service}-{number}", address, "running", "healthy", 0, 0, "", "", out_of_memory=False)


KALMAN = replica("kalman-filter-service")

# --- services ---------------------------------------------------------------------------------------------------------


def test_a_replica_speaks_for_itself() -> None:
    """Its role when it is well, its own reason when it is not; down only without another that is well."""
    assert services.replica_row(KALMAN, good({"role": "idle"}), [])[2:4] == (State.OK, "idle")
    assert services.replica_row(KALMAN, UNWELL, [])[2:4] == (State.DOWN, "the broker is away")
    assert services.replica_row(KALMAN, AWAY, [good({})])[2:4] == (State.DEGRADED, "does not answer")


def test_a_replica_follows_what_feeds_it() -> None:
    """While the simulator is away ingestion says so at once, long before its container counts as unhealthy; that is no fault of its own."""
    away = Row("container", "exchange-simulator", State.DOWN, "exited")
    _, row = explained([away, services.replica_row(replica("ingestion-service"), UNWELL, [])])
    assert (row.state, row.because_of) == (State.FOLLOWS, "container exchange-simulator")


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("# HELP crypto_bot_consumer_lag_records x\ncrypto_bot_consumer_lag_records 5000.0\ncrypto_bot_consumer_lag_records_created 9e9\n", State.OK),
        ("crypto_bot_consumer_lag_records 5001.0", State.DEGRADED),
        ("crypto_bot_ready 1.0", State.DEGRADED),
    ],
)
def test_a_replica_may_be_behind_only_so_far(text: str, state: State) -> None:
    """At the limit is well, beyond it and unknown are not."""
    assert services.lag_row(KALMAN, good(text)).state is state
    assert services.lag_row(KALMAN, AWAY).state is State.DEGRADED


def test_an_endpoint_of_the_pipeline_matters_more_than_a_page() -> None:
    """A service that cannot be reached is down, a page degraded; the service's own reason is told."""
    row = services.endpoint_row("execution-service", "gateway:8003", UNWELL, ())
    assert (row.state, row.text) == (State.DOWN, "gateway:8003: the broker is away")
    assert services.endpoint_row("streamlit", "streamlit:8501", AWAY, ()).state is State.DEGRADED
    assert services.endpoint_row("streamlit", "streamlit:8501", good("ok"), ()).state is State.OK


@pytest.mark.parametrize(
    ("roles", "state"),
    [(["active", "standby"], State.OK), (["standby", "standby"], State.DOWN), (["active", "active"], State.DEGRADED), ([], State.DOWN)],
)
def test_one_replica_writes_the_ledger(roles: list[str], state: State) -> None:
    """Nobody is down; two are told."""
    assert services.writer_row({str(number): good({"role": role}) for number, role in enumerate(roles)}).state is state


def test_a_halt_is_shown_and_is_no_fault() -> None:
    """Each halt has its row with who and why; none is one row; not knowing is a fault."""
    halt = {"target": "portfolio", "verdict": "HALTED", "rule": "drawdown", "who": "risk-manager", "why": "lost 10 %"}
    (row,) = services.halt_rows(good({"halts": [halt]}), ())
    assert (row.state, row.subject) == (State.NOTE, "halt of portfolio")
    assert "HALTED by drawdown (risk-manager: lost 10 %)" in row.text
    assert [each.state for each in services.halt_rows(good({"halts": []}), ())] == [State.OK]
    assert [each.state for each in services.halt_rows(UNWELL, ())] == [State.DEGRADED]


def test_positions_are_told() -> None:
    """What is held is named."""
    row = services.position_row(good({"positions": [{"pair": "A-B", "state": "OPEN"}, {"pair": "C-B", "state": "IDLE"}]}), ())
    assert row.text == "1 of 2 pairs hold a position: A-B"


REDIS = {"aof_enabled": 1, "aof_last_write_status": "ok", "maxmemory_policy": "allkeys-lru", "used_memory": 2**20, "maxmemory": 2**28}


@pytest.mark.parametrize(
    ("change", "problem", "reason"),
    [
        ({}, "", ""),
        ({}, "does not answer", "does not answer"),
        ({"aof_enabled": 0}, "", "append-only file is off"),
        ({"aof_last_write_status": "err"}, "", "aof_last_write_status is err"),
        ({"maxmemory_policy": "noeviction"}, "", "noeviction"),
    ],
)
def test_redis_keeps_what_it_is_told(change: dict[str, Any], problem: str, reason: str) -> None:
    """It answers, writes its append-only file and evicts rather than refuses."""
    row = services.redis_row(REDIS | change if not problem else {}, problem)
    assert (row.state is State.OK) == (not reason)
    assert reason in row.text


def test_each_replica_is_announced() -> None:
    """A replica that the registry does not name is a fault of its own row."""
    other = replica("kalman-filter-service", 2)
    asked = [(KALMAN, good({"instance": "host-8001"})), (other, good({"instance": "other-8001"}))]
    rows = services.registry_rows(asked, ["kalman-filter-service:host-8001"])
    assert [(row.subject, row.state) for row in rows] == [(KALMAN.name, State.OK), (other.name, State.DEGRADED)]


# --- Kafka ------------------------------------------------------------------------------------------------------------


def test_topics_have_a_row_each() -> None:
    """Only the topic that differs is a fault, with what differs and how to mend it."""
    difference = Difference("ticks", "partitions", "6", "none", Remedy.CREATE, "")
    rows = broker.topic_rows(["ticks", "commands"], [difference], "")
    assert [row.state for row in rows] == [State.DEGRADED, State.OK]
    assert str(difference) in rows[0].text
    assert {row.state for row in broker.topic_rows(["ticks", "commands"], [], "away")} == {State.DEGRADED}


@pytest.mark.parametrize(
    ("group", "problem", "state", "reason"),
    [
        (broker.Group("g", "stable", 2, {0: 5000}), "", State.OK, "2 members, 5000 records behind on ticks"),
        (broker.Group("g", "stable", 1, {0: 5000, 1: 1}), "", State.DEGRADED, "5000 is the limit"),
        (broker.Group("g", "empty", 0, {0: 7}), "", State.DEGRADED, "no members (empty), 7 records behind"),
        (None, "timed out", State.DEGRADED, "timed out"),
    ],
)
def test_a_group_has_members_and_keeps_up(group: broker.Group | None, problem: str, state: State, reason: str) -> None:
    """All partitions count together."""
    row = broker.group_row("kalman-filter-service", group, problem, ["replica kalman-filter-service-1"])
    assert row.state is state
    assert reason in row.text


# --- monitoring -------------------------------------------------------------------------------------------------------


def targets(*found: tuple[str, str, str]) -> Answer:
    return good({"data": {"activeTargets": [{"labels": {"job": job, "instance": where}, "health": how, "lastError": "refused"} for job, where, how in found]}})


def test_every_target_has_a_row_under_its_containers_name() -> None:
    """A target that is down is a fault, one of a container that went is not, and a replica that nobody scrapes is."""
    answer = targets(
        ("kalman-filter-service", "10.0.0.2:8001", "up"), ("alertmanager", "alertmanager:9093", "down"), ("kalman-filter-service", "10.0.0.9:8001", "down")
    )
    rows = monitoring.target_rows(answer, [KALMAN, replica("kalman-filter-service", 2, "10.0.0.3")])
    assert {row.subject: row.state for row in rows} == {
        "kalman-filter-service-1": State.OK,
        "alertmanager": State.DEGRADED,
        "kalman-filter-service 10.0.0.9:8001": State.NOTE,
        "kalman-filter-service-2": State.DEGRADED,
    }
    assert [row.state for row in monitoring.target_rows(AWAY, [KALMAN])] == [State.DEGRADED]


def test_every_rule_of_the_files_is_loaded_and_computed() -> None:
    """A missing or broken rule is a fault; one that fires is told; the Watchdog always fires."""
    fires = {"name": "ServiceDown", "state": "firing", "health": "ok", "alerts": [{"state": "firing", "annotations": {"summary": "gone"}}]}
    rules = [fires, {"name": "Watchdog", "state": "firing", "health": "ok"}, {"name": "Broken", "health": "err", "lastError": "parse"}]
    rows = monitoring.rule_rows(good({"data": {"groups": [{"rules": rules}]}}), ["Watchdog", "Missing"])
    assert {row.subject: row.state for row in rows} == {
        "Watchdog": State.OK,
        "Missing": State.DEGRADED,
        "ServiceDown": State.NOTE,
        "Broken": State.DEGRADED,
    }
    assert next(row.text for row in rows if row.subject == "ServiceDown") == "fires: gone"


def test_alerts_reach_alertmanager() -> None:
    """The Watchdog is there, or alerts get lost."""
    watchdog = {"labels": {"alertname": "Watchdog"}}
    assert monitoring.alert_row(good([watchdog])).state is State.OK
    assert monitoring.alert_row(good([])).state is State.DEGRADED
    assert monitoring.alert_row(AWAY).state is State.DEGRADED


@pytest.mark.parametrize(
    ("kind", "answer", "state"),
    [
        ("data source", good({"status": "OK"}), State.OK),
        ("data source", good({"status": "ERROR", "message": "no route"}), State.DEGRADED),
        ("dashboard", good({"dashboard": {"uid": "one", "title": "One"}}), State.OK),
        ("dashboard", Answer(404, {"message": "Dashboard not found"}, "answers 404"), State.DEGRADED),
    ],
)
def test_grafana_has_its_data_source_and_dashboards(kind: str, answer: Answer, state: State) -> None:
    """Each by its uid."""
    assert monitoring.grafana_row(kind, "one", answer).state is state


def test_what_is_expected_comes_from_the_files() -> None:
    """All rules, data sources and dashboards that are provisioned are found."""
    folder = ROOT / "monitoring"
    assert {"Watchdog", "ServiceDown", "LedgerWriteFailing"} <= set(monitoring.expected_rules(folder))
    assert monitoring.expected_data_sources(folder) == ["prometheus"]
    boards = {json.loads(path.read_text(encoding="utf-8"))["uid"] for path in Path(folder, "grafana", "dashboards").rglob("*.json")}
    assert set(monitoring.expected_dashboards(folder)) == boards
