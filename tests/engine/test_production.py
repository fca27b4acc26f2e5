"""Production on a real engine: refused as long as anything is amiss, then up whole, on paper against an exchange outside it."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.engine.planted import no_planted_secret_shows
from tests.engine.production import FILES, USER, Production, exchange_outside
from tests.engine.replicas import pairs_by_replica
from tests.engine.stack import carry_out, compose_words, eventually, have_images, require_engine, run
from tests.repo.compose import PIPELINE

SYMBOLS = ("BTCUSDT", "ETHUSDT", "ADAUSDT", "BNBUSDT", "SOLUSDT")


@pytest.fixture
def production(tmp_path: Path, record_property: Callable[[str, object], None]) -> Iterator[Production]:
    """A fresh copy with a hostile .env.dev and nothing else, taken down with its volumes at the end."""
    require_engine()
    made = Production(tmp_path, record_property)
    have_images(made)
    try:
        yield made
    finally:
        made.production("down", "--volumes", "--timeout", "20")


def it_is_refused_until_all_is_there(production: Production) -> None:
    """Without an env file and secrets every one is named with what makes it, and nothing is started."""
    ran = production.deploy("-e", "production", "up")
    assert ran.returncode == 1
    for said in ("cp env.prod.example .env.prod && chmod 600 .env.prod", "openssl rand -hex 24 >secrets/redis_password", "caddy hash-password"):
        assert said in ran.stderr
    assert not production.containers()


def the_example_as_it_is_is_refused(production: Production) -> None:
    """With the example's own values orders would go to a venue, which nothing here can do yet: it says so, and nothing is started."""
    production.make_env_file()
    production.make_secrets()
    ran = production.deploy("-e", "production", "up")
    assert ran.returncode == 1
    assert "Problems: 1; nothing was changed" in ran.stderr
    assert "live account" in ran.stderr
    assert "ENABLE_PAPER_TRADING=true" in ran.stderr
    assert not production.containers()


def up_on_paper(production: Production) -> None:
    """One command ends when all is healthy; each service is at its port, and a hostile .env.dev changes nothing."""
    began = time.monotonic()
    ran = production.deploy("-e", "production", "up")
    production.say(f"production up after {time.monotonic() - began:.0f} s")
    assert ran.returncode == 0
    assert "production is up." in ran.stdout
    assert "degraded" not in ran.stdout
    for service, port in zip(PIPELINE, ("INGESTION", "KALMAN_FILTER", "GARCH_VOLATILITY", "EXECUTION", "RISK_MANAGER"), strict=True):
        report = production.get(f"{port}_PORT", "/health")
        assert (report["service"], report["status"]) == (service, "pass")
    assert "exchange-simulator" not in production.production("ps", "--all", "--services").stdout
    assert "hostile" not in run("docker", "inspect", *production.containers())


def trades_flow(production: Production) -> None:
    """All pairs of the example tick, and a round trip comes of it."""
    assert eventually(lambda: any(float(each["value"][1]) > 0 for each in production.metric("sum(crypto_bot_round_trips_total)")), 300)
    pairs = {each["pair"] for each in production.get("EXECUTION_PORT", "/positions")["positions"]}
    assert pairs == {f"{symbol}-{SYMBOLS[0]}" for symbol in SYMBOLS[1:]}


def nobody_gets_in_without_a_login(production: Production) -> None:
    """Pages for people are there under TLS names and ask for logins; Redis and risk's orders ask for theirs."""
    planted = production.planted
    assert production.https("dashboard", "/") == 401
    assert production.https("dashboard", "/", (USER, "wrong")) == 401
    assert production.https("dashboard", "/", (USER, planted["password of the page"])) == 200
    assert production.https("grafana", "/api/search") == 401
    assert production.https("grafana", "/api/search", ("admin", "admin123")) == 401
    assert production.https("grafana", "/api/search", ("admin", planted["grafana_admin_password"])) == 200
    assert production.https("kafka-ui", "/actuator/health") == 200
    assert "NOAUTH" in production.redis("ping")
    assert production.redis("ping", password=planted["redis_password"]) == "PONG"
    assert production.command("halt", "wrong", "to see it refused") == 401
    assert production.deploy("halt", "to see that the file's token is taken").returncode == 0


def plain_compose_changes_nothing(production: Production) -> None:
    """`up` with the two files means what the script did, by either name of Compose."""
    before = production.started_at("execution-service")
    for word in compose_words():
        ran = production.call(*word, *FILES, "up", "-d")
        assert ran.returncode == 0
    assert production.started_at("execution-service") == before


def filters_scale_to_three(production: Production) -> None:
    """Each of four pairs has one owner among three replicas, and all is healthy."""
    ran = production.deploy("-e", "production", "up", "--scale", "kalman-filter-service=3")
    assert ran.returncode == 0
    assert "degraded" not in ran.stdout
    owned = pairs_by_replica(production, "kalman-filter-service")
    assert len(owned) == 3
    assert sorted(pair for pairs in owned.values() for pair in pairs) == sorted(f"{symbol}-{SYMBOLS[0]}" for symbol in SYMBOLS[1:])


#: In this order, on one deployment.
REFUSALS: tuple[Callable[[Production], None], ...] = (it_is_refused_until_all_is_there, the_example_as_it_is_is_refused)
CHECKS: tuple[Callable[[Production], None], ...] = (
    up_on_paper,
    trades_flow,
    nobody_gets_in_without_a_login,
    plain_compose_changes_nothing,
    filters_scale_to_three,
    no_planted_secret_shows,
)


def test_production(production: Production, subtests: pytest.Subtests) -> None:
    """Refused, then up, traded with, logged in to, scaled, searched for secrets; each check counts for itself."""
    carry_out(REFUSALS, production, subtests)
    with exchange_outside() as exchange:
        production.trade_on_paper(exchange)
        carry_out(CHECKS, production, subtests)
