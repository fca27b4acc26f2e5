"""Bytes of Binance's combined streams to typed market data; what cannot be used is refused with a reason.

Reasons: undecodable, wrong-type, missing-field, not-finite, not-positive, out-of-range, crossed, symbol-mismatch, oversize.
"""

import re
from decimal import Decimal
from typing import NamedTuple, TypeVar

import msgspec

from common.errors import InvalidRecord
from common.messages import MarkPrice

#: A frame longer than this is none of the streams that we ask for.
MAX_FRAME_BYTES = 64 * 1024
#: More digits than any price or size of the exchange has.
MAX_DIGITS = 30
#: Largest and smallest power of ten of a price or size.
MAX_EXPONENT = 15
#: The last millisecond that nanoseconds in 64 bits reach, year 2262.
MAX_TIME_MS = 9_223_372_036_854
MAX_ID = 2**63 - 1

_STREAM = re.compile(rb'\s*\{\s*"stream"\s*:\s*"([^"\\]{1,100})"')


class BookTicker(NamedTuple):
    """Best bid and ask of a symbol; spot says no time."""

    symbol: str
    update_id: int
    bid: Decimal
    bid_size: Decimal
    ask: Decimal
    ask_size: Decimal
    event_time_ns: int | None


class Trade(NamedTuple):
    """A trade or an aggregate of trades; only its number and time are of use here."""

    symbol: str
    kind: str
    trade_id: int
    event_time_ns: int


class MarkUpdate(NamedTuple):
    """Mark price and funding of a symbol."""

    symbol: str
    mark: MarkPrice


class Control(NamedTuple):
    """A reply or notice of the exchange; `problem` when it refuses something."""

    name: str
    problem: str = ""


class Other(NamedTuple):
    """A stream that we have no use for."""

    stream: str


Parsed = BookTicker | Trade | MarkUpdate | Control | Other
_Symbolic = TypeVar("_Symbolic", BookTicker, Trade, MarkUpdate)


class _Envelope(msgspec.Struct, gc=False):
    stream: str | None = None
    data: msgspec.Raw = msgspec.Raw(b"")
    id: int | str | msgspec.UnsetType | None = msgspec.UNSET
    e: str | None = None
    code: int | None = None
    msg: str = ""


class _BookTicker(msgspec.Struct, gc=False):
    u: int
    s: str
    b: Decimal
    B: Decimal
    a: Decimal
    A: Decimal
    E: int | None = None


class _Trade(msgspec.Struct, gc=False):
    s: str
    E: int
    t: int


class _AggregateTrade(msgspec.Struct, gc=False):
    s: str
    E: int
    a: int


class _MarkUpdate(msgspec.Struct, gc=False):
    s: str
    E: int
    p: Decimal
    r: Decimal
    T: int


_envelope = msgspec.json.Decoder(_Envelope)
_book_ticker = msgspec.json.Decoder(_BookTicker)
_trade = msgspec.json.Decoder(_Trade)
_aggregate_trade = msgspec.json.Decoder(_AggregateTrade)
_mark_update = msgspec.json.Decoder(_MarkUpdate)


def stream_of(payload: bytes) -> str | None:
    """The stream that a frame says it belongs to, without decoding it; None when it names none."""
    found = _STREAM.match(payload)
    return found[1].decode("ascii", "replace") if found else None


def parse(payload: bytes) -> Parsed:
    """Decode one frame; raises InvalidRecord when it is nonsense."""
    if len(payload) > MAX_FRAME_BYTES:
        raise InvalidRecord("oversize", f"{len(payload)} bytes, at most {MAX_FRAME_BYTES} are expected")
    try:
        envelope = _envelope.decode(payload)
        return _control(envelope) if envelope.stream is None else _parse_stream(envelope.stream, envelope.data)
    except msgspec.ValidationError as error:
        reason = "missing-field" if "missing required field" in str(error) else "wrong-type"
        raise InvalidRecord(reason, str(error)) from error
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise InvalidRecord("undecodable", str(error)) from error


def _control(envelope: _Envelope) -> Control:
    if envelope.code is not None:
        return Control("refusal", f"code {envelope.code}: {envelope.msg}")
    if envelope.id is not msgspec.UNSET:
        return Control("reply")
    if envelope.e is not None:
        return Control(envelope.e)
    raise InvalidRecord("missing-field", "neither a stream's event nor a reply: no `stream` and no `id`")


def _parse_stream(stream: str, data: msgspec.Raw) -> Parsed:
    symbol, _, kind = stream.partition("@")
    if kind == "bookTicker":
        return _same_symbol(symbol, _book(_book_ticker.decode(data)))
    if kind == "aggTrade":
        aggregate = _aggregate_trade.decode(data)
        return _same_symbol(symbol, Trade(aggregate.s, kind, _identifier("a", aggregate.a), _time_ns("E", aggregate.E)))
    if kind == "trade":
        trade = _trade.decode(data)
        return _same_symbol(symbol, Trade(trade.s, kind, _identifier("t", trade.t), _time_ns("E", trade.E)))
    if kind.startswith("markPrice"):
        return _same_symbol(symbol, _mark(_mark_update.decode(data)))
    return Control(stream[1:]) if stream == "!serverShutdown" else Other(stream)


def _book(raw: _BookTicker) -> BookTicker:
    _price("b", raw.b)
    _price("a", raw.a)
    _size("B", raw.B)
    _size("A", raw.A)
    if raw.b >= raw.a:
        raise InvalidRecord("crossed", f"bid {raw.b} is not below ask {raw.a}")
    event_time_ns = None if raw.E is None else _time_ns("E", raw.E)
    return BookTicker(raw.s, _identifier("u", raw.u), raw.b, raw.B, raw.a, raw.A, event_time_ns)


def _mark(raw: _MarkUpdate) -> MarkUpdate:
    _price("p", raw.p)
    _bounded("r", raw.r)
    mark = MarkPrice(price=raw.p, funding_rate=raw.r, next_funding_time_ns=_time_ns("T", raw.T), event_time_ns=_time_ns("E", raw.E))
    return MarkUpdate(raw.s, mark)


def _same_symbol(symbol: str, parsed: _Symbolic) -> _Symbolic:
    if parsed.symbol.lower() != symbol:
        raise InvalidRecord("symbol-mismatch", f"stream of {symbol!r} carries {parsed.symbol[:40]!r}")
    return parsed


def _price(field: str, value: Decimal) -> None:
    _bounded(field, value)
    if value <= 0:
        raise InvalidRecord("not-positive", f"{field}={value}: a price is above zero")


def _size(field: str, value: Decimal) -> None:
    _bounded(field, value)
    if value < 0:
        raise InvalidRecord("not-positive", f"{field}={value}: a size is not below zero")


def _bounded(field: str, value: Decimal) -> None:
    if not value.is_finite():
        raise InvalidRecord("not-finite", f"{field}={value}")
    if not -MAX_DIGITS <= value.adjusted() <= MAX_EXPONENT or len(value.as_tuple().digits) > MAX_DIGITS:
        raise InvalidRecord("out-of-range", f"{field}={str(value)[:60]}: at most {MAX_DIGITS} digits and 10^{MAX_EXPONENT} are believed")


def _time_ns(field: str, value_ms: int) -> int:
    if not 0 < value_ms <= MAX_TIME_MS:
        raise InvalidRecord("out-of-range", f"{field}={str(value_ms)[:40]}: a time is in ms since 1970")
    return value_ms * 1_000_000


def _identifier(field: str, value: int) -> int:
    if not 0 <= value <= MAX_ID:
        raise InvalidRecord("out-of-range", f"{field}={str(value)[:40]}: an id has at most 63 bits and no sign")
    return value
