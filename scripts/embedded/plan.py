"""Which processes a run consists of, and the settings that each is given."""

import os
from collections.abc import Mapping
from pathlib import Path

from common.settings import Market, Settings
from scripts.embedded.options import ROOT, Options
from scripts.embedded.processes import Supervised
from scripts.embedded.servers import HOST

INGESTION, GARCH = "ingestion-service", "garch-volatility-service"
#: Compose name to (module, offset from the base port).
SERVICES = {
    INGESTION: ("services.ingestion", 0),
    "kalman-filter-service": ("services.kalman_filter", 1),
    GARCH: ("services.garch_volatility", 2),
    "execution-service": ("services.execution", 3),
    "risk-manager-service": ("services.risk_manager", 4),
}
SIMULATOR = "exchange-simulator"
SIMULATOR_PORT_OFFSET = 10
DASHBOARD = "dashboard"
DASHBOARD_PORT_OFFSET = 501

#: Changed values of the demo profile: never fees, latency or spread.
DEMO_PROFILE = {"COST_MARGIN": "0", "ADVISORY_GATES": "cost"}

#: The mock broker holds a fetch for its full wait and walks through its log at each one. At full speed only the round trip
#: between execution and risk-manager is waited for; the others are ahead of it and had better ask seldom.
MOCK_FETCH_WAIT_MS = 1
MOCK_FETCH_WAIT_MS_AHEAD = {INGESTION: 20, "kalman-filter-service": 10, GARCH: 10}
WATCH_FETCH_WAIT_MS = 50
#: The mock broker keeps 5 MiB a partition: what lies unread in it must stay well below, over all pairs. A short lead and
#: queue also keep what a decision rests on young, while a few bars of lead are enough to keep every service busy.
UNDECIDED_TICKS = 2000
LEAST_LEAD_TICKS, MOST_LEAD_TICKS = 20, 400
FRAME_QUEUE = 200


def lead_ticks(pairs: int) -> int:
    """How far ingestion may lead execution, ticks a pair."""
    return max(LEAST_LEAD_TICKS, min(MOST_LEAD_TICKS, UNDECIDED_TICKS // pairs))


#: What the options say, whatever the environment does.
_FROM_OPTIONS = frozenset({"EXCHANGE", "BINANCE_MARKET", "SYMBOLS", "PAIRS"})


def fetch_wait_ms(service: str, speed: str) -> int:
    """How long a service's fetch may wait on the mock broker."""
    return MOCK_FETCH_WAIT_MS_AHEAD.get(service, MOCK_FETCH_WAIT_MS) if speed == "max" else MOCK_FETCH_WAIT_MS


def pipeline_settings(options: Options) -> dict[str, str]:
    """Settings that follow from the data: the same for the embedded run and for one in memory."""
    klines = options.data == "klines"
    settings = {
        "EXCHANGE": "binance" if options.live else "simulator",
        "BINANCE_MARKET": options.market.value,
        "SYMBOLS": ",".join(options.symbols),
        "PAIRS": ",".join(options.pairs),
        "BAR_INTERVAL_SECONDS": "60" if klines or options.live else "1",
        "MAX_LEG_AGE_MS": "60000" if klines else "2000",
        "ENABLE_PAPER_TRADING": "true",
    }
    if options.market is Market.SPOT:
        settings["PAPER_SHORTS"] = "borrow"
    return settings


def environment_of(options: Options, bootstrap: str, redis_url: str, folder: Path, profile: Mapping[str, str]) -> dict[str, str]:
    """Settings of every process of an embedded run. What the caller's own environment sets wins, but for addresses."""
    simulator = options.base_port + SIMULATOR_PORT_OFFSET
    own = {name: os.environ[name] for name in pipeline_settings(options) if name in os.environ and name not in _FROM_OPTIONS}
    made = {
        **pipeline_settings(options),
        **profile,
        **own,
        "KAFKA_BOOTSTRAP_SERVERS": bootstrap,
        "REDIS_URL": redis_url,
        "DATA_DIR": str(folder / "data"),
        "HTTP_HOST": HOST,
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
    }
    if not options.kafka:
        made |= {"KAFKA_ALONE": "true", **dict.fromkeys(_variables_of("kafka_security_", "kafka_sasl_", "kafka_ssl_"), "")}
    if not options.redis_url:
        made |= dict.fromkeys(_variables_of("redis_password", "redis_ca_file"), "")
    if not options.live:
        made |= {"LEAD_TICKS": str(lead_ticks(len(options.pairs))), "FRAME_QUEUE": str(FRAME_QUEUE)}
        made |= {"BINANCE_WS_URL": f"ws://{HOST}:{simulator}", "BINANCE_REST_URL": f"http://{HOST}:{simulator}"}
    return made


def dashboard_of(options: Options, profile: Mapping[str, str], logs: Path) -> Supervised:
    """The pages, which ask the services themselves; the demo's profile is labelled."""
    addresses = {
        f"{name.removesuffix('-service').replace('-', '_').upper()}_URL": f"http://{HOST}:{options.base_port + offset}"
        for name, (_, offset) in SERVICES.items()
    }
    server = {"STREAMLIT_SERVER_ADDRESS": HOST, "STREAMLIT_SERVER_PORT": str(options.base_port + DASHBOARD_PORT_OFFSET), "STREAMLIT_SERVER_HEADLESS": "true"}
    known = {
        "PROMETHEUS_URL": "",
        "EXCHANGE": "binance" if options.live else "simulator",
        **({"TRADING_PROFILE": "demo"} if profile else {}),
        "PYTHONPATH": str(ROOT),
    }
    return Supervised(DASHBOARD, "monitoring.streamlit", {**addresses, **server, **known}, logs / f"{DASHBOARD}.log")


def _variables_of(*beginnings: str) -> list[str]:
    """The common settings with these beginnings, and what names a file for them: the embedded servers ask for no password."""
    names = [name.upper() for name in Settings.__struct_fields__ if name.startswith(beginnings)]
    return names + [f"{name}_FILE" for name in names]


def processes_of(options: Options, environment: Mapping[str, str], logs: Path) -> list[Supervised]:
    """The processes in starting order; the simulator first, and none with live data."""
    logs.mkdir(parents=True, exist_ok=True)
    made = []
    if not options.live:
        simulator = {
            "RECORDING": str(options.recording),
            "SIMULATOR_SPEED": options.speed,
            "SIMULATOR_PORT": str(options.base_port + SIMULATOR_PORT_OFFSET),
            "SIMULATOR_AUTOSTART": "false",
            "SIMULATOR_LOOP": str(options.keep_going).lower(),
            "SIMULATOR_STATE_DIR": "",
        }
        made.append(Supervised(SIMULATOR, "services.exchange_simulator", {**environment, **simulator}, logs / f"{SIMULATOR}.log"))
    for name, (module, offset) in SERVICES.items():
        own = {"HTTP_PORT": str(options.base_port + offset), "INSTANCE": name}
        if not options.kafka:
            own["KAFKA_FETCH_WAIT_MAX_MS"] = str(fetch_wait_ms(name, options.speed))
        made.append(Supervised(name, module, {**environment, **own}, logs / f"{name}.log"))
    return made
