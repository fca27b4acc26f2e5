"""PAIRS may change between two starts: whoever holds what of the old pairs, everything goes on and the new session is like any other."""

import functools
import random
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from common import messages as m
from common.codec import decoder_of, encode
from common.settings import Market
from common.topics import DEAD_LETTERS, EXECUTIONS, RISK_SIGNALS, TICKS
from scripts.offline import EXECUTION, INGESTION, NAMES, Offline, public_frames
from services.execution.edge import ExecutionService
from tests.levels import ALL
from tests.replay.schedules import Scenario, Schedule, klines

ETH, SOL, LTC = "ETHUSDT-BTCUSDT", "SOLUSDT-BTCUSDT", "LTCUSDT-BTCUSDT"
CHANGES = {
    "one more": [(ETH,), (ETH, SOL)],
    "one less": [(ETH, SOL), (ETH,)],
    "away and back": [(ETH, SOL), (ETH,), (ETH, SOL)],
    "all others": [(ETH,), (SOL, LTC)],
    "there and back": [(ETH, SOL), (SOL, LTC), (ETH,), (ETH, SOL, LTC)],
}
#: Turns after which a run counts as standing still: heartbeats go on for ever, so it never is without a record. The longest needs half.
MOST_TURNS = 100_000
MOST_TURNS_BETWEEN = 250
SEEDS = range(2 if ALL else 1)
ROLLING_SEEDS = range(8) if ALL else (1,)


@functools.cache
def scenario() -> Scenario:
    """Three pairs in 110 minutes, few of whose ticks fit into ingestion's lead."""
    made = klines((ETH, SOL, LTC), 110)
    return made._replace(settings={**made.settings, "LEAD_TICKS": "3"})


class Changing:
    """A seeded run in which PAIRS changes; `rolling` restarts one service after the other, with turns in between."""

    def __init__(self, seed: int, sets: list[tuple[str, ...]], folder: Path, *, rolling: bool = False) -> None:
        self._random = random.Random(seed)
        self._schedule = Schedule(seed)
        self._rolling = rolling
        self._turns_left = MOST_TURNS
        self.offline = self._schedule.offline(scenario(), folder)
        self.offline.change(PAIRS=",".join(sets[0]))
        for name in NAMES:
            self.offline.start(name)
        for changed in sets[1:]:
            self._turns(self._random.randrange(MOST_TURNS_BETWEEN))
            self._wait_until_flat(set(self.offline.pairs) - set(changed))
            self._restart(changed)
        self._finish()

    def _turn(self) -> None:
        self._turns_left -= 1
        assert self._turns_left, f"the services stand still: {self.offline.state_of_play()}"
        self.offline.services[self._schedule.pick(self.offline)].turn(0)

    def _turns(self, count: int) -> None:
        for _ in range(count):
            self._turn()

    def _wait_until_flat(self, leaving: Iterable[str]) -> None:
        """An open position must not be left behind: execution would refuse to start."""
        while not all(state.account.flat for pair, state in self._states().items() if pair in leaving):
            self._turn()

    def _restart(self, pairs: tuple[str, ...]) -> None:
        self.offline.change(PAIRS=",".join(pairs))
        if self._rolling:
            for name in self._random.sample(NAMES, len(NAMES)):
                self._turns(self._random.randrange(MOST_TURNS_BETWEEN))
                self.offline.kill(name)
                self.offline.start(name)
        else:
            for name in NAMES:
                self.offline.kill(name)
            for name in self._random.sample(NAMES, len(NAMES)):
                self.offline.start(name)

    def _finish(self) -> None:
        while not self._ended():
            self._turn()

    def _ended(self) -> bool:
        ingestion = self.offline.services[INGESTION].health().details
        states = self._states().values()
        return bool(ingestion["ended"]) and all(state.ended and state.session == ingestion["session"] for state in states) and self._is_judged()

    def _is_judged(self) -> bool:
        """Whether risk-manager has answered every pair's last bar."""
        last = {pair: (state.session, state.closed_bar) for pair, state in self._states().items()}
        signals = {(signal.pair, (signal.session, signal.bar)) for signal in self.offline.messages(RISK_SIGNALS) if isinstance(signal, m.RiskSignal)}
        return set(last.items()) <= signals

    def _states(self) -> Any:
        execution = self.offline.services[EXECUTION]
        assert isinstance(execution, ExecutionService)
        return execution.snapshot.states


def valid_ticks(offline: Offline) -> list[tuple[int, m.Tick | m.BarClose]]:
    """Partition and message of what consumers take from `ticks`: nothing of an older writer after a newer one, nothing twice."""
    decoder, epochs, seen = decoder_of(TICKS), dict[int, int](), set[tuple[str, int]]()
    found = []
    for record in offline.broker.records(TICKS):
        message = decoder.decode(record.value)
        if message.epoch < epochs.get(record.partition, 0):
            continue
        epochs[record.partition] = message.epoch
        if isinstance(message, m.Tick | m.BarClose) and (message.pair, message.seq) not in seen:
            seen.add((message.pair, message.seq))
            found.append((record.partition, message))
    return found


def require_whole_sessions(offline: Offline) -> None:
    """Per pair: seqs and bars without a gap, and exactly one end of each session that it took part in."""
    stories: dict[str, list[m.Tick | m.BarClose]] = {}
    for _, message in valid_ticks(offline):
        stories.setdefault(message.pair, []).append(message)
    for story in stories.values():
        assert [message.seq for message in story] == list(range(len(story)))
        closes = [message for message in story if isinstance(message, m.BarClose)]
        for before, after in pairwise(closes):
            assert after.session > before.session if before.end else (after.session, after.bar) == (before.session, before.bar + 1)
        assert closes[-1].end


def decided(offline: Offline, session: int) -> set[tuple[Any, ...]]:
    """What was decided on the market of a session; closing what another session left is not."""
    found = [message for message in offline.messages(EXECUTIONS) if isinstance(message, m.Decision) and message.session == session]
    return {(each.pair, each.bar, each.seq, each.action, each.z, each.beta) for each in found if "new market session" not in each.reason}


def replay_of_last_session(offline: Offline, folder: Path) -> Offline:
    """The four consumers over nothing but the last session's ticks."""
    folder.mkdir()
    again = Offline(offline.environment, public_frames((), Market.FUTURES), scenario().rules, folder)
    ticks = valid_ticks(offline)
    session = max(message.session for _, message in ticks)
    for partition, message in ticks:
        if message.session == session:
            again.broker.append(TICKS, partition, message.pair, encode(message))
    again.run(names=NAMES[1:])
    return again


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("change", CHANGES)
def test_changed_pairs_begin_a_session_like_any_other(change: str, seed: int, tmp_path: Path) -> None:
    """Restarted with other pairs at any moment: the old session ends for all, and the new one decides as if there had been none before."""
    offline = Changing(seed, CHANGES[change], tmp_path).offline
    require_whole_sessions(offline)
    session = max(message.session for _, message in valid_ticks(offline))
    # A session begins with a frame, so a set that is changed before one comes has none.
    assert 1 < session <= len(CHANGES[change])
    assert decided(offline, session)
    assert decided(offline, session) == decided(replay_of_last_session(offline, tmp_path / "again"), session)
    assert offline.messages(DEAD_LETTERS) == []


@pytest.mark.parametrize("seed", ROLLING_SEEDS)
@pytest.mark.parametrize("change", CHANGES)
def test_services_may_change_one_after_the_other(change: str, seed: int, tmp_path: Path) -> None:
    """While some services know the new pairs and others do not, nothing is lost and nothing stands still for good."""
    offline = Changing(seed, CHANGES[change], tmp_path, rolling=True).offline
    require_whole_sessions(offline)
    assert offline.messages(DEAD_LETTERS) == []
