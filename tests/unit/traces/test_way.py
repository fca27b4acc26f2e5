"""A trace's records put together: times per service, the decision, the order's later life."""

import pytest

from common.messages import OrderStatus
from common.topics import TICKS
from scripts.traces.shown import lines
from scripts.traces.way import Found, decided_orders, document, unfinished, ways
from tests.unit.execution.builders import PAIR
from tests.unit.traces.builders import BAR, ORDER, READ_NS, SEQ, at_ms, bar_records, decided, filled, order_event, other_tick, progress, tick_records, times


def shown(own: list[Found], executions: list[Found]) -> str:
    return "\n".join(lines(document(own[0].trace, ways(own, executions))))


def test_each_service_has_its_times() -> None:
    """On the way to it, within it, and since the read, ms; the records may come in any order."""
    own = [*decided(), *reversed(tick_records())]
    (way,) = document(own[0].trace, ways(own, own))["ways"]
    assert (way["pair"], way["seq"], way["bar"], way["kind"]) == (PAIR, SEQ, BAR, "tick")
    assert [(hop["service"], hop["record"], hop["on_the_way_ms"], hop["in_service_ms"], hop["since_read_ms"]) for hop in way["hops"]] == [
        ("ingestion-service", "ticks/0/70", 0.0, 0.4, 0.4),
        ("kalman-filter-service", "hedge-ratios/0/71", 0.6, 0.2, 1.2),
        ("execution-service", "executions/1/10", 0.7, 0.6, 2.5),
    ]
    assert way["hops"][1]["received_ns"] == READ_NS + 1_000_000


def test_a_bar_s_branches_are_timed_from_where_they_part() -> None:
    """What garch and risk add follows the service before each, whatever execution did meanwhile."""
    own = bar_records()
    (way,) = document(own[0].trace, ways(own, []))["ways"]
    assert [(hop["service"], hop["on_the_way_ms"], hop["in_service_ms"]) for hop in way["hops"]] == [
        ("ingestion-service", 0.0, 0.4),
        ("kalman-filter-service", 0.6, 0.2),
        ("garch-volatility-service", 0.8, 1.0),
        ("risk-manager-service", 2.0, 3.0),
    ]
    assert way["kind"] == "bar close"


def test_an_order_is_followed_to_its_fill() -> None:
    """Fills come with a later tick, whose trace is another; another order's do not belong here."""
    own = [*tick_records(), *decided()]
    foreign = Found(*filled()[1][:2], 30, at_ms(600), times(0), order_event(OrderStatus.FILLED, 9, "cb-0-9-x-2"))
    (way,) = document(own[0].trace, ways(own, [*own, *filled(), foreign]))["ways"]
    assert [decision["action"] for decision in way["decisions"]] == ["ENTER_SHORT"]
    assert [order["status"] for order in way["orders"]] == ["INTENT", "WORKING", "FILLED"]
    assert [fill["trade_id"] for fill in way["fills"]] == [f"{ORDER}:8"]


def test_orders_are_unfinished_until_their_end_is_told() -> None:
    """So a search knows whether to look further."""
    assert decided_orders([*tick_records(), *decided()]) == {ORDER}
    assert unfinished({ORDER}, decided()) == {ORDER}
    assert unfinished({ORDER}, [*decided(), *filled()]) == set()


def test_a_tick_that_changed_nothing_says_so() -> None:
    """The first progress past it bounds the time; without one nothing is claimed."""
    told = shown(tick_records(), [progress(SEQ - 1, 1), progress(SEQ, 30), progress(SEQ + 9, 60)])
    assert "nothing decided: execution-service told 30 ms after the read" in told
    assert "no word of a decision" in shown(tick_records(), [progress(SEQ - 1, 1)])


def test_a_frame_counts_for_every_pair_that_has_its_symbol() -> None:
    """Two pairs, two ways under one id."""
    own = [*tick_records(), Found(TICKS, 1, 5, at_ms(0.5), times(0.5), other_tick())]
    assert [way.pair for way in ways(own, [])] == [PAIR, "SOLUSDT-BTCUSDT"]


def test_what_is_shown() -> None:
    """The id and the time of the read first, then a line for each service, decision, order and fill."""
    own = [*tick_records(), *decided()]
    text = shown(own, [*own, *filled()])
    assert text.splitlines()[0] == f"trace {READ_NS:016x}, read from the socket at 2027-01-15 08:00:00.000000 UTC"
    for part in (
        "kalman-filter-service            0.600       0.200       1.200",
        "decision    ENTER_SHORT, z 3, 10000 USD: every gate is open",
        f"order       {ORDER}",
    ):
        assert part in text
    assert "fill        cb-0-7-y-1  SELL 2.5 ETHUSDT at 2000, fee -2.5 USD, seq 8" in text


@pytest.mark.parametrize("missing", [0, 1])
def test_what_retention_has_taken_is_told_by_later_headers(missing: int) -> None:
    """A decision's header holds the times of all before it, so the way is there without the ticks."""
    own = [*tick_records()[missing + 1 :], *decided()]
    (way,) = ways(own, own)
    assert (way.pair, way.seq) == (PAIR, SEQ)
    assert [hop.service for hop in way.hops] == ["ingestion-service", "kalman-filter-service", "execution-service"]
