"""Every alert and the act that raises it."""

import difflib
from collections.abc import Collection, Sequence

from common.errors import ConfigurationError
from scripts.drill.acts import Act
from scripts.drill.causes_feed import FEED
from scripts.drill.causes_money import MONEY
from scripts.drill.causes_records import RECORDS
from scripts.drill.causes_services import SERVICES
from scripts.drill.causes_watch import WATCH
from scripts.drill.heard import WATCHDOG
from scripts.drill.history import HISTORY, HISTORY_SCENE
from scripts.drill.watched import Scene

#: Short warm-ups and low hurdles, so that a short recording holds many positions, which last for a while.
_LIVELY = {
    "KALMAN_WARM_UP_BARS": "20",
    "GARCH_START_BARS": "20",
    "ENTRY_Z_MIN": "0.5",
    "EXIT_Z": "0.0",
    "COST_MARGIN": "0",
    "COOL_DOWN_BARS": "1",
    "TIME_STOP_BARS": "60",
    "TIME_STOP_HALF_LIVES": "50",
    "MAX_ORDERS_PER_MINUTE": "600",
    "TAKER_FEE_BPS": "0",
    "STARTING_EQUITY_USD": "10000",
}
_KLINES = ("--data", "klines", "--pairs", "ETHUSDT-BTCUSDT,SOLUSDT-BTCUSDT", "--keep-going")
SCENES = (
    Scene("bars", "one-minute klines at four bars a second, two pairs", (*_KLINES, "--speed", "240"), _LIVELY),
    Scene(
        "live",
        "recorded ticks in real time as a live feed, bars of a second, two pairs",
        ("--data", "ticks", "--pairs", "ETHUSDT-BTCUSDT,BTCUSDT-ETHUSDT", "--keep-going", "--speed", "1"),
        {**_LIVELY, "FEED": "live", "SILENCE_TIMEOUT_SECONDS": "60"},
    ),
    Scene(
        "models",
        "one-minute klines at twenty bars a second, two pairs, a fit every 40 bars",
        (*_KLINES, "--speed", "1200"),
        {**_LIVELY, "GARCH_REFIT_BARS": "40", "GARCH_WINDOW_BARS": "500"},
    ),
    HISTORY_SCENE,
)
ACTS: tuple[Act, ...] = (*WATCH, *MONEY, *SERVICES, *RECORDS, *FEED, *HISTORY)
#: It always fires, so it is drilled by its end.
WATCHDOG_TEXT = ("Prometheus is stopped (SIGSTOP): the heartbeats end, which is what somebody outside notices", "Prometheus goes on (SIGCONT)")
#: Every receiver, both severities, the heartbeat and a cause that mutes; a warning, a critical one, one that a person lifts.
ROUTE_SET = (WATCHDOG, "RedisUnreachable", "TradingHalted", "ServiceDown", "FeedDisconnected")


def names() -> list[str]:
    """All alerts that are drilled, in order."""
    return [WATCHDOG, *(expected.alert for act in ACTS for expected in act.alerts)]


def chosen(wanted: Collection[str]) -> list[str]:
    """Check what was asked for; nothing is everything. Raises ConfigurationError that names the nearest for each unknown alert."""
    known = names()
    problems = [f"{name}: no such alert{_nearest(name, known)}" for name in wanted if name not in known]
    if problems:
        raise ConfigurationError([*problems, "--list shows all"])
    return [name for name in known if not wanted or name in wanted]


def _nearest(name: str, known: Sequence[str]) -> str:
    lowered = {each.lower(): each for each in known}
    found = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.4)
    return f"; the nearest is {lowered[found[0]]}" if found else ""
