"""A recording that loops, seen from ingestion: each round is a market session, whatever was told or lost at the seam."""

import pytest

from common.messages import Tick
from services.ingestion.source import Channel, Frame
from tests.unit.ingestion.support import BAR_0, BAR_MS, PAIR, T0_MS, FedSource, Rig, book, mark, run, trade

NS_PER_MS = 1_000_000
#: The recording has books alone.
NO_MARKET = Frame(0, Channel.MARKET, b"", ended=True)
#: The second round begins ten bars after the first.
NEXT_MS = T0_MS + 10 * BAR_MS


def of_round(frame: Frame, begins_ms: int, connection: int = 1) -> Frame:
    """A frame on a connection that was told when its session begins."""
    return frame._replace(connection=connection, session_begins_ns=begins_ms * NS_PER_MS)


def books(at_ms: int, begins_ms: int, update_id: int = 1, connection: int = 1) -> list[Frame]:
    return [of_round(book(symbol, at_ms, update_id), begins_ms, connection) for symbol in ("BTCUSDT", "ETHUSDT")]


def end(channel: Channel, begins_ms: int) -> Frame:
    return of_round(Frame(0, channel, b"", ended=True), begins_ms)


def closes(rig: Rig) -> list[tuple[int, int, str, bool]]:
    return [(close.session, close.bar - BAR_0, close.status.value, close.end) for close in rig.closes_of(PAIR)]


ONE_ROUND_EACH = [(1, 0, "FRESH", False), (1, 1, "FRESH", True), (2, 10, "FRESH", True)]


def first_round() -> list[Frame]:
    return books(T0_MS + 59_000, T0_MS) + books(T0_MS + BAR_MS + 59_000, T0_MS, 2)


def test_each_round_is_a_session() -> None:
    """The end of a round ends the session; the next frames, whose ids begin again, open another at their own bar."""
    rig = run([*first_round(), end(Channel.PUBLIC, T0_MS), *books(NEXT_MS + 59_000, NEXT_MS, connection=2)])
    assert closes(rig) == ONE_ROUND_EACH
    assert rig.details["balanced"]
    assert rig.details["ignored"].get("duplicate", 0) == 0


def test_a_seam_that_nobody_told_ends_the_session_too() -> None:
    """When the connection broke at the seam, the begin that the next one tells is enough: no bar bridges two rounds."""
    rig = run([*first_round(), *books(NEXT_MS + 59_000, NEXT_MS, connection=2)])
    assert closes(rig) == ONE_ROUND_EACH


@pytest.mark.parametrize("end_was_read", [True, False])
def test_a_restart_across_a_seam_ends_the_session_too(end_was_read: bool) -> None:
    """Ingestion that was away at the seam ends the session it finds in the log before it begins the next."""
    source = FedSource()
    rig = Rig(source).start()
    source.feed(NO_MARKET, *first_round(), *([end(Channel.PUBLIC, T0_MS)] if end_was_read else []))
    rig.turns(4).kill()
    source.feed(*books(NEXT_MS + 59_000, NEXT_MS, connection=1), end(Channel.PUBLIC, NEXT_MS))
    rig.turns(4)
    # What was open when it was killed is closed as what it holds.
    assert [(session, bar, is_end) for session, bar, _, is_end in closes(rig)] == [(session, bar, is_end) for session, bar, _, is_end in ONE_ROUND_EACH]


def test_a_restart_within_a_round_goes_on_with_its_session() -> None:
    """The same begin is no seam: the bars in between are EMPTY ones of the same session."""
    source = FedSource()
    rig = Rig(source).start()
    source.feed(NO_MARKET, *first_round())
    rig.turns(4).kill()
    source.feed(*books(T0_MS + 4 * BAR_MS, T0_MS, 3, connection=1), end(Channel.PUBLIC, T0_MS))
    rig.turns(4)
    assert [(session, bar) for session, bar, _, _ in closes(rig)] == [(1, bar) for bar in range(5)]


def test_a_loop_that_begins_anew_may_go_back() -> None:
    """A simulator that has lost its place plays the first round again: time goes back, between two sessions."""
    late = books(NEXT_MS + 59_000, NEXT_MS) + books(NEXT_MS + BAR_MS + 59_000, NEXT_MS, 2)
    rig = run([*late, *first_round_on(connection=2)])
    assert [(session, bar, is_end) for session, bar, _, is_end in closes(rig)] == [(1, 10, False), (1, 11, True), (2, 0, False), (2, 1, True)]


def first_round_on(connection: int) -> list[Frame]:
    return [frame._replace(connection=connection) for frame in first_round()]


# --- the market channel ----------------------------------------------------------------------------------------------


def market(at_ms: int, price: str, begins_ms: int) -> list[Frame]:
    """Mark prices of both symbols, and trades, so that the time is believed."""
    frames = [trade("BTCUSDT", at_ms, at_ms), trade("ETHUSDT", at_ms, at_ms), mark("BTCUSDT", at_ms, price), mark("ETHUSDT", at_ms, price)]
    return [of_round(frame, begins_ms) for frame in frames]


@pytest.mark.parametrize("with_end", [True, False], ids=["told", "not told"])
def test_books_wait_for_the_market_channel_of_their_own_round(with_end: bool) -> None:
    """Its being done with the round before lets no bar of this one close; once it has passed the bar, the bar has its mark price and none of before."""
    source = FedSource()
    rig = Rig(source).start()
    source.feed(*market(T0_MS + 1000, "100", T0_MS), *market(T0_MS + BAR_MS + 1000, "101", T0_MS), *first_round())
    ends = [end(Channel.MARKET, T0_MS), end(Channel.PUBLIC, T0_MS)] if with_end else []
    source.feed(*ends, *books(NEXT_MS + 1000, NEXT_MS, connection=2), *books(NEXT_MS + BAR_MS + 1000, NEXT_MS, 2, connection=2))
    rig.turns(6)
    if with_end:
        assert [bar for _, bar, _, _ in closes(rig)] == [0, 1]
    source.feed(*market(NEXT_MS + 2000, "200", NEXT_MS), *market(NEXT_MS + BAR_MS + 2000, "201", NEXT_MS))
    rig.turns(6)
    found = {close.bar - BAR_0: close.x_mark and str(close.x_mark.price) for close in rig.closes_of(PAIR)}
    assert found == {0: "100", 1: "101", 10: "200"}
    assert [message.bar - BAR_0 for message in rig.log_of(PAIR) if isinstance(message, Tick)][-1] == 11


def test_an_end_of_the_market_channel_that_comes_late_is_the_round_s_before() -> None:
    """When the books are in the next round already, it does not let them close bars without the market channel."""
    source = FedSource()
    rig = Rig(source).start()
    source.feed(*market(T0_MS + 1000, "100", T0_MS), *market(T0_MS + BAR_MS + 1000, "101", T0_MS), *market(T0_MS + 2 * BAR_MS + 1000, "102", T0_MS))
    source.feed(*first_round(), end(Channel.PUBLIC, T0_MS), *books(NEXT_MS + 1000, NEXT_MS, connection=2), *books(NEXT_MS + BAR_MS, NEXT_MS, 2, 2))
    rig.turns(6)
    source.feed(end(Channel.MARKET, T0_MS))
    rig.turns(6)
    assert [bar for _, bar, _, _ in closes(rig)] == [0, 1]


def test_a_bar_without_a_mark_price_of_its_round_has_none() -> None:
    """The last mark price of a round is none of the next round's, however long that has no own."""
    trades = [of_round(trade(symbol, at_ms, at_ms), NEXT_MS) for at_ms in (NEXT_MS + 1000, NEXT_MS + 2 * BAR_MS + 1000) for symbol in ("BTCUSDT", "ETHUSDT")]
    seam = [end(Channel.MARKET, T0_MS), end(Channel.PUBLIC, T0_MS)]
    first = [*market(T0_MS + 1000, "100", T0_MS), *market(T0_MS + BAR_MS + 1000, "101", T0_MS), *first_round()]
    rig = run([*first, *seam, *trades, *books(NEXT_MS + 1000, NEXT_MS), *books(NEXT_MS + BAR_MS + 1000, NEXT_MS, 2)])
    found = {close.bar - BAR_0: close.x_mark and str(close.x_mark.price) for close in rig.closes_of(PAIR)}
    assert found == {0: "100", 1: "101", 10: None, 11: None}
