"""The settings of risk-manager."""

from decimal import Decimal
from pathlib import Path

import pytest

from common.errors import ConfigurationError
from common.settings import load
from services.risk_manager.settings import RiskSettings


def test_defaults_hold_each_other() -> None:
    """Without any variable the limits are the documented ones and the core's parameters follow from them."""
    settings = load(RiskSettings, {})
    assert settings.limits.max_drawdown == Decimal("0.10")
    assert settings.params.pairs == ("ETHUSDT-BTCUSDT",)
    assert settings.params.bar_interval_ns == 60_000_000_000
    assert settings.params.changepoint.alarm_mass == settings.limits.changepoint_alarm_mass
    assert settings.mark_grace_ns == 500_000_000
    assert not settings.control_token


def test_every_problem_is_named_at_once() -> None:
    """Limits that would switch a rule off are refused, all together, with their variables."""
    with pytest.raises(ConfigurationError) as refused:
        load(
            RiskSettings,
            {"MAX_DRAWDOWN": "1.5", "DAILY_LOSS_LIMIT": "0", "MAX_ORDERS_PER_MINUTE": "0", "CHANGEPOINT_ALARM_MASS": "0.1", "MARK_GRACE_MS": "soon"},
        )
    assert [problem.split("=")[0] for problem in refused.value.problems] == [
        "MAX_DRAWDOWN",
        "DAILY_LOSS_LIMIT",
        "MAX_ORDERS_PER_MINUTE",
        "CHANGEPOINT_ALARM_MASS",
        "MARK_GRACE_MS",
    ]


def test_the_token_comes_from_its_file(tmp_path: Path) -> None:
    """CONTROL_TOKEN_FILE names a file; the token never shows."""
    file = tmp_path / "token"
    file.write_text("opensesame\n", encoding="utf-8")
    settings = load(RiskSettings, {"CONTROL_TOKEN_FILE": str(file), "CONTROL_TOKEN": "other"})
    assert settings.control_token.reveal() == "opensesame"
    assert "opensesame" not in repr(settings)


def test_the_stamp_tells_markets_apart() -> None:
    """A risk.db of one market or bar interval does not pass for another's."""
    stamps = [load(RiskSettings, environment).stamp for environment in ({}, {"EXCHANGE": "binance"}, {"BINANCE_MARKET": "spot"}, {"BAR_INTERVAL_SECONDS": "1"})]
    assert len({tuple(stamp.values()) for stamp in stamps}) == 4
