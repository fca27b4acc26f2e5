"""Mark prices in force at the end of each bar, as a function of the market channel alone."""

from collections import deque
from collections.abc import Mapping

from common.messages import MarkPrice


class MarkBook:
    """Which mark prices a bar close carries, however far the two channels run apart.

    The prices of bar k are those that stood when the first event of a later bar arrived on the market channel; so the
    answer does not depend on when the public channel asks.
    """

    def __init__(self) -> None:
        self._bar: int | None = None
        self._latest: dict[str, MarkPrice] = {}
        self._settled: deque[tuple[int, Mapping[str, MarkPrice]]] = deque()

    def reach(self, bar: int) -> None:
        """An event of this bar has arrived."""
        if self._bar is None or bar > self._bar:
            self._settled.append((bar - 1, dict(self._latest)))
            self._bar = bar

    def put(self, symbol: str, mark: MarkPrice) -> None:
        """Take a mark price in, unless a newer one is known."""
        known = self._latest.get(symbol)
        if known is None or known.event_time_ns <= mark.event_time_ns:
            self._latest[symbol] = mark

    def has_passed(self, bar: int) -> bool:
        """Whether an event of a later bar has arrived."""
        return self._bar is not None and self._bar > bar

    def at_end_of(self, bar: int) -> Mapping[str, MarkPrice]:
        """The mark prices of a bar; bars are asked for in ascending order."""
        while self._settled and self._settled[0][0] < bar:
            self._settled.popleft()
        return self._settled[0][1] if self._settled else self._latest
