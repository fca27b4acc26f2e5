"""Pairs, legs and bars: the vocabulary that every service shares."""

from dataclasses import dataclass
from enum import StrEnum

from common.errors import InvalidRecord

NANOSECONDS = 1_000_000_000
#: The longest pause within a market session, bars: ingestion begins a new session rather than close more of them.
MOST_BARS_AWAY = 50_000
#: A record of the same session that skips more bars than this is broken. Far above what ingestion can leave out, so that a
#: record which is in order is never refused for it.
MOST_BARS_SKIPPED = 2 * MOST_BARS_AWAY


class Leg(StrEnum):
    """The two legs of a pair: y is the dependent one, x the hedge."""

    Y = "y"
    X = "x"


class Side(StrEnum):
    """The side of an order, as the exchange spells it."""

    BUY = "BUY"
    SELL = "SELL"

    @property
    def opposite(self) -> "Side":
        """The side that undoes this one."""
        return Side.SELL if self is Side.BUY else Side.BUY


@dataclass(frozen=True, slots=True, order=True)
class Pair:
    """Two symbols traded against each other, written `ETHUSDT-BTCUSDT`: dependent leg y first."""

    y: str
    x: str

    @classmethod
    def parse(cls, name: str) -> "Pair":
        """Read a pair's name; raises InvalidRecord when it is not two different symbols."""
        y, separator, x = name.partition("-")
        if not (separator and y.isalnum() and x.isalnum() and y.isupper() and x.isupper() and y != x):
            raise InvalidRecord("invalid-pair", f"{name!r} is not two different symbols such as ETHUSDT-BTCUSDT")
        return cls(y, x)

    def __str__(self) -> str:
        return f"{self.y}-{self.x}"

    def symbol(self, leg: Leg) -> str:
        """The symbol of one leg."""
        return self.y if leg is Leg.Y else self.x


def bar_of(event_time_ns: int, bar_interval_ns: int) -> int:
    """The number of the bar that an event time lies in, counted from the Unix epoch."""
    return event_time_ns // bar_interval_ns


def bar_end_ns(bar: int, bar_interval_ns: int) -> int:
    """The first nanosecond after a bar."""
    return (bar + 1) * bar_interval_ns
