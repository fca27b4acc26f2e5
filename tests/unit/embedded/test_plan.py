"""Which processes run with which settings."""

import re
from pathlib import Path
from typing import Any

import pytest

from common.errors import ConfigurationError
from common.settings import Market, load
from monitoring.streamlit.client import DashboardSettings
from scripts.embedded.plan import DEMO_PROFILE, SERVICES, SIMULATOR, dashboard_of, environment_of, lead_ticks, pipeline_settings, processes_of
from scripts.embedded.settings_check import require_settings
from services.execution.settings import ExecutionSettings
from services.garch_volatility.settings import GarchSettings
from services.ingestion.settings import IngestionSettings
from services.kalman_filter.settings import KalmanSettings
from services.risk_manager.settings import RiskSettings
from tests.unit.embedded.example import OTHER, PAIR, options

OWN = (IngestionSettings, KalmanSettings, GarchSettings, ExecutionSettings, RiskSettings)
MONEY = re.compile(r"FEE|LATENCY|SPREAD|BORROW|FUNDING|BOOK|EQUITY|SHORT", re.IGNORECASE)


@pytest.fixture(autouse=True)
def _no_settings_of_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in pipeline_settings(options(market=Market.SPOT)):
        monkeypatch.delenv(name, raising=False)


def made(tmp_path: Path, profile: dict[str, str] | None = None, **changes: Any) -> dict[str, str]:
    """The environment of a run."""
    return environment_of(options(**changes), "127.0.0.1:4000", "redis://127.0.0.1:4001/0", tmp_path, profile or {})


def test_the_demo_profile_changes_gates_only() -> None:
    """No fee, latency or spread, and nothing that execution itself would refuse."""
    assert set(DEMO_PROFILE) == {"COST_MARGIN", "ADVISORY_GATES"}
    assert not [name for name in DEMO_PROFILE if MONEY.search(name)]
    assert load(ExecutionSettings, DEMO_PROFILE).advisory_gates == ("cost",)


def test_the_profile_is_the_only_difference_between_the_two_runs(tmp_path: Path) -> None:
    """The demo profile and nothing else is added to what the default run was given."""
    assert made(tmp_path, dict(DEMO_PROFILE)) == {**made(tmp_path), **DEMO_PROFILE}


def test_fees_latency_and_spread_are_left_at_their_defaults(tmp_path: Path) -> None:
    """The embedded run says nothing about what trading costs."""
    environment = made(tmp_path)
    assert not [name for name in environment if re.search(r"FEE|LATENCY|SPREAD", name)]


@pytest.mark.parametrize("profile", [{}, DEMO_PROFILE], ids=["default", "demo-profile"])
def test_the_pages_ask_the_run_s_own_services_and_label_its_profile(profile: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever Prometheus the caller has elsewhere; the ports are the run's."""
    monkeypatch.setenv("PROMETHEUS_URL", "http://elsewhere:9090")
    settings = load(DashboardSettings, dashboard_of(options(base_port=9000), profile, tmp_path).environment)
    assert not settings.prometheus_url
    assert (settings.ingestion_url, settings.risk_manager_url) == ("http://127.0.0.1:9000", "http://127.0.0.1:9004")
    assert settings.profile_in_use.value == ("demo" if profile else "standard")


@pytest.mark.parametrize("changes", [{}, {"data": "ticks"}, {"market": Market.SPOT}, {"data": "live"}, {"kafka": "kafka:9092"}])
def test_every_service_accepts_its_settings(changes: dict[str, Any], tmp_path: Path) -> None:
    """No combination of options makes settings that a service refuses."""
    environment = made(tmp_path, **changes)
    for settings_type in OWN:
        settings = load(settings_type, environment)
        assert settings.pairs == (PAIR, OTHER)
        assert settings.symbols == ("BTCUSDT", "ETHUSDT", "LTCUSDT")


def test_the_bar_follows_the_data() -> None:
    """Klines make bars of a minute whose books are a minute old, ticks bars of a second."""
    klines, ticks = pipeline_settings(options()), pipeline_settings(options(data="ticks"))
    assert (klines["BAR_INTERVAL_SECONDS"], klines["MAX_LEG_AGE_MS"]) == ("60", "60000")
    assert (ticks["BAR_INTERVAL_SECONDS"], ticks["MAX_LEG_AGE_MS"]) == ("1", "2000")


def test_spot_shorts_are_borrowed() -> None:
    """On spot a pair's short leg is charged for, not refused; futures need no such thing."""
    assert pipeline_settings(options(market=Market.SPOT))["PAPER_SHORTS"] == "borrow"
    assert "PAPER_SHORTS" not in pipeline_settings(options())


def test_the_caller_s_settings_win_but_for_addresses_and_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the caller exports about the strategy counts; what ties the processes together does not."""
    for name, value in {
        "BAR_INTERVAL_SECONDS": "30",
        "SYMBOLS": "XRPUSDT,ADAUSDT",
        "PAIRS": "XRPUSDT-ADAUSDT",
        "EXCHANGE": "binance",
        "KAFKA_BOOTSTRAP_SERVERS": "elsewhere:9092",
        "DATA_DIR": "/precious",
    }.items():
        monkeypatch.setenv(name, value)
    environment = made(tmp_path)
    assert environment["BAR_INTERVAL_SECONDS"] == "30"
    assert (environment["PAIRS"], environment["EXCHANGE"]) == (f"{PAIR},{OTHER}", "simulator")
    assert environment["KAFKA_BOOTSTRAP_SERVERS"] == "127.0.0.1:4000"
    assert environment["DATA_DIR"] == str(tmp_path / "data")


def test_the_simulator_is_the_exchange_unless_the_data_are_live(tmp_path: Path) -> None:
    """Streams and REST point at the simulator's port; live data leave the exchange's own addresses alone."""
    recorded, live = made(tmp_path), made(tmp_path, data="live")
    assert (recorded["BINANCE_WS_URL"], recorded["BINANCE_REST_URL"]) == ("ws://127.0.0.1:9010", "http://127.0.0.1:9010")
    assert live["EXCHANGE"] == "binance"
    assert not {"BINANCE_WS_URL", "BINANCE_REST_URL"} & set(live)


def test_the_processes_start_with_the_simulator(tmp_path: Path) -> None:
    """Six processes, each with a log and a port of its own; with live data there is no simulator."""
    processes = processes_of(options(), made(tmp_path), tmp_path / "logs")
    assert [process.name for process in processes] == [SIMULATOR, *SERVICES]
    assert len({process.log for process in processes}) == len(processes)
    assert [process.name for process in processes_of(options(data="live"), made(tmp_path), tmp_path / "logs")] == list(SERVICES)
    simulator = processes[0].environment
    assert (simulator["SIMULATOR_SPEED"], simulator["SIMULATOR_PORT"], simulator["SIMULATOR_AUTOSTART"]) == ("max", "9010", "false")
    assert [process.environment["HTTP_PORT"] for process in processes[1:]] == ["9000", "9001", "9002", "9003", "9004"]


def test_the_lead_shrinks_with_the_number_of_pairs() -> None:
    """What lies unread on the mock broker stays bounded, and a pair always has some lead."""
    leads = [lead_ticks(pairs) for pairs in range(1, 101)]
    assert leads == sorted(leads, reverse=True)
    assert leads[0] <= 1000
    assert leads[-1] >= 10
    assert all(lead * pairs <= 3000 for pairs, lead in enumerate(leads[:20], start=1))


def test_embedded_servers_ask_for_no_password(tmp_path: Path) -> None:
    """Passwords and certificates for the caller's own servers do not reach processes that use the embedded ones, and reach those that do not."""
    variables = {"KAFKA_SECURITY_PROTOCOL", "KAFKA_SASL_PASSWORD", "KAFKA_SASL_PASSWORD_FILE", "KAFKA_SSL_CA_FILE", "REDIS_PASSWORD", "REDIS_PASSWORD_FILE"}
    embedded, own = made(tmp_path), made(tmp_path, kafka="kafka:9092", redis_url="redis://redis:6379/0")
    assert {embedded.get(name) for name in variables} == {""}
    assert variables.isdisjoint(own)


def test_wrong_settings_of_all_services_are_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One problem of one service, one of another and one of all of them, each once; without any nothing is said."""
    require_settings(processes_of(options(), made(tmp_path), tmp_path / "logs"))
    for variable, value in (("KALMAN_WARM_UP_BARS", "5"), ("MAX_DRAWDOWN", "2"), ("TOPIC_PARTITIONS", "0")):
        monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError) as caught:
        require_settings(processes_of(options(), made(tmp_path), tmp_path / "logs"))
    assert sorted(problem.partition("=")[0] for problem in caught.value.problems) == ["KALMAN_WARM_UP_BARS", "MAX_DRAWDOWN", "TOPIC_PARTITIONS"]
