"""A run that is over, made by hand, and the messages of one."""

from decimal import Decimal
from pathlib import Path
from typing import Any

from common import messages as m
from common.market import Leg, Side
from common.settings import Market
from scripts.embedded.options import Options
from scripts.embedded.plan import processes_of
from scripts.embedded.run import Run

PAIR, OTHER = "ETHUSDT-BTCUSDT", "LTCUSDT-BTCUSDT"

#: The keys of the summary file, as users were promised them, in this order.
SUMMARY_KEYS = [
    "recording",
    "profile",
    "frames",
    "ticks",
    "bars",
    "bars_without_signal",
    "bars_by_model",
    "fits_accepted",
    "changepoint_actions",
    "decisions",
    "round_trips",
    "orders",
    "fills",
    "rejected",
    "dead_letters",
    "conflated",
    "ignored",
    "gross_pnl_usd",
    "fees_usd",
    "funding_usd",
    "net_pnl_usd",
    "open_positions",
    "tick_to_decision_ms",
    "services",
    "problems",
]


def options(**changes: Any) -> Options:
    """What `resolve` makes of an empty command line, more or less."""
    usual: dict[str, Any] = {
        "data": "klines",
        "recording": Path("/recordings/klines"),
        "market": Market.FUTURES,
        "pairs": (PAIR, OTHER),
        "speed": "max",
        "duration_s": None,
        "keep_going": False,
        "summary": None,
        "base_port": 9000,
        "kafka": "",
        "redis_url": "",
    }
    return Options(**{**usual, **changes})


def mark(pair: str = PAIR, bar: int = 1, **changes: Any) -> m.Mark:
    """A flat pair's mark, without any profit."""
    zero = Decimal(0)
    usual: dict[str, Any] = {
        **_where(pair, bar),
        "end": False,
        "feed": m.Feed.RECORDING,
        "state": m.PositionState.IDLE,
        "starting_usd": Decimal(1000),
        "wallet_usd": Decimal(1000),
        "equity_usd": Decimal(1000),
    }
    amounts = ("y_quantity", "x_quantity", "realised_usd", "fees_usd", "funding_usd", "unrealised_usd", "gross_exposure_usd")
    return m.Mark(**{**dict.fromkeys(amounts, zero), **usual, **changes})


def thresholds(pair: str = PAIR, bar: int = 1, **changes: Any) -> m.Thresholds:
    """Thresholds that may be acted upon."""
    usual: dict[str, Any] = {
        "pair": pair,
        "seq": bar,
        "session": 0,
        "bar": bar,
        "bar_status": m.BarStatus.FRESH,
        "status": m.ModelStatus.READY,
        "feed": m.Feed.RECORDING,
        "entry_z": 2.25,
        "exit_z": 0.5,
        "stop_z": 5.0,
        "volatility_model": m.VolatilityModel.EWMA,
    }
    return m.Thresholds(**{**usual, **changes})


def signal(pair: str = PAIR, bar: int = 1, action: m.ChangepointAction = m.ChangepointAction.NONE, reasons: tuple[m.RuleResult, ...] = ()) -> m.RiskSignal:
    """An ACTIVE pair's signal."""
    return m.RiskSignal(
        pair=pair,
        session=0,
        bar=bar,
        verdict=m.Verdict.ACTIVE,
        budget_usd=Decimal(1000),
        orders_allowed=10,
        commands_through=0,
        reasons=reasons,
        thresholds=thresholds(pair, bar),
        changepoint=m.Changepoint(action=action),
    )


def decision(pair: str = PAIR, seq: int = 1, action: m.Action = m.Action.ENTER_LONG) -> m.Decision:
    """A decision to act."""
    return m.Decision(**{**_where(pair, 1), "seq": seq}, action=action, reason="every gate passed", z=-2.5, beta=1.0, scale=0.001, notional_usd=Decimal(100))


def order(status: m.OrderStatus, client_id: str = "one", pair: str = PAIR) -> m.OrderEvent:
    """An event of an order."""
    return m.OrderEvent(
        **_where(pair, 1),
        client_id=client_id,
        leg=Leg.Y,
        symbol="ETHUSDT",
        side=Side.BUY,
        quantity=Decimal(1),
        filled=Decimal(0),
        reduce_only=False,
        status=status,
    )


def fill(trade_id: str = "one-1", pair: str = PAIR) -> m.Fill:
    """A fill."""
    return m.Fill(
        **_where(pair, 1),
        trade_id=trade_id,
        client_id="one",
        leg=Leg.Y,
        symbol="ETHUSDT",
        side=Side.BUY,
        quantity=Decimal(1),
        price=Decimal(2500),
        fee_usd=Decimal(-1),
        realised_usd=Decimal(0),
    )


def round_trip(seq: int = 9, pair: str = PAIR) -> m.RoundTrip:
    """A position that was closed again."""
    return m.RoundTrip(
        **{**_where(pair, 2), "seq": seq},
        action=m.Action.EXIT,
        direction=m.Action.ENTER_LONG,
        opened_seq=1,
        opened_bar=1,
        gross_usd=Decimal(3),
        fees_usd=Decimal(-2),
        funding_usd=Decimal(0),
        net_usd=Decimal(1),
    )


def dead_letter(offset: int = 1, service: str = "ingestion-service") -> m.DeadLetter:
    """A frame or record that was set aside."""
    return m.DeadLetter(
        service=service, source="ethusdt@bookTicker", partition=-1, offset=offset, reason="crossed", detail="", payload=b"{}", length=2, sha256=""
    )


def _where(pair: str, bar: int) -> dict[str, Any]:
    return {"pair": pair, "session": 0, "bar": bar, "seq": bar, "event_time_ns": bar * 60_000_000_000}


def finished_run(folder: Path) -> Run:
    """A run in which all went well: two bars of two pairs, one round trip, one frame set aside."""
    run = Run(options(), {}, folder, lambda _: None, lambda _: None)
    run.processes = processes_of(run.options, {}, folder / "logs")
    amounts = {"realised_usd": Decimal("3.005"), "fees_usd": Decimal("-2.004"), "funding_usd": Decimal("-0.5")}
    for message in (
        *(message for bar in (1, 2) for pair in (PAIR, OTHER) for message in (thresholds(pair, bar), signal(pair, bar))),
        *(mark(pair, 1) for pair in (PAIR, OTHER)),
        mark(PAIR, 2, end=True, **amounts),
        mark(OTHER, 2, end=True, blocking_gate="entry-z"),
        decision(),
        *(order(status) for status in (m.OrderStatus.INTENT, m.OrderStatus.FILLED)),
        fill(),
        round_trip(),
        dead_letter(),
    ):
        run.tally.add(message)
    books = {"frames": 10, "ticks": 6, "conflated": 0, "dead_letters": 1, "ignored": {"trade": 2, "unsettled": 1}, "pending": 0, "ended": True}
    run.infos = {process.name: {"ready": True, "activity": activity(100), "details": {}} for process in run.processes}
    run.infos["ingestion-service"] = {**run.infos["ingestion-service"], "details": books}
    run.infos["execution-service"] = {**run.infos["execution-service"], "details": {"tick_to_decision_ms": {"p50": 1.5, "p99": 7.0, "max": 9.0}}}
    run.simulator = {"state": "ended", "problem": "", "frames_sent": 10, "first_event_time_ns": 0, "last_event_time_ns": 100, "position_ns": 100}
    run.resident_mb = {process.name: 70.5 for process in run.processes}
    return run


def activity(consumed: float) -> dict[str, float]:
    """What a service says it has handled."""
    return {"consumed": consumed, "produced": consumed, "lag": 0, "steps": consumed, "step_seconds": 1.0, "inputs_timed": consumed, "input_age_seconds": 2.0}
