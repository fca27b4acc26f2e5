"""Ids of traces: 16 hexadecimal digits, the wall time in ns at which the oldest frame was read; so the beginning of one is a span of time."""

import re
from datetime import UTC, datetime
from typing import NamedTuple

DIGITS = 16
#: Fewer would be a span of days.
LEAST_DIGITS = 6
_WRITTEN = re.compile(rf"[0-9a-f]{{{LEAST_DIGITS},{DIGITS}}}")


class Span(NamedTuple):
    """The ids that begin alike: those of frames read from `first_ns` to `last_ns`, wall time."""

    first_ns: int
    last_ns: int

    def holds(self, read_at_ns: int) -> bool:
        """Whether a frame that was read then has such an id."""
        return self.first_ns <= read_at_ns <= self.last_ns


def span_of(written: str) -> Span:
    """What an id, or the beginning of one, stands for; raises ValueError when it is neither."""
    text = written.strip().lower().removeprefix("0x")
    if not _WRITTEN.fullmatch(text):
        raise ValueError(f"{written!r} is no trace id: say its 16 hexadecimal digits, or its first {LEAST_DIGITS} or more")
    missing = 4 * (DIGITS - len(text))
    first_ns = int(text, 16) << missing
    return Span(first_ns, first_ns + (1 << missing) - 1)


def time_text(at_ns: int) -> str:
    """A wall time for people, UTC to the microsecond; ids that are no times of ours too."""
    try:
        seconds, rest_ns = divmod(at_ns, 1_000_000_000)
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}.{rest_ns // 1000:06} UTC"
    except (OverflowError, ValueError, OSError):
        return f"{at_ns} ns"
