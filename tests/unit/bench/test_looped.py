"""Recordings made longer."""

import gzip
from pathlib import Path

import msgspec
import pytest

from common.errors import ConfigurationError
from scripts.bench.looped import looped, span_s
from services.exchange_simulator.store import open_recording
from services.exchange_simulator.ticks import parse_line

BOOK = b'%d {"stream":"btcusdt@bookTicker","data":{"e":"bookTicker","u":%d,"s":"BTCUSDT","b":"1.10","B":"2","a":"1.20","A":"3","T":%d,"E":%d}}\n'
TRADE = b'%d {"stream":"btcusdt@trade","data":{"e":"trade","E":%d,"T":%d,"s":"BTCUSDT","t":%d,"p":"1.15","q":"1","X":"MARKET","m":true}}\n'
NS = 1_700_000_000_000_000_000


def lines() -> list[bytes]:
    ms = NS // 10**6
    return [
        BOOK % (NS, 100, ms, ms + 1),
        TRADE % (NS + 5 * 10**8, ms + 500, ms + 501, 7),
        BOOK % (NS + 14 * 10**8, 150, ms + 1400, ms + 1401),
        b"no frame at all\n",
    ]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "ticks"
    folder.mkdir()
    with gzip.open(folder / "btcusdt.gz", "wb") as file:
        file.writelines(lines())
    return folder


def test_time_and_ids_go_on_as_in_one_feed(source: Path, tmp_path: Path) -> None:
    """Each turn comes whole seconds after the one before; update ids rise, trade ids follow without a gap, prices stay."""
    folder = looped(source, tmp_path / "long", 5.0, lambda _: None)
    with gzip.open(folder / "btcusdt.gz") as file:
        frames = [frame for line in file if (frame := parse_line(line))]
    data = [msgspec.json.decode(frame.data) for frame in frames]
    assert [frame.time_ns - NS for frame in frames[::3]] == [0, 2 * 10**9, 4 * 10**9]
    assert [each["E"] - data[0]["E"] for each in data[::3]] == [0, 2000, 4000]
    assert [each["T"] - data[0]["T"] for each in data[::3]] == [0, 2000, 4000]
    assert [each["u"] for each in data if "u" in each] == [100, 150, 151, 201, 202, 252]
    assert [each["t"] for each in data if "t" in each] == [7, 8, 9]
    assert {each["b"] for each in data if "b" in each} == {"1.10"}


def test_the_simulator_plays_it(source: Path, tmp_path: Path) -> None:
    """What was made is a recording with as many frames as asked for."""
    assert open_recording(looped(source, tmp_path / "long", 4.1, lambda _: None)).frames_total == 9


def test_it_is_made_once(source: Path, tmp_path: Path) -> None:
    """A second run of the same length takes what is there."""
    said: list[str] = []
    first = looped(source, tmp_path / "long", 4.0, said.append)
    assert looped(source, tmp_path / "long", 3.0, said.append) == first
    assert said == ["making 2 times 2 s of ticks"]


def test_files_share_one_span() -> None:
    """Two symbols' files stay beside each other however often they are played."""
    assert span_s([lines()[:2], lines()[2:3]]) == 2


def test_a_folder_without_ticks_is_refused(tmp_path: Path) -> None:
    """What to give instead is said."""
    with pytest.raises(ConfigurationError, match="holds no tick files"):
        looped(tmp_path, tmp_path / "long", 1.0, lambda _: None)
