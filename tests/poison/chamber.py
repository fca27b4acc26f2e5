"""One service alone, over what it read in a plain run, with poison in between."""

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

from common.codec import decoder_of
from common.io.metrics import RecordingObserver
from common.messages import DeadLetter
from common.processor import Record
from common.settings import Market
from common.topics import ALL_TOPICS, COMMANDS, DEAD_LETTERS, EXECUTIONS, HEDGE_RATIO_CLOSES, HEDGE_RATIOS, RISK_SIGNALS, TICKS, VOLATILITY_THRESHOLDS, Topic
from scripts.offline import EXECUTION, GARCH, KALMAN, RISK, Offline, public_frames
from services.exchange_simulator.recording import Frame
from tests.replay.schedules import Scenario, klines

PAIR = "ETHUSDT-BTCUSDT"
PARTITIONS = 2
BARS = 60
#: What each service answers, and with what.
READS: Mapping[str, tuple[Topic, ...]] = {
    KALMAN: (TICKS,),
    GARCH: (HEDGE_RATIO_CLOSES,),
    RISK: (VOLATILITY_THRESHOLDS, EXECUTIONS),
    EXECUTION: (HEDGE_RATIOS, RISK_SIGNALS, COMMANDS),
}
WRITES = {KALMAN: HEDGE_RATIOS, GARCH: VOLATILITY_THRESHOLDS, RISK: RISK_SIGNALS, EXECUTION: EXECUTIONS}
#: Turns in a row without a record after which everything has been read.
_IDLE_TURNS = 5


class Poison(NamedTuple):
    """A record that should not be, put before the good one of that number in the topic, or after all."""

    topic: Topic
    value: bytes
    before: int = BARS
    key: str = PAIR
    partition: int = 0


@dataclass(frozen=True)
class Outcome:
    """What a service made of its inputs: its answers, what it set aside, and what it dropped, by reason."""

    answers: tuple[bytes, ...]
    dead_letters: tuple[DeadLetter, ...]
    dropped: Mapping[str, float]
    ready: bool

    @property
    def reasons(self) -> list[str]:
        """Why records were set aside."""
        return [letter.reason for letter in self.dead_letters]


@cache
def scenario() -> Scenario:
    """An hour of one pair, with trades in it."""
    return klines((PAIR,), BARS)


def offline(folder: Path, frames: Iterable[Frame] = ()) -> Offline:
    """The services over an empty broker, at a standing clock."""
    named = public_frames(frames, Market.FUTURES)
    # Past its limit execution takes no new exposure, which other tests are about: here the good records decide what they always do.
    settings = {**scenario().settings, "DEAD_LETTER_LIMIT": "1"}
    return Offline(settings, named, scenario().rules, folder, partitions=PARTITIONS, clock=lambda: 1, observer=RecordingObserver())


@cache
def _plain_logs() -> Mapping[str, tuple[Record, ...]]:
    with tempfile.TemporaryDirectory() as folder:
        made = offline(Path(folder), scenario().frames)
        made.run()
        return {topic.name: tuple(made.broker.records(topic)) for topic in ALL_TOPICS}


def good(topic: Topic) -> tuple[Record, ...]:
    """The records of a plain run on a topic."""
    return _plain_logs()[topic.name]


@cache
def clean(name: str) -> Outcome:
    """What a service makes of good records alone."""
    return run(name, [])


def run(name: str, poison: Sequence[Poison]) -> Outcome:
    """Let one service read everything that there is for it."""
    with tempfile.TemporaryDirectory() as folder:
        made = offline(Path(folder))
        for topic in READS[name]:
            _fill(made, topic, [each for each in poison if each.topic == topic])
        made.start(name)
        idle = 0
        while idle < _IDLE_TURNS:
            idle = 0 if made.services[name].turn(0) else idle + 1
        ready = made.services[name].health().ready
        made.services[name].stop()
        return _outcome(made, name, ready=ready)


def _fill(made: Offline, topic: Topic, poison: Sequence[Poison]) -> None:
    for number, record in enumerate((*good(topic), None)):
        for each in poison:
            if each.before == number or (record is None and each.before > number):
                made.broker.append(topic, each.partition, each.key, each.value)
        if record:
            made.broker.append(topic, record.partition, record.key, record.value)


def _outcome(made: Offline, name: str, *, ready: bool) -> Outcome:
    assert isinstance(made.observer, RecordingObserver)
    letters = decoder_of(DEAD_LETTERS)
    counts = made.observer.counts.items()
    return Outcome(
        tuple(record.value for record in made.broker.records(WRITES[name])),
        tuple(letters.decode(record.value) for record in made.broker.records(DEAD_LETTERS)),
        {dict(labels)["reason"]: amount for (counted, labels), amount in counts if counted == "crypto_bot_records_dropped_total"},
        ready,
    )
