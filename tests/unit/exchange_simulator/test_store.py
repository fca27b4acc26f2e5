"""Recordings on disk, good and bad."""

import contextlib
import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from common.errors import ConfigurationError
from common.settings import Market
from services.exchange_simulator import store
from services.exchange_simulator.store import Wanted, open_recording
from tests.unit.exchange_simulator.builders import T0_NS, book, tick_file, trade

MINUTE = 60_000
T0 = 1_746_835_200_000
CLOSES = (103_000.1, 103_100.2, 103_050.3)
CSV_HEAD = "open_time,open,high,low,close,volume,close_time,qav,num_trades,taker_base,taker_quote,ignore"


def rows() -> list[tuple[int, float]]:
    return [(T0 + number * MINUTE, close) for number, close in enumerate(CLOSES)]


def feather(path: Path) -> None:
    table = pd.DataFrame(
        {"date": pd.to_datetime([time for time, _ in rows()], unit="ms", utc=True), "open": 1.0, "high": 1.0, "low": 1.0, "close": CLOSES, "volume": 1.0}
    )
    table.to_feather(path)


def json_rows(path: Path) -> None:
    path.write_text(json.dumps([[time, 1.0, 1.0, 1.0, close, 5.0] for time, close in rows()]))


def compressed_json(path: Path) -> None:
    path.write_bytes(gzip.compress(json.dumps([[time, 1.0, 1.0, 1.0, close, 5.0] for time, close in rows()]).encode()))


def csv(heading: bool, time: Callable[[int], str], symbol: str = "") -> Callable[[Path], None]:
    def write(path: Path) -> None:
        lines = [CSV_HEAD + (",symbol" if symbol else "")] if heading else []
        lines += [f"{time(open_ms)},1,1,1,{close},5,{time(open_ms + MINUTE - 1)},1,2,3,4,0" + (f",{symbol}" if symbol else "") for open_ms, close in rows()]
        path.write_text("\n".join(lines) + "\n")

    return write


def iso(open_ms: int) -> str:
    return str(pd.Timestamp(open_ms, unit="ms", tz="UTC"))


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("BTC_USDT_USDT-1m-futures.feather", feather),
        ("BTC_USDT-1m.json", json_rows),
        ("BTC_USDT-1m.json.gz", compressed_json),
        ("BTCUSDT_1m.csv", csv(heading=True, time=iso)),
        ("BTCUSDT-1m-2025-05.csv", csv(heading=False, time=str)),
        ("BTCUSDT-1m-2025-05.csv", csv(heading=False, time=lambda open_ms: f"{open_ms}000")),
        ("anything.csv", csv(heading=True, time=iso, symbol="BTCUSDT")),
        ("anything.csv", csv(heading=False, time=str, symbol="BTCUSDT")),
        ("misnamed.gz", csv(heading=False, time=str, symbol="BTCUSDT")),
    ],
)
def test_every_kline_format_gives_the_same_books(tmp_path: Path, name: str, write: Callable[[Path], None]) -> None:
    """Feather, JSON and CSV, whatever the name's ending, heading or unit of time, hold the same minutes."""
    write(tmp_path / name)
    recording = open_recording(tmp_path)
    assert recording.symbols == ("BTCUSDT",)
    assert recording.first_event_time_ns == (T0 + MINUTE - 1) * 1_000_000
    books = [json.loads(frame.data) for frame in recording.frames({"btcusdt@bookTicker"})]
    middles = [(float(quote["b"]) + float(quote["a"])) / 2 for quote in books]
    assert middles == pytest.approx(CLOSES, abs=0.2)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads in /proc")
def test_reading_a_feather_file_leaves_no_thread(tmp_path: Path) -> None:
    """None that may still run when the interpreter ends, which would abort the process."""
    feather(tmp_path / "BTC_USDT-1m.feather")
    program = """
import os, sys
from pathlib import Path
from services.exchange_simulator import kline_store
from services.exchange_simulator.store import Wanted, open_recording
threads = os.listdir("/proc/self/task")
open_recording(Path(sys.argv[1]), Wanted())
assert os.listdir("/proc/self/task") == threads
"""
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)


@pytest.mark.parametrize(
    ("folder", "name", "expected"),
    [
        ("a", "BTC_USDT_USDT-1m-futures.feather", Market.FUTURES),
        ("a", "BTC_USDT-1m.feather", Market.SPOT),
        ("spot-2025", "BTCUSDT-1m.feather", Market.SPOT),
        ("usdm-2025", "BTCUSDT-1m.feather", Market.FUTURES),
        ("a", "BTCUSDT-1m.feather", Market.FUTURES),
    ],
)
def test_names_give_the_market_away(tmp_path: Path, folder: str, name: str, expected: Market) -> None:
    """A settlement coin means futures, `BASE_QUOTE` alone spot; a joined symbol follows its folder, else the project's default."""
    (tmp_path / folder).mkdir()
    feather(tmp_path / folder / name)
    assert open_recording(tmp_path / folder / name).market is expected


def test_a_market_that_contradicts_the_recording_is_refused(tmp_path: Path) -> None:
    """Spot klines are not played as futures: the error names the setting and the fix."""
    feather(tmp_path / "BTC_USDT-1m.feather")
    with pytest.raises(ConfigurationError, match=r"BINANCE_MARKET=futures: .* is of spot; set BINANCE_MARKET=spot"):
        open_recording(tmp_path, Wanted(market=Market.FUTURES))


def test_two_files_of_a_symbol_are_one_series(tmp_path: Path) -> None:
    """Months in files of their own are joined, and a minute in both counts once."""
    csv(heading=True, time=iso)(tmp_path / "BTCUSDT-1m-2025-05.csv")
    csv(heading=False, time=lambda open_ms: str(open_ms + 2 * MINUTE))(tmp_path / "BTCUSDT-1m-2025-06.csv")
    recording = open_recording(tmp_path)
    assert (recording.frames_total, recording.skipped) == (5, 1)


def test_duration_ends_a_recording_early(tmp_path: Path) -> None:
    """DURATION counts recorded time from the first frame, for klines and for ticks, and the totals know it."""
    feather(tmp_path / "BTC_USDT-1m.feather")
    assert len(list(open_recording(tmp_path, Wanted(duration_s=120)).frames({"btcusdt@bookTicker"}))) == 2
    ticks = open_recording(tick_file(tmp_path, [book(number) for number in range(100)]), Wanted(duration_s=0.5))
    assert len(list(ticks.frames())) == ticks.frames_total == 50
    assert ticks.last_event_time_ns == T0_NS + 495_000_000


def test_tick_files_play_as_one_stream(tmp_path: Path) -> None:
    """Files are merged by local time, other lines skipped and counted, event times taken from the frames."""
    tick_file(tmp_path, [book(0), book(2), f'{T0_NS + 21_000_000} {{"lastUpdateId":1,"bids":[]}}', book(4)], "btcusdt.gz")
    tick_file(tmp_path, [book(1, "ETHUSDT"), trade(3, "ETHUSDT")], "ethusdt.dat")
    (tmp_path / "README.md").write_text("not a recording")
    recording = open_recording(tmp_path)
    assert [frame.stream for frame in recording.frames()] == [
        "btcusdt@bookTicker",
        "ethusdt@bookTicker",
        "btcusdt@bookTicker",
        "ethusdt@trade",
        "btcusdt@bookTicker",
    ]
    assert (recording.market, recording.symbols, recording.frames_total, recording.skipped) == (Market.FUTURES, ("BTCUSDT", "ETHUSDT"), 5, 1)
    assert (recording.first_event_time_ns, recording.last_event_time_ns) == (T0_NS + 5_000_000, T0_NS + 45_000_000)
    assert recording.rules["BTCUSDT"].source == "binance 2026-09-30"
    assert (recording.rules["ETHUSDT"].minimum_notional, str(recording.rules["ETHUSDT"].price_tick)) == (20, "0.1")


def test_a_folder_with_both_markets_needs_to_be_told_which(tmp_path: Path) -> None:
    """Spot and futures files side by side are two recordings: without BINANCE_MARKET an error, with it one of them."""
    tick_file(tmp_path, [book(0)], "futures.gz")
    tick_file(tmp_path, [book(0, spot=True), book(1, spot=True)], "spot.gz")
    with pytest.raises(ConfigurationError, match="set BINANCE_MARKET"):
        open_recording(tmp_path)
    assert open_recording(tmp_path, Wanted(market=Market.SPOT)).frames_total == 2


def test_an_unknown_symbol_is_named_with_what_there_is(tmp_path: Path) -> None:
    """Each symbol that the recording lacks is a line that lists the symbols it has."""
    path = tick_file(tmp_path, [book(0), book(1, "ETHUSDT")])
    assert open_recording(path, Wanted(symbols=("ETHUSDT",))).symbols == ("ETHUSDT",)
    with pytest.raises(ConfigurationError) as caught:
        open_recording(path, Wanted(symbols=("BTCUSDT", "SOLUSDT", "XUSDT")))
    assert [problem.split(" is not in")[0] for problem in caught.value.problems] == ["SYMBOLS: SOLUSDT", "SYMBOLS: XUSDT"]
    assert "which has BTCUSDT, ETHUSDT" in caught.value.problems[0]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.gz", b"", "is empty"),
        ("blank.csv", b"\n\n", "is empty"),
        ("nothing.gz", gzip.compress(b"", mtime=0), "is empty"),
        ("picture.png", b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 8, "is no recording"),
        ("text.txt", b"dear diary, today, nothing, happened, at, all, again\n" * 100, "is no recording"),
        ("snapshots.gz", gzip.compress(b'1723161254206652067 {"lastUpdateId":1,"bids":[]}\n' * 50, mtime=0), "is no recording"),
        ("half.gz", gzip.compress("\n".join(map(book, range(4000))).encode(), mtime=0)[:-3000], "is cut off after line"),
        ("stub.gz", gzip.compress(book(0).encode(), mtime=0)[:30], "is cut off"),
        ("noise.gz", b"\x1f\x8b" + bytes(range(200)), "cannot be read"),
        ("BTC_USDT-1m.feather", b"ARROW1\0\0" + bytes(500), "cannot be read as klines"),
        ("BTC_USDT-1m.json", b"[[1746835200000,1,1,1,", "cannot be read as klines"),
        ("BTC_USDT-1m.json", b'["a","b"]', "cannot be read as klines"),
        ("BTC_USDT-5m.json", json.dumps([[T0 + number * 300_000, 1, 1, 1, 1, 1] for number in range(9)]).encode(), "is not of one-minute klines"),
        ("prices.json", json.dumps([[T0, 1, 1, 1, 1, 1]]).encode(), "its name holds no symbol"),
        ("rules.json", b"{}", "is no recording"),
    ],
)
def test_a_bad_file_is_one_clear_line(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    """Empty, cut off and foreign files are refused with the file, what is wrong and what to do."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        open_recording(tmp_path / name)
    (line,) = caught.value.problems
    assert name in line
    assert words in line
    assert ";" in line
    assert "\n" not in line


@pytest.mark.parametrize("symbol", ["", "BTCUSDT"])
def test_a_plain_csv_is_never_played_with_a_cut_off_price(tmp_path: Path, symbol: str) -> None:
    """Wherever a CSV is cut within its last row it is refused, or plays the whole prices that it was to play."""
    path = tmp_path / "BTCUSDT_1m.csv"
    csv(heading=True, time=iso, symbol=symbol)(path)
    whole = path.read_bytes()
    last_row = whole.rstrip().rindex(b"\n") + 1
    played = []
    for end in range(last_row + 1, len(whole) + 1):
        path.write_bytes(whole[:end])
        with contextlib.suppress(ConfigurationError):
            played.append((end, [frame.data for frame in open_recording(tmp_path).frames()]))
    assert [len(whole) - end for end, _ in played] == ([0] if symbol else [2, 1, 0])
    assert all(frames == played[-1][1] for _, frames in played)
    path.write_bytes(whole[: last_row + 40])
    with pytest.raises(ConfigurationError, match="is cut off in its last row; fetch it again"):
        open_recording(tmp_path)


@pytest.mark.parametrize("heading", [True, False])
def test_a_byte_order_mark_costs_no_row(tmp_path: Path, heading: bool) -> None:
    """A CSV saved with a byte order mark has all its rows, with a heading and without."""
    path = tmp_path / "BTCUSDT_1m.csv"
    csv(heading=heading, time=iso)(path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert open_recording(tmp_path).frames_total == len(CLOSES)


def test_a_missing_path_and_an_empty_folder_are_told_apart(tmp_path: Path) -> None:
    """A folder without files lists the folders in it, since one of them was probably meant."""
    with pytest.raises(ConfigurationError, match="does not exist"):
        open_recording(tmp_path / "nowhere")
    (tmp_path / "ticks").mkdir()
    with pytest.raises(ConfigurationError, match=r"holds no recording; name one of its folders \(ticks\)"):
        open_recording(tmp_path)


def test_ticks_and_klines_do_not_mix(tmp_path: Path) -> None:
    """One folder is one recording of one kind."""
    tick_file(tmp_path, [book(0)])
    feather(tmp_path / "BTC_USDT-1m.feather")
    with pytest.raises(ConfigurationError, match="mixes ticks and klines"):
        open_recording(tmp_path)


def test_a_rules_file_beside_the_recording_is_used(tmp_path: Path) -> None:
    """Stated rules beat assumed ones, and a broken rules file is an error rather than a silent assumption."""
    feather(tmp_path / "BTC_USDT_USDT-1m-futures.feather")
    assumed = open_recording(tmp_path).rules["BTCUSDT"]
    row = {"symbol": "BTCUSDT", "price_tick": "0.5", "quantity_step": "0.1", "minimum_quantity": "0.1", "maximum_quantity": "9", "maximum_market_quantity": "8"}
    (tmp_path / "rules.json").write_text(json.dumps({"market": "futures", "symbols": [row | {"minimum_notional": "7", "source": "a test"}]}))
    stated = open_recording(tmp_path / "BTC_USDT_USDT-1m-futures.feather")
    assert (stated.rules["BTCUSDT"].source, assumed.source) == ("a test", "binance 2026-09-30")
    assert float(json.loads(next(stated.frames()).data)["b"]) % 0.5 == 0
    (tmp_path / "rules.json").write_text(json.dumps({"market": "futures", "symbols": [row]}))
    with pytest.raises(ConfigurationError, match=r"rules\.json: is no rules file"):
        open_recording(tmp_path)


def test_a_recording_too_large_to_read_through_is_estimated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit totals and end are extrapolated and marked so; all frames play nevertheless, up to where the file is cut off."""
    path = tick_file(tmp_path, [book(number) for number in range(5000)], "btcusdt.dat")
    monkeypatch.setattr(store, "SURVEY_BYTES", path.stat().st_size // 4)
    recording = open_recording(path)
    assert not recording.exact
    assert recording.frames_total == pytest.approx(5000, rel=0.1)
    assert recording.last_event_time_ns == pytest.approx(T0_NS + 50_000_000_000, abs=5_000_000_000)
    assert sum(1 for _ in recording.frames()) == 5000


def test_damage_met_while_playing_ends_with_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is cut off beyond what was read before gives its good frames, then the error."""
    path = tick_file(tmp_path, [book(number) for number in range(5000)])
    path.write_bytes(path.read_bytes()[:-2000])
    monkeypatch.setattr(store, "SURVEY_BYTES", 1000)
    frames = open_recording(path).frames()
    assert next(frames).time_ns == T0_NS
    with pytest.raises(ConfigurationError, match="is cut off after line"):
        assert sum(1 for _ in frames) == 0
