"""What execution refuses to be told, and what follows from what it is told."""

from decimal import Decimal
from pathlib import Path

import pytest

from common.errors import ConfigurationError
from common.settings import load
from services.execution.params import params_of
from services.execution.settings import ExecutionSettings
from tests.unit.execution.builders import rules

LIVE = {"ENABLE_PAPER_TRADING": "false", "BINANCE_TESTNET": "false"}
SPOT = {"BINANCE_MARKET": "spot"}
VENUE = {symbol: rules(symbol) for symbol in ("BTCUSDT", "ETHUSDT", "SOLUSDT")}


@pytest.mark.parametrize(
    ("environment", "problem"),
    [
        ({"ENABLE_PAPER_TRADING": "false"}, "ENABLE_PAPER_TRADING='false': orders to a test or live venue are not there yet"),
        (LIVE, "LIVE_TRADING_CONFIRM names no account whose real money BINANCE_TESTNET='false' would trade; set"),
        ({**LIVE, "LIVE_TRADING_CONFIRM": "main"}, "orders to a test or live venue are not there yet, only paper trading is; set"),
        ({"BINANCE_API_KEY": "a-key"}, "BINANCE_API_KEY, BINANCE_API_SECRET: one is of no use without the other"),
        ({"BINANCE_API_SECRET": "a-secret"}, "BINANCE_API_KEY, BINANCE_API_SECRET: one is of no use without the other"),
        ({"BINANCE_API_KEY_FILE": "/nowhere/key", "BINANCE_API_SECRET": "s"}, "BINANCE_API_KEY=***: [Errno 2]"),
        ({"MAX_HEDGE_ERROR": "2"}, "MAX_HEDGE_ERROR='2'"),
        ({"ADVISORY_GATES": "cost,leg-age"}, "ADVISORY_GATES: 'leg-age' must block; only cost may be advisory"),
        ({"ADVISORY_GATES": "minimums"}, "ADVISORY_GATES: 'minimums' must block"),
        ({"PAPER_SHORTS": "maybe"}, "PAPER_SHORTS='maybe'"),
        ({"MAX_POSITION_SIZE": "0"}, "MAX_POSITION_SIZE='0'"),
        ({"BINANCE_REST_URL": "localhost"}, "BINANCE_REST_URL='localhost'"),
    ],
)
def test_wrong_settings_stop_the_service(environment: dict[str, str], problem: str) -> None:
    """The problem names the variable, the value and the rule."""
    with pytest.raises(ConfigurationError) as caught:
        load(ExecutionSettings, environment)
    assert [line for line in caught.value.problems if problem in line]


def test_keys_are_taken_by_value_and_by_file(tmp_path: Path) -> None:
    """On paper they are accepted, unused, and never shown."""
    (tmp_path / "secret").write_text("marked-secret\n", encoding="utf-8")
    settings = load(ExecutionSettings, {"BINANCE_API_KEY": "marked-key", "BINANCE_API_SECRET_FILE": str(tmp_path / "secret")})
    assert (settings.binance_api_key.reveal(), settings.binance_api_secret.reveal()) == ("marked-key", "marked-secret")
    assert "marked" not in repr(settings)


def test_problems_are_listed_together() -> None:
    """Trading's rules and the common ones appear at once."""
    with pytest.raises(ConfigurationError) as caught:
        load(ExecutionSettings, {"ENABLE_PAPER_TRADING": "false", "PAIRS": "ETHUSDT-DOGEUSDT"})
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize(
    ("environment", "url"),
    [
        ({}, "http://127.0.0.1:8010"),
        ({"SIMULATOR_ADDRESS": "exchange-simulator:8010"}, "http://exchange-simulator:8010"),
        ({"SIMULATOR_ADDRESS": "exchange-simulator:8010", "EXCHANGE": "binance"}, "https://fapi.binance.com"),
        ({"EXCHANGE": "binance"}, "https://fapi.binance.com"),
        ({"EXCHANGE": "binance", **SPOT}, "https://api.binance.com"),
        ({"EXCHANGE": "binance", "BINANCE_REST_URL": "http://proxy:1"}, "http://proxy:1"),
    ],
)
def test_rest_url_follows_exchange_and_market(environment: dict[str, str], url: str) -> None:
    """The rules are read from where the trading would be, unless told otherwise."""
    assert load(ExecutionSettings, environment).rest_url == url


def test_a_ledger_belongs_to_its_bar_interval() -> None:
    """Bars of another length have other numbers, so the stamp tells them apart, besides venue and account."""
    minute, second = load(ExecutionSettings, {}).stamp, load(ExecutionSettings, {"BAR_INTERVAL_SECONDS": "1"}).stamp
    assert minute == {"environment": "paper", "venue": "simulator-futures", "account": "paper", "bar_interval_seconds": "60"}
    assert second == {**minute, "bar_interval_seconds": "1"}


def test_equity_is_split_over_the_pairs() -> None:
    """Each pair has its own paper account; together they have the starting equity."""
    settings = load(ExecutionSettings, {"SYMBOLS": "BTCUSDT,ETHUSDT,SOLUSDT", "STARTING_EQUITY_USD": "100.01"})
    assert [each.starting_usd for each in params_of(settings, VENUE).values()] == [Decimal("50.01"), Decimal("50.00")]


@pytest.mark.parametrize(
    ("environment", "allowed", "borrow_bps"),
    [({}, True, 0), (SPOT, False, 0), ({**SPOT, "PAPER_SHORTS": "borrow", "BORROW_BPS_PER_DAY": "4"}, True, 4), ({"PAPER_SHORTS": "borrow"}, True, 0)],
)
def test_shorts_on_spot_are_refused_or_paid_for(environment: dict[str, str], allowed: bool, borrow_bps: int) -> None:
    """Futures sell short and settle by funding; spot refuses, or borrows at a price."""
    given = params_of(load(ExecutionSettings, environment), VENUE)["ETHUSDT-BTCUSDT"]
    assert (given.shorts_allowed, given.borrow_bps_per_day) == (allowed, borrow_bps)
