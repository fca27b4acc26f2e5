"""Kline files on disk: feather, the exchange's twelve CSV columns, or JSON rows."""

import codecs
import gzip
import io
import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import pandas as pd
import pyarrow as pa
from pyarrow import feather

from common.errors import ConfigurationError
from common.settings import Market
from services.exchange_simulator.klines import CLOSE, OPEN_TIME, Series, series_of

_SYMBOL: Final = 12
_QUOTES = "USDT|USDC|FDUSD|BUSD|TUSD|BTC|ETH|BNB|EUR|TRY"
_SPLIT_NAME = re.compile(rf"^([A-Z0-9]{{1,12}})[_-]({_QUOTES})([_-]({_QUOTES}))?(?=[^A-Z0-9]|$)")
_JOINED_NAME = re.compile(rf"^([A-Z0-9]{{2,15}}(?:{_QUOTES}))(?=[^A-Z0-9]|$)")
_UNREADABLE = (ValueError, TypeError, KeyError, IndexError, EOFError, OSError, OverflowError, zlib.error, msgspec.DecodeError, pa.ArrowException)

Rows = list[tuple[int, float]]


def read(files: Sequence[Path]) -> tuple[list[Series], int, Market | None]:
    """The symbols of the files, how many rows were dropped, and the market where names give it away."""
    rows: dict[str, Rows] = {}
    source: dict[str, Path] = {}
    for file in files:
        for symbol, found in _rows(file).items():
            rows.setdefault(symbol, []).extend(found)
            source[symbol] = file
    series, skipped = [], 0
    for symbol in sorted(rows):
        try:
            one, dropped = series_of(symbol, rows[symbol])
        except ValueError as error:
            raise ConfigurationError([f"RECORDING={source[symbol]}: {error}; name a file of one-minute klines"]) from error
        series.append(one)
        skipped += dropped
    return series, skipped, _market_of(files)


def _rows(file: Path) -> dict[str, Rows]:
    """A file's rows by symbol."""
    try:
        data = file.read_bytes()
        if data.startswith(b"\x1f\x8b"):
            data = gzip.decompress(data)
        data = data.removeprefix(codecs.BOM_UTF8)
        if data.startswith((b"ARROW1", b"FEA1")):
            return _named(file, _feather_rows(data))
        return _named(file, _json_rows(data)) if data.lstrip().startswith(b"[") else _csv_rows(file, data)
    except _UNREADABLE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigurationError([f"RECORDING={file}: cannot be read as klines ({reason}); it may be cut off, fetch it again"]) from error


def _named(file: Path, rows: Rows) -> dict[str, Rows]:
    symbol = _symbol_of(file)
    if symbol is None:
        raise ConfigurationError([f"RECORDING={file}: its name holds no symbol; rename it like BTC_USDT-1m or BTCUSDT_1m"])
    return {symbol: rows}


def _feather_rows(data: bytes) -> Rows:
    # A thread of Arrow's that still runs when the interpreter ends takes the process with it.
    table = feather.read_table(pa.BufferReader(data), columns=["date", "close"], use_threads=False).to_pandas(use_threads=False)
    return _pairs(table["date"], table["close"])


def _json_rows(data: bytes) -> Rows:
    rows: list[list[Any]] = msgspec.json.decode(data, type=list[list[Any]])
    return [(int(row[OPEN_TIME]), float(row[CLOSE])) for row in rows]


def _csv_rows(file: Path, data: bytes) -> dict[str, Rows]:
    """The exchange's columns, with or without a heading; a `symbol` column beats the file's name."""
    if _is_cut_off(data):
        raise ConfigurationError([f"RECORDING={file}: is cut off in its last row; fetch it again, or end a complete last row with a newline"])
    heading = not data[:8].lstrip(b'"')[:4].isdigit()
    table = pd.read_csv(io.BytesIO(data), header=None, skiprows=int(heading), dtype=str)
    if _SYMBOL not in table.columns:
        return _named(file, _pairs(table[OPEN_TIME], table[CLOSE]))
    return {str(symbol).upper(): _pairs(part[OPEN_TIME], part[CLOSE]) for symbol, part in table.groupby(_SYMBOL)}


def _is_cut_off(data: bytes) -> bool:
    """Whether the last row has fewer fields than the first, or may lack the end of its symbol: part of a price is a price, part of a symbol another."""
    commas = data.partition(b"\n")[0].count(b",")
    last = data.rstrip(b"\r\n").rpartition(b"\n")[2]
    return last.count(b",") < commas or (commas == _SYMBOL and not data.endswith((b"\n", b"\r")))


def _pairs(times: "pd.Series[Any]", closes: "pd.Series[Any]") -> Rows:
    return list(zip(_milliseconds(times), pd.to_numeric(closes).astype("float64").tolist(), strict=True))


def _milliseconds(times: "pd.Series[Any]") -> list[int]:
    """Times in ms UTC, from text, numbers (ms, us or ns by size) or pandas' own."""
    if not pd.api.types.is_datetime64_any_dtype(times):
        if str(times.iloc[0]).isdigit():
            digits = len(str(times.iloc[0]))
            return [int(time) // 10 ** max(0, digits - 13) for time in times]
        times = pd.to_datetime(times, utc=True, format="ISO8601")
    return [int(time) for time in times.dt.as_unit("ms").astype("int64")]


def _symbol_of(file: Path) -> str | None:
    name = file.name.upper()
    if match := _SPLIT_NAME.match(name):
        return match[1] + match[2]
    return match[1] if (match := _JOINED_NAME.match(name)) else None


def _market_of(files: Sequence[Path]) -> Market | None:
    """Futures names carry a settlement coin or say so; `BASE_QUOTE` alone is spot; a joined symbol may be either unless its folder says."""
    split = [_SPLIT_NAME.match(file.name.upper()) for file in files]
    if any((match and match[3]) or "futures" in file.name.lower() for match, file in zip(split, files, strict=True)):
        return Market.FUTURES
    folder = re.split(r"[^a-z]+", files[0].absolute().parent.name.lower())
    if all(split) or "spot" in folder:
        return Market.SPOT
    return Market.FUTURES if {"usdm", "futures", "um"} & set(folder) else None
