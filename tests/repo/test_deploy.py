"""scripts/deploy.sh against a stand-in for docker: what it refuses, asks, does in which order, and writes down."""

import json
import socket
from pathlib import Path

import pytest

from tests.repo.deployment import COMPOSE, HEALTHY, SERVICES, Deployment
from tests.repo.tree import ROOT


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    return Deployment(tmp_path)


def test_up_in_development(deployment: Deployment) -> None:
    """The missing env file is made, the order path comes last, and it ends with addresses once all is healthy."""
    deployment.configure({**SERVICES, "kafka": {**SERVICES["kafka"], "ports": [{"target": 29092, "published": "39092", "host_ip": "127.0.0.1"}]}})
    ran = deployment.run("up")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert (deployment.folder / ".env.dev").read_text(encoding="utf-8") == (ROOT / "env.dev.example").read_text(encoding="utf-8")
    assert deployment.acts == [
        "up --detach --no-build --remove-orphans kafka kalman-filter-service topics",
        "up --detach --no-build risk-manager-service",
        "up --detach --no-build",
    ]
    assert "create     kafka, kalman-filter-service, risk-manager-service, execution-service, topics" in ran.stdout
    assert "all containers are healthy" in ran.stdout
    assert ran.stdout.endswith("development is up.\n  Kafka                  localhost:39092\n")
    assert [line.split(",")[0].split(" after")[0] for line in deployment.audit] == ["development up began", "development up done"]


def test_options_may_stand_anywhere_and_scale(deployment: Deployment) -> None:
    """Before or after the command, with a space or an equals sign."""
    deployment.judged()
    execution = ("--scale", "execution-service=2")
    assert deployment.run("--scale", "kalman-filter-service=3", "up", "--scale=garch-volatility-service=2", *execution, "-e", "development").returncode == 0
    models = "--scale kalman-filter-service=3 --scale garch-volatility-service=2"
    assert deployment.acts == [
        f"up --detach --no-build --remove-orphans {models} kafka kalman-filter-service topics",
        "up --detach --no-build risk-manager-service",
        f"up --detach --no-build {models} --scale execution-service=2",
    ]


def test_dry_run_changes_nothing(deployment: Deployment) -> None:
    """It says what it would do; no file is made, nothing is written down."""
    deployment.judged("order-path")
    ran = deployment.run("--dry-run", "up")
    assert ran.returncode == 0
    assert "would run: docker compose up --detach --no-build" in ran.stdout
    assert deployment.changes == []
    assert not (deployment.folder / ".env.dev").exists()
    assert deployment.audit == []


def test_an_update_stops_the_order_path_first_and_keeps_the_images(deployment: Deployment) -> None:
    """Execution stops, then risk, before anything else changes; open positions are told."""
    deployment.runs()
    deployment.docker.answer("* exec -T execution-service *", "  ETHUSDT-BTCUSDT: 1.5 ETHUSDT, -0.07 BTCUSDT\n")
    ran = deployment.run("up")
    assert ran.returncode == 0
    changes = deployment.changes
    assert "tag sha256:old-execution-service crypto-bot-execution:previous" in changes
    assert changes.index("stop execution-service") < changes.index("stop risk-manager-service") < changes.index("up --detach --no-build risk-manager-service")
    assert "Warning: open positions, which nobody watches until execution is back:\n  ETHUSDT-BTCUSDT: 1.5" in ran.stderr


def test_it_rolls_back_when_health_does_not_come(deployment: Deployment) -> None:
    """The previous images are started once, it says which service failed, and it ends with status 1 all the same."""
    deployment.judged("order-path", "previous|crypto-bot-execution|sha256:old")
    deployment.docker.answer(
        "*Label *service*Status*", HEALTHY.replace("execution-service|Up 5 seconds (healthy)", "execution-service|Restarting (1) 2 seconds ago")
    )
    ran = deployment.run("up", "--timeout", "0")
    assert ran.returncode == 1
    assert "execution-service is not healthy; its last words" in ran.stderr
    assert "rolling back to the previous images" in ran.stderr
    assert [each for each in deployment.acts if each.startswith("up")].count("up --detach --no-build") == 2
    assert deployment.audit[-1] == "development up failed, roll-back failed"


def test_without_other_images_there_is_nothing_to_roll_back_to(deployment: Deployment) -> None:
    """A first deployment that fails stays as it is, to be looked at."""
    deployment.judged()
    deployment.docker.answer("*Label *service*Status*", "execution-service|Up 3 seconds (health: starting)\n")
    ran = deployment.run("up", "--timeout", "0")
    assert ran.returncode == 1
    assert "there are no other images to go back to" in ran.stderr


def test_every_problem_is_named_at_once(deployment: Deployment) -> None:
    """Engine, Compose, disk, ports, env file, secrets, permissions, settings: each with its fix, and nothing is changed."""
    secret, open_secret = deployment.folder / "control_token", deployment.folder / "redis_password"
    open_secret.write_text("changeme\n", encoding="utf-8")
    open_secret.chmod(0o644)
    (deployment.folder / "docker" / "redis" / "redis.conf").chmod(0o600)
    deployment.docker.answer("info *", "2000000000 /")
    deployment.docker.answer("compose version --short", "2.20.3")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        services = {**SERVICES, "execution-service": {"image": "crypto-bot-execution:latest", "environment": {"ENABLE_PAPER_TRADING": "false"}}}
        services["kafka"] = {"image": "apache/kafka:4.3.1", "ports": [{"target": 29092, "published": port, "host_ip": "127.0.0.1"}]}
        deployment.configure(services, secrets={"a": {"file": str(secret)}, "b": {"file": str(open_secret)}})
        ran = deployment.run("-e", "production", "up")
    assert ran.returncode == 1
    for said in (
        "Docker Compose is 2.20.3, and 2.24 is the oldest that works",
        ".env.prod is missing",
        "others may not read docker/redis/redis.conf",
        "the engine has 2000 MB, and production needs 7500",
        "control_token is missing or empty",
        "then: sudo chgrp 10001",
        "redis_password is open to everybody",
        f"port {port} is taken",
        "ENABLE_PAPER_TRADING='false': orders to a test or live venue are not there yet",
        "redis_password is an example password",
    ):
        assert said in ran.stderr
    assert ran.stderr.count("fix: ") == int(ran.stderr.split("Problems: ")[1].split(";")[0]) == 9
    assert deployment.acts == []
    assert deployment.audit == ["production up refused, 9 problems"]


def test_without_an_engine_the_rest_is_checked_all_the_same(deployment: Deployment) -> None:
    """No engine answers, and the env file is missing: both are said."""
    deployment.judged()
    deployment.docker.answer("info *", "", 1)
    ran = deployment.run("-e", "production", "up")
    assert ran.returncode == 1
    assert "no Docker engine answers" in ran.stderr
    assert ".env.prod is missing" in ran.stderr


def test_one_environment_at_a_time(deployment: Deployment) -> None:
    """Production is not turned into development by a forgotten option, nor taken down by it."""
    deployment.judged()
    deployment.runs("prod")
    up, down = deployment.run("up"), deployment.run("down")
    assert "production runs here" in up.stderr
    assert "say scripts/deploy.sh -e production down" in down.stderr
    assert (up.returncode, down.returncode, deployment.acts) == (1, 1, [])


def test_production_goes_on_without_a_terminal(deployment: Deployment) -> None:
    """It shows what changes; nobody is there to be asked."""
    deployment.prepare_production()
    deployment.judged("change|recreate|execution-service (image)")
    ran = deployment.run("-e", "production", "up")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "Changes in production:" in ran.stdout


def test_another_account_needs_yes_without_a_terminal(deployment: Deployment) -> None:
    """Not by a changed line alone."""
    deployment.prepare_production()
    deployment.runs("prod", ENABLE_PAPER_TRADING="true", EXCHANGE="binance")
    ran = deployment.run("-e", "production", "up")
    assert ran.returncode == 1
    assert "the account changes (EXCHANGE: binance to default); there is no terminal to ask at: add --yes" in ran.stderr
    assert deployment.changes == []
    assert deployment.run("-e", "production", "up", "--yes").returncode == 0


def test_down_takes_the_order_path_first_and_keeps_volumes(deployment: Deployment) -> None:
    """No option removes volumes."""
    deployment.runs()
    assert deployment.run("down").returncode == 0
    assert deployment.changes == [
        "stop execution-service",
        "stop risk-manager-service",
        "down --remove-orphans",
    ]
    assert deployment.audit == ["development down began", "development down done"]


def test_restart(deployment: Deployment) -> None:
    """All with the order path first and last, or the named ones."""
    deployment.runs()
    assert deployment.run("restart").returncode == 0
    assert deployment.changes == [
        "stop execution-service",
        "stop risk-manager-service",
        "restart kafka kalman-filter-service topics",
        "start risk-manager-service",
        "start execution-service",
    ]
    assert deployment.run("restart", "kafka").returncode == 0
    assert deployment.acts[-1] == "restart kafka"


def test_status(deployment: Deployment) -> None:
    """Services, positions and halts; status 1 when nothing runs."""
    assert deployment.run("status").returncode == 1
    deployment.runs()
    deployment.docker.answer("*Label *service*Status*Image*", "kafka|Up 5 seconds (healthy)|apache/kafka:4.3.1\n")
    ran = deployment.run("status")
    assert ran.returncode == 0
    assert "Environment: development\n" in ran.stdout
    assert "kafka                      Up 5 seconds (healthy)         apache/kafka:4.3.1\n" in ran.stdout


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        (["halt"], "halt --pair portfolio --who me --why by scripts/deploy.sh halt"),
        (["flatten", "--pair", "ETHUSDT-BTCUSDT"], "flatten --pair ETHUSDT-BTCUSDT --who me --why by scripts/deploy.sh flatten"),
        (["resume", "the", "feed is back"], "resume --pair portfolio --who me --why the feed is back"),
    ],
)
def test_an_operator_is_obeyed_by_risk_manager(deployment: Deployment, arguments: list[str], sent: str) -> None:
    """With who and why, inside its container, so that no token is on a command line; and written down."""
    assert deployment.run(*arguments, "--who", "me").returncode == 0
    assert deployment.docker.asked[-1] == f"{COMPOSE}dev.yml exec -T risk-manager-service python - {sent}"
    assert deployment.audit[0].startswith(f"development {arguments[0]} ")


def test_a_command_that_is_not_obeyed_is_a_failure(deployment: Deployment) -> None:
    """The service's words are shown."""
    deployment.docker.answer("* exec -T risk-manager-service *", "send the right token", 1)
    ran = deployment.run("halt")
    assert ran.returncode == 1
    assert "halt was not obeyed: send the right token" in ran.stderr


def test_backup_and_restore_are_handed_on(deployment: Deployment) -> None:
    """From where the user stands, for the environment that runs; what a restore replaces takes a yes."""
    program = deployment.folder / "scripts" / "backup.sh"
    program.write_text('#!/bin/sh\necho "$PWD: $*"\n', encoding="utf-8")
    program.chmod(0o755)
    deployment.runs("prod")
    here = deployment.folder.parent
    assert deployment.run("backup", "--", "--keep", "3").stdout == f"{here}: -e production --kafka-mode kraft create --keep 3\n"
    refused = deployment.run("-e", "production", "restore", "a.tar")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "restore replaces what is there; there is no terminal to ask at: add --yes" in refused.stderr
    assert deployment.run("-e", "production", "restore", "a.tar", "-y").stdout == f"{here}: -e production --kafka-mode kraft restore --yes a.tar\n"
    assert "production runs here, not development" in deployment.run("restore", "a.tar", "-y").stderr


def test_the_mode_of_kafka_stays_while_it_runs(deployment: Deployment) -> None:
    """What runs with three brokers goes on with them unless somebody says otherwise, which is refused: the log would be gone."""
    files = "docker-compose.yml,/x/docker-compose.prod.yml,/x/docker/compose.cluster.yml,/x/docker/compose.cluster.prod.yml"
    deployment.runs("prod")
    deployment.docker.answer("ps --all *config_files*", f"/x/{files}")
    deployment.run("-e", "production", "config")
    assert deployment.docker.asked[-1] == f"{COMPOSE}prod.yml -f docker/compose.cluster.yml -f docker/compose.cluster.prod.yml config"
    ran = deployment.run("-e", "production", "--kafka-mode", "kraft", "up")
    assert ran.returncode == 1
    assert "it runs in mode cluster here, and kraft would not find its log" in ran.stderr
    assert deployment.acts == []


def test_config_is_composes_own(deployment: Deployment) -> None:
    """Nothing is added."""
    ran = deployment.run("-e", "production", "config", "--", "--format", "json")
    assert json.loads(ran.stdout) == {"services": SERVICES}
    assert deployment.docker.asked[-1] == f"{COMPOSE}prod.yml config --format json"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "say what to do: up, down"),
        (["start"], "start: no such command"),
        (["up", "now"], "up takes no arguments"),
        (["up", "--fast"], "--fast: no such option"),
        (["-e"], "-e needs a value"),
        (["-e", "staging", "up"], "staging: no such environment"),
        (["up", "--scale", "kafka=3"], "--scale kafka=3: only kalman-filter-service"),
        (["up", "--scale", "kalman-filter-service=0"], "say SERVICE=N with N of 1 or more"),
        (["up", "--scale", "kalman-filter-service"], "say SERVICE=N with N of 1 or more"),
        (["down", "--scale", "kalman-filter-service=2"], "--scale goes with up"),
        (["up", "--kafka-mode", "raft"], "raft: no such mode of Kafka"),
        (["up", "--timeout", "soon"], "--timeout soon: say whole seconds"),
        (["resume"], "resume needs a reason"),
    ],
)
def test_wrong_usage(deployment: Deployment, arguments: list[str], problem: str) -> None:
    """Status 2 and a sentence; nothing is changed."""
    ran = deployment.run(*arguments)
    assert ran.returncode == 2
    assert problem in ran.stderr
    assert deployment.acts == []


def test_help(deployment: Deployment) -> None:
    """`--help` names every command and option and needs no docker."""
    ran = deployment.run("--help")
    assert (ran.returncode, deployment.docker.asked) == (0, [])
    for word in (
        "up",
        "down",
        "restart",
        "status",
        "logs",
        "build",
        "backup",
        "restore",
        "halt",
        "resume",
        "flatten",
        "--scale",
        "--kafka-mode",
        "--dry-run",
        "--yes",
    ):
        assert word in ran.stdout
