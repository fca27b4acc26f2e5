"""Which faults happen when: drawn from a seed, the same in every run of it."""

import random
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from scripts.embedded.plan import SIMULATOR

INGESTION = "ingestion-service"
CONSUMERS = ("kalman-filter-service", "garch-volatility-service", "risk-manager-service", "execution-service")
BROKER, REDIS = "broker", "redis"

#: An act is about so long; each is a run of its own, with its own recording and its own way to be judged.
ACT_S = 40.0
#: Mean time between two faults.
GAP_S = 4.0
#: How long broker and Redis stay away before they are started again.
LEAST_AWAY_S, MOST_AWAY_S = 0.5, 3.0


class Kind(StrEnum):
    """What is done."""

    KILL = "kill -9"
    STOP = "stop"
    DISCONNECT = "disconnect all"


class Story(StrEnum):
    """How an act is judged."""

    #: Ingestion is left alone, so everything must be what an undisturbed run gives.
    UNDISTURBED = "equal to an undisturbed run"
    #: What ingestion lost is lost, but everything after it must be what `ticks` give.
    REPLAY = "equal to a replay of ticks"


class Feed(StrEnum):
    """Which recording is played."""

    KLINES = "klines"
    TICKS = "ticks"


class Fault(NamedTuple):
    """One fault, so many seconds after the recording has begun to play."""

    at_s: float
    kind: Kind
    victim: str
    away_s: float = 0.0

    def __str__(self) -> str:
        away = f", back after {self.away_s:.1f} s" if self.away_s else ""
        return f"{self.at_s:5.1f} s  {self.kind} {self.victim}{away}"


class Act(NamedTuple):
    """A run with its faults."""

    number: int
    story: Story
    feed: Feed
    length_s: float
    faults: tuple[Fault, ...]

    @property
    def live(self) -> bool:
        """Whether the recording is played as a live feed: holds expire and marks come late, and a replay must know."""
        return self.story is Story.REPLAY and self.feed is Feed.TICKS

    def __str__(self) -> str:
        return f"act {self.number}: {self.length_s:.0f} s of {'live ' if self.live else ''}{self.feed}, {self.story}"


def draw(seed: int, minutes: float, *, with_broker: bool = True) -> tuple[Act, ...]:
    """Draw the acts: `minutes` of faults in all, at least one act of each story; without a broker of one's own it is left alone."""
    chance = random.Random(seed)  # noqa: S311 - repeatable on purpose
    count = max(2, round(minutes * 60 / ACT_S))
    length_s = minutes * 60 / count
    acts = []
    for number in range(count):
        story = tuple(Story)[number % 2]
        feed = tuple(Feed)[(number + number // 2) % 2]
        faults = tuple(_faults(chance, length_s, _deck(chance, story, with_broker=with_broker)))
        acts.append(Act(number + 1, story, feed, length_s, faults))
    return tuple(acts)


Card = tuple[Kind, str]


def _deck(chance: random.Random, story: Story, *, with_broker: bool) -> list[Card]:
    """Every victim of a story once; ingestion and its connections twice where they may be hit."""
    cards: list[Card] = [(Kind.KILL, name) for name in CONSUMERS]
    if story is Story.REPLAY:
        cards += [(Kind.KILL, INGESTION), (Kind.DISCONNECT, SIMULATOR), (Kind.KILL, INGESTION)]
    else:
        cards.append((Kind.KILL, REDIS))
    if with_broker:
        cards.append((chance.choice((Kind.KILL, Kind.STOP)), BROKER))
    return cards


def _faults(chance: random.Random, length_s: float, deck: Sequence[Card]) -> list[Fault]:
    """Deal shuffled decks over the time; the whole deck at least once."""
    count = max(len(deck), round(length_s / GAP_S))
    gap_s = length_s / count
    cards: list[Card] = []
    while len(cards) < count:
        cards += chance.sample(deck, len(deck))
    return [
        Fault(
            round(gap_s * (place + 0.5 + chance.uniform(-0.4, 0.4)), 1),
            kind,
            victim,
            round(chance.uniform(LEAST_AWAY_S, MOST_AWAY_S), 1) if victim in {BROKER, REDIS} else 0.0,
        )
        for place, (kind, victim) in enumerate(cards[:count])
    ]
