"""Which recording is played and which pairs are traded on it."""

import gzip
import shutil
from pathlib import Path

import pytest

from common.errors import ConfigurationError
from common.settings import Market
from scripts.embedded.options import DEFAULT_PAIRS, SHIPPED, Options, parse
from scripts.embedded.recordings import resolve

KLINES, TICKS = SHIPPED["klines", Market.FUTURES], SHIPPED["ticks", Market.FUTURES]
SPOT_KLINES = SHIPPED["klines", Market.SPOT]


def resolved(*arguments: str) -> Options:
    """What becomes of a command line."""
    return resolve(parse(arguments, {}))


def refused(*arguments: str) -> tuple[str, ...]:
    """The lines of a refusal."""
    with pytest.raises(ConfigurationError) as error:
        resolved(*arguments)
    assert all("\n" not in line for line in error.value.problems)
    return error.value.problems


@pytest.fixture
def ticks(tmp_path: Path) -> Path:
    """A hundred lines of each symbol of the shipped ticks."""
    folder = tmp_path / "ticks"
    folder.mkdir()
    for file in TICKS.glob("*.gz"):
        with gzip.open(file) as source, gzip.open(folder / file.name, "wb") as target:
            target.writelines(line for line, _ in zip(source, range(100), strict=False))
    return folder


def test_the_default_is_the_shipped_futures_klines() -> None:
    """Without options the shipped klines play with the chosen pairs."""
    made = resolved()
    assert (made.data, made.market, made.recording) == ("klines", Market.FUTURES, KLINES)
    assert made.pairs == DEFAULT_PAIRS["klines", Market.FUTURES]
    assert (made.speed, made.live) == ("max", False)


def test_the_market_chooses_among_what_ships() -> None:
    """--market spot alone plays the spot recording."""
    made = resolved("--market", "spot")
    assert (made.market, made.recording, made.pairs) == (Market.SPOT, SPOT_KLINES, ("ETHUSDT-BTCUSDT",))


def test_a_recording_says_itself_what_it_is(ticks: Path) -> None:
    """Kind, market and pairs of a folder that nothing else is said about come from its content."""
    made = resolved("--recording", str(ticks))
    assert (made.data, made.market, made.pairs) == ("ticks", Market.FUTURES, ("ETHUSDT-BTCUSDT",))
    assert made.recording == ticks


def test_a_recording_of_one_s_own_pairs_each_symbol_with_bitcoin(tmp_path: Path) -> None:
    """The chosen pairs are for what ships; others get each symbol against BTCUSDT."""
    folder = tmp_path / "mine"
    folder.mkdir()
    for coin in ("ADA", "BTC", "XRP"):
        shutil.copy(KLINES / f"{coin}_USDT_USDT-1m-futures.feather", folder)
    assert resolved("--recording", str(folder)).pairs == ("ADAUSDT-BTCUSDT", "XRPUSDT-BTCUSDT")
    (folder / "BTC_USDT_USDT-1m-futures.feather").unlink()
    assert resolved("--recording", str(folder)).pairs == ("XRPUSDT-ADAUSDT",)


def test_pairs_that_are_given_are_taken() -> None:
    """Any symbols of the recording, in any combination."""
    assert resolved("--pairs", "ADAUSDT-XRPUSDT").pairs == ("ADAUSDT-XRPUSDT",)


def test_live_data_need_no_recording() -> None:
    """Binance's streams: one pair on futures unless told otherwise."""
    made = resolved("--data", "live")
    assert (made.live, made.market, made.pairs) == (True, Market.FUTURES, ("ETHUSDT-BTCUSDT",))


def test_every_unknown_symbol_is_named_in_a_line_of_its_own() -> None:
    """Each line says what the recording has instead."""
    lines = refused("--pairs", "PEPEUSDT-BTCUSDT,ETHUSDT-DOGEUSDT")
    assert len(lines) == 2
    assert "DOGEUSDT is not in" in lines[0]
    assert "PEPEUSDT is not in" in lines[1]
    assert all("BTCUSDT, ETHUSDT" in line for line in lines)


def test_a_missing_recording_is_one_line() -> None:
    """The path and what to do."""
    (line,) = refused("--recording", "no/such/recording")
    assert "no/such/recording" in line
    assert "does not exist" in line


def test_one_symbol_alone_makes_no_pair(tmp_path: Path) -> None:
    """A pair needs two symbols recorded at the same time, whether or not pairs are given."""
    shutil.copy(KLINES / "BTC_USDT_USDT-1m-futures.feather", tmp_path)
    (line,) = refused("--recording", str(tmp_path))
    assert "holds only BTCUSDT" in line
    (line,) = refused("--recording", str(tmp_path), "--pairs", "ETHUSDT-BTCUSDT")
    assert "ETHUSDT is not in" in line


def test_another_market_than_the_recording_s_is_one_line(ticks: Path) -> None:
    """Frames of the futures exchange do not play as spot."""
    (line,) = refused("--recording", str(ticks), "--market", "spot")
    assert "futures" in line
    assert "spot" in line


def test_another_kind_than_the_recording_s_is_one_line(ticks: Path) -> None:
    """--data klines with ticks is a mistake that is told, not guessed around."""
    (line,) = refused("--recording", str(ticks), "--data", "klines")
    assert "--data klines" in line
    assert "holds ticks" in line
