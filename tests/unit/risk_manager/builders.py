"""Messages of a small portfolio, with round figures."""

from decimal import Decimal
from typing import Any

from common.messages import BarStatus, Command, CommandKind, Feed, Mark, ModelStatus, PositionState, Thresholds
from services.risk_manager.changepoint import Params as DetectorParams
from services.risk_manager.portfolio import Account, BarKey, Portfolio
from services.risk_manager.rules import Limits
from services.risk_manager.state import Params

PAIRS = ("ETHUSDT-BTCUSDT", "SOLUSDT-BTCUSDT", "XRPUSDT-BTCUSDT")
MINUTE_NS = 60_000_000_000
LIMITS = Limits(
    max_drawdown=Decimal("0.10"),
    daily_loss_limit=Decimal("0.05"),
    max_gross_exposure_usd=Decimal(50_000),
    max_position_usd=Decimal(10_000),
    max_orders_per_minute=60,
    max_model_age_bars=1000,
    changepoint_alarm_mass=0.9,
)


def params(pairs: tuple[str, ...] = PAIRS, **changes: Any) -> Params:
    """What the core is told, with bars of a minute."""
    given: dict[str, Any] = {"pairs": pairs, "bar_interval_ns": MINUTE_NS, "limits": LIMITS, "changepoint": DetectorParams()}
    return Params(**(given | changes))


def mark(pair: str, bar: int, **changes: Any) -> Mark:
    """A flat pair with 10,000 USD."""
    equity = Decimal(changes.pop("equity", 10_000))
    flat: dict[str, Any] = {
        "session": 1,
        "seq": bar,
        "event_time_ns": (bar + 1) * MINUTE_NS,
        "end": False,
        "feed": Feed.RECORDING,
        "state": PositionState.IDLE,
        "y_quantity": Decimal(0),
        "x_quantity": Decimal(0),
        "starting_usd": Decimal(10_000),
        "realised_usd": equity - 10_000,
        "fees_usd": Decimal(0),
        "funding_usd": Decimal(0),
        "wallet_usd": equity,
        "unrealised_usd": Decimal(0),
        "equity_usd": equity,
        "gross_exposure_usd": Decimal(0),
    }
    return Mark(pair=pair, bar=bar, **(flat | changes))


def thresholds(pair: str, bar: int, **changes: Any) -> Thresholds:
    """Thresholds that may be acted upon."""
    ready: dict[str, Any] = {
        "session": 1,
        "seq": bar,
        "bar_status": BarStatus.FRESH,
        "status": ModelStatus.READY,
        "feed": Feed.RECORDING,
        "standardised_innovation": 0.1,
        "entry_z": 2.0,
    }
    return Thresholds(pair=pair, bar=bar, **(ready | changes))


def command(number: int, kind: CommandKind, target: str = "portfolio") -> Command:
    """An operator's order."""
    return Command(id=number, target=target, kind=kind, who="ann", why="drill", issued_at_ns=0)


def portfolio(bar: int = 7, **changes: Any) -> Portfolio:
    """A portfolio of all pairs, flat and without gain or loss."""
    account = Account(key=BarKey(1, bar), starting_usd=Decimal(10_000), equity_usd=Decimal(10_000), gross_exposure_usd=Decimal(0))
    even: dict[str, Any] = {
        "closed": BarKey(1, bar),
        "accounts": dict.fromkeys(PAIRS, account),
        "capital_usd": Decimal(30_000),
        "equity_usd": Decimal(30_000),
        "high_water_mark_usd": Decimal(30_000),
        "day": 0,
        "day_start_usd": Decimal(30_000),
    }
    return Portfolio(**(even | changes))
