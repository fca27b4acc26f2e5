"""Ids of traces and the times that they stand for."""

import pytest

from common.trace import Trace
from scripts.traces.ids import span_of, time_text

READ_NS = 1_800_000_000_123_456_789


def test_an_id_is_the_time_of_the_read() -> None:
    """Whole, it stands for one nanosecond."""
    span = span_of(Trace.begin(READ_NS).id)
    assert (span.first_ns, span.last_ns) == (READ_NS, READ_NS)


@pytest.mark.parametrize("digits", range(6, 17))
def test_the_beginning_of_an_id_is_a_span_of_time(digits: int) -> None:
    """It holds every read whose id begins so, and none besides."""
    text = Trace.begin(READ_NS).id[:digits]
    span = span_of(text.upper())
    assert span.holds(READ_NS)
    assert {Trace.begin(at).id[:digits] for at in span} == {text}
    assert not span.holds(span.first_ns - 1)
    assert not span.holds(span.last_ns + 1)


@pytest.mark.parametrize("text", ["", "18cb5", "18cb5d1f2a3b4c5d0", "no-hex-at-all", "cb-1234abcd-17-y-1"])
def test_what_is_no_id_is_refused(text: str) -> None:
    """With the rule in the message."""
    with pytest.raises(ValueError, match="16 hexadecimal digits, or its first 6 or more"):
        span_of(text)


def test_times_are_shown_to_the_microsecond() -> None:
    """Those beyond the calendar as numbers."""
    assert time_text(READ_NS) == "2027-01-15 08:00:00.123456 UTC"
    assert time_text(2**63 - 1) == "2262-04-11 23:47:16.854775 UTC"
    assert time_text(2**70) == f"{2**70} ns"
