"""What the ledger tells of fills, round trips and equity."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from common.io.sqlite import reading
from common.messages import Fill, RoundTrip
from common.trace import NO_TRACE
from services.execution import history
from services.execution.ledger import LEDGER_FILE, Batch, Ledger
from tests.unit.execution.builders import FIRST_BAR, PAIR, Desk, signal
from tests.unit.execution.test_ledger import STAMP

TRIPS = 3


def trade(desk: Desk, bar: int) -> None:
    """Enter short, be filled a little worse than decided, leave, be filled."""
    desk.tick(bar, 1, risk=signal(bar - 1), z=3, y=2000)
    desk.tick(bar, 2, z=3, y=1999)
    desk.tick(bar, 3, z=3)
    desk.tick(bar, 4, z=0)
    desk.tick(bar, 5, z=0, y=1998, x=50_001)
    desk.close(bar)


@pytest.fixture(scope="module")
def desk() -> Desk:
    made = Desk()
    made.warm()
    for number in range(TRIPS):
        trade(made, FIRST_BAR + 1 + 10 * number)
    assert len(made.of(RoundTrip)) == TRIPS
    return made


@pytest.fixture(scope="module")
def query(desk: Desk, tmp_path_factory: pytest.TempPathFactory) -> Iterator[history.Query]:
    path = tmp_path_factory.mktemp("history") / LEDGER_FILE
    ledger = Ledger(path, stamp=STAMP, synchronous="OFF")
    ledger.commit(Batch(states={PAIR: desk.state}, outputs=[(desk.outputs, NO_TRACE)]))
    with reading(path) as asked:
        yield asked
    ledger.close()


def test_fills_come_newest_first_with_what_they_lost(query: history.Query, desk: Desk) -> None:
    """Every fill of the ledger once, exact; y sold 1.1 USD below the middle at its decision has lost 5.5 bps and says so in USD."""
    shown = history.fills(query, pair="", limit=100, before=0)["fills"]
    assert [fill["trade_id"] for fill in shown] == [fill.trade_id for fill in reversed(desk.of(Fill))]
    first = shown[-1]
    assert (first["side"], first["decided_price"], first["price"]) == ("SELL", "2000.0", "1998.9")
    assert Decimal(first["slippage_usd"]) == -Decimal("1.1") * Decimal(first["quantity"])
    assert first["slippage_bps"] == pytest.approx(5.5)


def test_a_page_leads_to_the_next(query: history.Query, desk: Desk) -> None:
    """Pages of five put together are all fills; the last one leads nowhere."""
    found: list[dict[str, Any]] = []
    before = 0
    while True:
        page = history.fills(query, pair=PAIR, limit=5, before=before)
        found += page["fills"]
        before = page["next"]
        if not before:
            break
    assert len(found) == len({fill["id"] for fill in found}) == len(desk.of(Fill))
    assert history.fills(query, pair="OTHER-PAIR", limit=5, before=0) == {"fills": [], "next": 0}


def test_a_round_trip_has_its_decisions_and_its_fills(query: history.Query, desk: Desk) -> None:
    """Each has the entry's gates, the reason of the exit and exactly its own fills, whose fees and profits are the trip's."""
    shown = history.round_trips(query, pair="", limit=100, before=0)["round_trips"]
    assert [trip["seq"] for trip in shown] == [trip.seq for trip in reversed(desk.of(RoundTrip))]
    for trip in shown:
        assert (trip["entry"]["action"], trip["exit"]["action"]) == (trip["direction"], trip["action"])
        assert all(gate["passed"] for gate in trip["entry"]["gates"])
        assert len(trip["fills"]) == 4
        for total, part in (("fees_usd", "fee_usd"), ("gross_usd", "realised_usd"), ("slippage_usd", "slippage_usd")):
            assert Decimal(trip[total]) == sum(Decimal(fill[part]) for fill in trip["fills"]), total
    assert history.round_trips(query, pair="", limit=2, before=0)["next"] == shown[1]["id"]


def test_slippage_that_is_not_known_is_not_guessed(query: history.Query) -> None:
    """A fill of an older program has none, and neither has its round trip."""

    def without(sql: str, parameters: Any) -> Any:
        return [{**row, "decided_price": "0"} if "decided_price" in row else row for row in query(sql, parameters)]

    (trip, *_) = history.round_trips(without, pair="", limit=1, before=0)["round_trips"]
    assert trip["slippage_usd"] is None
    assert trip["fills"][0]["slippage_bps"] is None


@pytest.mark.parametrize("points", [2, 5, 2000])
def test_equity_is_spread_over_the_whole_ledger(query: history.Query, desk: Desk, points: int) -> None:
    """No more points than asked for, the newest bar last, exact."""
    answer = history.equity(query, points=points)
    assert 0 < len(answer["equity"]) <= points
    assert answer["equity"][-1]["bar"] == desk.state.closed_bar
    assert Decimal(answer["equity"][-1]["equity_usd"]) == desk.state.account.wallet_usd


def test_an_empty_ledger_has_no_equity(tmp_path: Path) -> None:
    """Before the first bar close there is nothing to show."""
    ledger = Ledger(tmp_path / LEDGER_FILE, stamp=STAMP, synchronous="OFF")
    with reading(tmp_path / LEDGER_FILE) as query:
        assert history.equity(query, points=10)["equity"] == []
        assert history.round_trips(query, pair="", limit=10, before=0) == {"round_trips": [], "next": 0}
    ledger.close()


@pytest.mark.parametrize("points", [5, 2000])
def test_a_pair_that_has_not_closed_a_bar_counts_with_its_last_mark(query: history.Query, points: int) -> None:
    """One that closes it later, or is traded no more, takes nothing out of the sum; the newest bar is there."""

    def with_another(sql: str, parameters: Any) -> Any:
        rows = query(sql, parameters)
        return [{**row, "pair": pair} for row in rows for pair in (PAIR, "GONE")[: 1 if row is rows[-1] else 2]] if "wanted" in sql else rows

    alone, together = (history.equity(each, points=points)["equity"] for each in (query, with_another))
    assert [each["bar"] for each in together] == [each["bar"] for each in alone]
    assert Decimal(together[-1]["equity_usd"]) == Decimal(alone[-1]["equity_usd"]) + Decimal(alone[-2]["equity_usd"])


def test_equity_reads_the_marks_that_it_shows_and_no_others(query: history.Query) -> None:
    """Neither question goes through the whole table, nor through all of an index, however long the ledger is."""
    plan = [row["detail"] for sql, values in ((history._ENDS, ()), (history._MARKS, (9, 2, 1))) for row in query(f"EXPLAIN QUERY PLAN {sql}", values)]
    assert sum("USING INDEX marks_of_bar" in step or "USING COVERING INDEX marks_of_bar" in step for step in plan) == 3
    assert [step for step in plan if step.startswith("SCAN marks")] == []
