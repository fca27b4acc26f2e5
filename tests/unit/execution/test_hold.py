"""The table of the hold: which record may be processed with which signals."""

import pytest
from msgspec.structs import replace

from common.errors import InvalidRecord
from common.market import MOST_BARS_SKIPPED
from common.messages import BarStatus, HedgeMessage, HedgeRatioClose, RiskSignal
from services.execution.hold import Held, PairQueue, Release, drop_reason, release
from services.execution.state import PairState, initial_state, where
from tests.unit.execution.builders import BAR_SECONDS, close, hedge, params, signal

K = 1001


def state(bar: int = K - 1, closed_bar: int = K - 1, session: int = 1, last_seq: int = 10) -> PairState:
    return replace(initial_state(params()), session=session, bar=bar, closed_bar=closed_bar, last_seq=last_seq)


def signals(*bars: int, session: int = 1) -> dict[tuple[int, int], RiskSignal]:
    return {(session, bar): signal(bar, session=session) for bar in bars}


@pytest.mark.parametrize(
    ("there", "released", "with_signal_of"),
    [
        pytest.param((), False, None, id="none: wait"),
        pytest.param((K - 2,), False, None, id="older: wait"),
        pytest.param((K - 1,), True, K - 1, id="the one: go"),
        pytest.param((K - 1, K), True, K - 1, id="the one and a later: the one"),
        pytest.param((K,), True, None, id="only a later: go without"),
    ],
)
@pytest.mark.parametrize("message", [hedge(11, K, 1), close(11, K)], ids=["tick", "close"])
def test_a_new_bar_waits_for_the_signal_of_the_bar_before(message: HedgeMessage, there: tuple[int, ...], released: bool, with_signal_of: int | None) -> None:
    """Exactly the signal of bar k-1 is used; a later one only releases."""
    found = release(state(), message, signals(*there))
    assert (found is not None) is released
    assert (found.signal.bar if found and found.signal else None) == with_signal_of


def test_a_signal_belongs_to_its_session() -> None:
    """One of an older session releases nothing; one of a later session says that no more of this one will come."""
    assert release(state(), hedge(11, K, 1), signals(K - 1, K, session=0)) is None
    assert release(state(), hedge(11, K, 1), signals(K - 9, session=2)) == Release(None)


@pytest.mark.parametrize("message", [hedge(11, K, 1), close(11, K)], ids=["tick", "close"])
def test_a_bar_that_has_begun_goes_on(message: HedgeMessage) -> None:
    """Within a bar nothing waits."""
    assert release(state(bar=K), message, {}) == Release(None)


@pytest.mark.parametrize("before", [initial_state(params()), state(session=0)], ids=["new ledger", "new session"])
def test_the_first_bar_waits_for_nothing(before: PairState) -> None:
    """There can be no signal of the bar before the first."""
    assert release(before, hedge(11, K, 1), {}) == Release(None)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        pytest.param(hedge(11, K, 1), None, id="new tick"),
        pytest.param(hedge(10, K, 1), "repeated", id="tick seen before"),
        pytest.param(hedge(11, K - 1, 1), "closed-bar", id="tick of a closed bar"),
        pytest.param(close(11, K - 1), "closed-bar", id="close seen before"),
        pytest.param(close(10, K), None, id="close of an open bar, whatever its seq"),
        pytest.param(hedge(99, K, 1, session=0), "old-session", id="tick of an older session"),
        pytest.param(hedge(1, 3, 1, session=2), None, id="tick of a newer session"),
    ],
)
def test_what_is_dropped(message: HedgeMessage, reason: str | None) -> None:
    """Repetitions and what is too late have no effect."""
    assert drop_reason(state(), message) == reason


def queued(*messages: HedgeMessage, begin: PairState | None = None) -> list[HedgeMessage]:
    queue = PairQueue(begin or state(), BAR_SECONDS * 10**9)
    for offset, message in enumerate(messages):
        queue.push(Held(message, 0, offset))
    return [queue.pop().message for _ in range(len(queue))]


def test_skipped_bars_are_put_in() -> None:
    """Every bar between the last closed and the record's is answered first, as MISSING."""
    found = queued(hedge(11, K + 2, 1), close(12, K + 2), hedge(13, K + 3, 1))
    assert [where(message).bar for message in found] == [K, K + 1, K + 2, K + 2, K + 3]
    filled = [message.close for message in found if isinstance(message, HedgeRatioClose)][:2]
    assert [(each.status, each.seq, each.end_time_ns) for each in filled] == [
        (BarStatus.MISSING, 11, (K + 1) * BAR_SECONDS * 10**9),
        (BarStatus.MISSING, 11, (K + 2) * BAR_SECONDS * 10**9),
    ]


def test_a_gapless_stream_and_its_repetitions_stay_as_they_are() -> None:
    """Nothing is put in where nothing is missing, also after a new session that goes back in time."""
    stream: list[HedgeMessage] = [close(11, K), close(11, K), hedge(12, K + 1, 1), hedge(1, 5, 1, session=2), close(2, 5, session=2), close(3, 6, session=2)]
    assert queued(*stream) == stream
    assert queued(hedge(1, K + 50, 1), begin=initial_state(params())) == [hedge(1, K + 50, 1)]


def test_a_bar_impossibly_far_ahead_is_refused() -> None:
    """A broken bar number does not fill the memory."""
    with pytest.raises(InvalidRecord, match="bar-far-ahead"):
        queued(hedge(11, K + MOST_BARS_SKIPPED + 1, 0))
