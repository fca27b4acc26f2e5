"""Lines of tick recordings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.settings import Market
from services.exchange_simulator.recording import symbol_of
from services.exchange_simulator.ticks import Survey, event_time_ns, market_of, parse_line

BOOK = (
    b'{"stream":"btcusdt@bookTicker","data":{"e":"bookTicker","u":1,"s":"BTCUSDT","b":"1.10","B":"2","a":"1.20","A":"3","T":1723161256313,"E":1723161256314}}'
)


@pytest.mark.parametrize(
    ("local", "expected"), [(b"1723161255088169167", 1723161255088169167), (b"1680652800004107", 1680652800004107000), (b"1680652800004", 1680652800004000000)]
)
def test_local_time_is_read_by_its_magnitude(local: bytes, expected: int) -> None:
    """Nano-, micro- and milliseconds are told apart by their digits."""
    frame = parse_line(local + b" " + BOOK + b"\n")
    assert frame is not None
    assert frame.time_ns == expected


def test_a_frame_keeps_every_byte() -> None:
    """The combined text is the line's own, and the raw payload is what stands in `data`."""
    odd = b'{ "stream" : "btcusdt@bookTicker" , "data" : {"b":"1.10",  "s":"BTCUSDT"}}'
    frame = parse_line(b"1723161255088169167 " + odd + b"\r\n")
    assert frame is not None
    assert (frame.combined, frame.data, frame.stream) == (odd, b'{"b":"1.10",  "s":"BTCUSDT"}', "btcusdt@bookTicker")


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b'1723161254206652067 {"lastUpdateId":1,"bids":[]}\n',
        b"hello world\n",
        BOOK,
        b"17231612550881 " + BOOK,
        b"1723161255088169167 " + BOOK[:-5],
        b'1723161255088169167 {"result":null,"id":1}',
    ],
)
def test_what_is_no_frame_is_none(line: bytes) -> None:
    """Snapshots, replies, cut lines and foreign text are not frames."""
    assert parse_line(line) is None


@given(st.binary(max_size=300))
def test_no_line_breaks_the_reader(line: bytes) -> None:
    """Any bytes are a frame or none, never an exception."""
    frame = parse_line(line)
    assert frame is None or frame.data


@pytest.mark.parametrize(
    ("stream", "payload", "market"),
    [
        ("btcusdt@bookTicker", b'{"e":"bookTicker","u":1}', Market.FUTURES),
        ("btcusdt@bookTicker", b'{"u":1}', Market.SPOT),
        ("btcusdt@trade", b'{"e":"trade","M":true}', Market.SPOT),
        ("btcusdt@trade", b'{"e":"trade","X":"MARKET"}', Market.FUTURES),
        ("btcusdt@aggTrade", b'{"e":"aggTrade","M":true}', Market.SPOT),
        ("btcusdt@depth@0ms", b'{"e":"depthUpdate","pu":1}', Market.FUTURES),
        ("btcusdt@depth", b'{"e":"depthUpdate"}', Market.SPOT),
        ("btcusdt@markPrice@1s", b'{"e":"markPriceUpdate"}', Market.FUTURES),
        ("btcusdt@kline_1m", b'{"e":"kline"}', None),
    ],
)
def test_the_market_shows_in_the_shape(stream: str, payload: bytes, market: Market | None) -> None:
    """Each kind of frame differs between spot and futures where the exchange's does."""
    frame = parse_line(b'1723161255088169167 {"stream":"' + stream.encode() + b'","data":' + payload + b"}")
    assert frame is not None
    assert market_of(frame) is market


def test_event_time_comes_from_the_payload() -> None:
    """The exchange's time is `E`, ms or us; a spot book has none."""
    futures = parse_line(b"1723161255088169167 " + BOOK)
    micro = parse_line(b'1723161255088169167 {"stream":"a@trade","data":{"E": 1723161256314123}}')
    spot = parse_line(b'1723161255088169167 {"stream":"a@bookTicker","data":{"u":1}}')
    assert [event_time_ns(frame) for frame in (futures, micro, spot) if frame] == [1723161256314000000, 1723161256314123000, None]


def test_a_survey_counts_what_is_wanted_and_knows_the_rest() -> None:
    """Frames of other symbols are not counted, but their symbols are known for the error that lists them."""
    survey = Survey()
    for line in (BOOK, BOOK, BOOK.replace(b"btcusdt", b"ethusdt").replace(b"BTCUSDT", b"ETHUSDT")):
        survey.add(parse_line(b"1723161255088169167 " + line), frozenset({"BTCUSDT"}))
    survey.add(None, frozenset())
    assert (survey.counts, survey.symbols, survey.skipped) == ({"btcusdt@bookTicker": 2}, {"BTCUSDT", "ETHUSDT"}, 1)
    assert survey.prices == {"BTCUSDT": (1.1, 1)}


@pytest.mark.parametrize(("stream", "symbol"), [("btcusdt@depth@100ms", "BTCUSDT"), ("!bookTicker", ""), ("!markPrice@arr", ""), ("nonsense", "")])
def test_streams_of_the_whole_market_have_no_symbol(stream: str, symbol: str) -> None:
    """Only `<symbol>@<kind>` names a symbol."""
    assert symbol_of(stream) == symbol
