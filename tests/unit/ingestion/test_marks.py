"""Mark prices in force at the end of a bar."""

from decimal import Decimal

from common.messages import MarkPrice
from services.ingestion.marks import MarkBook


def _mark(event_time_ns: int) -> MarkPrice:
    return MarkPrice(price=Decimal(event_time_ns), funding_rate=Decimal(0), next_funding_time_ns=0, event_time_ns=event_time_ns)


def _book(*events: tuple[int, int | None]) -> MarkBook:
    book = MarkBook()
    for bar, mark_ns in events:
        book.reach(bar)
        if mark_ns is not None:
            book.put("A", _mark(mark_ns))
    return book


def test_mark_of_the_bar() -> None:
    """The last mark before the first event of a later bar counts, however many follow."""
    book = _book((1, 11), (1, 12), (2, 21), (5, 51))
    assert [book.at_end_of(bar).get("A") for bar in (1, 2, 4)] == [_mark(12), _mark(21), _mark(21)]


def test_no_mark_before_the_first_event() -> None:
    """A bar that ended before the channel's first event has no mark."""
    assert dict(_book((3, 31)).at_end_of(2)) == {}


def test_late_mark_takes_effect_later() -> None:
    """A mark that arrives after its bar was passed waits for the next close."""
    book = _book((1, 11), (2, None), (1, 19), (3, None))
    assert [book.at_end_of(bar)["A"] for bar in (1, 2)] == [_mark(11), _mark(19)]


def test_older_mark_does_not_replace() -> None:
    """A mark older than the known one is dropped."""
    assert _book((1, 12), (1, 11)).at_end_of(1)["A"] == _mark(12)


def test_passed() -> None:
    """A bar is passed by an event of a later one only."""
    book = _book((1, 11))
    assert (book.has_passed(0), book.has_passed(1)) == (True, False)
    assert not MarkBook().has_passed(0)
