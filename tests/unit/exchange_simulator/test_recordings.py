"""The recordings that ship, and others of the same formats where they lie beside the project."""

import itertools
import json
from pathlib import Path

import pytest

from common.settings import Market
from services.exchange_simulator.store import open_recording

ROOT = Path(__file__).parents[3]
DATA = ROOT / "data"
OTHERS = ROOT.parent / "shared" / "data"

ALTS = ("ADAUSDT", "BNBUSDT", "BTCUSDT", "ETHUSDT", "LTCUSDT", "SOLUSDT", "XRPUSDT")
MAJORS = ("BTCUSDT", "ETHUSDT")


@pytest.mark.parametrize(
    ("folder", "market", "symbols", "frames"),
    [
        ("klines/usdm-20250510", Market.FUTURES, ALTS, 30_240),
        ("klines/spot-20251029", Market.SPOT, MAJORS, 17_280),
        ("ticks/usdm-20240808", Market.FUTURES, MAJORS, 112_595),
        ("ticks/spot-20240808", Market.SPOT, MAJORS, 11_474),
    ],
)
def test_a_shipped_recording_is_what_its_readme_says(folder: str, market: Market, symbols: tuple[str, ...], frames: int) -> None:
    """Market, symbols and number of frames are those stated, and every symbol has rules of its own in the rules file."""
    recording = open_recording(DATA / folder)
    assert (recording.market, recording.symbols, recording.frames_total, recording.skipped) == (market, symbols, frames, 0)
    stated = json.loads((DATA / folder / "rules.json").read_text())
    assert tuple(row["symbol"] for row in stated["symbols"]) == symbols
    (row,) = [line for line in (DATA / "README.md").read_text().splitlines() if line.startswith(f"| `{folder}`")]
    assert row.endswith(f"| {frames:,} |")


def test_the_shipped_data_is_small_and_its_sources_are_named() -> None:
    """All data stays under 20 MB, and the notice names each file and holds the licence text of each source."""
    files = [file for file in DATA.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 20_000_000
    notice = (DATA / "NOTICE.md").read_text()
    recordings = [file for file in files if file.suffix in {".gz", ".feather"}]
    assert len(recordings) == 13
    assert all(f"`{file.relative_to(DATA)}`" in notice for file in recordings)
    assert notice.count("MIT License") == notice.count("Copyright (c)") == notice.count('THE SOFTWARE IS PROVIDED "AS IS"') == 3


@pytest.mark.parametrize(
    ("path", "market", "symbols", "frames"),
    [
        ("klines-1m/usdm-202505/ADA_USDT_USDT-1m-futures.feather", Market.FUTURES, ("ADAUSDT",), 43_199),
        ("klines-1m/spot-202104/SOL_USDT-1m.json.gz", Market.SPOT, ("SOLUSDT",), 122_556),
        ("klines-1m/spot-202408", Market.SPOT, MAJORS, 172_834),
        ("klines-1m/spot-20251029-full12col", Market.SPOT, MAJORS, 17_280),
        ("ticks/spot+usdm-btc-20230405/usdm_btcusdt_20230404.dat.gz", Market.FUTURES, ("BTCUSDT",), 13_383),
        ("ticks/spot+usdm-btc-20230405/spot_btcusdt_20230405.dat.gz", Market.SPOT, ("BTCUSDT",), 15_088),
    ],
)
def test_other_recordings_read_as_well(path: str, market: Market, symbols: tuple[str, ...], frames: int) -> None:
    """Other months, symbols and markets of the same formats are recognised."""
    if not OTHERS.exists():
        pytest.skip("needs ../shared/data, which is not beside the project")
    recording = open_recording(OTHERS / path)
    assert (recording.market, recording.symbols, recording.frames_total) == (market, symbols, frames)
    times = [frame.time_ns for _, frame in zip(range(500), recording.frames(), strict=False)]
    assert times == sorted(times)


def test_a_halt_of_the_exchange_is_a_silence() -> None:
    """Between 02:00 and 04:30 of 2021-04-20 spot stood still: the klines have no minute there, and so no frame."""
    if not OTHERS.exists():
        pytest.skip("needs ../shared/data, which is not beside the project")
    recording = open_recording(OTHERS / "klines-1m/spot-202104/BTC_USDT-1m.json.gz")
    books = [frame.time_ns // 60_000_000_000 for frame in recording.frames({"btcusdt@bookTicker"})]
    assert max(later - earlier for earlier, later in itertools.pairwise(books)) > 100
