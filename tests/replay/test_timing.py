"""Timing changes no decision: the real services under two hundred random schedules, fifty without TEST_LEVEL=all."""

import functools
from collections.abc import Callable
from pathlib import Path

import pytest

from common import messages as m
from common.settings import Market
from common.topics import EXECUTIONS, HEDGE_RATIOS, RISK_SIGNALS, TICKS, VOLATILITY_THRESHOLDS
from scripts.offline import Offline, public_frames
from tests.levels import ALL
from tests.replay.schedules import ALL_KILLS, Outcome, Scenario, Schedule, klines, outcomes, plain_run, ticks

FIVE = ("ETHUSDT-BTCUSDT", "SOLUSDT-BTCUSDT", "BNBUSDT-BTCUSDT", "LTCUSDT-BTCUSDT", "XRPUSDT-ETHUSDT")
SCENARIOS: dict[str, Callable[[], Scenario]] = {
    "one pair": lambda: klines(("ETHUSDT-BTCUSDT",), 100),
    "five pairs": lambda: klines(FIVE, 64),
    "one falls silent, one never speaks": lambda: klines(("ETHUSDT-BTCUSDT", "SOLUSDT-BTCUSDT", "DOGEUSDT-BTCUSDT"), 72, silent_after={"SOLUSDT": 62}),
    "one comes late": lambda: klines(("ETHUSDT-BTCUSDT", "LTCUSDT-BTCUSDT"), 96, late="LTCUSDT"),
    "many ticks a bar": lambda: ticks(75, 80),
}
SEEDS_OF_A_SCENARIO = 40 if ALL else 10
SEEDS_OF_A_TEST = 10


@functools.cache
def scenario_of(name: str) -> Scenario:
    """A scenario, read once."""
    return SCENARIOS[name]()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Outcome]]:
    """What each scenario gives when nothing goes wrong."""
    return {name: plain_run(scenario_of(name), tmp_path_factory.mktemp("plain")) for name in SCENARIOS}


@pytest.mark.parametrize("name", SCENARIOS)
def test_each_scenario_trades(name: str, undisturbed: dict[str, dict[str, Outcome]]) -> None:
    """An equality of nothing would prove nothing: every scenario decides, fills and closes a round trip."""
    found = undisturbed[name]
    assert sum(len(outcome.decisions) for outcome in found.values()) >= 2
    assert any(outcome.round_trips for outcome in found.values())
    assert len({len(outcome.marks) for outcome in found.values()}) == 1, "every pair is marked in every bar"


@pytest.mark.parametrize("first_seed", range(0, SEEDS_OF_A_SCENARIO, SEEDS_OF_A_TEST))
@pytest.mark.parametrize("name", SCENARIOS)
def test_no_schedule_changes_a_decision(name: str, first_seed: int, undisturbed: dict[str, dict[str, Outcome]], tmp_path: Path) -> None:
    """Delays, interleavings, duplicates and kills of the four consumers: it ends, and every decision, order, fill and mark is the same."""
    for seed in range(first_seed, first_seed + SEEDS_OF_A_TEST):
        folder = tmp_path / str(seed)
        folder.mkdir()
        assert Schedule(seed).run(scenario_of(name), folder) == undisturbed[name], f"seed {seed}"


def test_schedules_kill(tmp_path: Path) -> None:
    """Seeds do kill services: the test above is about crashes too."""
    schedules = [Schedule(seed) for seed in range(SEEDS_OF_A_TEST)]
    for number, schedule in enumerate(schedules):
        folder = tmp_path / str(number)
        folder.mkdir()
        schedule.run(scenario_of("one pair"), folder)
    assert sum(schedule.kills for schedule in schedules) > SEEDS_OF_A_TEST


@pytest.mark.parametrize("seed", range(10))
def test_killing_ingestion_leaves_one_story(seed: int, tmp_path: Path) -> None:
    """Whatever ingestion wrote before and after kills, what follows equals a run of the other four over the same `ticks`."""
    scenario = scenario_of("one pair")
    disturbed = Offline(scenario.settings, public_frames(scenario.frames, Market.FUTURES), scenario.rules, tmp_path / "disturbed")
    (tmp_path / "disturbed").mkdir()
    Schedule(seed, ALL_KILLS).drive(disturbed)
    again = Offline(scenario.settings, (), scenario.rules, tmp_path / "again")
    (tmp_path / "again").mkdir()
    for record in disturbed.broker.records(TICKS):
        again.broker.append(TICKS, record.partition, record.key, record.value)
    again.run(names=("kalman-filter", "garch-volatility", "risk-manager", "execution"))
    assert outcomes(again) == outcomes(disturbed)


def test_every_bar_is_answered_once_by_every_stage(tmp_path: Path) -> None:
    """Five pairs: each stage answers each bar close with exactly one record, gapless and in order."""
    scenario = scenario_of("five pairs")
    offline = Offline(scenario.settings, public_frames(scenario.frames, Market.FUTURES), scenario.rules, tmp_path)
    offline.run()
    closes = [message for message in offline.messages(TICKS) if isinstance(message, m.BarClose)]
    for pair in offline.pairs:
        bars = [close.bar for close in closes if close.pair == pair]
        assert bars == list(range(bars[0], bars[0] + 64))
        answers = {
            HEDGE_RATIOS: [each.close.bar for each in offline.messages(HEDGE_RATIOS) if isinstance(each, m.HedgeRatioClose) and each.close.pair == pair],
            VOLATILITY_THRESHOLDS: [each.bar for each in offline.messages(VOLATILITY_THRESHOLDS) if isinstance(each, m.Thresholds) and each.pair == pair],
            RISK_SIGNALS: [each.bar for each in offline.messages(RISK_SIGNALS) if isinstance(each, m.RiskSignal) and each.pair == pair],
            EXECUTIONS: [each.bar for each in offline.messages(EXECUTIONS) if isinstance(each, m.Mark) and each.pair == pair],
        }
        assert all(answered == bars for answered in answers.values())


def test_the_wallet_is_what_came_and_went(undisturbed: dict[str, dict[str, Outcome]]) -> None:
    """At every mark: wallet = start + realised + fees + funding, and the sums of the fills say the same, to the last digit."""
    for outcome in (pair for found in undisturbed.values() for pair in found.values()):
        for mark in outcome.marks:
            assert isinstance(mark, m.Mark)
            assert mark.wallet_usd == mark.starting_usd + mark.realised_usd + mark.fees_usd + mark.funding_usd
            fills = [fill for fill in outcome.fills if isinstance(fill, m.Fill) and fill.bar <= mark.bar]
            assert mark.fees_usd == sum(fill.fee_usd for fill in fills)
            assert mark.realised_usd == sum(fill.realised_usd for fill in fills)
