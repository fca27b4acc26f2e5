"""The topics: one definition from which brokers, transports, documentation and checks are made; `python -m common.topics` applies it."""

import enum
from dataclasses import dataclass


class Retention(enum.Enum):
    """What limits a topic first: its size, the age of its records, or that only the last record of each key is kept."""

    BY_SIZE = "by size"
    BY_TIME = "by time"
    COMPACTED = "compacted"


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic: its name, what its records are keyed by and how it is kept.

    `keep_hours` is the greatest age of a record, `share` its part of the disk that Kafka may use, relative to the other topics'.
    """

    name: str
    key: str
    retention: Retention
    purpose: str
    per_pair: bool = True
    keep_hours: int = 24
    share: int = 1

    def __str__(self) -> str:
        return self.name

    @property
    def kept(self) -> str:
        """How it is kept, in words."""
        if self.retention is Retention.COMPACTED:
            return "the last record of each key"
        age = f"{self.keep_hours} h" if self.keep_hours <= 72 else f"{self.keep_hours // 24} d"
        return f"{self.retention.value}, at most {age}"


_DAYS = 24

TICKS = Topic("ticks", "pair", Retention.BY_SIZE, "both legs' books at one instant, and one bar close a bar", share=28)
HEDGE_RATIOS = Topic("hedge-ratios", "pair", Retention.BY_SIZE, "hedge ratio and innovation for every tick and bar close", share=36)
HEDGE_RATIO_CLOSES = Topic(
    "hedge-ratio-closes", "pair", Retention.BY_TIME, "the bar closes of `hedge-ratios` once more, for who needs no ticks", keep_hours=3 * _DAYS, share=4
)
VOLATILITY_THRESHOLDS = Topic(
    "volatility-thresholds", "pair", Retention.BY_TIME, "volatility forecast and thresholds, one a bar", keep_hours=3 * _DAYS, share=4
)
RISK_SIGNALS = Topic(
    "risk-signals", "pair", Retention.BY_TIME, "verdict, budget and evidence, one a bar, and a heartbeat a second", keep_hours=3 * _DAYS, share=6
)
EXECUTIONS = Topic("executions", "pair", Retention.BY_TIME, "decisions, orders, fills, round trips and marks", keep_hours=30 * _DAYS, share=18)
PROGRESS = Topic("progress", "the first pair told of", Retention.BY_TIME, "how far each pair is decided", per_pair=False, keep_hours=1, share=1)
COMMANDS = Topic("commands", "pair or `portfolio`", Retention.BY_TIME, "halt, resume and flatten, with who and why", per_pair=False, keep_hours=30 * _DAYS)
KALMAN_STATE = Topic("kalman-state", "pair", Retention.COMPACTED, "filter state and the offset of the last input applied", share=2)
GARCH_STATE = Topic("garch-state", "pair", Retention.COMPACTED, "volatility state and the offset of the last input applied", share=3)
DEAD_LETTERS = Topic(
    "dead-letters", "source", Retention.BY_TIME, "what could not be parsed or applied, with the reason", per_pair=False, keep_hours=14 * _DAYS, share=2
)

ALL_TOPICS = (
    TICKS,
    HEDGE_RATIOS,
    HEDGE_RATIO_CLOSES,
    VOLATILITY_THRESHOLDS,
    RISK_SIGNALS,
    EXECUTIONS,
    PROGRESS,
    COMMANDS,
    KALMAN_STATE,
    GARCH_STATE,
    DEAD_LETTERS,
)
