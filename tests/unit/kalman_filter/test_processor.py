"""The filter's protocol: what it answers, what it drops, what it fills in."""

from collections.abc import Sequence
from decimal import Decimal

import msgspec
import pytest

from common.errors import InvalidRecord
from common.market import MOST_BARS_SKIPPED
from common.messages import BarClose, BarStatus, HedgeRatio, HedgeRatioClose, Message, ModelStatus, Tick, WriterEpoch
from services.kalman_filter.filter import FilterParameters
from services.kalman_filter.processor import KalmanModel, KalmanState
from tests.unit.kalman_filter.builders import BAR_NS, PAIR, close, stream, tick

WARM_UP_BARS = 30
MODEL = KalmanModel(FilterParameters(warm_up_bars=WARM_UP_BARS), BAR_NS)


def run(messages: Sequence[Message], state: KalmanState | None = None) -> tuple[KalmanState, list[Message]]:
    """Apply messages in order."""
    state = state or MODEL.initial(PAIR)
    outputs: list[Message] = []
    for message in messages:
        state, answers = MODEL.step(state, message)
        outputs += answers
    return state, outputs


def ready(bars: int = 60) -> KalmanState:
    """A state past its warm-up; its last closed bar is 99 + bars."""
    return run(list(stream(1, bars)))[0]


def test_every_tick_and_close_has_one_answer() -> None:
    """Each input of a gapless stream is answered by exactly one record, also while warming up."""
    messages = list(stream(1, 50))
    _, outputs = run(messages)
    assert [type(output) for output in outputs] == [HedgeRatio, HedgeRatioClose] * 50
    assert [output.tick for output in outputs if isinstance(output, HedgeRatio)] == messages[::2]
    assert [output.close for output in outputs if isinstance(output, HedgeRatioClose)] == messages[1::2]


def test_warm_up_counts_fresh_bars_and_says_so() -> None:
    """Up to and including the last bar of the warm-up the status is WARMING without an estimate, then READY with one."""
    _, outputs = run(list(stream(1, WARM_UP_BARS + 1)))
    closes = [output for output in outputs if isinstance(output, HedgeRatioClose)]
    assert {answer.status for answer in closes[:-1]} == {ModelStatus.WARMING}
    assert [answer.estimate for answer in closes[:-1]] == [None] * WARM_UP_BARS
    assert closes[3].reason == f"4 of {WARM_UP_BARS} bars of the warm-up"
    assert closes[-1].status is ModelStatus.READY
    assert closes[-1].estimate


@pytest.mark.parametrize("status", [BarStatus.STALE, BarStatus.EMPTY])
def test_bar_that_is_not_fresh_only_adds_uncertainty(status: BarStatus) -> None:
    """A STALE or EMPTY bar leaves parameters alone, lets P grow and is answered without an estimate."""
    before = ready()
    state, outputs = run([tick(200, 160, 3100.0), close(201, 160, status)], before)
    assert before.filter
    assert state.filter
    assert (state.filter.alpha, state.filter.beta) == (before.filter.alpha, before.filter.beta)
    assert state.filter.alpha_variance == before.filter.alpha_variance + before.filter.alpha_process_variance
    answer = outputs[-1]
    assert isinstance(answer, HedgeRatioClose)
    assert (answer.status, answer.estimate) == (ModelStatus.READY, None)
    assert answer.last_tick


def test_fresh_close_without_a_usable_tick_does_not_move_the_state() -> None:
    """When the bar's only tick was refused, its FRESH close is answered without an estimate."""
    before = ready()
    state, outputs = run([close(201, 160)], before)
    assert before.filter
    assert state.filter
    assert state.filter.beta == before.filter.beta
    assert isinstance(outputs[0], HedgeRatioClose)
    assert outputs[0].estimate is None


def test_ticks_are_evaluated_against_the_last_closed_bar() -> None:
    """Ticks of a bar do not influence each other; the close repeats the last one's estimate, taken before the update."""
    state = ready()
    _, alone = run([tick(201, 160, 3030.0)], state)
    after, both = run([tick(200, 160, 2900.0), tick(201, 160, 3030.0), close(202, 160)], state)
    assert both[1] == alone[0]
    assert isinstance(alone[0], HedgeRatio)
    assert isinstance(both[2], HedgeRatioClose)
    assert both[2].estimate == alone[0].estimate
    assert after.filter != state.filter


@pytest.mark.parametrize(
    ("name", "message", "reason"),
    [
        ("the last tick again", tick(119, 160), "seen"),
        ("an older writer", tick(500, 160, epoch=0), "old-epoch"),
        ("a tick of a closed bar, whatever its seq", tick(500, 159), "closed-bar"),
        ("a close of a closed bar, whatever its seq", close(500, 159), "closed-bar"),
        ("the session before", tick(500, 500, session=0), "old-session"),
    ],
)
def test_what_must_not_be_applied_is_dropped_with_its_reason(name: str, message: Tick | BarClose, reason: str) -> None:
    """Records seen before, of an older writer or of a closed bar change nothing and have no answer (K3, K4)."""
    state = ready()
    if reason == "old-session":
        state = msgspec.structs.replace(state, session=1)
    assert MODEL.drop_reason(state, message) == reason, name
    assert MODEL.step(state, message) == (state, ())


def test_newer_writer_silences_the_older() -> None:
    """After a WriterEpoch the old writer's records are dropped and the new one's are applied."""
    state, outputs = run([WriterEpoch(epoch=2), WriterEpoch(epoch=1)], ready())
    assert outputs == []
    assert MODEL.drop_reason(state, tick(500, 160, epoch=1)) == "old-epoch"
    assert MODEL.drop_reason(state, tick(500, 160, epoch=2)) is None


@pytest.mark.parametrize("first", [tick(300, 163), close(300, 163)])
def test_skipped_bars_are_answered_first_as_missing(first: Tick | BarClose) -> None:
    """A record beyond the open bar answers each bar in between as MISSING with its own seq, and P grows a bar each."""
    before, _ = run([tick(200, 160)], ready())
    state, outputs = run([first], before)
    missing = outputs[:3]
    assert [answer.close.bar for answer in missing if isinstance(answer, HedgeRatioClose)] == [160, 161, 162]
    for answer in missing:
        assert isinstance(answer, HedgeRatioClose)
        assert (answer.close.status, answer.close.seq, answer.estimate, answer.last_tick) == (BarStatus.MISSING, 300, None, None)
        assert answer.close.end_time_ns == (answer.close.bar + 1) * BAR_NS
    assert len(outputs) == 4
    bars = 3 if isinstance(first, Tick) else 4
    assert before.filter
    assert state.filter
    assert state.filter.alpha_variance == pytest.approx(before.filter.alpha_variance + bars * before.filter.alpha_process_variance)


def test_new_session_warms_up_again() -> None:
    """Another session starts afresh, may go back in time and skips no bars; seq and epoch go on."""
    state, outputs = run([tick(200, 7, session=1)], ready())
    assert len(outputs) == 1
    assert isinstance(outputs[0], HedgeRatio)
    assert outputs[0].status is ModelStatus.WARMING
    assert (state.filter, state.session, state.bar, state.last_seq, state.epoch) == (None, 1, 6, 200, 1)


@pytest.mark.parametrize("bid", ["NaN", "sNaN", "Infinity", "-1", "0", "1e-320"])
def test_impossible_price_is_refused_and_changes_nothing(bid: str) -> None:
    """A tick with an impossible price raises with the state as it was (K1)."""
    state, broken = ready(), tick(200, 160)
    broken = msgspec.structs.replace(broken, y=msgspec.structs.replace(broken.y, bid=Decimal(bid)))
    before = msgspec.json.encode(state)
    with pytest.raises(InvalidRecord, match="invalid-price"):
        MODEL.step(state, broken)
    assert msgspec.json.encode(state) == before


def test_absurd_bar_is_refused() -> None:
    """A bar number far in the future is a broken record: nothing is filled in."""
    with pytest.raises(InvalidRecord, match="bar-jump"):
        MODEL.step(ready(), tick(200, 160 + MOST_BARS_SKIPPED))


def test_flat_hedge_leg_keeps_warming() -> None:
    """While the hedge leg stands still the filter keeps warming up and says why; once it moves it starts."""
    flat = [message for bar in range(40) for message in (tick(2 * bar, 100 + bar, 3000.0 + bar % 5), close(2 * bar + 1, 100 + bar))]
    state, outputs = run(flat)
    assert isinstance(outputs[-1], HedgeRatioClose)
    assert outputs[-1].status is ModelStatus.WARMING
    assert "did not move" in outputs[-1].reason
    state, _ = run([tick(80, 140, 3001.0, 61_000.0), close(81, 140)], state)
    assert state.filter


def test_reset_shows_in_the_answer() -> None:
    """A covariance that had to be reset makes that bar's close and the next bar's ticks DEGRADED, then READY again."""
    state = ready()
    assert state.filter
    broken = msgspec.structs.replace(state, filter=msgspec.structs.replace(state.filter, alpha_variance=-1.0))
    _, outputs = run([tick(200, 160), close(201, 160), tick(202, 161), close(203, 161), tick(204, 162)], broken)
    statuses = [output.status for output in outputs if isinstance(output, HedgeRatio | HedgeRatioClose)]
    assert statuses[1:] == [ModelStatus.DEGRADED, ModelStatus.DEGRADED, ModelStatus.READY, ModelStatus.READY]
    assert isinstance(outputs[1], HedgeRatioClose)
    assert outputs[1].reason == "the covariance was reset"


def test_summary_has_what_the_gauges_show() -> None:
    """A running filter's summary holds every number that has a gauge."""
    state, _ = run([tick(200, 160)], ready())
    assert {"innovation_z", "beta", "resets", "warm_up_bars"} <= set(MODEL.summary(state))
    assert MODEL.summary(MODEL.initial(PAIR))["status"] is ModelStatus.WARMING
