"""Other brokers and other machines, by hand (ENGINE_TESTS=all): the same pipeline with ZooKeeper, with three brokers, with workers elsewhere."""

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.engine.books import the_books_balance
from tests.engine.deployed import Deployed
from tests.engine.recovery import comes_back_when_killed
from tests.engine.replicas import pairs_by_replica
from tests.engine.stack import IN_FULL, PROJECT, eventually, have_images, require_engine, run

SYMBOLS = ("BTCUSDT", "ETHUSDT", "ADAUSDT", "BNBUSDT", "LTCUSDT", "SOLUSDT", "XRPUSDT")
WORKER = ("--project-name", f"{PROJECT}-worker", "--file", "docker/compose.worker.yml")


@pytest.fixture
def deployed(tmp_path: Path, record_property: Callable[[str, object], None]) -> Iterator[Deployed]:
    """A fresh copy with seven symbols, taken down with its volumes at the end."""
    if not IN_FULL:
        pytest.skip("takes minutes and memory: by hand, with TEST_LEVEL=all ENGINE_TESTS=all")
    require_engine()
    made = Deployed(tmp_path, record_property)
    made.environment["SYMBOLS"] = ",".join(SYMBOLS)
    have_images(made, "confluentinc/cp-kafka:7.9.0", "confluentinc/cp-zookeeper:7.9.0")
    try:
        yield made
    finally:
        made.call("scripts/deploy.sh", "down")
        volumes = run("docker", "volume", "ls", "--quiet", "--filter", f"label=com.docker.compose.project={PROJECT}").split()
        run("docker", "volume", "rm", *volumes)


def _up(deployed: Deployed, mode: str) -> None:
    """Bring it up in a mode, until it trades; another `up` needs not be told the mode."""
    ran = deployed.deploy("--kafka-mode", mode, "up")
    assert ran.returncode == 0
    assert "degraded" not in ran.stdout
    assert "Nothing changes" in deployed.deploy("up").stdout
    assert deployed.deploy("--kafka-mode", "kraft", "up").returncode == 1
    assert eventually(lambda: any(float(each["value"][1]) > 0 for each in deployed.metric("sum(crypto_bot_round_trips_total)")), 300)


def test_zookeeper(deployed: Deployed) -> None:
    """Kafka 3.9 with ZooKeeper carries the pipeline without a gap, comes back when either is killed, and a backup fits it again."""
    _up(deployed, "zookeeper")
    for service in ("kafka", "zookeeper"):
        comes_back_when_killed(deployed, service)
    the_books_balance(deployed)
    archive = deployed.deploy("backup").stdout.strip()
    assert deployed.deploy("down").returncode == 0
    restored = deployed.deploy("--kafka-mode", "zookeeper", "restore", "--yes", archive)
    assert restored.returncode == 0
    assert "the broker holds what the ledger has read" in restored.stdout + restored.stderr
    assert deployed.deploy("--kafka-mode", "zookeeper", "up").returncode == 0
    the_books_balance(deployed)


def test_three_brokers(deployed: Deployed) -> None:
    """Each broker in turn is killed while trading goes on, and nothing is lost."""
    _up(deployed, "cluster")
    for service in ("kafka-2", "kafka-3", "kafka"):
        comes_back_when_killed(deployed, service)
    the_books_balance(deployed)


def test_workers_elsewhere(deployed: Deployed) -> None:
    """Replicas in a network of their own reach Kafka by the address that it advertises, take pairs over, and leave no gap when they go."""
    host = run("docker", "network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}").strip()
    deployed.environment |= {"BIND_ADDRESS": "0.0.0.0", "KAFKA_ADVERTISED_HOST": host}
    assert deployed.deploy("up").returncode == 0
    settings = {"KAFKA_BOOTSTRAP_SERVERS": f"{host}:{deployed.ports['KAFKA_PORT']}", "REDIS_URL": "", "TRADING_PROFILE": "demo"}
    try:
        ran = deployed.call("docker", "compose", *WORKER, "up", "--detach", "--wait", "--scale", "kalman-filter-service=2", **settings)
        assert ran.returncode == 0
        for service, count in (("kalman-filter-service", 3), ("garch-volatility-service", 2)):
            assert eventually(partial(_all_have_pairs, deployed, service, count), 60), _owned(deployed, service)
            deployed.say(f"{service}: {sorted(map(len, _owned(deployed, service).values()))} pairs by replica")
        the_books_balance(deployed)
    finally:
        deployed.call("docker", "compose", *WORKER, "down", "--timeout", "20", **settings)
    the_books_balance(deployed)


def _all_have_pairs(deployed: Deployed, service: str, count: int) -> bool:
    """Whether so many replicas, here and elsewhere, share all pairs."""
    owned = _owned(deployed, service)
    shared = sorted(itertools.chain(*owned.values()))
    return len(owned) == count and all(owned.values()) and shared == sorted(f"{symbol}-{SYMBOLS[0]}" for symbol in SYMBOLS[1:])


def _owned(deployed: Deployed, service: str) -> dict[str, list[str]]:
    return pairs_by_replica(deployed, service) | pairs_by_replica(deployed, service, f"{PROJECT}-worker")
