"""What counts as equal, different, repeated and pending."""

from common.messages import HedgeRatio, HedgeRatioClose
from scripts.sessions.compare import ABSENT, compare_ledgers, compare_messages, table_of
from tests.unit.execution.builders import FIRST_BAR, close, hedge, signal

Answers = list[HedgeRatio | HedgeRatioClose]


def answers() -> Answers:
    return [hedge(1, FIRST_BAR, 1), hedge(2, FIRST_BAR, 2), close(3, FIRST_BAR)]


def test_repetitions_are_counted_and_change_nothing() -> None:
    """A tail that was published again is equal to one that was published once."""
    found = compare_messages("t", [*answers(), *answers()[1:]], answers())
    assert (found.equal, found.differing, found.repeated, found.pending) == (3, 0, 2, 0)
    assert found.same


def test_a_repetition_that_says_something_else_is_a_difference() -> None:
    """Two answers at one place contradict each other, whichever of them is right."""
    for recorded in ([*answers(), hedge(2, FIRST_BAR, 2, z=1)], [hedge(1, FIRST_BAR, 1), hedge(2, FIRST_BAR, 2, z=1), *answers()]):
        found = compare_messages("t", recorded, answers())
        assert not found.same


def test_a_gap_is_a_difference_and_an_open_end_is_pending() -> None:
    """What lies between two recorded answers must be there; what comes after the last may not be answered yet."""
    found = compare_messages("t", [answers()[0], answers()[2]], [*answers(), hedge(4, FIRST_BAR + 1, 1)])
    assert (found.equal, found.differing, found.pending) == (2, 1, 1)
    assert (found.differences[0].recorded, found.differences[0].field) == (ABSENT, "whole")


def test_what_retention_has_taken_does_not_count() -> None:
    """Without the first answers a shortened topic is equal, a whole one is not."""
    assert compare_messages("t", answers()[1:], answers(), shortened=True).same
    assert not compare_messages("t", answers()[1:], answers()).same


def test_what_only_the_record_has_is_a_difference() -> None:
    """An answer to nothing is not pending."""
    found = compare_messages("t", [*answers(), hedge(4, FIRST_BAR + 1, 1)], answers())
    assert (found.differing, found.differences[0].replayed) == (1, ABSENT)


def test_the_innermost_field_is_named() -> None:
    """A difference tells pair, bar, seq and the path of the field."""
    (difference,) = compare_messages("t", [hedge(1, FIRST_BAR, 1, beta=1.5)], [hedge(1, FIRST_BAR, 1, beta=1.25)]).differences
    assert (difference.field, difference.recorded, difference.replayed) == ("estimate.beta", 1.5, 1.25)
    assert difference.place == f"ETHUSDT-BTCUSDT session 1 bar {FIRST_BAR} seq 1 HedgeRatio"
    (difference,) = compare_messages("t", [signal(7, orders_allowed=1)], [signal(7, orders_allowed=2)]).differences
    assert difference.field == "orders_allowed"


def test_ledgers_are_compared_row_by_row_of_each_pair() -> None:
    """A changed column, a row too many and a row that is not there yet."""
    rows = [{"pair": "A-B", "price": "1.0"}, {"pair": "A-B", "price": "2.0"}]
    (found,) = compare_ledgers({"fills": rows}, {"fills": [rows[0], {"pair": "A-B", "price": "2.00"}]})
    assert (found.name, found.equal, found.differing) == ("ledger fills", 1, 1)
    assert (found.differences[0].place, found.differences[0].field) == ("A-B row 2", "price")
    (found,) = compare_ledgers({"fills": rows}, {"fills": rows[:1]})
    assert (found.equal, found.differing) == (1, 1)
    (found,) = compare_ledgers({"fills": rows[:1]}, {"fills": rows})
    assert (found.equal, found.differing, found.pending) == (1, 0, 1)


def test_the_table_has_a_row_for_each() -> None:
    """Names to the left, figures in columns."""
    lines = table_of([compare_messages("hedge-ratios", answers(), answers())])
    assert [line.split() for line in lines] == [["equal", "differing", "repeated", "pending"], ["hedge-ratios", "3", "0", "0", "0"]]
    assert len({len(line) for line in lines}) == 1
