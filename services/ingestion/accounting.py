"""The books of ingestion: what became of every frame."""

from collections import Counter
from typing import Any


class Accounting:
    """Counts frames once for every pair that has the symbol, once if none has it.

    `pending` are frames whose fate is open: held back, or a tick that may still be conflated.
    """

    __slots__ = ("bars", "conflated", "dead_letters", "frames", "gaps", "ignored", "pending", "ticks")

    def __init__(self) -> None:
        self.frames = 0
        self.ticks = 0
        self.conflated = 0
        self.dead_letters = 0
        self.pending = 0
        self.ignored: Counter[str] = Counter()
        self.bars: Counter[str] = Counter()
        self.gaps = 0

    @property
    def balanced(self) -> bool:
        """Whether every frame is accounted for."""
        return self.frames == self.ticks + self.conflated + self.dead_letters + self.ignored.total() + self.pending

    def as_dict(self) -> dict[str, Any]:
        """The books as they stand, for people and summaries."""
        return {
            "frames": self.frames,
            "ticks": self.ticks,
            "conflated": self.conflated,
            "dead_letters": self.dead_letters,
            "ignored": dict(self.ignored),
            "pending": self.pending,
            "balanced": self.balanced,
            "bars": self.bars.total(),
            "bars_by_status": dict(self.bars),
            "gaps": self.gaps,
        }
