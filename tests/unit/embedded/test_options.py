"""The command line of the embedded run."""

from pathlib import Path

import pytest

from common.settings import Market
from scripts.embedded.options import DEFAULT_PAIRS, SHIPPED, parse
from tests.unit.embedded.example import options


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--speed", "0"], "--speed"),
        (["--speed", "-1"], "--speed"),
        (["--speed", "fast"], "'fast'"),
        (["--speed", "inf"], "--speed"),
        (["--speed", "nan"], "--speed"),
        (["--duration", "0"], "--duration"),
        (["--duration", "soon"], "--duration"),
        (["--pairs", ""], "--pairs"),
        (["--pairs", "ETHUSDT"], "ETHUSDT"),
        (["--pairs", "BTCUSDT-BTCUSDT"], "--pairs"),
        (["--pairs", "ETHUSDT-BTCUSDT,ETHUSDT-BTCUSDT"], "twice"),
        (["--data", "candles"], "candles"),
        (["--market", "options"], "options"),
        (["--data", "live", "--recording", "."], "--recording"),
        (["--base-port", "80"], "80"),
        (["--base-port", "65530"], "65530"),
        (["--summary", "no/such/folder/summary.json"], "no/such/folder"),
        (["--frobnicate"], "--frobnicate"),
        (["klines"], "klines"),
    ],
)
def test_wrong_usage_ends_with_status_2_and_names_what_is_wrong(arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each mistake ends the program with status 2, and the last line on stderr names it."""
    with pytest.raises(SystemExit) as ended:
        parse(arguments, {})
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert named in said.err.strip().splitlines()[-1]
    assert said.out == ""


def test_help_lists_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    """--help names every option and ends with status 0."""
    with pytest.raises(SystemExit) as ended:
        parse(["--help"], {})
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert all(option in text for option in ("--data", "--recording", "--market", "--pairs", "--speed", "--duration", "--keep-going", "--summary"))


def test_no_argument_means_full_speed_to_the_end() -> None:
    """Nothing is chosen that the recording can tell by itself."""
    asked = parse([], {})
    assert (asked.data, asked.recording, asked.market, asked.pairs) == (None, None, None, None)
    assert (asked.speed, asked.duration, asked.keep_going, asked.summary, asked.base_port) == ("max", None, False, None, 8000)
    assert (asked.kafka, asked.redis_url) == ("", "")


def test_relative_paths_are_meant_from_where_the_caller_stands(tmp_path: Path) -> None:
    """The script changes folder, so DEMO_CALLER_DIR says where a relative path begins; an absolute one stays."""
    caller = {"DEMO_CALLER_DIR": str(tmp_path)}
    asked = parse(["--recording", "mine/ticks", "--summary", "summary.json"], caller)
    assert asked.recording == tmp_path / "mine/ticks"
    assert asked.summary == tmp_path / "summary.json"
    assert parse(["--recording", "/elsewhere/ticks"], caller).recording == Path("/elsewhere/ticks")


def test_a_relative_path_without_a_caller_is_meant_from_here() -> None:
    """Started directly, the working folder counts."""
    assert parse(["--recording", "mine"], {}).recording == Path("mine")


def test_values_are_taken_as_given() -> None:
    """Numbers are read, the pairs are split and trimmed, the servers come from the environment."""
    servers = {"KAFKA_BOOTSTRAP_SERVERS": "kafka:9092", "REDIS_URL": "redis://cache:6379/0"}
    asked = parse(["--speed", "2.5", "--duration", "30", "--pairs", "ETHUSDT-BTCUSDT, SOLUSDT-BTCUSDT", "--market", "spot", "--keep-going"], servers)
    assert (asked.speed, asked.duration, asked.market, asked.keep_going) == ("2.5", 30.0, "spot", True)
    assert asked.pairs == ("ETHUSDT-BTCUSDT", "SOLUSDT-BTCUSDT")
    assert (asked.kafka, asked.redis_url) == ("kafka:9092", "redis://cache:6379/0")


def test_the_hedge_leg_of_the_first_pair_is_the_first_symbol() -> None:
    """Each symbol once: the services pair each with the first where no pairs are given."""
    made = options(pairs=("ETHUSDT-BTCUSDT", "SOLUSDT-BTCUSDT", "SOLUSDT-ETHUSDT"))
    assert made.symbols == ("BTCUSDT", "ETHUSDT", "SOLUSDT")


def test_what_ships_is_there() -> None:
    """Every kind of data has a recording of each market, with rules beside it."""
    assert set(SHIPPED) == {(data, market) for data in ("klines", "ticks") for market in Market}
    assert all((folder / "rules.json").is_file() for folder in SHIPPED.values())
    assert set(DEFAULT_PAIRS) <= set(SHIPPED)


def test_pages_are_served_when_asked_for() -> None:
    """Not by themselves: they take packages and a port."""
    assert not parse([], {}).ui
    assert parse(["--ui"], {}).ui
