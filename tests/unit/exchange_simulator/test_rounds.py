"""Where a loop stands, how its frames read, and what is kept of its first start."""

import json
from pathlib import Path

import pytest

from common.errors import ConfigurationError
from common.settings import Market
from services.exchange_simulator.first_start import FirstStart, Keeper, Loop, resumed
from services.exchange_simulator.recording import Frame, Recording, StreamSummary
from services.exchange_simulator.rounds import Rounds, rounds_of

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
T0 = 1_723_161_600 * SECOND
ROUNDS = Rounds(T0, MINUTE, 5 * MINUTE)


def recording(last_ns: int, *, grid_ns: int = 1, exact: bool = True) -> Recording:
    return Recording("test", Market.FUTURES, {"x@bookTicker": StreamSummary(1, T0)}, T0, last_ns, 0, {}, lambda: iter(()), exact=exact, grid_ns=grid_ns)


@pytest.mark.parametrize(
    ("lasts_ns", "bar_s", "grid_ns", "period_s"),
    [
        (0, 60, 1, 120),
        (59 * SECOND, 60, 1, 120),
        (60 * SECOND, 60, 1, 180),
        (10 * SECOND, 1, 1, 12),
        (10 * SECOND, 1, MINUTE, 60),
        (59 * SECOND, 1, MINUTE, 120),
        (100 * SECOND, 40, MINUTE, 240),
    ],
)
def test_a_round_covers_the_recording_and_a_bar_more(lasts_ns: int, bar_s: int, grid_ns: int, period_s: int) -> None:
    """The period is of whole bars, of whole steps of the recording, and leaves at least one bar without a frame."""
    assert rounds_of(recording(T0 + lasts_ns, grid_ns=grid_ns), bar_s * SECOND).period_ns == period_s * SECOND


def test_a_recording_without_a_known_end_cannot_loop() -> None:
    """Where the end is only estimated, no period can be told."""
    with pytest.raises(ConfigurationError, match=r"SIMULATOR_LOOP: .* set DURATION"):
        rounds_of(recording(T0, exact=False), MINUTE)


def test_place_follows_from_the_time_since_the_first_start() -> None:
    """Round and place are a function of the time that has passed, and before the start they are the begin."""
    assert [ROUNDS.place(elapsed) for elapsed in (-1, 0, 5 * MINUTE - 1, 5 * MINUTE, 51 * MINUTE)] == [
        (0, 0),
        (0, 0),
        (0, 5 * MINUTE - 1),
        (1, 0),
        (10, MINUTE),
    ]
    assert (ROUNDS.shift_ns(10), ROUNDS.begins_ns(10)) == (50 * MINUTE, T0 + 50 * MINUTE)


def test_a_later_round_moves_the_times_and_nothing_else() -> None:
    """Event, transaction and funding times move on in their own unit; prices, ids and the stream stay as they are."""
    head = '{"stream":"btcusdt@markPrice@1s","data":'
    data = '{"e":"markPriceUpdate","E":1723161600005,"s":"BTCUSDT","p":"1723161600005","u":1723161600005,"r":"0.1","T": 1723161600005000 }'
    frame = Frame(T0, "btcusdt@markPrice@1s", f"{head}{data}}}".encode(), len(head))
    shifted = ROUNDS.shifted(frame, 2)
    assert shifted.time_ns == T0 + 10 * MINUTE
    expected = json.loads(data) | {"E": 1723162200005, "T": 1723162200005000}
    assert json.loads(shifted.data) == expected
    assert json.loads(shifted.combined)["stream"] == "btcusdt@markPrice@1s"
    assert ROUNDS.shifted(frame, 0) is frame


# --- the first start -------------------------------------------------------------------------------------------------


def start(at_ns: int, speed: float = 10.0, recording_name: str = "klines") -> FirstStart:
    return FirstStart(started_at_ns=at_ns, recording=recording_name, first_event_time_ns=T0, period_ns=5 * MINUTE, speed=speed)


def test_a_restart_goes_on_where_the_loop_would_be(tmp_path: Path) -> None:
    """The first start is kept once; a later process takes it up and stands where time has carried it."""
    first = Loop(ROUNDS, start(100 * SECOND), Keeper(tmp_path))
    assert (first.kept, first.elapsed_ns(130 * SECOND)) == (False, 0)
    first.begin(110 * SECOND)
    second = Loop(ROUNDS, start(500 * SECOND), Keeper(tmp_path))
    second.begin(500 * SECOND)
    assert second.kept
    assert second.first_start.started_at_ns == 110 * SECOND
    assert ROUNDS.place(second.elapsed_ns(170 * SECOND)) == (2, 0)


def test_without_a_folder_nothing_is_kept() -> None:
    """A loop without a keeper begins anew each time."""
    Loop(ROUNDS, start(0)).begin(1)
    assert not Loop(ROUNDS, start(0)).kept


def test_another_speed_goes_on_from_the_same_place_and_another_recording_begins_anew() -> None:
    """Time never goes back for a change of speed; what belongs to another recording tells nothing."""
    kept = start(0, speed=10.0)
    faster = resumed(kept, start(60 * SECOND, speed=20.0))
    assert faster.elapsed_ns(60 * SECOND) == kept.elapsed_ns(60 * SECOND) == 600 * SECOND
    assert faster.elapsed_ns(61 * SECOND) == 620 * SECOND
    other = start(60 * SECOND, recording_name="ticks")
    assert resumed(kept, other) is other


def test_a_clock_that_was_set_back_begins_anew() -> None:
    """A first start that lies ahead of the clock is none."""
    assert resumed(start(100 * SECOND), start(50 * SECOND)).elapsed_ns(50 * SECOND) == 0
    assert resumed(start(100 * SECOND), start(50 * SECOND)).elapsed_ns(51 * SECOND) == 10 * SECOND


def test_what_cannot_be_kept_or_read_is_said(tmp_path: Path) -> None:
    """A damaged file and a folder that cannot be written are named with their remedy."""
    keeper = Keeper(tmp_path)
    keeper.path.write_text("{}", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"first-start\.json: is no record of a first start .* remove it"):
        keeper.load()
    with pytest.raises(ConfigurationError, match=r"SIMULATOR_STATE_DIR='.*': cannot be used"):
        Keeper(keeper.path / "below").load()
