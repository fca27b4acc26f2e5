"""The shipped recordings, cut short, in another format, or with nonsense among their frames."""

import csv
import gzip
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pandas as pd

from scripts.embedded.options import ROOT

KLINES = ROOT / "data/klines/usdm-20250510"
TICKS = ROOT / "data/ticks/usdm-20240808"
#: Length of the cut klines unless a test says otherwise.
BARS = 300


def cut_ticks(folder: Path, seconds: float, every: int = 1) -> Path:
    """The first seconds of the shipped futures ticks, both symbols, and of these every so many frames."""
    folder.mkdir(parents=True, exist_ok=True)
    begin = min(int(next(lines).split()[0]) for lines in map(_lines, TICKS.glob("*.gz")))
    for file in TICKS.glob("*.gz"):
        kept = [line for line in _lines(file) if int(line.split(maxsplit=1)[0]) < begin + seconds * 1e9]
        with gzip.open(folder / file.name, "wb") as target:
            target.writelines(kept[::every])
    shutil.copy(TICKS / "rules.json", folder)
    return folder


def add_nonsense(recording: Path) -> int:
    """Put frames that mean nothing among those of the first file; returns how many."""
    file = min(recording.glob("*.gz"))
    kept = list(_lines(file))
    sound = [number for number, line in enumerate(kept) if b"@bookTicker" in line]
    for number, spoil in zip(sound[100::50], NONSENSE, strict=False):
        # At the same moment as a sound frame, so that order and bars stay as they were.
        kept[number] += spoil(kept[number].strip()) + b"\n"
    with gzip.open(file, "wb") as target:
        target.writelines(kept)
    return len(NONSENSE)


def _with(field: str, value: str) -> Callable[[bytes], bytes]:
    pattern = re.compile(rf'"{field}":("[^"]*"|\d+)'.encode())
    return lambda line: pattern.sub(f'"{field}":{value}'.encode(), line, count=1)


#: What the exchange would never send, made of a sound book frame.
NONSENSE: tuple[Callable[[bytes], bytes], ...] = (
    lambda line: line.replace(b'"b":', b'"b"'),
    lambda line: line.replace(b'"b":', b'"bid":'),
    _with("b", '"NaN"'),
    _with("a", '"Infinity"'),
    _with("b", '"0"'),
    _with("a", '"-61000.10"'),
    _with("b", '"99999999.00"'),
    _with("A", "[]"),
    _with("s", '"PEPEUSDT"'),
    # Long before all others, and not a repetition.
    lambda line: _with("E", "1723161000000")(_with("u", "9000000000000")(line)),
    _with("A", '"' + "1" * 2**20 + '"'),
)


def _lines(file: Path) -> Iterator[bytes]:
    with gzip.open(file) as source:
        yield from source


def cut_klines(folder: Path, bars: int, coins: Sequence[str] = ("BTC", "ETH", "LTC")) -> Path:
    """The first minutes of some of the shipped futures klines, as feather."""
    folder.mkdir(parents=True, exist_ok=True)
    for coin in coins:
        name = f"{coin}_USDT_USDT-1m-futures.feather"
        pd.read_feather(KLINES / name).head(bars).to_feather(folder / name)
    shutil.copy(KLINES / "rules.json", folder)
    return folder


def csv_klines(folder: Path, bars: int, coins: Sequence[str] = ("BTC", "ETH", "LTC")) -> Path:
    """The same in the exchange's twelve CSV columns."""
    folder.mkdir(parents=True, exist_ok=True)
    for coin in coins:
        table = pd.read_feather(KLINES / f"{coin}_USDT_USDT-1m-futures.feather").head(bars)
        opened = table["date"].dt.as_unit("ms").astype("int64")
        with (folder / f"{coin}USDT_1m.csv").open("w", encoding="utf-8", newline="") as target:
            writer = csv.writer(target)
            for time_ms, close in zip(opened, table["close"], strict=True):
                writer.writerow([time_ms, close, close, close, close, 1, time_ms + 59_999, close, 1, 1, close, 0])
    shutil.copy(KLINES / "rules.json", folder)
    return folder
