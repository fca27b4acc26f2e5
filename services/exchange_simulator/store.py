"""Recordings on disk: finds out what a path holds and opens it."""

import gzip
import heapq
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import IO, Final, cast

import msgspec

from common.errors import ConfigurationError
from common.settings import Market
from services.exchange_simulator import klines, ticks
from services.exchange_simulator.exchange_info import RuleRow, RulesFile, rule_row
from services.exchange_simulator.klines import Assumptions
from services.exchange_simulator.recording import Frame, Recording, until

RULES_FILE: Final = "rules.json"
#: A tick file is read through before it plays up to this many bytes; beyond, totals are extrapolated.
SURVEY_BYTES: Final = 256 * 1024 * 1024
_SNIFF_BYTES: Final = 256 * 1024
_DAMAGED = (EOFError, OSError, zlib.error)
_FORMATS = "tick files, one-minute klines as feather, CSV or JSON"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which part of a recording to play."""

    market: Market | None = None
    symbols: tuple[str, ...] = ()
    duration_s: float | None = None
    assumptions: Assumptions = field(default_factory=Assumptions)


def open_recording(path: Path, wanted: Wanted | None = None) -> Recording:
    """Open a file or folder; raises ConfigurationError with one line per problem."""
    wanted = wanted or Wanted()
    files = _files(path)
    kinds = {file: _kind(file) for file in files}
    if len(set(kinds.values())) > 1:
        examples = ", ".join(f"{file.name} ({kind})" for file, kind in list(kinds.items())[:3])
        raise _problem(path, f"mixes ticks and klines: {examples}", "name one file or keep them in folders of their own")
    rules = _rules_file(path if path.is_dir() else path.parent)
    read = _tick_recording if "ticks" in kinds.values() else _kline_recording
    return read(path, files, rules, wanted)


def _problem(path: Path, what: str, fix: str) -> ConfigurationError:
    return ConfigurationError([f"RECORDING={path}: {what}; {fix}"])


def _files(path: Path) -> list[Path]:
    """The recording's files; notes, licences and rules beside them are none."""
    if not path.exists():
        raise _problem(path, "does not exist", "name a file or a folder of files")
    if not path.is_dir():
        return [path]
    ignored = re.compile(r"^(\..*|.*\.md|rules\.json|(README|LICENSE|NOTICE|MANIFEST).*)$", re.IGNORECASE)
    files = sorted(file for file in path.iterdir() if file.is_file() and not ignored.match(file.name))
    if not files:
        folders = ", ".join(sorted(entry.name for entry in path.iterdir() if entry.is_dir())[:5])
        raise _problem(path, "holds no recording", f"name one of its folders ({folders})" if folders else f"put {_FORMATS} there")
    return files


def _decompressed(raw: IO[bytes]) -> IO[bytes]:
    """A file's bytes, decompressed where it is gzip whatever its name."""
    compressed = raw.read(2) == b"\x1f\x8b"
    raw.seek(0)
    return cast("IO[bytes]", gzip.GzipFile(fileobj=raw)) if compressed else raw


def _head(file: Path) -> bytes:
    with file.open("rb") as raw:
        return _decompressed(raw).read(_SNIFF_BYTES)


def _kind(file: Path) -> str:
    """What a file holds, by its content: names lie."""
    try:
        head = _head(file)
    except EOFError as error:
        raise _problem(file, "is cut off", "fetch it again") from error
    except (OSError, zlib.error) as error:
        raise _problem(file, f"cannot be read ({error})", f"give it read permission, or name one of: {_FORMATS}") from error
    if not head.strip():
        raise _problem(file, "is empty", f"name one of: {_FORMATS}")
    if head.startswith((b"ARROW1", b"FEA1")) or head.lstrip().startswith(b"[") or klines.looks_like_csv(head):
        return "klines"
    if any(ticks.parse_line(line) for line in head.splitlines()):
        return "ticks"
    raise _problem(file, "is no recording", f"name one of: {_FORMATS}; or move it out of the folder")


def _rules_file(folder: Path) -> RulesFile | None:
    file = folder / RULES_FILE
    if not file.exists():
        return None
    try:
        return msgspec.json.decode(file.read_bytes(), type=RulesFile)
    except (OSError, msgspec.DecodeError, ValueError) as error:
        raise ConfigurationError([f"{file}: is no rules file ({error}); correct it, or remove it to use assumed rules"]) from error


def _rules(found: RulesFile | None, market: Market, prices: dict[str, tuple[float, int]]) -> dict[str, RuleRow]:
    """The stated rules, else known or assumed ones."""
    stated = {row.symbol: row for row in found.symbols} if found is not None and found.market is market else {}
    return {symbol: stated.get(symbol) or rule_row(market, symbol, price, decimals) for symbol, (price, decimals) in prices.items()}


def _checked_market(path: Path, named: Market | None, wanted: Wanted) -> Market:
    """The market asked for, else the one the recording shows, else the project's default."""
    if named is not None and wanted.market not in {None, named}:
        raise ConfigurationError([f"BINANCE_MARKET={wanted.market}: RECORDING={path} is of {named}; set BINANCE_MARKET={named} or play another"])
    return named or wanted.market or Market.FUTURES


def _require_symbols(path: Path, wanted: Wanted, held: Iterable[str]) -> None:
    held = sorted(held)
    if missing := [symbol for symbol in wanted.symbols if symbol not in held]:
        names = ", ".join(held)
        raise ConfigurationError([f"SYMBOLS: {symbol} is not in RECORDING={path}, which has {names}; leave it out or play another" for symbol in missing])


# --- klines ----------------------------------------------------------------------------------------------------------


def _kline_recording(path: Path, files: Sequence[Path], rules: RulesFile | None, wanted: Wanted) -> Recording:
    # Only here: pandas costs a second and 60 MB that tick recordings need not pay.
    from services.exchange_simulator import kline_store  # noqa: PLC0415

    series, skipped, named = kline_store.read(files)
    market = _checked_market(path, named or (rules.market if rules else None), wanted)
    _require_symbols(path, wanted, [one.symbol for one in series])
    series = [one for one in series if not wanted.symbols or one.symbol in wanted.symbols]
    first_ms = min(one.open_times_ms[0] for one in series)
    if wanted.duration_s is not None:
        shorter = [one.before(first_ms + max(1, round(wanted.duration_s * 1000))) for one in series]
        series = [one for one in shorter if one.open_times_ms]
    rows = _rules(rules, market, {one.symbol: (max(one.closes), one.price_decimals) for one in series})
    assumed = wanted.assumptions
    return Recording(
        name=str(path),
        market=market,
        streams=klines.summaries(series, market),
        first_event_time_ns=klines.close_time_ns(first_ms),
        last_event_time_ns=klines.close_time_ns(max(one.open_times_ms[-1] for one in series)),
        event_offset_ns=0,
        rules=rows,
        open=lambda: klines.frames(series, market, rows, assumed),
        grid_ns=klines.MINUTE_MS * 1_000_000,
        skipped=skipped,
        assumptions=(
            f"spread {assumed.spread_bps} bps of the close, half on each side, rounded outwards to the price tick",
            f"{assumed.book_usd} of quote currency at the best bid and at the best ask",
        ),
    )


# --- ticks -----------------------------------------------------------------------------------------------------------


def _tick_recording(path: Path, files: Sequence[Path], rules: RulesFile | None, wanted: Wanted) -> Recording:
    files, market = _files_of_market(path, files, wanted)
    symbols = frozenset(wanted.symbols)
    end_ns = _end_ns(files, symbols, wanted.duration_s)
    survey = ticks.Survey()
    for file in files:
        survey.merge(_survey(file, symbols, end_ns))
    _require_symbols(path, wanted, survey.symbols)
    if survey.first is None or survey.last is None:
        raise _problem(path, "holds no stream frame that can be played", f"name one of: {_FORMATS}")
    timed, offset_ns = survey.first_timed, survey.event_offset_ns
    return Recording(
        name=str(path),
        market=market,
        streams=survey.summaries(),
        first_event_time_ns=(timed or survey.first).time_ns + offset_ns,
        last_event_time_ns=survey.last_event_time_ns,
        event_offset_ns=offset_ns,
        rules=_rules(rules, market, survey.prices),
        open=lambda: until(_merged_frames(files, symbols), end_ns),
        exact=survey.exact,
        skipped=survey.skipped,
    )


def _files_of_market(path: Path, files: Sequence[Path], wanted: Wanted) -> tuple[list[Path], Market]:
    markets = {file: _market_of(file) for file in files}
    named = set(markets.values()) - {None}
    if len(named) > 1:
        if wanted.market is None:
            raise _problem(path, "holds spot and futures frames", "set BINANCE_MARKET to one of them, or name a file")
        return [file for file, market in markets.items() if market in {None, wanted.market}], wanted.market
    return list(files), _checked_market(path, named.pop() if named else None, wanted)


def _market_of(file: Path) -> Market | None:
    frames = ticks.frames_of(_head(file).splitlines(), frozenset())
    return next(filter(None, map(ticks.market_of, frames)), None)


def _end_ns(files: Sequence[Path], symbols: frozenset[str], duration_s: float | None) -> int | None:
    """Where on the timeline the recording is to end."""
    if duration_s is None:
        return None
    first = next(_merged_frames(files, symbols), None)
    return None if first is None else first.time_ns + max(1, round(duration_s * 1e9))


def _survey(file: Path, symbols: frozenset[str], end_ns: int | None) -> ticks.Survey:
    """Read a file through, or as much of it as the limit allows."""
    survey, read = ticks.Survey(), 0
    with file.open("rb") as raw:
        for line in _lines(file, raw):
            read += len(line)
            frame = ticks.parse_line(line)
            if frame is not None and end_ns is not None and frame.time_ns >= end_ns:
                break
            survey.add(frame, symbols)
            if read > SURVEY_BYTES:
                survey.extrapolate(file.stat().st_size / max(1, raw.tell()))
                break
    return survey


def _lines(file: Path, raw: IO[bytes]) -> Iterator[bytes]:
    """The lines of an open file; damage becomes one clear error where it is met."""
    number = 0
    try:
        for line in _decompressed(raw):
            number += 1
            yield line
    except _DAMAGED as error:
        what = f"is cut off after line {number}" if isinstance(error, EOFError) else f"is damaged after line {number} ({error})"
        raise _problem(file, what, "fetch it again") from error


def _frames(file: Path, symbols: frozenset[str]) -> Iterator[Frame]:
    with file.open("rb") as raw:
        yield from ticks.frames_of(_lines(file, raw), symbols)


def _merged_frames(files: Sequence[Path], symbols: frozenset[str]) -> Iterator[Frame]:
    """All files as one stream by receive time, a line of each in memory."""
    return heapq.merge(*(_frames(file, symbols) for file in files), key=itemgetter(0))
