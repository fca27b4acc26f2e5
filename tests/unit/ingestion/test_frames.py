"""Decoding of the exchange's frames."""

import json
from decimal import Decimal

import pytest

from common.errors import InvalidRecord
from services.ingestion.frames import BookTicker, Control, MarkUpdate, Other, Parsed, Trade, parse, stream_of
from tests.unit.ingestion.support import T0_MS, book_payload, mark, payload_of, trade

SPOT_BOOK = (
    b'{"stream":"btcusdt@bookTicker","data":{"u":36090299876,"s":"BTCUSDT","b":"28165.47000000","B":"7.98680000","a":"28165.48000000","A":"3.26888000"}}'
)
AGGREGATE = payload_of("ethusdt@aggTrade", e="aggTrade", E=T0_MS, a=7, s="ETHUSDT", p="1", q="1", nq="1", f=1, l=2, T=T0_MS, m=True, st=1)
NEW_FUTURES_BOOK = book_payload("ETHUSDT", T0_MS, 9, ps="ETHUSDT", st=1)


def test_futures_book() -> None:
    """A futures bookTicker keeps its exact prices, sizes, id and event time; keys added since are ignored."""
    assert parse(NEW_FUTURES_BOOK) == BookTicker("ETHUSDT", 9, Decimal("100.0"), Decimal("1.5"), Decimal("100.1"), Decimal("2.5"), T0_MS * 1_000_000)


def test_spot_book() -> None:
    """A spot bookTicker says no time."""
    parsed = parse(SPOT_BOOK)
    assert isinstance(parsed, BookTicker)
    assert (parsed.event_time_ns, parsed.bid) == (None, Decimal("28165.47000000"))


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (AGGREGATE, Trade("ETHUSDT", "aggTrade", 7, T0_MS * 1_000_000)),
        (trade("BTCUSDT", T0_MS, 5).payload, Trade("BTCUSDT", "trade", 5, T0_MS * 1_000_000)),
        (b'{"result":null,"id":1}', Control("reply")),
        (b'{"code":2,"msg":"Invalid request","id":1}', Control("refusal", "code 2: Invalid request")),
        (b'{"e":"serverShutdown","E":1}', Control("serverShutdown")),
        (b'{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1}}', Control("serverShutdown")),
        (payload_of("btcusdt@depth@100ms", e="depthUpdate"), Other("btcusdt@depth@100ms")),
    ],
    ids=["aggregate-trade", "trade", "reply", "refusal", "raw-shutdown", "combined-shutdown", "other-stream"],
)
def test_other_kinds(payload: bytes, expected: Parsed) -> None:
    """Every kind of frame is told apart."""
    assert parse(payload) == expected


def test_mark_price() -> None:
    """A mark price brings funding rate and time."""
    parsed = parse(mark("BTCUSDT", T0_MS, "101.5").payload)
    assert isinstance(parsed, MarkUpdate)
    assert (parsed.mark.price, parsed.mark.funding_rate, parsed.mark.event_time_ns) == (Decimal("101.5"), Decimal("0.0001"), T0_MS * 1_000_000)


def _without(key: str) -> bytes:
    document = json.loads(NEW_FUTURES_BOOK)
    del document["data"][key]
    return json.dumps(document).encode()


NONSENSE = {
    "broken-json": (NEW_FUTURES_BOOK[:-5], "undecodable"),
    "empty": (b"", "undecodable"),
    "not-text": (b"\xff\xfe\x00", "undecodable"),
    "bad-utf8-inside": (NEW_FUTURES_BOOK.replace(b'"s":"ETHUSDT"', b'"s":"\xff"'), "undecodable"),
    "deeply-nested": (b'{"stream":"ethusdt@bookTicker","data":' + b"[" * 20_000 + b"]" * 20_000 + b"}", "undecodable"),
    "bare-nan": (NEW_FUTURES_BOOK.replace(b'"b":"100.0"', b'"b":NaN'), "undecodable"),
    "array": (b"[1,2]", "wrong-type"),
    "number-for-stream": (b'{"stream":5,"data":{}}', "wrong-type"),
    "text-for-id": (NEW_FUTURES_BOOK.replace(b'"u":9', b'"u":"9"'), "wrong-type"),
    "text-for-price": (NEW_FUTURES_BOOK.replace(b'"100.0"', b'"cheap"'), "wrong-type"),
    "null-price": (NEW_FUTURES_BOOK.replace(b'"b":"100.0"', b'"b":null'), "wrong-type"),
    "no-price": (_without("b"), "missing-field"),
    "no-symbol": (_without("s"), "missing-field"),
    "no-stream": (b'{"data":{}}', "missing-field"),
    "nan": (NEW_FUTURES_BOOK.replace(b'"100.0"', b'"NaN"'), "not-finite"),
    "infinite-size": (NEW_FUTURES_BOOK.replace(b'"1.5"', b'"Infinity"'), "not-finite"),
    "zero-price": (NEW_FUTURES_BOOK.replace(b'"100.0"', b'"0.00"'), "not-positive"),
    "negative-price": (NEW_FUTURES_BOOK.replace(b'"100.0"', b'"-1"'), "not-positive"),
    "negative-size": (NEW_FUTURES_BOOK.replace(b'"1.5"', b'"-1"'), "not-positive"),
    "crossed": (NEW_FUTURES_BOOK.replace(b'"100.0"', b'"100.2"'), "crossed"),
    "locked": (NEW_FUTURES_BOOK.replace(b'"100.0"', b'"100.1"'), "crossed"),
    "huge-price": (NEW_FUTURES_BOOK.replace(b'"100.1"', b'"1e999999"'), "out-of-range"),
    "many-digits": (NEW_FUTURES_BOOK.replace(b'"100.0"', b'"1.' + b"1" * 40 + b'"'), "out-of-range"),
    "huge-id": (NEW_FUTURES_BOOK.replace(b'"u":9', b'"u":' + b"9" * 30), "out-of-range"),
    "negative-time": (NEW_FUTURES_BOOK.replace(f'"E":{T0_MS}'.encode(), b'"E":-5'), "out-of-range"),
    "time-beyond-64-bits": (NEW_FUTURES_BOOK.replace(f'"E":{T0_MS}'.encode(), b'"E":99999999999999'), "out-of-range"),
    "other-symbol": (NEW_FUTURES_BOOK.replace(b'"s":"ETHUSDT"', b'"s":"BTCUSDT"'), "symbol-mismatch"),
    "one-megabyte": (NEW_FUTURES_BOOK[:-1] + b" " * 1_000_000 + b"}", "oversize"),
}


@pytest.mark.parametrize(("payload", "reason"), NONSENSE.values(), ids=NONSENSE)
def test_nonsense(payload: bytes, reason: str) -> None:
    """Nonsense is refused with the reason that fits."""
    with pytest.raises(InvalidRecord) as refused:
        parse(payload)
    assert refused.value.reason == reason


def test_zero_size_is_a_book() -> None:
    """A size of zero is unusual but says something; a price of zero does not."""
    assert isinstance(parse(NEW_FUTURES_BOOK.replace(b'"1.5"', b'"0.000"')), BookTicker)


@pytest.mark.parametrize(
    ("payload", "stream"),
    [(SPOT_BOOK, "btcusdt@bookTicker"), (b' { "stream" : "a@b", "data":{}}', "a@b"), (b'{"result":null}', None), (b"\xff", None)],
)
def test_stream_of(payload: bytes, stream: str | None) -> None:
    """The stream's name is found without decoding the frame."""
    assert stream_of(payload) == stream
