"""Closing bars, releasing signals, obeying commands."""

from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import InvalidRecord
from common.market import MOST_BARS_SKIPPED
from common.messages import BarStatus, ChangepointAction, Command, CommandKind, Feed, Mark, ModelStatus, PositionState, RiskSignal, Thresholds, Verdict
from services.risk_manager import changepoint
from services.risk_manager.core import GraceOver, Input, _take, step
from services.risk_manager.portfolio import BarKey
from services.risk_manager.recorded import recorded
from services.risk_manager.state import Inbox, Memory, Params, RiskState, drop_reason, initial
from tests.unit.risk_manager.builders import LIMITS, PAIRS, command, mark, params, thresholds

HALT, RESUME, FLATTEN = CommandKind


def run(given_params: Params, inputs: Iterable[Input], state: RiskState | None = None) -> tuple[RiskState, list[RiskSignal]]:
    state = state or initial(given_params)
    signals: list[RiskSignal] = []
    for message in inputs:
        state, released = step(given_params, state, message)
        signals += released
    return state, signals


def bar_of(bar: int, equity: Sequence[int] = (10_000, 10_000, 10_000), pairs: Sequence[str] = PAIRS, **changes: Any) -> list[Input]:
    """Marks and thresholds of all pairs."""
    marks = [mark(pair, bar, equity=amount, **changes) for pair, amount in zip(pairs, equity, strict=False)]
    return [*marks, *(thresholds(pair, bar, session=changes.get("session", 1)) for pair in pairs)]


def rule(signal: RiskSignal, name: str) -> Verdict:
    return next(result.verdict for result in signal.reasons if result.rule == name)


def verdicts(signals: Sequence[RiskSignal]) -> list[Verdict]:
    return [signal.verdict for signal in signals]


def test_a_bar_is_answered_once_it_is_complete() -> None:
    """The last mark of a bar closes it; each pair then has its signal as soon as its thresholds are there."""
    state, signals = run(params(), [thresholds(PAIRS[0], 7), mark(PAIRS[0], 7), mark(PAIRS[1], 7)])
    assert signals == []
    state, signals = run(params(), [mark(PAIRS[2], 7)], state)
    assert [(signal.pair, signal.bar, signal.verdict) for signal in signals] == [(PAIRS[0], 7, Verdict.ACTIVE)]
    state, signals = run(params(), [thresholds(PAIRS[2], 7)], state)
    assert [signal.pair for signal in signals] == [PAIRS[2]]
    assert signals[0].thresholds == thresholds(PAIRS[2], 7)
    assert state.closes[0].waiting == (PAIRS[1],)


def test_what_comes_after_a_close_does_not_change_its_signals() -> None:
    """Thresholds that are late carry the verdict of their bar, though a later bar and a command have come since."""
    late = thresholds(PAIRS[0], 7)
    on_time = [message for message in bar_of(7) if message != late]
    ruin: list[Input] = [mark(pair, 8, equity=1) for pair in PAIRS]
    state, _ = run(params(), [*on_time, command(1, HALT), *ruin])
    _, signals = run(params(), [late], state)
    assert [(signal.bar, signal.verdict, signal.commands_through) for signal in signals] == [(7, Verdict.ACTIVE, 0)]


def test_duplicates_are_dropped_by_name() -> None:
    """A record that is held or used already is dropped, so is one of a pair that is not configured."""
    state, _ = run(params(), [*bar_of(7), mark(PAIRS[0], 8), thresholds(PAIRS[0], 8)])
    assert drop_reason(state, mark(PAIRS[0], 8)) == "duplicate"
    assert drop_reason(state, thresholds(PAIRS[0], 8)) == "duplicate"
    assert drop_reason(state, mark(PAIRS[1], 7)) == "duplicate-or-late"
    assert drop_reason(state, thresholds(PAIRS[1], 7)) == "duplicate-or-late"
    assert drop_reason(state, mark("ADAUSDT-BTCUSDT", 8)) == "unconfigured-pair"
    assert drop_reason(state, mark(PAIRS[0], 9)) is None
    assert run(params(), [mark(PAIRS[0], 8), thresholds(PAIRS[1], 7)], state) == (state, [])


# --- gaps, sessions, grace -------------------------------------------------------------------------------------------


def test_a_skipped_mark_closes_its_bar_as_missing() -> None:
    """A pair whose next mark is a later bar's is missing from the bars between, which are answered first; nobody may enter."""
    inputs = [*bar_of(7), *bar_of(8, pairs=PAIRS[:2]), thresholds(PAIRS[2], 8), mark(PAIRS[2], 9)]
    _, signals = run(params(), inputs)
    assert [(signal.bar, signal.verdict, rule(signal, "marks-missing")) for signal in signals[3:]] == [(8, Verdict.REDUCE_ONLY, Verdict.REDUCE_ONLY)] * 3


def test_a_bar_that_all_skip_is_answered_first() -> None:
    """A bar without any mark or thresholds gets its signals from nothing but its absence."""
    _, signals = run(params(), [*bar_of(7), *bar_of(9)])
    for pair in PAIRS:
        first, skipped, last = by_pair(signals)[pair]
        assert (first.bar, skipped.bar, last.bar) == (7, 8, 9)
        assert (first.verdict, skipped.verdict, last.verdict) == (Verdict.ACTIVE, Verdict.REDUCE_ONLY, Verdict.ACTIVE)
        assert (skipped.thresholds.bar, skipped.thresholds.bar_status, skipped.thresholds.status) == (8, BarStatus.MISSING, ModelStatus.DEGRADED)


def test_skipped_thresholds_are_filled_in() -> None:
    """Where a pair's thresholds skip a bar, its signal says so and only that pair is held back."""
    inputs = [*bar_of(7), *bar_of(8), thresholds(PAIRS[0], 9)]
    inputs.remove(thresholds(PAIRS[0], 8))
    _, signals = run(params(), inputs)
    assert {signal.pair: signal.verdict for signal in signals if signal.bar == 8} == {
        PAIRS[0]: Verdict.REDUCE_ONLY,
        PAIRS[1]: Verdict.ACTIVE,
        PAIRS[2]: Verdict.ACTIVE,
    }


def test_a_pair_that_begins_later_is_not_missing() -> None:
    """Before its first bar of a session a pair owes nothing and gets no signal."""
    late = PAIRS[2]
    inputs: list[Input] = [mark(late, 9), thresholds(late, 9)]
    for bar in (7, 8, 9):
        inputs += bar_of(bar, pairs=PAIRS[:2])
    _, signals = run(params(), inputs)
    assert [signal.bar for signal in signals if signal.pair == late] == [9]
    assert set(verdicts(signals)) == {Verdict.ACTIVE}


def test_a_pair_that_joins_is_not_waited_for_before_its_session() -> None:
    """A session that was begun without a pair closes without it, misses nobody and tells it so at once; the next one waits for it."""
    state, _ = run(params(PAIRS[:2]), bar_of(7, pairs=PAIRS[:2]))
    joined = msgspec.structs.replace(initial(params()), portfolio=state.portfolio)
    state, signals = run(params(), bar_of(8, pairs=PAIRS[:2]), joined)
    told, *others = signals
    assert (told.pair, told.bar, told.verdict, told.thresholds.bar_status) == (PAIRS[2], 8, Verdict.REDUCE_ONLY, BarStatus.MISSING)
    assert [(signal.pair, signal.marks_missing) for signal in others] == [(pair, ()) for pair in PAIRS[:2]]
    _, signals = run(params(), [mark(pair, 9, session=2) for pair in PAIRS[:2]], state)
    assert signals == []


def test_a_session_may_go_back_in_time() -> None:
    """A new session starts at its own first bar; halts and the high-water mark stay, the detector starts anew."""
    alarmed = params(changepoint=changepoint.Params(expected_run_bars=20, window_bars=10, alarm_mass=0.21, flatten_after_bars=1))
    inputs: list[Input] = []
    for bar in range(30, 60):
        z = 0.1 if bar < 50 else 4.0
        inputs += [*(mark(pair, bar) for pair in PAIRS), *(thresholds(pair, bar, standardised_innovation=z) for pair in PAIRS)]
    state, signals = run(alarmed, [*inputs, command(1, HALT, PAIRS[0])])
    assert signals[-1].changepoint.action is ChangepointAction.FLATTEN
    assert state.memories[PAIRS[0]].changepoint_actions >= 1
    state, signals = run(alarmed, bar_of(3, [9_000, 10_000, 10_000], session=2), state)
    assert [(signal.session, signal.bar, signal.verdict) for signal in signals] == [
        (2, 3, Verdict.HALTED),
        (2, 3, Verdict.ACTIVE),
        (2, 3, Verdict.ACTIVE),
    ]
    assert state.portfolio.high_water_mark_usd == 30_000
    assert state.memories[PAIRS[0]].detector.observations == 1


def test_a_recording_waits_for_its_marks_for_ever() -> None:
    """However far the others are ahead, a bar of a recording stays open for a pair's mark."""
    inputs: list[Input] = [message for bar in (7, 8, 9) for message in bar_of(bar, pairs=PAIRS[:2])]
    state, signals = run(params(), inputs)
    assert signals == []
    _, signals = run(params(), [message for bar in (7, 8, 9) for message in (mark(PAIRS[2], bar), thresholds(PAIRS[2], bar))], state)
    assert [signal.bar for signal in signals] == [7] * 3 + [8] * 3 + [9] * 3
    assert set(verdicts(signals)) == {Verdict.ACTIVE}


def test_the_end_of_the_grace_closes_on_what_is_there() -> None:
    """A live bar closes without the marks that are late: they are named, nobody may enter, and they count no more when they come."""
    live: list[Input] = [mark(pair, 7, feed=Feed.LIVE) for pair in PAIRS[:2]]
    state, signals = run(params(), [*live, *(thresholds(pair, 7) for pair in PAIRS), GraceOver(BarKey(1, 7))])
    assert verdicts(signals) == [Verdict.REDUCE_ONLY] * 3
    assert {signal.marks_missing for signal in signals} == {(PAIRS[2],)}
    late = mark(PAIRS[2], 7, equity=1, feed=Feed.LIVE)
    assert drop_reason(state, late) == "duplicate-or-late"
    state, signals = run(params(), [late, *bar_of(8, feed=Feed.LIVE)], state)
    assert verdicts(signals) == [Verdict.ACTIVE] * 3


def test_a_grace_that_ends_after_its_bar_has_closed_does_nothing() -> None:
    """The end of a grace closes its own bar and no later one."""
    state, _ = run(params(), [*bar_of(7), mark(PAIRS[0], 8)])
    assert run(params(), [GraceOver(BarKey(1, 7))], state) == (state, [])


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (mark(PAIRS[0], 8, equity_usd=Decimal("NaN")), "not-finite"),
        (mark(PAIRS[0], 8, gross_exposure_usd=Decimal("Infinity")), "not-finite"),
        (mark(PAIRS[0], 8 + MOST_BARS_SKIPPED), "bar-jump"),
    ],
)
def test_a_broken_mark_is_refused(broken: Mark, reason: str) -> None:
    """A mark without finite money or absurdly far ahead is refused by name."""
    state, _ = run(params(), bar_of(7))
    with pytest.raises(InvalidRecord) as refused:
        step(params(), state, broken)
    assert refused.value.reason == reason


# --- halts and commands ----------------------------------------------------------------------------------------------


def test_a_drawdown_flattens_until_resumed() -> None:
    """The trip outlives a recovery of the equity; resume counts the drawdown from the equity of that moment."""
    state, signals = run(params(), [*bar_of(7), *bar_of(8, [7_000, 10_000, 10_000]), *bar_of(9)])
    assert verdicts(signals[::3]) == [Verdict.ACTIVE, Verdict.FLATTEN, Verdict.FLATTEN]
    assert {halt.rule for halt in state.portfolio.halts} == {"drawdown", "daily-loss"}
    state, signals = run(params(), [*bar_of(10, [7_000, 10_000, 10_000]), command(1, RESUME), *bar_of(11, [7_000, 10_000, 10_000])], state)
    assert verdicts(signals[::3]) == [Verdict.FLATTEN, Verdict.ACTIVE]
    assert (state.portfolio.halts, state.portfolio.high_water_mark_usd, state.portfolio.day_start_usd) == ((), 27_000, 27_000)
    _, signals = run(params(), bar_of(12, [4_300, 10_000, 10_000]), state)
    assert verdicts(signals) == [Verdict.FLATTEN] * 3


def test_a_daily_loss_halts_beyond_its_day() -> None:
    """The halt does not end with the day; an operator lifts it."""
    state, signals = run(params(), [*bar_of(1438), *bar_of(1439, [8_400, 10_000, 10_000]), *bar_of(1440, [8_400, 10_000, 10_000])])
    assert verdicts(signals[::3]) == [Verdict.ACTIVE, Verdict.HALTED, Verdict.HALTED]
    state, signals = run(params(), [command(1, RESUME), *bar_of(1441, [8_400, 10_000, 10_000])], state)
    assert verdicts(signals) == [Verdict.ACTIVE] * 3
    assert state.portfolio.high_water_mark_usd == 30_000


def test_resuming_without_a_loss_halt_forgives_nothing() -> None:
    """Lifting an operator's halt leaves the high-water mark and the start of the day alone."""
    state, _ = run(params(), [*bar_of(7), command(1, HALT), *bar_of(8, [9_000, 10_000, 10_000]), command(2, RESUME), *bar_of(9, [9_000, 10_000, 10_000])])
    assert (state.portfolio.halts, state.portfolio.high_water_mark_usd, state.portfolio.day_start_usd) == ((), 30_000, 30_000)


@pytest.mark.parametrize(("kind", "verdict"), [(HALT, Verdict.HALTED), (FLATTEN, Verdict.FLATTEN)])
def test_a_command_acts_at_the_next_close(kind: CommandKind, verdict: Verdict) -> None:
    """The signal of the next bar carries the command's id and verdict; the bars after it keep the verdict."""
    state, signals = run(params(), [*bar_of(7), command(1, kind), *bar_of(8), *bar_of(9)])
    assert [(signal.commands_through, signal.verdict) for signal in signals[::3]] == [(0, Verdict.ACTIVE), (1, verdict), (1, verdict)]
    assert [(halt.verdict, halt.bar, halt.command_id, halt.who, halt.why) for halt in state.portfolio.halts] == [(verdict, 8, 1, "ann", "drill")]
    assert state.commands == ()
    _, signals = run(params(), [command(2, RESUME), *bar_of(10)], state)
    assert [(signal.commands_through, signal.verdict) for signal in signals[::3]] == [(2, Verdict.ACTIVE)]


def test_a_repeated_halt_is_one_halt() -> None:
    """Halting what is halted changes only the command that the signals have come to; a flatten beside it is stricter."""
    state, signals = run(params(), [command(1, HALT), command(2, HALT), *bar_of(7), command(3, FLATTEN), *bar_of(8), command(4, HALT), *bar_of(9)])
    assert [(halt.verdict, halt.command_id) for halt in state.portfolio.halts] == [(Verdict.HALTED, 1), (Verdict.FLATTEN, 3)]
    assert [(signal.commands_through, signal.verdict) for signal in signals[::3]] == [(2, Verdict.HALTED), (3, Verdict.FLATTEN), (4, Verdict.FLATTEN)]


def test_a_pair_is_commanded_alone() -> None:
    """A pair's halt leaves the others alone, and only its own resume lifts it."""
    state, signals = run(params(), [command(1, HALT, PAIRS[1]), *bar_of(7)])
    assert verdicts(signals) == [Verdict.ACTIVE, Verdict.HALTED, Verdict.ACTIVE]
    state, signals = run(params(), [command(2, RESUME), *bar_of(8)], state)
    assert verdicts(signals) == [Verdict.ACTIVE, Verdict.HALTED, Verdict.ACTIVE]
    _, signals = run(params(), [command(3, RESUME, PAIRS[1]), *bar_of(9)], state)
    assert verdicts(signals) == [Verdict.ACTIVE] * 3


def test_commands_are_obeyed_in_their_order() -> None:
    """Of commands between two closes the later one has the last word."""
    _, halted = run(params(), [command(1, RESUME), command(2, HALT), *bar_of(7)])
    _, resumed = run(params(), [command(1, HALT), command(2, RESUME), *bar_of(7)])
    assert (halted[0].verdict, resumed[0].verdict) == (Verdict.HALTED, Verdict.ACTIVE)
    assert halted[0].commands_through == resumed[0].commands_through == 2


# --- the detector ----------------------------------------------------------------------------------------------------


def test_the_detector_sees_fresh_innovations_in_bar_order() -> None:
    """Each pair's detector steps once for every FRESH bar with an innovation, and the signal carries its view."""
    detector = changepoint.Params()
    expected = changepoint.initial(detector)
    inputs: list[Input] = []
    for bar, z in enumerate((0.3, -1.2, 2.5), start=7):
        expected, view = changepoint.step(detector, expected, z)
        inputs += [thresholds(pair, bar, standardised_innovation=z) for pair in PAIRS]
    inputs += [thresholds(PAIRS[0], 10, standardised_innovation=None), thresholds(PAIRS[0], 11, bar_status=BarStatus.STALE)]
    state, signals = run(params(), [*inputs, *(mark(pair, bar) for bar in range(7, 12) for pair in PAIRS)])
    assert state.memories[PAIRS[0]].detector == expected
    assert [signal.changepoint for signal in signals if signal.pair == PAIRS[0] and signal.bar >= 9] == [view] * 3


# --- order ------------------------------------------------------------------------------------------------------------


@st.composite
def streams(draw: st.DrawFn) -> list[list[Mark | Thresholds]]:
    """Per pair its marks and its thresholds, each in bar order, with gaps and a second session."""
    made: list[list[Mark | Thresholds]] = []
    for pair in PAIRS:
        for kind in ("mark", "thresholds"):
            stream: list[Mark | Thresholds] = []
            for session, first in ((1, 7), (2, 3)):
                for bar in range(first, first + draw(st.integers(1, 4))):
                    if draw(st.integers(0, 9)) == 0:
                        continue
                    if kind == "mark":
                        equity, orders = draw(st.integers(8_500, 11_000)), draw(st.integers(0, 30))
                        stream.append(mark(pair, bar, session=session, equity=equity, orders_in_bar=orders))
                    else:
                        stream.append(thresholds(pair, bar, session=session, standardised_innovation=draw(st.sampled_from([0.1, -2.0, 4.0, None]))))
            made.append(stream)
    return made


def interleaved(draw: Callable[[st.SearchStrategy[Any]], Any], lanes: Sequence[Sequence[Mark | Thresholds]]) -> list[Input]:
    """Any order that keeps each stream's own, with records repeated as a restarted writer repeats them."""
    rest = [list(lane) for lane in lanes]
    order: list[Input] = []
    while any(rest):
        lane = draw(st.sampled_from([lane for lane in rest if lane]))
        order.append(lane.pop(0))
        if draw(st.integers(0, 4)) == 0:
            order.append(draw(st.sampled_from(order)))
    return order


def by_pair(signals: Iterable[RiskSignal]) -> dict[str, list[RiskSignal]]:
    return {pair: [signal for signal in signals if signal.pair == pair] for pair in PAIRS}


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_order_of_arrival_changes_a_signal(data: st.DataObject) -> None:
    """Every interleaving and duplication of the same streams gives each pair the same signals, and leaves the same state."""
    lanes = data.draw(streams())
    straight, expected = run(params(), [message for lane in lanes for message in lane])
    shuffled, signals = run(params(), interleaved(data.draw, lanes))
    assert by_pair(signals) == by_pair(expected)
    assert shuffled == straight
    for answers in by_pair(signals).values():
        keys = [BarKey(signal.session, signal.bar) for signal in answers]
        assert keys == sorted(set(keys))


def live_session() -> list[Input]:
    """Four live bars: of the second a mark is late, of the third all but one, and an operator halts and resumes."""
    bars = {bar: bar_of(bar, feed=Feed.LIVE) for bar in (7, 8, 9, 10)}
    del bars[8][2], bars[9][:2]
    late = mark(PAIRS[2], 8, equity=1, feed=Feed.LIVE)
    later = [mark(pair, 9, equity=1, feed=Feed.LIVE) for pair in PAIRS[:2]]
    return [
        *bars[7],
        *bars[8],
        command(1, HALT),
        GraceOver(BarKey(1, 8)),
        late,
        command(2, RESUME),
        *bars[9],
        GraceOver(BarKey(1, 9)),
        *later,
        command(3, HALT, PAIRS[0]),
        *bars[10],
    ]


@settings(max_examples=30, deadline=None)
@given(st.randoms(use_true_random=False))
def test_a_live_session_replays_from_its_signals(chance: Random) -> None:
    """Late marks and commands act on the same bars again, in whatever order the marks and thresholds of the pairs come."""
    session = live_session()
    _, expected = run(params(), session)
    assert [signal.marks_missing for signal in expected][::3] == [(), PAIRS[2:], PAIRS[:2], ()]
    assert {signal.bar: signal.commands_through for signal in expected} == {7: 0, 8: 1, 9: 2, 10: 3}
    commands = [message for message in session if isinstance(message, Command)]
    lanes = [[message for message in session if isinstance(message, kind) and message.pair == pair] for kind in (Mark, Thresholds) for pair in PAIRS]
    order: list[Input] = []
    while left := [lane for lane in lanes if lane]:
        order.append(chance.choice(left).pop(0))
    _, replayed = run(params(recorded=recorded([*expected, *expected], commands)), order)
    assert by_pair(replayed) == by_pair(expected)


def test_a_replay_closes_no_bar_that_was_not_closed() -> None:
    """Where the record ends, the replay ends too, though the marks of the next bar are there."""
    _, expected = run(params(), bar_of(7))
    state, replayed = run(params(recorded=recorded(expected, ())), [*bar_of(7), *bar_of(8)])
    assert replayed == expected
    assert state.portfolio.closed == BarKey(1, 7)


def test_inputs_and_states_are_not_mutated() -> None:
    """A state is a value: applying the same input to it twice gives the same result."""
    state, _ = run(params(), [*bar_of(7), command(1, HALT), *bar_of(8)[:-1]])
    last = bar_of(8)[-1]
    assert isinstance(last, Thresholds)
    assert not isinstance(last, Command)
    assert step(params(), state, last) == step(params(), state, last)


def test_a_record_costs_no_more_when_much_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thresholds look at the one bar that they answer, and a mark at the bar that it closes, however many bars wait for others."""
    inputs: list[Input] = []
    for bar in range(7, 57):
        inputs += [*(mark(pair, bar) for pair in PAIRS), thresholds(PAIRS[0], bar)]
    state, _ = run(params(), inputs)
    assert len(state.closes) == 50
    looks: list[tuple[str, int]] = []

    def take(given_params: Params, memory: Memory, inbox: Inbox, key: BarKey) -> tuple[Memory, Inbox, Thresholds | None]:
        looks.append((inbox.thresholds[0].pair, key.bar))
        return _take(given_params, memory, inbox, key)

    monkeypatch.setattr("services.risk_manager.core._take", take)
    state, signals = run(params(), [thresholds(PAIRS[1], 7)], state)
    assert (looks, [(signal.pair, signal.bar) for signal in signals]) == ([(PAIRS[1], 7)], [(PAIRS[1], 7)])
    looks.clear()
    _, signals = run(params(), [thresholds(PAIRS[0], 57), *(mark(pair, 57) for pair in PAIRS)], state)
    assert (looks, [(signal.pair, signal.bar) for signal in signals]) == ([(PAIRS[0], 57)], [(PAIRS[0], 57)])


def test_entries_under_way_stay_within_the_limit() -> None:
    """Pairs that enter in one bar keep their budgets until their fills are marked, so what others are granted meanwhile fits beside them."""
    limits = msgspec.structs.replace(LIMITS, max_gross_exposure_usd=Decimal(12_000))
    few = params(limits=limits)
    first = [mark(PAIRS[0], 7), *(mark(pair, 7, state=PositionState.OPEN, gross_exposure_usd=Decimal(1000)) for pair in PAIRS[1:])]
    inputs: list[Input] = [*first, *(thresholds(pair, 7) for pair in PAIRS)]
    for bar in (8, 9):
        inputs += [mark(PAIRS[0], bar, state=PositionState.ENTERING), *(mark(pair, bar) for pair in PAIRS[1:]), *(thresholds(pair, bar) for pair in PAIRS)]
    _, signals = run(few, inputs)
    assert [signal.budget_usd for signal in signals] == [10_000, 1000, 1000, 10_000, 1000, 1000, 10_000, 1000, 1000]
