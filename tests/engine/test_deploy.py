"""scripts/deploy.sh on a real engine, from a fresh copy of the checkout, as a user runs it."""

import itertools
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.engine.books import the_books_balance
from tests.engine.deployed import Deployed, started_at
from tests.engine.recovery import each_killed_process_comes_back
from tests.engine.replicas import pairs_by_replica
from tests.engine.stack import IN_FULL, PROJECT, carry_out, eventually, have_images, require_engine, run

OURS = ("ingestion", "kalman-filter", "garch-volatility", "execution", "risk-manager", "exchange-simulator", "streamlit", "tools", "gateway")
SYMBOLS = ("BTCUSDT", "ETHUSDT", "ADAUSDT", "BNBUSDT", "LTCUSDT", "SOLUSDT", "XRPUSDT")
DEVELOPMENT = ("--file", "docker-compose.yml", "--file", "docker-compose.dev.yml")


@pytest.fixture
def deployed(tmp_path: Path, record_property: Callable[[str, object], None]) -> Iterator[Deployed]:
    """A fresh copy, taken down with its volumes at the end."""
    require_engine()
    made = Deployed(tmp_path, record_property)
    made.environment["SYMBOLS"] = ",".join(SYMBOLS)
    have_images(made)
    try:
        yield made
    finally:
        made.compose("down", "--volumes", "--timeout", "20")
        for tag in ("broken", "previous"):
            subprocess.run(["docker", "image", "rm", *(f"crypto-bot-{name}:{tag}" for name in OURS)], capture_output=True, check=False)


def up_from_a_fresh_copy(deployed: Deployed) -> None:
    """One command makes the env file, starts everything and ends when all is healthy, with the addresses."""
    began = time.monotonic()
    ran = deployed.deploy("-e", "development", "up")
    deployed.say(f"up after {time.monotonic() - began:.0f} s")
    assert ran.returncode == 0
    assert (deployed.folder / ".env.dev").exists()
    assert f"http://localhost:{deployed.ports['STREAMLIT_PORT']}" in ran.stdout
    report = deployed.get("EXECUTION_PORT", "/health")
    assert report is not None
    assert report["status"] == "pass"


def a_second_up_changes_nothing(deployed: Deployed) -> None:
    """What Compose would not touch is not called a change, and nothing is restarted."""
    before = deployed.started_at("execution-service")
    ran = deployed.deploy("up")
    assert ran.returncode == 0
    assert "Nothing changes" in ran.stdout
    assert deployed.started_at("execution-service") == before


def config_is_that_of_plain_compose(deployed: Deployed) -> None:
    """Both ways of starting it mean the same, with an env file there and something set in the shell."""
    shell = {"LOG_LEVEL": "WARNING", "BIND_ADDRESS": "127.0.0.1"}
    ours = deployed.deploy("config", "--", "--format", "json", **shell)
    plain = deployed.call("docker", "compose", *DEVELOPMENT, "config", "--format", "json", **shell)
    assert json.loads(ours.stdout) == json.loads(plain.stdout)
    assert json.loads(ours.stdout)["services"]["execution-service"]["environment"]["LOG_LEVEL"] == "WARNING"


def status_and_logs_tell_how_it_is(deployed: Deployed) -> None:
    """Services, positions, verdicts, the last deployments; a service's last lines."""
    ran = deployed.deploy("status")
    assert ran.returncode == 0
    for said in ("Environment: development", "execution-service", "Positions:", "ETHUSDT-BTCUSDT: ", "Last deployments:", "up done after"):
        assert said in ran.stdout
    assert deployed.deploy("logs", "execution-service", "--tail", "3").stdout.count("\n") >= 3


def logs_are_chosen_and_a_tick_is_traced(deployed: Deployed) -> None:
    """By level, pair and time, over all containers, while it goes on too; what is wrong is refused; an id leads through the services."""
    lines = deployed.deploy("logs", "--level", "INFO", "--since", "30m", "--json").stdout.splitlines()
    ours = [json.loads(line) for line in lines if '"instance"' in line]
    assert {"topics", "exchange-simulator", "ingestion-service", "execution-service"} <= {line["service"] for line in ours}
    assert all(list(line)[:5] == ["ts", "level", "service", "instance", "event"] for line in ours)
    assert {line["level"] for line in ours} <= {"INFO", "WARNING", "ERROR", "CRITICAL"}
    chosen = deployed.deploy("logs", "execution-service", "--pair", "ETHUSDT-BTCUSDT", "--level", "debug", "--tail", "5").stdout.splitlines()
    assert len(chosen) == 5
    assert all("pair=ETHUSDT-BTCUSDT" in line for line in chosen)
    following = deployed.call("timeout", "-s", "INT", "10", "scripts/deploy.sh", "logs", "execution-service", "-f", "--pair", "ETHUSDT-BTCUSDT")
    assert "pair=ETHUSDT-BTCUSDT" in following.stdout
    for wrong in (["--level", "LOUD"], ["--pair", "ETH"], ["--since", "10"]):
        assert deployed.deploy("logs", *wrong).returncode == 2

    def last_trace() -> str:
        return str(deployed.get("EXECUTION_PORT", "/pairs/ETHUSDT-BTCUSDT/explain")["trace_id"])

    assert eventually(lambda: bool(last_trace()), 60)
    traced = deployed.deploy("trace", last_trace(), "--pair", "ETHUSDT-BTCUSDT")
    assert traced.returncode == 0
    for service in ("ingestion-service", "kalman-filter-service"):
        assert service in traced.stdout
    assert deployed.deploy("trace", "0123456789abcdef").returncode == 1


def an_operator_halts_and_resumes(deployed: Deployed) -> None:
    """No token was given, so the container's own is used; who and why stay in the state and in the log."""
    assert deployed.deploy("halt", "for a test", "--who", "tester").returncode == 0

    def halts() -> list[str]:
        return [halt["why"] for halt in deployed.get("RISK_MANAGER_PORT", "/state")["halts"] if halt["who"] == "tester"]

    assert eventually(lambda: halts() == ["for a test"], 30)
    assert "halted: portfolio" in deployed.deploy("status").stdout
    assert deployed.deploy("resume").returncode == 2
    assert deployed.deploy("resume", "the test is over").returncode == 0
    assert eventually(lambda: halts() == [], 30)
    log = (deployed.folder / "var" / "deploy.log").read_text(encoding="utf-8")
    assert "halt portfolio by tester, why: for a test" in log


def containers_are_restarted(deployed: Deployed) -> None:
    """A named service, by hand (ENGINE_TESTS=all) everything, is started anew as it is, and all is healthy."""
    named = [] if IN_FULL else ["garch-volatility-service"]
    before = {container: started_at(container) for container in deployed.containers(*named)}
    assert deployed.deploy("restart", *named).returncode == 0
    assert not [container for container, at in before.items() if started_at(container) == at]


def scaling_leaves_the_order_path_alone(deployed: Deployed) -> None:
    """Three filters, each with a pair of its own of seven symbols, and execution goes on as it was."""
    before = deployed.started_at("execution-service")
    ran = deployed.deploy("up", "--scale", "kalman-filter-service=3")
    assert ran.returncode == 0
    assert "kalman-filter-service (1 to 3)" in ran.stdout
    assert deployed.started_at("execution-service") == before
    owned = pairs_by_replica(deployed, "kalman-filter-service")
    assert len(owned) == 3
    assert all(owned.values()), owned
    assert sorted(itertools.chain(*owned.values())) == sorted(f"{symbol}-{SYMBOLS[0]}" for symbol in SYMBOLS[1:])


def an_operator_flattens(deployed: Deployed) -> None:
    """All positions are closed and none is opened until it is lifted."""
    assert deployed.deploy("flatten", "for a test").returncode == 0
    assert eventually(lambda: "none is open" in deployed.deploy("status").stdout, 60)
    assert deployed.deploy("resume", "the test is over").returncode == 0


def a_broken_image_is_rolled_back(deployed: Deployed) -> None:
    """Execution that ends at once never becomes healthy: the images that ran before run again, and the script says so."""
    good = deployed.image_of("execution-service")
    for name in OURS:
        run("docker", "tag", f"crypto-bot-{name}:latest", f"crypto-bot-{name}:broken")
    recipe = deployed.folder / "broken"
    recipe.mkdir()
    (recipe / "Dockerfile").write_text('FROM crypto-bot-execution:latest\nCMD ["false"]\n', encoding="utf-8")
    run("docker", "build", "--quiet", "--tag", "crypto-bot-execution:broken", str(recipe))
    ran = deployed.deploy("up", "--timeout", "30", IMAGE_TAG="broken")
    assert ran.returncode == 1
    assert "execution-service is not healthy" in ran.stderr
    assert "rolled back: the previous images run and are healthy" in ran.stderr
    assert deployed.image_of("execution-service") == good
    assert eventually(lambda: (deployed.get("EXECUTION_PORT", "/health") or {}).get("status") == "pass", 30)


def down_keeps_the_volumes(deployed: Deployed) -> None:
    """No container is left, and no volume is gone."""
    assert deployed.deploy("down").returncode == 0
    assert deployed.containers() == []
    assert "development-execution" in run("docker", "volume", "ls", "--filter", f"label=com.docker.compose.project={PROJECT}")


#: In this order, on one deployment.
CHECKS: tuple[Callable[[Deployed], None], ...] = (
    up_from_a_fresh_copy,
    a_second_up_changes_nothing,
    config_is_that_of_plain_compose,
    status_and_logs_tell_how_it_is,
    logs_are_chosen_and_a_tick_is_traced,
    an_operator_halts_and_resumes,
    containers_are_restarted,
    scaling_leaves_the_order_path_alone,
    each_killed_process_comes_back,
    the_books_balance,
    an_operator_flattens,
    a_broken_image_is_rolled_back,
    down_keeps_the_volumes,
)


def test_deploying(deployed: Deployed, subtests: pytest.Subtests) -> None:
    """Up, looked at, halted, restarted, scaled, killed, flattened, rolled back, down; each check counts for itself."""
    carry_out(CHECKS, deployed, subtests)
