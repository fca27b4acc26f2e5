"""Where event time is on a channel: a nonsense time must not move it, and a true jump must."""

from enum import Enum

#: Events that must agree on a jump when they are all of one symbol; two symbols are enough otherwise.
_AGREEING = 3
#: Events in a row from far behind that make going back a jump too, within one connection.
_FAR_BEHIND = 100


class Judgement(Enum):
    """What one more event time means."""

    SURE = "near the time known so far"
    HELD = "far from it: wait for others that say the same; what was held before is refuted"
    AGREES = "says the same as what is held, but is not enough to believe it"
    MOVED = "enough say the same: time is known, or has moved on over a gap"
    REWOUND = "enough say the same: time has gone back, the source has changed"


class FeedClock:
    """Follows the event times of a channel; a jump counts once others confirm it.

    A step ahead within `forward_limit_ns` is believed at once; events within `agreement_ns` of each other agree, wider than
    a step, so that a feed whose events lie far apart goes on. Time is unknown at first, so the first event is held too.
    Going back counts on a new connection, or when it lasts; a single event from behind is left to the rules of its own stream.
    """

    def __init__(self, *, forward_limit_ns: int, agreement_ns: int, back_limit_ns: int, now_ns: int | None = None) -> None:
        self.now_ns = now_ns
        self.suspect_ns: int | None = None
        self._suspect_symbol = ""
        self._agreeing = 0
        self._forward_limit_ns = forward_limit_ns
        self._agreement_ns = agreement_ns
        self._back_limit_ns = back_limit_ns
        self._connection = 0
        self._far_behind = 0

    def observe(self, event_time_ns: int, connection: int, symbol: str) -> Judgement:
        """Judge an event time and, if it is believed, let it move the clock on."""
        fresh = connection > self._connection
        self._connection = max(connection, self._connection)
        if self._agrees(event_time_ns):
            self._agreeing += 1
            enough = symbol != self._suspect_symbol or self._agreeing >= _AGREEING
            return self._move(event_time_ns) if enough else Judgement.AGREES
        if self.now_ns is None or event_time_ns > self.now_ns + self._forward_limit_ns or self._goes_back(event_time_ns, self.now_ns, fresh=fresh):
            self.suspect_ns, self._suspect_symbol, self._agreeing = event_time_ns, symbol, 1
            return Judgement.HELD
        self.suspect_ns = None
        self.now_ns = max(self.now_ns, event_time_ns)
        return Judgement.SURE

    def trust(self) -> None:
        """Believe the suspect at once: the channel has ended with it."""
        if self.suspect_ns is not None:
            self._move(self.suspect_ns)

    def _agrees(self, event_time_ns: int) -> bool:
        """Whether it lies near enough to the suspect, and nearer to it than to the time known so far."""
        if self.suspect_ns is None:
            return False
        distance_ns = abs(event_time_ns - self.suspect_ns)
        return distance_ns <= self._agreement_ns and (self.now_ns is None or distance_ns < abs(event_time_ns - self.now_ns))

    def _goes_back(self, event_time_ns: int, now_ns: int, *, fresh: bool) -> bool:
        behind = event_time_ns < now_ns - self._back_limit_ns
        self._far_behind = self._far_behind + 1 if behind else 0
        return behind and (fresh or self._far_behind > _FAR_BEHIND)

    def _move(self, event_time_ns: int) -> Judgement:
        suspect_ns = event_time_ns if self.suspect_ns is None else self.suspect_ns
        back = self.now_ns is not None and suspect_ns < self.now_ns
        self.now_ns = max(suspect_ns, event_time_ns)
        self.suspect_ns = None
        self._far_behind = 0
        return Judgement.REWOUND if back else Judgement.MOVED
