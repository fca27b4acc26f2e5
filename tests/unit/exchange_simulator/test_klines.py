"""One-minute klines as books."""

import json
from array import array
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.settings import Market
from services.exchange_simulator.exchange_info import RuleRow, rule_row
from services.exchange_simulator.klines import Assumptions, Series, frames, series_of, summaries

MINUTE = 60_000
T0 = 1_746_835_200_000


def series(symbol: str, closes: list[float], start: int = T0) -> Series:
    return Series(symbol, array("q", (start + number * MINUTE for number in range(len(closes)))), array("d", closes))


def rules(*symbols: str) -> dict[str, RuleRow]:
    return {symbol: rule_row(Market.FUTURES, symbol, 100.0, 2) for symbol in symbols}


def test_a_futures_minute_is_one_book_at_its_close() -> None:
    """The frame has the exchange's keys, the last millisecond of the minute as event time and half the spread on each side."""
    row = rule_row(Market.FUTURES, "BTCUSDT", 60_000, 1)
    (frame,) = frames([series("BTCUSDT", [60_000.0])], Market.FUTURES, {"BTCUSDT": row}, Assumptions(Decimal(1), Decimal(50_000)))
    assert frame.time_ns == (T0 + MINUTE - 1) * 1_000_000
    assert json.loads(frame.combined) == {"stream": "btcusdt@bookTicker", "data": json.loads(frame.data)}
    event = T0 + MINUTE - 1
    expected = {
        "e": "bookTicker",
        "u": T0 // MINUTE,
        "s": "BTCUSDT",
        "b": "59997.00",
        "B": "0.833",
        "a": "60003.00",
        "A": "0.833",
        "T": event,
        "E": event,
        "st": 1,
    }
    assert json.loads(frame.data) == expected


def test_spot_books_follow_a_trade_that_carries_the_time() -> None:
    """All trades of a minute go before its books, which have no event time of their own; trade ids have no gap."""
    rows = {symbol: rule_row(Market.SPOT, symbol, 100.0, 2) for symbol in ("AUSDT", "BUSDT")}
    made = [json.loads(frame.combined) for frame in frames([series("AUSDT", [100.0, 101.0]), series("BUSDT", [7.0, 8.0])], Market.SPOT, rows, Assumptions())]
    assert [frame["stream"] for frame in made] == ["ausdt@aggTrade", "busdt@aggTrade", "ausdt@bookTicker", "busdt@bookTicker"] * 2
    assert [frame["data"]["a"] for frame in made if frame["stream"] == "ausdt@aggTrade"] == [1, 2]
    assert made[0]["data"]["E"] == made[0]["data"]["T"] == T0 + MINUTE - 1
    assert made[2]["data"].keys() == {"u", "s", "b", "B", "a", "A"}
    assert made[2]["data"]["b"] == "99.99000000"


def test_all_symbols_of_a_minute_come_before_the_next() -> None:
    """A symbol that starts late or has a gap is absent from those minutes and shifts nothing."""
    late = series("BUSDT", [7.0], T0 + MINUTE)
    made = [(frame.time_ns, frame.stream) for frame in frames([series("AUSDT", [1.0, 2.0, 3.0]), late], Market.FUTURES, rules("AUSDT", "BUSDT"), Assumptions())]
    assert [stream[0] for _, stream in made] == ["a", "a", "b", "a"]
    assert made == sorted(made)


@given(
    close=st.integers(1, 10**13).map(lambda units: units / 1e8),
    spread=st.decimals(0, 1000, places=2),
    tick=st.sampled_from(["0.00000001", "0.0001", "0.01", "0.10", "1"]),
    market=st.sampled_from(Market),
)
def test_a_book_is_never_crossed_and_never_narrower_than_assumed(close: float, spread: Decimal, tick: str, market: Market) -> None:
    """Bid below ask, both on the tick and positive, the spread at least the assumed one, the size on its step."""
    row = RuleRow("XUSDT", Decimal(tick), Decimal("0.001"), Decimal("0.001"), Decimal(1), Decimal(1), Decimal(5))
    *_, frame = frames([series("XUSDT", [close])], market, {"XUSDT": row}, Assumptions(spread, Decimal(1000)))
    data = json.loads(frame.data)
    bid, ask, size = Decimal(data["b"]), Decimal(data["a"]), Decimal(data["B"])
    assert 0 < bid < ask
    assert bid % row.price_tick == ask % row.price_tick == size % row.quantity_step == 0
    assert size >= row.quantity_step
    exact = Decimal(round(close * 10**8)) / 10**8
    if exact >= row.price_tick and bid > row.price_tick:
        assert bid <= exact * (1 - spread / 20_000)
        assert ask >= exact * (1 + spread / 20_000)


def test_rows_are_sorted_and_repetitions_dropped() -> None:
    """Rows come in any order; of a minute told twice the last counts; rows without a usable price are dropped and counted."""
    made, dropped = series_of("A", [(T0 + MINUTE, 2.0), (T0, 1.0), (T0, 1.5), (T0 + 2 * MINUTE, float("nan")), (T0 + 3 * MINUTE, 0.0)])
    assert (list(made.open_times_ms), list(made.closes), dropped) == ([T0, T0 + MINUTE], [1.5, 2.0], 3)


@pytest.mark.parametrize("rows", [[], [(T0, float("inf"))], [(T0 + 1, 1.0)], [(T0, 1.0), (T0 + 5 * MINUTE, 1.0), (T0 + 10 * MINUTE, 1.0)]])
def test_other_intervals_are_refused(rows: list[tuple[int, float]]) -> None:
    """Five-minute klines, odd times and nothing at all are not one-minute klines."""
    with pytest.raises(ValueError, match=r"kline"):
        series_of("A", rows)


def test_a_halt_is_a_gap() -> None:
    """Missing minutes simply have no frame."""
    made, _ = series_of("AUSDT", [(T0, 1.0), (T0 + MINUTE, 1.0), (T0 + 60 * MINUTE, 2.0)])
    times = [frame.time_ns for frame in frames([made], Market.FUTURES, rules("AUSDT"), Assumptions())]
    assert [time // (MINUTE * 1_000_000) - T0 // MINUTE for time in times] == [0, 1, 60]
    assert summaries([made], Market.FUTURES)["ausdt@bookTicker"].frames == 3


@pytest.mark.parametrize(("closes", "decimals"), [([1.0, 2.0], 0), ([58_760.34, 58_750.0], 2), ([0.00001234], 8), ([1e-05, 0.5], 5), ([0.1 + 0.2], 8)])
def test_decimals_come_from_the_prices(closes: list[float], decimals: int) -> None:
    """The finest price of the recording tells its tick, at most eight decimals."""
    assert series("A", closes).price_decimals == decimals
