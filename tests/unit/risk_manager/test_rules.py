"""The risk rules, each just below, at and above its limit."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from common.messages import BarStatus, Changepoint, ChangepointAction, ModelStatus, Verdict
from services.risk_manager.rules import RULES, Evidence, Halt, evaluate, tripped
from tests.unit.risk_manager.builders import LIMITS, PAIRS

ACTIVE, REDUCE_ONLY, HALTED, FLATTEN = Verdict
CALM = Evidence(
    equity_usd=Decimal(100_000),
    high_water_mark_usd=Decimal(100_000),
    day_start_usd=Decimal(100_000),
    gross_exposure_usd=Decimal(0),
    orders_last_minute=0,
    missing=(),
    halts=(),
)


def halt(rule: str, verdict: Verdict, target: str = "portfolio") -> Halt:
    return Halt(target=target, rule=rule, verdict=verdict, who="ann", why="drill", session=1, bar=7)


def alarm(action: ChangepointAction) -> dict[str, Any]:
    return {"changepoint": Changepoint(recent_mass=0.95, expected_run_length=10, action=action)}


@pytest.mark.parametrize(
    ("rule", "changes", "value", "verdict"),
    [
        ("drawdown", {"equity_usd": Decimal("90000.01"), "day_start_usd": Decimal(90_000)}, 0.0999999, ACTIVE),
        ("drawdown", {"equity_usd": Decimal(90_000), "day_start_usd": Decimal(90_000)}, 0.1, FLATTEN),
        ("drawdown", {"equity_usd": Decimal("89999.99"), "day_start_usd": Decimal(90_000)}, 0.1000001, FLATTEN),
        ("drawdown", {"equity_usd": Decimal(1), "high_water_mark_usd": Decimal(0), "day_start_usd": Decimal(1)}, 1.0, FLATTEN),
        ("drawdown", {"equity_usd": Decimal(0), "high_water_mark_usd": Decimal(0), "day_start_usd": Decimal(0)}, 0.0, ACTIVE),
        ("daily-loss", {"equity_usd": Decimal("95000.01")}, 0.0499999, ACTIVE),
        ("daily-loss", {"equity_usd": Decimal(95_000)}, 0.05, HALTED),
        ("daily-loss", {"equity_usd": Decimal("94999.99")}, 0.0500001, HALTED),
        ("daily-loss", {"equity_usd": Decimal(101_000)}, 0.0, ACTIVE),
        ("gross-exposure", {"gross_exposure_usd": Decimal("49999.99")}, 49_999.99, ACTIVE),
        ("gross-exposure", {"gross_exposure_usd": Decimal(50_000)}, 50_000, ACTIVE),
        ("gross-exposure", {"gross_exposure_usd": Decimal("50000.01")}, 50_000.01, REDUCE_ONLY),
        ("order-rate", {"orders_last_minute": 59}, 59, ACTIVE),
        ("order-rate", {"orders_last_minute": 60}, 60, REDUCE_ONLY),
        ("order-rate", {"orders_last_minute": 61}, 61, REDUCE_ONLY),
        ("marks-missing", {"missing": ()}, 0, ACTIVE),
        ("marks-missing", {"missing": PAIRS[:1]}, 1, REDUCE_ONLY),
        ("bar-status", {"bar_status": BarStatus.FRESH}, 0, ACTIVE),
        ("bar-status", {"bar_status": BarStatus.STALE}, 1, REDUCE_ONLY),
        ("bar-status", {"bar_status": BarStatus.EMPTY}, 1, REDUCE_ONLY),
        ("bar-status", {"bar_status": BarStatus.MISSING}, 1, REDUCE_ONLY),
        ("model-status", {"model_status": ModelStatus.READY}, 0, ACTIVE),
        ("model-status", {"model_status": ModelStatus.WARMING}, 1, REDUCE_ONLY),
        ("model-status", {"model_status": ModelStatus.DEGRADED}, 1, REDUCE_ONLY),
        ("model-age", {"model_age_bars": 999}, 999, ACTIVE),
        ("model-age", {"model_age_bars": 1000}, 1000, ACTIVE),
        ("model-age", {"model_age_bars": 1001}, 1001, REDUCE_ONLY),
        ("changepoint", alarm(ChangepointAction.NONE), 0.95, ACTIVE),
        ("changepoint", alarm(ChangepointAction.REDUCE_ONLY), 0.95, REDUCE_ONLY),
        ("changepoint", alarm(ChangepointAction.FLATTEN), 0.95, FLATTEN),
        ("operator", {"halts": ()}, 0, ACTIVE),
        ("operator", {"halts": (halt("operator", HALTED),)}, 2, HALTED),
        ("operator", {"halts": (halt("operator", HALTED), halt("operator", FLATTEN))}, 3, FLATTEN),
        ("drawdown", {"halts": (halt("drawdown", FLATTEN),)}, 0.0, FLATTEN),
        ("daily-loss", {"halts": (halt("daily-loss", HALTED),)}, 0.0, HALTED),
    ],
)
def test_rule(rule: str, changes: dict[str, Any], value: float, verdict: Verdict) -> None:
    """A rule gives its verdict from its limit on, says what it measured, and leaves the other rules alone."""
    results = {result.rule: result for result in evaluate(LIMITS, msgspec.structs.replace(CALM, **changes))}
    assert results[rule].verdict is verdict
    assert results[rule].value == pytest.approx(value, rel=1e-6)
    assert {name for name, result in results.items() if result.verdict is not ACTIVE} <= {rule}


def test_every_rule_reports() -> None:
    """Each bar carries the result of every rule, also of those that are content."""
    results = evaluate(LIMITS, CALM)
    assert [result.rule for result in results] == [rule.name for rule in RULES]
    assert len({rule.name for rule in RULES}) == len(RULES)


def test_losses_latch_and_nothing_else_does() -> None:
    """Drawdown and daily loss begin a halt once; limits that heal by themselves begin none."""
    ruined = msgspec.structs.replace(
        CALM, equity_usd=Decimal(1), gross_exposure_usd=Decimal(99_999), orders_last_minute=99, missing=PAIRS, **alarm(ChangepointAction.FLATTEN)
    )
    assert [rule.name for rule, _ in tripped(LIMITS, ruined)] == ["drawdown", "daily-loss"]
    held = msgspec.structs.replace(ruined, halts=(halt("drawdown", FLATTEN),))
    assert [rule.name for rule, _ in tripped(LIMITS, held)] == ["daily-loss"]
    assert tripped(LIMITS, CALM) == []


def test_a_halt_binds_its_target() -> None:
    """A halt of the portfolio binds every pair, a pair's only itself."""
    assert halt("operator", HALTED).binds(PAIRS[0])
    assert halt("operator", HALTED, PAIRS[0]).binds(PAIRS[0])
    assert not halt("operator", HALTED, PAIRS[0]).binds(PAIRS[1])
