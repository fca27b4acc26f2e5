"""Counting what a run did."""

import random
from collections.abc import Iterable
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from common import messages as m
from scripts.embedded.tally import Tally
from tests.unit.embedded.example import OTHER, PAIR, dead_letter, decision, fill, mark, order, round_trip, signal, thresholds

MESSAGES: tuple[m.Message, ...] = (
    thresholds(bar=1),
    signal(bar=1, action=m.ChangepointAction.REDUCE_ONLY),
    mark(bar=1, blocking_gate="cost"),
    thresholds(bar=2, volatility_model=m.VolatilityModel.GARCH, fits_accepted=1),
    signal(bar=2, action=m.ChangepointAction.REDUCE_ONLY),
    mark(bar=2, blocking_gate="entry-z"),
    decision(seq=5),
    decision(seq=8, action=m.Action.EXIT),
    order(m.OrderStatus.INTENT, "one"),
    order(m.OrderStatus.FILLED, "one"),
    order(m.OrderStatus.INTENT, "two"),
    order(m.OrderStatus.REJECTED, "two"),
    fill("one-1"),
    fill("one-2"),
    round_trip(seq=9),
    dead_letter(offset=3),
    dead_letter(offset=4),
)


def counted(messages: Iterable[m.Message]) -> tuple[object, ...]:
    """Everything that a tally tells."""
    tally = Tally((PAIR, OTHER))
    for message in messages:
        tally.add(message)
    counts = {name: tally.counts[name] for name in ("bars", "decisions", "orders", "rejected", "fills", "round_trips")}
    return (
        counts,
        dict(tally.bars_by_model),
        dict(tally.changepoint_actions),
        sum(tally.dead_letters.values()),
        dict(tally.blocking_gates()),
        tally.open_bars,
        tally.money(),
    )


def test_each_kind_is_counted() -> None:
    """Every message adds to its own count."""
    counts, models, changepoints, dead_letters, gates, open_bars, _ = counted(MESSAGES)
    assert counts == {"bars": 2, "decisions": 2, "orders": 2, "rejected": 1, "fills": 2, "round_trips": 1}
    assert models == {"EWMA": 1, "GARCH": 1}
    assert changepoints == {"REDUCE_ONLY": 1}, "an action that goes on is one"
    assert dead_letters == 2
    assert gates == {"cost": 1, "entry-z": 1}
    assert open_bars == set()


@given(st.lists(st.tuples(st.integers(0, len(MESSAGES) - 1), st.integers(1, 3)), max_size=30))
def test_however_often_a_message_is_delivered_it_counts_once(again: list[tuple[int, int]]) -> None:
    """Earlier messages that come again, any number of times and anywhere later, change nothing."""
    delivered = list(MESSAGES)
    for which, times in again:
        for place in range(times):
            delivered.insert(len(delivered) - place if place else len(delivered), MESSAGES[which])
    assert counted(delivered) == counted(MESSAGES)


@given(st.randoms(use_true_random=False))
def test_topics_may_overtake_each_other(order_of: random.Random) -> None:
    """Each topic keeps its order, but whichever is read first, the counts are the same."""
    lanes = [
        [message for message in MESSAGES if isinstance(message, kinds)]
        for kinds in (m.Thresholds, m.RiskSignal, (m.Mark, m.Decision, m.OrderEvent, m.Fill, m.RoundTrip), m.DeadLetter)
    ]
    delivered: list[m.Message] = []
    while lanes := [lane for lane in lanes if lane]:
        delivered.append(order_of.choice(lanes).pop(0))
    assert counted(delivered) == counted(MESSAGES)


@given(st.lists(st.tuples(*[st.decimals("-1e6", "1e6", places=8)] * 4), min_size=2, max_size=2))
def test_money_adds_up_to_the_cent(amounts: list[tuple[Decimal, ...]]) -> None:
    """Net is the sum of the shown gross, fees and funding, all of them in whole cents, of the last marks."""
    tally = Tally((PAIR, OTHER))
    for pair, (realised, unrealised, fees, funding) in zip((PAIR, OTHER), amounts, strict=True):
        tally.add(mark(pair, 1, realised_usd=Decimal(7)))
        tally.add(mark(pair, 2, realised_usd=realised, unrealised_usd=unrealised, fees_usd=fees, funding_usd=funding))
    money = tally.money()
    assert money["net_pnl_usd"] == money["gross_pnl_usd"] + money["fees_usd"] + money["funding_usd"]
    assert all(amount == amount.quantize(Decimal("0.01")) for amount in money.values())
    assert abs(money["gross_pnl_usd"] - sum(realised + unrealised for realised, unrealised, _, _ in amounts)) <= Decimal("0.005")


def test_no_mark_is_no_money() -> None:
    """Before the first mark all amounts are zero."""
    assert set(Tally((PAIR,)).money().values()) == {Decimal(0)}


def test_the_end_is_the_last_signal_of_the_last_pair() -> None:
    """Every pair must have marked its last bar, and every marked bar must have its signal."""
    tally = Tally((PAIR, OTHER))
    steps: tuple[tuple[m.Message, bool], ...] = (
        (mark(PAIR, 7), False),
        (signal(PAIR, 7), False),
        (mark(PAIR, 8, end=True), False),
        (mark(OTHER, 8, end=True), False),
        (signal(OTHER, 8), False),
        (signal(PAIR, 8), True),
        (mark(PAIR, 7), True),
    )
    for message, ended in steps:
        tally.add(message)
        assert tally.ended is ended, message


def test_a_signal_may_be_read_before_its_mark() -> None:
    """Two topics: a bar whose signal is there already is not open."""
    tally = Tally((PAIR,))
    tally.add(signal(PAIR, 3))
    tally.add(mark(PAIR, 3, end=True))
    assert tally.ended
    assert tally.open_bars == set()


def test_rounds_are_counted_when_every_pair_has_ended_one() -> None:
    """A recording that loops ends again and again; a repeated mark ends nothing twice."""
    tally = Tally((PAIR, OTHER))
    found = []
    for message in (mark(PAIR, 3, end=True), mark(OTHER, 3, end=True), mark(OTHER, 3, end=True), mark(OTHER, 9, end=True), mark(PAIR, 9, end=True)):
        tally.add(message)
        found.append(tally.sessions)
    assert found == [0, 1, 1, 1, 2]


def test_a_bar_without_a_signal_stays_open() -> None:
    """The signal of one bar does not answer for another."""
    tally = Tally((PAIR,))
    for message in (mark(PAIR, 3), mark(PAIR, 4), signal(PAIR, 4)):
        tally.add(message)
    assert tally.open_bars == {(PAIR, 3)}


def test_the_risk_rules_behind_a_blocked_pair_are_counted() -> None:
    """Every rule that held a pair back at a bar, however often its signal came; a rule that was content is none."""
    tally = Tally((PAIR, OTHER))
    held = tuple(
        m.RuleResult(rule=rule, value=1.0, limit=0.5, verdict=verdict) for rule, verdict in (("drawdown", m.Verdict.HALTED), ("gross", m.Verdict.ACTIVE))
    )
    for message in (signal(PAIR, 1, reasons=held), signal(PAIR, 1, reasons=held), signal(PAIR, 2, reasons=held), signal(OTHER, 2)):
        tally.add(message)
    assert tally.restraining_rules() == {"drawdown": 2}


def test_open_positions_are_those_of_the_last_marks() -> None:
    """A pair with either leg held is open; what it held before does not matter."""
    tally = Tally((PAIR, OTHER))
    for message in (mark(PAIR, 1, y_quantity=Decimal(1)), mark(PAIR, 2), mark(OTHER, 2, x_quantity=Decimal(-1))):
        tally.add(message)
    assert tally.open_positions() == 1


def test_other_pairs_and_other_messages_are_left_alone() -> None:
    """A topic that holds more than this run's pairs does no harm."""
    tally = Tally((PAIR,))
    for message in (mark(OTHER), signal(OTHER), thresholds(OTHER), m.Progress(decided={OTHER: 1}), m.RiskHeartbeat(sent_at_ns=1)):
        tally.add(message)
    assert tally.counts["bars"] == 0
    assert set(tally.pairs) == {PAIR}
