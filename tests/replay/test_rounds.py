"""A recording that loops: three rounds through the real services, with every seam disturbed."""

import functools
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from common import messages as m
from common.market import Leg
from common.topics import EXECUTIONS, HEDGE_RATIOS, TICKS, VOLATILITY_THRESHOLDS
from scripts.offline import EXECUTION, GARCH, KALMAN, RISK
from tests.levels import all_level
from tests.replay.schedules import ALL_KILLS, Outcome, Scenario, Schedule, looped_klines, looped_ticks, offline_of, outcomes, plain_run

ROUNDS = 3
PAIRS = ("ETHUSDT-BTCUSDT", "SOLUSDT-BTCUSDT")
SCENARIOS: dict[str, Callable[[], Scenario]] = {
    "klines": lambda: looped_klines(PAIRS, 52, ROUNDS),
    "ticks with mark prices": lambda: looped_ticks(70, 120, ROUNDS),
}
SEAM = "a new market session begins"


@functools.cache
def scenario_of(name: str) -> Scenario:
    return SCENARIOS[name]()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Outcome]]:
    return {name: plain_run(scenario_of(name), tmp_path_factory.mktemp("plain")) for name in SCENARIOS}


def sessions(messages: tuple[m.Message, ...]) -> set[int]:
    return {message.session for message in messages if isinstance(message, m.Execution)}


@pytest.mark.parametrize("name", SCENARIOS)
def test_each_round_is_a_session_that_trades(name: str, undisturbed: dict[str, dict[str, Outcome]]) -> None:
    """Every round is marked to its end in a session of its own, later than the one before by whole bars, and enters anew."""
    rounds = scenario_of(name).rounds
    assert rounds
    for outcome in undisturbed[name].values():
        marks = [mark for mark in outcome.marks if isinstance(mark, m.Mark)]
        assert [mark.session for mark in marks if mark.end] == [1, 2, 3]
        first_bars = [next(mark.bar for mark in marks if mark.session == number) for number in (1, 2, 3)]
        assert {(later - bar) * rounds.bar_interval_ns for bar, later in pairwise(first_bars)} == {rounds.period_ns}
        assert all(later.bar > mark.bar and later.event_time_ns > mark.event_time_ns for mark, later in pairwise(marks))
    entered = [each for outcome in undisturbed[name].values() for each in outcome.decisions if isinstance(each, m.Decision) and each.gates]
    assert sessions(tuple(entered)) == {1, 2, 3}


def test_what_is_open_at_a_seam_is_closed_at_the_last_book_with_fees(undisturbed: dict[str, dict[str, Outcome]]) -> None:
    """A position that the end of a round finds open is closed on paper as the next begins: flat at its first mark, its round trip accounted for."""
    closed = 0
    for outcome in undisturbed["klines"].values():
        marks = [mark for mark in outcome.marks if isinstance(mark, m.Mark)]
        for last, first in ((last, first) for last, first in pairwise(marks) if last.end):
            assert (first.y_quantity, first.x_quantity) == (0, 0)
            if not last.y_quantity:
                continue
            closed += 1
            decision = next(each for each in outcome.decisions if isinstance(each, m.Decision) and each.session == first.session)
            fills = [fill for fill in outcome.fills if isinstance(fill, m.Fill) and (fill.session, fill.bar) == (first.session, first.bar)]
            trip = next(each for each in outcome.round_trips if isinstance(each, m.RoundTrip) and each.session == first.session)
            assert (decision.reason, decision.action, trip.action) == (SEAM, m.Action.FLATTEN, m.Action.FLATTEN)
            assert all(fill.fee_usd < 0 for fill in fills)
            assert {fill.leg for fill in fills} == {leg for leg, held in ((Leg.Y, last.y_quantity), (Leg.X, last.x_quantity)) if held}
            # What the last mark said the legs were worth is what they are sold for.
            assert first.wallet_usd == last.equity_usd + sum(fill.fee_usd for fill in fills)
    assert closed, "no position of two legs was open at a seam: the test proves little"


def test_the_pairs_warm_up_again_in_each_round(tmp_path: Path) -> None:
    """No model remembers the round before: filter and volatility say WARMING at the first bar of each round, and become READY in it."""
    offline = offline_of(scenario_of("klines"), tmp_path)
    offline.run()
    for topic in (HEDGE_RATIOS, VOLATILITY_THRESHOLDS):
        for pair in PAIRS:
            answers = [
                (message.close.session, message.status) if isinstance(message, m.HedgeRatioClose) else (message.session, message.status)
                for message in offline.messages(topic)
                if (isinstance(message, m.HedgeRatioClose) and message.close.pair == pair) or (isinstance(message, m.Thresholds) and message.pair == pair)
            ]
            for number in range(1, ROUNDS + 1):
                statuses = [status for session, status in answers if session == number]
                assert (statuses[0], statuses[-1]) == (m.ModelStatus.WARMING, m.ModelStatus.READY)


def test_no_mark_price_crosses_a_seam(tmp_path: Path) -> None:
    """A bar close carries mark prices of its own session only, whichever channel was ahead at the seam."""
    scenario = scenario_of("ticks with mark prices")
    offline = offline_of(scenario, tmp_path)
    offline.run()
    assert scenario.rounds
    closes = [message for message in offline.messages(TICKS) if isinstance(message, m.BarClose)]
    marked = [close for close in closes if close.y_mark and close.x_mark]
    assert {close.session for close in marked} == {1, 2, 3}
    for close in marked:
        begins_ns = scenario.rounds.begins_ns(close.session - 1)
        assert all(mark and begins_ns <= mark.event_time_ns < close.end_time_ns for mark in (close.y_mark, close.x_mark))


@pytest.mark.parametrize("first_seed", [0, pytest.param(3, marks=all_level), pytest.param(6, marks=all_level), pytest.param(9, marks=all_level)])
@pytest.mark.parametrize("name", SCENARIOS)
def test_no_schedule_changes_a_decision_over_three_rounds(name: str, first_seed: int, undisturbed: dict[str, dict[str, Outcome]], tmp_path: Path) -> None:
    """Delays, duplicates and kills of the four consumers, seams among them: every decision, order, fill and mark is the same."""
    kills = 0
    for seed in range(first_seed, first_seed + 3):
        folder = tmp_path / str(seed)
        folder.mkdir()
        schedule = Schedule(seed, (KALMAN, GARCH, RISK, EXECUTION))
        assert schedule.run(scenario_of(name), folder) == undisturbed[name], f"seed {seed}"
        kills += schedule.kills
    assert kills


@pytest.mark.parametrize("seed", range(4))
def test_killing_ingestion_too_leaves_one_story_over_three_rounds(seed: int, tmp_path: Path) -> None:
    """Whatever ingestion wrote before and after kills, three sessions come of it, and what follows equals a run of the other four over the same `ticks`."""
    scenario = scenario_of("klines")
    for name in ("disturbed", "again"):
        (tmp_path / name).mkdir()
    disturbed = offline_of(scenario, tmp_path / "disturbed")
    Schedule(seed, ALL_KILLS).drive(disturbed)
    again = offline_of(scenario._replace(frames=()), tmp_path / "again")
    for record in disturbed.broker.records(TICKS):
        again.broker.append(TICKS, record.partition, record.key, record.value)
    again.run(names=(KALMAN, GARCH, RISK, EXECUTION))
    assert outcomes(again) == outcomes(disturbed)
    marks = [message for message in disturbed.messages(EXECUTIONS) if isinstance(message, m.Mark)]
    assert {mark.session for mark in marks} == {1, 2, 3}
