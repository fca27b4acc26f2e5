"""Settings: every problem at once, secrets never shown, rules told as they are checked."""

import re
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import ConfigurationError
from common.market import Pair
from common.settings import Exchange, LogLevel, Market, Secret, Settings, is_secret, load, require_writable, setting
from common.settings_help import settings_help, settings_text
from services.execution.settings import ExecutionSettings


class Own(Settings, frozen=True, kw_only=True):
    """A service's settings: a secret, a switch, a share and money."""

    api_secret: Annotated[Secret, setting("secret of the key", "abc")] = Secret("")
    enabled: Annotated[bool, setting("a switch", "true")] = False
    share: Annotated[float, setting("a share", "0.5", gt=0, lt=1)] = 0.5
    equity_usd: Annotated[Decimal, setting("money", "10000", gt=0)] = Decimal(10_000)
    ladder: Annotated[tuple[str, ...], setting("a list", "a,b")] = msgspec.field(default_factory=tuple)


def problems(**environment: str) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as caught:
        load(Own, environment)
    return caught.value.problems


def test_defaults() -> None:
    """An empty environment gives the defaults: simulator, futures, one pair, paper fees."""
    settings = load(Own, {})
    assert (settings.exchange, settings.binance_market, settings.log_level) == (Exchange.SIMULATOR, Market.FUTURES, LogLevel.INFO)
    assert settings.trading_pairs() == (Pair("ETHUSDT", "BTCUSDT"),)
    assert settings.bar_interval_ns == 60_000_000_000
    assert settings.max_leg_age_ns == 2_000_000_000


def test_bars_fill_a_minute() -> None:
    """Longer ones, and such as leave a rest, are refused."""
    for seconds in (1, 20, 60):
        assert load(Own, {"BAR_INTERVAL_SECONDS": str(seconds)}).bar_interval_seconds == seconds
    assert problems(BAR_INTERVAL_SECONDS="7") == ("BAR_INTERVAL_SECONDS=7: bars must fill a minute, so that days begin with one; use 60 or a divisor of it",)
    assert problems(BAR_INTERVAL_SECONDS="300") == ("BAR_INTERVAL_SECONDS='300': Expected `int` <= 60; for example BAR_INTERVAL_SECONDS=60",)


def test_values_are_read_and_typed() -> None:
    """Lists, enums, decimals, switches and numbers come from text; spaces around them do not matter."""
    environment = {
        "SYMBOLS": "BTCUSDT, ETHUSDT ,SOLUSDT",
        "BINANCE_MARKET": "spot",
        "ENABLED": "Yes",
        "SHARE": "0.25",
        "EQUITY_USD": " 12345.67 ",
        "HTTP_PORT": "8010",
        "UNKNOWN": "ignored",
    }
    settings = load(Own, environment)
    assert settings.trading_pairs() == (Pair("ETHUSDT", "BTCUSDT"), Pair("SOLUSDT", "BTCUSDT"))
    assert (settings.enabled, settings.share, settings.equity_usd, settings.http_port) == (True, 0.25, Decimal("12345.67"), 8010)
    assert settings.fee_bps == Decimal(10)


def test_empty_means_default() -> None:
    """A variable that is set to nothing counts as not set."""
    assert load(Own, {"SHARE": "  ", "EQUITY_USD": ""}) == load(Own, {})


@pytest.mark.parametrize(
    ("environment", "age_ms", "in_use"),
    [
        ({}, 2000, "standard"),
        ({"TRADING_PROFILE": "demo"}, 60_000, "demo"),
        ({"TRADING_PROFILE": "demo", "EXCHANGE": "simulator", "MAX_LEG_AGE_MS": " "}, 60_000, "demo"),
        ({"TRADING_PROFILE": "demo", "MAX_LEG_AGE_MS": "500"}, 500, "demo"),
        ({"TRADING_PROFILE": "demo", "EXCHANGE": "binance"}, 2000, "standard"),
    ],
)
def test_demo_profile(environment: dict[str, str], age_ms: int, in_use: str) -> None:
    """The demo's profile stands in for defaults, never for what is set, and never with Binance's own data."""
    settings = load(Own, environment)
    assert (settings.max_leg_age_ms, settings.profile_in_use) == (age_ms, in_use)


def test_demo_profile_reaches_the_gates() -> None:
    """In execution it takes the cost gate's power to block."""
    demo, standard = (load(ExecutionSettings, {"TRADING_PROFILE": profile}) for profile in ("demo", "standard"))
    assert (demo.cost_margin, demo.advisory_gates, standard.cost_margin, standard.advisory_gates) == (0, ("cost",), 1.5, ())


@pytest.mark.parametrize(("text", "value"), [("true", True), ("FALSE", False), ("1", True), ("no", False)])
def test_switches(text: str, value: bool) -> None:
    """Switches take the usual words."""
    assert load(Own, {"ENABLED": text}).enabled is value


@pytest.mark.parametrize(("fee", "market", "bps"), [(None, "futures", 5), (None, "spot", 10), ("2.5", "spot", Decimal("2.5")), ("0", "futures", 0)])
def test_fee(fee: str | None, market: str, bps: Decimal) -> None:
    """Without a given fee the market's regular one holds; a given zero is a zero."""
    environment = {"BINANCE_MARKET": market, **({"TAKER_FEE_BPS": fee} if fee else {})}
    assert load(Own, environment).fee_bps == bps


def test_blank_counts_as_not_set_where_it_says_nothing() -> None:
    """A blank value gives the default, but where the text says that empty means none it is none; blanks around are no part of a value."""
    blank = load(Own, {"REDIS_URL": " ", "KAFKA_BOOTSTRAP_SERVERS": "", "BAR_INTERVAL_SECONDS": " ", "TRADING_PROFILE": "demo"})
    assert (blank.redis_url, blank.kafka_bootstrap_servers, blank.bar_interval_seconds) == ("", Own().kafka_bootstrap_servers, Own().bar_interval_seconds)
    assert load(Own, {}).redis_url == Own().redis_url != ""
    assert load(Own, {"REDIS_URL": " redis://cache:6379/1 "}).redis_url == "redis://cache:6379/1"


def test_every_problem_at_once() -> None:
    """Each wrong value is one line with variable, value, rule and example."""
    found = problems(EXCHANGE="kraken", BAR_INTERVAL_SECONDS="0", SHARE="1", EQUITY_USD="-5", ENABLED="maybe", KAFKA_BOOTSTRAP_SERVERS="kafka")
    assert [line.split("=")[0] for line in found] == ["EXCHANGE", "BAR_INTERVAL_SECONDS", "KAFKA_BOOTSTRAP_SERVERS", "ENABLED", "SHARE", "EQUITY_USD"]
    assert found[0].startswith("EXCHANGE='kraken': ")
    assert found[1] == "BAR_INTERVAL_SECONDS='0': Expected `int` >= 1; for example BAR_INTERVAL_SECONDS=60"
    assert found[5] == "EQUITY_USD='-5': Expected a decimal number > 0; for example EQUITY_USD=10000"


@pytest.mark.parametrize("text", ["abc", "NaN", "Infinity", "1e", "--1"])
def test_money_is_a_number(text: str) -> None:
    """What is no finite number is refused, and the example shows one."""
    (line,) = problems(EQUITY_USD=text)
    assert line.startswith(f"EQUITY_USD={text!r}: ")
    assert "decimal number" in line


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"PAIRS": "ETHUSDT"}, "PAIRS: 'ETHUSDT' is not two different symbols"),
        ({"PAIRS": "BTCUSDT-BTCUSDT"}, "is not two different symbols"),
        ({"PAIRS": "SOLUSDT-BTCUSDT"}, "PAIRS: SOLUSDT is not in SYMBOLS (BTCUSDT,ETHUSDT)"),
        ({"PAIRS": "ETHUSDT-BTCUSDT,ETHUSDT-BTCUSDT"}, "PAIRS: 'ETHUSDT-BTCUSDT' is named twice"),
        ({"SYMBOLS": "BTCUSDT,ethusdt"}, "SYMBOLS: 'ethusdt' is not a symbol"),
        ({"SYMBOLS": "BTCUSDT,ETHUSDT,BTCUSDT"}, "SYMBOLS: 'BTCUSDT' is named twice"),
        ({"SYMBOLS": "BTCUSDT"}, "SYMBOLS='BTCUSDT': "),
        ({"REDIS_URL": "localhost:6379"}, "REDIS_URL='localhost:6379': "),
        ({"HTTP_PORT": "65536"}, "HTTP_PORT='65536': "),
    ],
)
def test_rules(environment: dict[str, str], words: str) -> None:
    """Symbols and pairs must fit together, addresses and ports must be some."""
    assert any(words in line for line in problems(**environment))


def test_secret_from_variable_or_file(tmp_path: Path) -> None:
    """A secret's file comes first; its line end does not belong to it."""
    file = tmp_path / "secret"
    file.write_text("from-file\n", encoding="utf-8")
    assert load(Own, {"API_SECRET": "from-variable"}).api_secret.reveal() == "from-variable"
    assert load(Own, {"API_SECRET": "from-variable", "API_SECRET_FILE": str(file)}).api_secret.reveal() == "from-file"


def test_secret_file_that_is_missing(tmp_path: Path) -> None:
    """A missing file is a problem; the variable's value is not shown."""
    (line,) = problems(API_SECRET="hunter2", API_SECRET_FILE=str(tmp_path / "none"))
    assert line.startswith("API_SECRET=***: ")
    assert "No such file" in line
    assert "hunter2" not in line


@given(st.text(min_size=1))
def test_secret_never_shows(value: str) -> None:
    """Whatever the secret is, what is shown of it and of the settings that hold it is the same."""
    assert repr(Secret(value)) == str(Secret(value)) == f"{Secret(value)}" == "Secret('***')"
    assert repr(Own(api_secret=Secret(value))) == repr(Own(api_secret=Secret("other")))


def test_secret_is_there_or_not() -> None:
    """Whether a secret was given can be asked without showing it."""
    assert Secret("x")
    assert not Secret("")
    assert repr(Secret("")) == "Secret('')"


@pytest.mark.parametrize("text", ["nan", "inf", "0", "1", "half"])
def test_shares_are_within_their_bounds(text: str) -> None:
    """A share that is no number within its bounds is refused."""
    (line,) = problems(SHARE=text)
    assert line.startswith(f"SHARE={text!r}: ")


#: What makes sense only together, by the beginning of the name.
COMPANIONS = {
    "KAFKA": {
        "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "KAFKA_SASL_USERNAME": "me",
        "KAFKA_SASL_PASSWORD": "secret",
        "KAFKA_SSL_CERTIFICATE_FILE": "own.pem",
        "KAFKA_SSL_KEY_FILE": "own.key",
    },
    "REDIS_CA_FILE": {"REDIS_URL": "rediss://localhost:6379/0"},
}


@pytest.mark.parametrize("field", msgspec.structs.fields(Own), ids=lambda field: field.name)
def test_every_setting_is_explained_by_an_example_that_works(field: Any) -> None:
    """Each setting has a meaning, and its example is accepted."""
    row = next(row for row in settings_help(Own) if row.variable == field.name.upper())
    assert row.meaning
    assert row.rule
    load(Own, COMPANIONS.get(row.variable.partition("_S")[0], {}) | {row.variable: row.example})


def test_help_tells_the_rules() -> None:
    """Rules are told from the same annotations that check them."""
    rows = {row.variable: row for row in settings_help(Own)}
    assert rows["SHARE"].rule == "number > 0 and < 1"
    assert rows["EXCHANGE"].rule == "one of simulator, binance"
    assert rows["ENABLED"] == ("ENABLED", "false", "true or false", "true", "a switch")
    assert rows["API_SECRET"].rule == "secret; or a file named by the variable with _FILE"
    assert rows["SYMBOLS"].rule == "comma separated list of at least 2"
    assert rows["SYMBOLS"].default == "BTCUSDT,ETHUSDT"
    assert rows["TAKER_FEE_BPS"].default == ""
    assert rows["DATA_DIR"].rule == "text that is not empty"
    assert rows["LADDER"].default == ""
    assert is_secret(Own.__annotations__["api_secret"])


def test_help_for_a_terminal() -> None:
    """Defaults that depend on the service are put in; an example that says no more than the default is left out."""
    text = settings_text(Own, {"HTTP_PORT": "8003"})
    assert re.search(r"HTTP_PORT\n.*\n.*default: 8003\n", text)
    assert "example: BAR_INTERVAL_SECONDS" not in text
    assert "example: LADDER=a,b" in text


def test_folder_must_be_writable(tmp_path: Path) -> None:
    """A folder is made when it can be; a file in its place is a problem of DATA_DIR."""
    require_writable(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=r"DATA_DIR=.*cannot be written"):
        require_writable(tmp_path / "file")


def test_services_may_look_into_one_folder_at_once(tmp_path: Path) -> None:
    """What one of them makes to see whether it can write is not taken away by another."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(require_writable, [tmp_path] * 400))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("environment", "problem"),
    [
        ({"KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "KAFKA_SASL_PASSWORD": "x"}, "KAFKA_SASL_USERNAME: KAFKA_SECURITY_PROTOCOL=SASL_SSL asks for it"),
        ({"KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT", "KAFKA_SASL_USERNAME": "x"}, "KAFKA_SASL_PASSWORD: KAFKA_SECURITY_PROTOCOL=SASL_PLAINTEXT asks"),
        ({"KAFKA_SASL_PASSWORD": "x"}, "KAFKA_SASL_PASSWORD: KAFKA_SECURITY_PROTOCOL=PLAINTEXT would not use it"),
        ({"KAFKA_SSL_CA_FILE": "x"}, "KAFKA_SSL_CA_FILE: KAFKA_SECURITY_PROTOCOL=PLAINTEXT would not use it"),
        ({"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_SSL_KEY_FILE": "x"}, "KAFKA_SSL_CERTIFICATE_FILE, KAFKA_SSL_KEY_FILE: one is of no use"),
        ({"REDIS_CA_FILE": "x"}, "REDIS_CA_FILE: REDIS_URL would not use it"),
    ],
)
def test_security_that_would_fail_or_protect_nothing_is_refused(environment: dict[str, str], problem: str) -> None:
    """A half of what belongs together, or what the connection would not use, is said before anything connects."""
    (found,) = problems(**environment)
    assert found.startswith(problem)


def test_passwords_come_from_files(tmp_path: Path) -> None:
    """The passwords of Kafka and Redis are read from the files that `_FILE` names and never shown."""
    file = tmp_path / "password"
    file.write_text("hunter2\n", encoding="utf-8")
    names = ("KAFKA_SASL_PASSWORD", "REDIS_PASSWORD")
    settings = load(Own, {"KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "KAFKA_SASL_USERNAME": "me"} | {f"{name}_FILE": str(file) for name in names})
    assert (settings.kafka_sasl_password.reveal(), settings.redis_password.reveal()) == ("hunter2", "hunter2")
    assert "hunter2" not in repr(settings)
