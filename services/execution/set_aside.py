"""How much of what is read cannot be used, and whether that is too much to take new exposure on."""

from collections import deque

#: The share is that of the last so many records; fewer than the least count as that many, so that one bad record is no alarm.
WINDOW, LEAST = 1000, 100


class DeadLetterShare:
    """Share of the last records that were set aside.

    Heartbeats come by the clock, so they make no share smaller; but a whole window of records of any kind without a bad one
    ends the matter, so that a flood does not count for hours where little is traded.
    """

    def __init__(self, limit: float, *, exceeded: bool) -> None:
        """`limit` is a share from 0 to 1; `exceeded` is how a predecessor left it, and holds until enough records have been seen."""
        self._limit = limit
        self._recent: deque[bool] = deque(maxlen=WINDOW)
        self._bad = self._since_bad = 0
        self.exceeded = exceeded

    def count(self, *, bad: bool) -> None:
        """Count one record that is no heartbeat."""
        recent = self._recent
        self._bad += bad - (len(recent) == WINDOW and recent[0])
        recent.append(bad)
        if self._bad >= self._limit * max(len(recent), LEAST):
            self.exceeded = True
        elif len(recent) >= LEAST:
            self.exceeded = False
        self._look_back(bad=bad)

    def count_heartbeat(self) -> None:
        """Count a heartbeat."""
        self._look_back(bad=False)

    def describe(self) -> str:
        """What was measured, against which limit."""
        return f"{self._bad} of the last {len(self._recent)} records were set aside, the limit is {self._limit:.1%} of at least {LEAST}"

    def _look_back(self, *, bad: bool) -> None:
        self._since_bad = 0 if bad else self._since_bad + 1
        if self.exceeded and self._since_bad >= WINDOW:
            self._recent.clear()
            self._bad = 0
            self.exceeded = False
