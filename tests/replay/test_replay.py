"""A recorded session, from a recording or live, disturbed or not, comes out the same when it is run again."""

import random
from concurrent.futures import Future
from pathlib import Path

import msgspec
import pytest

from common import messages as m
from common.codec import decoder_of, encode
from common.io.memory import Faults, MemoryTransport
from common.settings import Market
from common.topics import COMMANDS, EXECUTIONS, HEDGE_RATIOS, RISK_SIGNALS, TICKS
from scripts.offline import GARCH, KALMAN, NAMES, RISK, Offline, public_frames
from scripts.replay import is_equal, replay_from
from scripts.sessions.compare import Comparison
from services.execution.ledger import LEDGER_FILE
from services.risk_manager.desk import Request
from services.risk_manager.edge import RiskManagerService
from tests.replay.schedules import ALL_KILLS, Scenario, Schedule, klines, ticks

PAIR = "ETHUSDT-BTCUSDT"


def replayed(scenario: Scenario, offline: Offline, folder: Path) -> list[Comparison]:
    """Replay what a run has left, its ledger too."""
    return replay_from(MemoryTransport(offline.broker), scenario.settings, scenario.rules, folder / LEDGER_FILE)


@pytest.mark.parametrize("seed", range(3))
def test_a_disturbed_recording_replays(seed: int, tmp_path: Path) -> None:
    """After kills of all five services every message and every row of the ledger is what a run over `ticks` gives, and much was compared."""
    scenario = ticks(75, 80)
    offline = Offline(scenario.settings, public_frames(scenario.frames, Market.FUTURES), scenario.rules, tmp_path)
    schedule = Schedule(seed, ALL_KILLS)
    schedule.drive(offline)
    offline.stop()
    comparisons = replayed(scenario, offline, tmp_path)
    assert is_equal(comparisons), [each.differences for each in comparisons]
    assert all(each.equal for each in comparisons if each.name not in {"ledger funding", "ledger holds", "ledger commands", "ledger exposure_stops"}), (
        comparisons
    )
    assert not any(each.pending for each in comparisons)


class LiveSchedule:
    """A live session by a seed: clocks that run, services that are late or killed, an operator."""

    def __init__(self, seed: int, scenario: Scenario, folder: Path) -> None:
        self._random = random.Random(seed)
        self._now_ns = 1_700_000_000_000_000_000
        # From a pipeline that is late at every bar to one that seldom is; every other seed has nonsense, which stops exposure for long.
        wait_ms, grace_ms = (("250", "300"), ("1000", "300"), ("3000", "1500"))[seed % 3]
        self._has_nonsense = seed % 2 == 0
        self._step_ns = (10_000_000, 5_000_000, 1_000_000)[seed % 3]
        settings = {**scenario.settings, "FEED": "live", "MAX_SIGNAL_WAIT_MS": wait_ms, "MARK_GRACE_MS": grace_ms}
        self.scenario = scenario._replace(settings=settings)
        frames = public_frames(scenario.frames, Market.FUTURES)
        faults = Faults(release=lambda _topic, _partition, unread: self._random.choice((0, 1, unread)))
        self.offline = Offline(settings, frames, scenario.rules, folder, clock=self._clock, faults=faults)
        self._weights = [self._random.choice((1, 4, 20)) for _ in NAMES]

    def run(self) -> None:
        """Until the feed is over and all is worked off."""
        for name in NAMES:
            self.offline.start(name)
        for turn in range(6000):
            if turn % 1500 == 750:
                self._command(self._random.choice((m.CommandKind.HALT, m.CommandKind.FLATTEN)))
            if turn % 1500 == 1200:
                self._command(m.CommandKind.RESUME)
            if turn % 1500 == 300 and self._has_nonsense:
                self._nonsense()
            if self._random.random() < 0.002:
                victim = self._random.choice((KALMAN, GARCH, RISK, "execution"))
                self.offline.kill(victim)
                self.offline.start(victim)
            self.offline.services[self._random.choices(NAMES, self._weights)[0]].turn(0)
        self.offline.stop()

    def _nonsense(self) -> None:
        """More than may be set aside."""
        for _ in range(20):
            self.offline.broker.append(COMMANDS, 0, m.PORTFOLIO, b"nonsense")

    def _command(self, kind: m.CommandKind) -> None:
        service = self.offline.services[RISK]
        assert isinstance(service, RiskManagerService)
        target = self._random.choice((PAIR, m.PORTFOLIO))
        service._desk._requests.put((Request(kind, target, "ann", "drill"), Future()))

    def _clock(self) -> int:
        self._now_ns += self._random.randrange(self._step_ns)
        return self._now_ns


def test_live_sessions_replay(tmp_path: Path) -> None:
    """Holds that expire, late marks, commands, stops of exposure, kills: each seed's session replays from what was committed, and all of these did happen."""
    happened = {"holds": 0, "stops": 0, "late marks": 0, "commands": 0, "decisions": 0}
    scenario = klines((PAIR, "SOLUSDT-BTCUSDT"), 90)
    for seed in range(6):
        folder = tmp_path / str(seed)
        folder.mkdir()
        schedule = LiveSchedule(seed, scenario, folder)
        schedule.run()
        comparisons = replayed(schedule.scenario, schedule.offline, folder)
        assert is_equal(comparisons), (seed, [each.differences for each in comparisons])
        said = schedule.offline.messages(EXECUTIONS)
        happened["holds"] += sum(isinstance(message, m.HoldExpired) for message in said)
        happened["commands"] += sum(isinstance(message, m.CommandApplied) for message in said)
        happened["stops"] += sum(isinstance(message, m.ExposureStop) for message in said)
        happened["decisions"] += sum(isinstance(message, m.Decision) for message in said)
        happened["late marks"] += sum(isinstance(message, m.RiskSignal) and bool(message.marks_missing) for message in schedule.offline.messages(RISK_SIGNALS))
        assert any(record.value != b"nonsense" for record in schedule.offline.broker.records(COMMANDS))
        assert any(isinstance(message, m.BarClose) and message.feed is m.Feed.LIVE for message in schedule.offline.messages(TICKS))
    assert all(happened.values()), happened


def test_a_forged_record_is_found_and_named(tmp_path: Path) -> None:
    """One number that is not what the filter says: the replay differs, at the place and in the field where it was changed."""
    scenario = klines((PAIR,), 40)
    offline = Offline(scenario.settings, public_frames(scenario.frames, Market.FUTURES), scenario.rules, tmp_path)
    offline.run()
    offline.stop()
    (log,) = [log for log in offline.broker.logs(HEDGE_RATIOS) if log.records]
    message = decoder_of(HEDGE_RATIOS).decode(log.records[71].value)
    assert isinstance(message, m.HedgeRatio)
    assert message.estimate
    forged = msgspec.structs.replace(message, estimate=msgspec.structs.replace(message.estimate, beta=message.estimate.beta + 1e-12))
    log.records[71] = log.records[70]._replace(value=encode(forged))
    comparisons = {each.name: each for each in replayed(scenario, offline, tmp_path)}
    assert not is_equal(list(comparisons.values()))
    (difference,) = comparisons["hedge-ratios"].differences
    assert (difference.field, difference.recorded) == ("estimate.beta", message.estimate.beta + 1e-12)
    assert f"seq {message.tick.seq} HedgeRatio" in difference.place
    assert comparisons["executions"].same
