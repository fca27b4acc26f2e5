"""What a deployment would change, and what stands in its way, from facts alone."""

import io
import json
from typing import Any

import pytest

from scripts.operations import deployment
from scripts.operations.deployment_changes import account_changes, changes, previous_images, stops_the_order_path
from scripts.operations.deployment_facts import Container, Facts, parse_facts
from scripts.operations.deployment_settings import RECEIVERS, findings
from scripts.operations.deployment_urls import urls

SERVICES: dict[str, dict[str, Any]] = {
    "kafka": {"image": "apache/kafka:4.3.1", "ports": [{"target": 29092, "published": "9092", "host_ip": "127.0.0.1"}]},
    "risk-manager-service": {"image": "crypto-bot-risk-manager:latest"},
    "execution-service": {"image": "r.example.com/hft/crypto-bot-execution:v2", "environment": {"ENABLE_PAPER_TRADING": "true"}},
    "grafana": {"image": "grafana/grafana:13.2.0"},
    "topics": {"image": "crypto-bot-tools:latest"},
}
IMAGES = {service["image"]: f"sha256:{name}" for name, service in SERVICES.items()}
HASHES = {name: f"hash of {name}" for name in SERVICES}


def container(name: str, **changed: Any) -> Container:
    """One that is as it should be, but for what is said."""
    state = "exited" if name == "topics" else "running"
    return Container(name, HASHES.get(name, "hash"), f"sha256:{name}", state, {"ENABLE_PAPER_TRADING": "true"})._replace(**changed)


def facts(*containers: Container, secrets: dict[str, str] | None = None, **environment: str) -> Facts:
    """The services above, and these containers; the environment is execution's."""
    services = {**SERVICES, "execution-service": {**SERVICES["execution-service"], "environment": {"ENABLE_PAPER_TRADING": "true", **environment}}}
    return Facts(services, HASHES, IMAGES, containers, secrets or {})


ALL = tuple(container(name) for name in SERVICES)


def with_one(name: str, **changed: Any) -> Facts:
    """All containers, one of them changed."""
    return facts(*(each._replace(**changed) if each.service == name else each for each in ALL))


def test_nothing_changes_where_all_is_as_it_should_be() -> None:
    """A second `up` says so; the one-shot that has ended counts as done."""
    assert changes(facts(*ALL), {}) == []
    assert previous_images(facts(*ALL)) == {}


@pytest.mark.parametrize(
    ("found", "kind", "service", "reason"),
    [
        (facts(*ALL[1:]), "create", "kafka", ""),
        (with_one("kafka", settings_hash="old"), "recreate", "kafka", "settings"),
        (with_one("grafana", image_id="sha256:old"), "recreate", "grafana", "image"),
        (with_one("kafka", settings_hash="old", image_id="sha256:old"), "recreate", "kafka", "settings and image"),
        (with_one("grafana", state="exited"), "start", "grafana", ""),
        (facts(*ALL, container("kafka")), "scale", "kafka", "2 to 1"),
        (facts(*ALL, container("exchange-simulator")), "remove", "exchange-simulator", ""),
    ],
)
def test_every_change_is_named(found: Facts, kind: str, service: str, reason: str) -> None:
    """What is missing, differs, stands still, is one too many or has no place any more."""
    assert changes(found, {}) == [(kind, service, reason)]


def test_scale_is_a_change_of_its_own() -> None:
    """Asked for three where one runs."""
    assert changes(facts(*ALL), {"kafka": 3}) == [("scale", "kafka", "1 to 3")]


@pytest.mark.parametrize(
    ("name", "stops"), [("kafka", True), ("execution-service", True), ("risk-manager-service", True), ("grafana", False), ("topics", False)]
)
def test_the_order_path_stops_first_when_what_it_rests_on_changes(name: str, stops: bool) -> None:
    """Not for what only shows, and not when it does not run."""
    found = with_one(name, settings_hash="old")
    assert stops_the_order_path(changes(found, {}), found) is stops
    first = facts()
    assert not stops_the_order_path(changes(first, {}), first)


def test_images_to_go_back_to() -> None:
    """Those that run, by their local names, and what comes for a service that is new; none when none differs."""
    found = with_one("execution-service", image_id="sha256:old")
    kept = {"crypto-bot-execution": "sha256:old", "crypto-bot-risk-manager": "sha256:risk-manager-service", "crypto-bot-tools": "sha256:topics"}
    assert previous_images(found) == kept
    assert previous_images(facts()) == {}


def test_another_account_is_told_and_its_key_is_not_shown() -> None:
    """Against the container that is there; without one there is nothing to compare."""
    found = facts(*ALL, BINANCE_TESTNET="false", BINANCE_API_KEY="marked")
    assert list(account_changes(found)) == ["BINANCE_TESTNET: default to false", "BINANCE_API_KEY is another"]
    assert list(account_changes(facts(BINANCE_TESTNET="false"))) == []


def texts(found: Facts, environment: str = "production") -> list[str]:
    """What is amiss, in one line each."""
    return [f"{each.kind} {each.subject}: {each.text}" for each in findings(found, environment, {})]


def test_sound_settings_give_no_finding() -> None:
    """Paper trading with strong secrets."""
    assert texts(facts(secrets={"redis_password": "b7c1d9e2f4a6", "dashboard_users": "trader $2a$14$abc"})) == []


def test_the_live_account_is_refused_with_the_reason() -> None:
    """The values that production's example holds: orders to a venue do not exist yet, and how to trade on paper."""
    (finding,) = findings(facts(ENABLE_PAPER_TRADING="false", BINANCE_TESTNET="false", MAX_POSITION_SIZE="50000"), "production", {})
    assert (finding.kind, finding.subject, finding.fix) == ("problem", "live account", "set ENABLE_PAPER_TRADING=true")
    assert "orders to a test or live venue are not there yet" in finding.text
    assert "LIVE_TRADING_CONFIRM names no account" in finding.text


def test_a_key_in_the_env_file_works_with_a_warning() -> None:
    """In development; in production it is refused, and never shown in either."""
    given = facts(BINANCE_API_KEY="marked-key-of-testnet", BINANCE_API_SECRET="marked-secret-of-testnet")
    told = [f"secrets: {name} is in the environment, where `docker inspect` shows it" for name in ("BINANCE_API_KEY", "BINANCE_API_SECRET")]
    assert texts(given, "development") == [f"warning {line}" for line in told]
    assert texts(given) == [f"problem {line}" for line in told]
    assert "marked" not in str([findings(given, environment, {}) for environment in ("development", "production")])


def test_every_wrong_setting_is_named_at_once() -> None:
    """As the service itself would; a name that nothing reads is a warning."""
    found = texts(facts(MAX_POSITION_SIZE="-1", LOG_LEVEL="LOUD", LOG_LEVLE="INFO"))
    assert [line.split("=")[0] for line in found[:2]] == ["problem settings: LOG_LEVEL", "problem settings: MAX_POSITION_SIZE"]
    assert found[2:] == ["warning settings: LOG_LEVLE is no setting"]


@pytest.mark.parametrize(
    ("secrets", "problem"),
    [
        ({"redis_password": "changeme"}, "redis_password is an example password"),
        ({"grafana_admin_password": "Admin123"}, "grafana_admin_password is an example password"),
        ({"control_token": "aaaaaaaaaaaaaaaa"}, "control_token is an example password"),
        ({"control_token": "a1b2c3"}, "control_token has fewer than 12 characters"),
        ({"dashboard_users": "trader password"}, "dashboard_users: line 1 is not a name and a hash"),
        ({"heartbeat_url": "0123456789abcdef"}, "heartbeat_url is no address"),
        ({"smtp_password": "given by the provider"}, "smtp_password is there and ALERT_EMAIL_TO, ALERT_EMAIL_FROM, SMTP_SERVER, SMTP_USER not"),
    ],
)
def test_production_refuses_weak_secrets(secrets: dict[str, str], problem: str) -> None:
    """Development has none of its own, and is not asked."""
    assert texts(facts(secrets=secrets)) == [f"problem secrets: {problem}"]
    assert texts(facts(secrets=secrets), "development") == []


def test_receivers_of_alerts_may_be_off() -> None:
    """Whoever wants no pager says so; a key that somebody else gave may be short."""
    assert texts(facts(secrets={**dict.fromkeys(RECEIVERS, "off"), "pagerduty_routing_key": "abc"})) == []


def test_a_secret_in_the_environment() -> None:
    """Development is warned, production refuses; the value is not shown."""
    found = facts(REDIS_PASSWORD="marked-and-long-enough")
    assert texts(found, "development") == ["warning secrets: REDIS_PASSWORD is in the environment, where `docker inspect` shows it"]
    assert texts(found) == ["problem secrets: REDIS_PASSWORD is in the environment, where `docker inspect` shows it"]


def test_addresses() -> None:
    """Each published port, with the gateway's TLS names where it has them."""
    gateway = {"image": "g", "environment": {"PUBLIC_DOMAIN": None}, "ports": [{"target": 8003, "published": "18003", "host_ip": "192.0.2.7"}]}
    gateway["ports"].append({"target": 8443, "published": "443", "host_ip": "0.0.0.0"})  # type: ignore[attr-defined]
    found = dict(urls(Facts({"kafka": SERVICES["kafka"], "gateway": gateway}, {}, {}, (), {})))
    assert found["Kafka"] == "localhost:9092"
    assert found["execution"] == "http://192.0.2.7:18003/health"
    assert found["grafana over TLS"] == "https://grafana.localhost"


def test_facts_are_read_from_their_sections() -> None:
    """As Compose and docker write them; a dollar sign stands twice in what Compose shows."""
    inspected = {"labels": {"com.docker.compose.service": "kafka", "com.docker.compose.config-hash": "h"}, "image": "sha256:1", "state": "running"}
    text = "\n".join(
        [
            *("## config", json.dumps({"services": SERVICES}, indent=2), "## hashes", "kafka h", "## images", "apache/kafka:4.3.1 sha256:1"),
            *("## containers", json.dumps({**inspected, "environment": ["A=b=c"]}), "## secret redis_password", "strong", ""),
        ]
    )
    found = parse_facts(text)
    assert found.containers == (Container("kafka", "h", "sha256:1", "running", {"A": "b=c"}),)
    assert (found.hashes, found.images, found.secrets) == ({"kafka": "h"}, {"apache/kafka:4.3.1": "sha256:1"}, {"redis_password": "strong"})


def test_the_lines_that_the_script_reads(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A kind and its fields, and a clock that is off."""
    config = json.dumps({"services": {"kafka": SERVICES["kafka"]}})
    monkeypatch.setattr("sys.stdin", io.StringIO(f"## config\n{config}\n## hashes\nkafka h\n"))
    monkeypatch.setattr("time.time", lambda: 1_000_000.0)
    assert deployment.main(["--environment", "development", "--host-time", "999000"]) == 0
    lines = [line.split("\037") for line in capsys.readouterr().out.splitlines()]
    assert lines[0][:3] == ["problem", "clock", "the engine's clock is +1000 s off this machine's"]
    assert lines[1:] == [["change", "create", "kafka"], ["url", "Kafka", "localhost:9092"]]


def test_facts_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Say so, without a traceback."""
    monkeypatch.setattr("sys.stdin", io.StringIO("## config\nnonsense\n"))
    assert deployment.main(["--environment", "development", "--host-time", "0"]) == 1
    assert "facts on standard input" in capsys.readouterr().err
