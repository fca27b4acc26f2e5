"""What travels with a record besides its message."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.trace import MOST_TIMES, NO_TRACE, Trace

NS = st.integers(1, 2**63 - 1)


@given(NS, NS, st.lists(st.tuples(NS, NS), max_size=4))
def test_times_come_back_as_they_were_added(read_at_ns: int, sent_ns: int, hops: list[tuple[int, int]]) -> None:
    """The header's bytes hold the socket read, which names the trace, and every time after it."""
    trace = Trace.begin(read_at_ns).with_time(sent_ns)
    for polled_ns, left_ns in hops:
        trace = trace.with_hop(polled_ns, left_ns)
    found = Trace.of(bytes(trace))
    assert found.times_ns == (read_at_ns, sent_ns, *(time_ns for hop in hops for time_ns in hop))
    assert found.read_at_ns == read_at_ns
    assert found.id == f"{read_at_ns:016x}"


def test_nothing_is_added_to_no_trace() -> None:
    """What began without a socket read stays without a trace."""
    assert Trace.begin(0) == NO_TRACE.with_time(1) == NO_TRACE.with_hop(1, 2) == b""
    assert (NO_TRACE.id, NO_TRACE.read_at_ns, NO_TRACE.times_ns) == ("", 0, ())


@pytest.mark.parametrize("header", [b"", b"1", bytes(9), bytes(8 * (MOST_TIMES + 1))])
def test_a_header_that_cannot_be_one_counts_as_none(header: bytes) -> None:
    """Any bytes may stand in a header of that name; they stop nothing."""
    assert Trace.of(header) == NO_TRACE


@given(st.binary(max_size=300))
def test_any_header_can_be_gone_on_with(header: bytes) -> None:
    """Whatever another program wrote, times can be added and read."""
    trace = Trace.of(header)
    assert len(trace.with_time(1).with_hop(2, 3).times_ns) == (len(trace) // 8 + 3 if trace else 0)
