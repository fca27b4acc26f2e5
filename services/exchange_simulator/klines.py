"""One-minute klines as books: one state per minute, at its close.

A kline says where trading ended, not what the book was. Each minute becomes one best bid and ask around the close, with an
assumed spread (half on each side, rounded outwards to the price tick) and an assumed size; high and low never become quotes.
All arithmetic is on integers, so that every machine writes the same digits.
"""

import heapq
import re
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from operator import itemgetter
from typing import Final

from common.settings import Market
from services.exchange_simulator.exchange_info import RuleRow, decimals_of
from services.exchange_simulator.recording import Frame, StreamSummary

MINUTE_MS: Final = 60_000
#: Columns of the exchange's klines.
OPEN_TIME: Final = 0
CLOSE: Final = 4
_MS: Final = 1_000_000
#: Prices and sizes are computed in units of 1e-8, the finest that the exchange writes.
_DECIMALS: Final = 8
_UNITS: Final = 10**_DECIMALS
#: A sample of this many closes tells how many decimals a symbol's prices have.
_PRICE_SAMPLE: Final = 2_000


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What klines leave open."""

    spread_bps: Decimal = Decimal(1)
    book_usd: Decimal = Decimal(50_000)


@dataclass(frozen=True, slots=True)
class Series:
    """One symbol's minutes, ascending; open times in ms UTC."""

    symbol: str
    open_times_ms: "array[int]"
    closes: "array[float]"

    def before(self, end_ms: int) -> "Series":
        """The minutes that open before a time."""
        count = sum(1 for open_ms in self.open_times_ms if open_ms < end_ms)
        return Series(self.symbol, self.open_times_ms[:count], self.closes[:count])

    @property
    def price_decimals(self) -> int:
        """How many decimals the closes have, at most 8."""
        step = max(1, len(self.closes) // _PRICE_SAMPLE)
        exponents = [int(Decimal(repr(close)).normalize().as_tuple().exponent) for close in self.closes[::step]]
        return min(_DECIMALS, max(0, -min(exponents)))


def series_of(symbol: str, rows: Sequence[tuple[int, float]]) -> tuple[Series, int]:
    """Sort and clean `(open time in ms, close)` rows; returns also how many were dropped.

    Dropped are rows without a usable price and repetitions of a minute, of which the last counts.
    Raises ValueError when the rows are not one-minute klines.
    """
    usable = {open_ms: close for open_ms, close in rows if 1e-8 <= close < 1e9}
    times = array("q", sorted(usable))
    if not times:
        raise ValueError("holds no kline with a usable price")
    if any(time % MINUTE_MS for time in times) or (len(times) > 1 and min(map(int.__sub__, times[1:], times)) != MINUTE_MS):
        raise ValueError("is not of one-minute klines")
    return Series(symbol, times, array("d", (usable[time] for time in times))), len(rows) - len(times)


def looks_like_csv(head: bytes) -> bool:
    """Whether bytes begin like a kline CSV: at least six fields, the first a time or its heading, the fifth a price."""
    lines = [line.split(b",") for line in head.splitlines()[:2]]
    if any(len(fields) <= CLOSE + 1 for fields in lines):
        return False
    last = lines[-1]
    return re.match(rb'^"?\d{4}', last[OPEN_TIME]) is not None and re.match(rb'^"?\d+(\.\d*)?(e-?\d+)?"?$', last[CLOSE].strip(), re.IGNORECASE) is not None


def summaries(series: Sequence[Series], market: Market) -> dict[str, StreamSummary]:
    """How many frames each stream will have."""
    kinds = ("bookTicker",) if market is Market.FUTURES else ("aggTrade", "bookTicker")
    return {
        f"{one.symbol.lower()}@{kind}": StreamSummary(len(one.open_times_ms), close_time_ns(one.open_times_ms[-1]))
        for one in series
        for kind in kinds
        if one.open_times_ms
    }


def close_time_ns(open_ms: int) -> int:
    """A minute's close as the exchange stamps it: its last millisecond."""
    return (open_ms + MINUTE_MS - 1) * _MS


def frames(series: Sequence[Series], market: Market, rules: Mapping[str, RuleRow], assumptions: Assumptions) -> Iterator[Frame]:
    """All symbols of a minute before the next; on spot a trade of each goes before the books, for these carry no event time."""
    parts: list[Iterator[Frame]] = []
    if market is Market.SPOT:
        parts += [_trades(one, rules[one.symbol]) for one in series]
    parts += [_books(one, market, rules[one.symbol], assumptions) for one in series]
    return heapq.merge(*parts, key=itemgetter(0))


def _books(series: Series, market: Market, rule: RuleRow, assumptions: Assumptions) -> Iterator[Frame]:
    stream, head = _head(series.symbol, "bookTicker")
    tick, step = _units(rule.price_tick), _units(rule.quantity_step)
    book = int(assumptions.book_usd * _UNITS) * _UNITS
    # Half the spread as a fraction of 2e8 parts: one bp of full spread is 1e4 of them.
    half, parts = int(assumptions.spread_bps * 10_000), 2 * _UNITS
    price_decimals, size_decimals = _written_decimals(market, rule)
    template = _book_template(market, series.symbol)
    for open_ms, close in zip(series.open_times_ms, series.closes, strict=True):
        units = max(tick, round(close * _UNITS))
        bid = max(1, units * (parts - half) // (parts * tick)) * tick
        ask = max(bid + tick, -(-units * (parts + half) // (parts * tick)) * tick)
        size = _decimal(max(step, book // units // step * step), size_decimals)
        event_ms = open_ms + MINUTE_MS - 1
        values = {"u": open_ms // MINUTE_MS, "E": event_ms, "b": _decimal(bid, price_decimals), "a": _decimal(ask, price_decimals), "B": size}
        yield Frame(event_ms * _MS, stream, (head + template % values + "}").encode("ascii"), len(head))


def _book_template(market: Market, symbol: str) -> str:
    book = f'"u":%(u)d,"s":"{symbol}","b":"%(b)s","B":"%(B)s","a":"%(a)s","A":"%(B)s"'
    return f'{{"e":"bookTicker",{book},"T":%(E)d,"E":%(E)d,"st":1}}' if market is Market.FUTURES else f"{{{book}}}"


def _trades(series: Series, rule: RuleRow) -> Iterator[Frame]:
    """One trade of the smallest size at each close: it is there for its event time."""
    stream, head = _head(series.symbol, "aggTrade")
    quantity = format(rule.quantity_step, f".{_DECIMALS}f")
    for number, (open_ms, close) in enumerate(zip(series.open_times_ms, series.closes, strict=True), start=1):
        event_ms = open_ms + MINUTE_MS - 1
        price = _decimal(round(close * _UNITS), _DECIMALS)
        ids = f'"a":{number},"p":"{price}","q":"{quantity}","f":{number},"l":{number},"T":{event_ms},"m":false,"M":true'
        text = f'{head}{{"e":"aggTrade","E":{event_ms},"s":"{series.symbol}",{ids}}}}}'
        yield Frame(event_ms * _MS, stream, text.encode("ascii"), len(head))


def _head(symbol: str, kind: str) -> tuple[str, str]:
    stream = f"{symbol.lower()}@{kind}"
    return stream, f'{{"stream":"{stream}","data":'


def _units(value: Decimal) -> int:
    return max(1, int(value * _UNITS))


def _written_decimals(market: Market, rule: RuleRow) -> tuple[int, int]:
    """Spot writes eight decimals, futures those of the symbol's steps."""
    if market is Market.SPOT:
        return _DECIMALS, _DECIMALS
    return min(_DECIMALS, decimals_of(rule.price_tick)), min(_DECIMALS, decimals_of(rule.quantity_step))


def _decimal(units: int, decimals: int) -> str:
    whole, fraction = divmod(units, _UNITS)
    return f"{whole}.{fraction:08d}"[: -(_DECIMALS - decimals) or None].rstrip(".") if decimals else str(whole)
