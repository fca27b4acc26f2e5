"""The topics: one definition from which transports, documentation and checks are made."""

import enum
from dataclasses import dataclass


class Retention(enum.Enum):
    """How Kafka keeps a topic: by size, by time, or the last record of each key."""

    BY_SIZE = "by size"
    BY_TIME = "by time"
    COMPACTED = "compacted"


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic: its name, what its records are keyed by and how it is kept."""

    name: str
    key: str
    retention: Retention
    purpose: str
    per_pair: bool = True

    def __str__(self) -> str:
        return self.name


TICKS = Topic("ticks", "pair", Retention.BY_SIZE, "both legs' books at one instant, and one bar close a bar")
HEDGE_RATIOS = Topic("hedge-ratios", "pair", Retention.BY_SIZE, "hedge ratio and innovation for every tick and bar close")
VOLATILITY_THRESHOLDS = Topic("volatility-thresholds", "pair", Retention.BY_TIME, "volatility forecast and thresholds, one a bar")
RISK_SIGNALS = Topic("risk-signals", "pair", Retention.BY_TIME, "verdict, budget and evidence, one a bar, and a heartbeat a second")
EXECUTIONS = Topic("executions", "pair", Retention.BY_TIME, "decisions, orders, fills, round trips, marks and progress")
COMMANDS = Topic("commands", "pair or `portfolio`", Retention.BY_TIME, "halt, resume and flatten, with who and why", per_pair=False)
KALMAN_STATE = Topic("kalman-state", "pair", Retention.COMPACTED, "filter state and the offset of the last input applied")
GARCH_STATE = Topic("garch-state", "pair", Retention.COMPACTED, "volatility state and the offset of the last input applied")
DEAD_LETTERS = Topic("dead-letters", "source", Retention.BY_TIME, "what could not be parsed or applied, with the reason", per_pair=False)

ALL_TOPICS = (
    TICKS,
    HEDGE_RATIOS,
    VOLATILITY_THRESHOLDS,
    RISK_SIGNALS,
    EXECUTIONS,
    COMMANDS,
    KALMAN_STATE,
    GARCH_STATE,
    DEAD_LETTERS,
)
