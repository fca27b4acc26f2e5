"""What the engine says of containers, read and judged."""

import json
from typing import Any

import pytest

from common.errors import InvalidRecord
from scripts.operations.health_containers import Engine, container_rows, read
from scripts.operations.health_rows import Row, State, explained


def line(service: str, number: int = 1, *, labels: dict[str, str] | None = None, address: str = "172.18.0.5", **state: Any) -> str:
    """What scripts/health-check.sh says of a container."""
    shown = {
        "labels": {"com.docker.compose.service": service, "com.docker.compose.container-number": str(number), **(labels or {})},
        "state": {"Status": "running", "Health": {"Status": "healthy", "Log": []}, "ExitCode": 0, **state},
        "restarts": state.pop("restarts", 0),
        "networks": {"crypto-bot_edge": {"IPAddress": "10.0.0.1"}, "crypto-bot_crypto-bot-network": {"IPAddress": address}},
    }
    return f"container {json.dumps(shown)}"


def row(*lines: str, subject: str = "") -> Row:
    """The row of the first, or of the named, container."""
    services = dict.fromkeys(json.loads(each.partition(" ")[2])["labels"]["com.docker.compose.service"] for each in lines)
    rows = container_rows(read([f"service {name}" for name in services] + list(lines)))
    return next(each for each in rows if subject in {"", each.subject})


def unhealthy(said: str) -> dict[str, Any]:
    return {"Status": "unhealthy", "Log": [{"Output": "old"}, {"Output": said}]}


def test_a_container_that_works() -> None:
    """It is well, known by its service and number, and asked at its address inside."""
    engine = read(["service execution-service", line("execution-service", 2), ""])
    assert [(each.name, each.address, each.runs) for each in engine.containers] == [("execution-service-2", "172.18.0.5", True)]
    assert container_rows(engine) == [Row("container", "execution-service-2", State.OK, "healthy", ("container kafka", "container exchange-simulator"))]


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ({"Status": "exited", "ExitCode": 137, "address": ""}, "exited with status 137"),
        ({"Status": "exited", "ExitCode": 137, "OOMKilled": True}, "more memory than its limit"),
        ({"Status": "exited", "ExitCode": 127, "Error": "no such file"}, "no such file"),
        ({"Status": "paused"}, "is paused"),
        ({"Status": "restarting"}, "is restarting"),
        ({"Status": "created"}, "is created"),
        ({"Health": {"Status": "starting"}}, "still starting"),
        ({"Health": unhealthy('503 {"status":"fail","reason":"the \\"loop\\" stands"}')}, 'unhealthy: the \\"loop\\" stands'),
        ({"Health": unhealthy("connection\n  refused")}, "unhealthy: connection refused"),
        ({"address": ""}, "no address in crypto-bot-network"),
    ],
)
def test_a_container_that_does_not_says_why(state: dict[str, Any], reason: str) -> None:
    """Each way not to work is a fault with its reason."""
    found = row(line("grafana", **state))
    assert found.state is State.DEGRADED
    assert reason in found.text


def test_a_lost_replica_is_down_only_when_nobody_takes_its_place() -> None:
    """The last replica of a service that trades is down, one of two is degraded; a page is never more than degraded."""
    stopped = line("kalman-filter-service", 2, Status="exited")
    assert row(stopped).state is State.DOWN
    assert row(stopped, line("kalman-filter-service"), subject="kalman-filter-service-2").state is State.DEGRADED
    assert row(line("kafka", Status="paused")).state is State.DOWN
    assert row(line("kafka-ui", Status="paused")).state is State.DEGRADED


def test_one_broker_of_three_is_no_loss_of_kafka() -> None:
    """While another one is there Kafka is only degraded."""
    others = [line("kafka-2"), line("kafka-3", Status="paused")]
    found = {each.subject: each.state for each in container_rows(read(["service kafka", "service kafka-2", "service kafka-3", *others]))}
    assert found == {"kafka": State.DEGRADED, "kafka-2": State.OK, "kafka-3": State.DEGRADED}


def test_a_service_without_a_container() -> None:
    """It has a row that says so."""
    (found,) = container_rows(read(["service redis"]))
    assert (found.subject, found.state) == ("redis", State.DEGRADED)
    assert "is not there" in found.text


@pytest.mark.parametrize(
    ("state", "expected"),
    [({"Status": "exited"}, State.OK), ({"Status": "exited", "ExitCode": 1}, State.DEGRADED), ({}, State.OK)],
)
def test_the_one_shot_service_may_have_ended(state: dict[str, Any], expected: State) -> None:
    """Ended well is well; ended badly is not."""
    assert row(line("topics", **state)).state is expected


def test_services_follow_the_broker() -> None:
    """While Kafka is away, services that are unhealthy and pages of it are no faults of their own; Redis is."""
    lines = [line("kafka", Status="paused"), *(line(name, Health=unhealthy("x")) for name in ("risk-manager-service", "kafka-ui", "redis"))]
    rows = explained(container_rows(read([*(f"service {name}" for name in ("kafka", "risk-manager-service", "kafka-ui", "redis")), *lines])))
    assert {each.subject: each.state for each in rows} == {
        "kafka": State.DOWN,
        "risk-manager-service-1": State.FOLLOWS,
        "kafka-ui": State.FOLLOWS,
        "redis": State.DEGRADED,
    }


def test_containers_of_one_run_are_not_counted() -> None:
    """The look itself runs in such a one."""
    assert read([line("operations", labels={"com.docker.compose.oneoff": "True"})]) == Engine((), ())


@pytest.mark.parametrize("text", ["replica x", "container {", "container {}", 'container {"labels":null}'])
def test_what_cannot_be_read_is_refused(text: str) -> None:
    """A line that is not of the agreed form ends the look."""
    with pytest.raises(InvalidRecord):
        read([text])
