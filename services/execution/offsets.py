"""Where to read on after a restart, and which partitions may rest."""

from collections import deque
from collections.abc import Iterable, Mapping

from common.errors import ConfigurationError
from common.processor import Position, Record
from common.topics import HEDGE_RATIOS, Topic

#: Records of pairs that are not configured hold the stored place back by so many records at most.
MOST_FOR_OTHERS = 5000


class Offsets:
    """The next offset of every input partition."""

    def __init__(self, positions: Iterable[Position], partitions: Mapping[Topic, int]) -> None:
        self._next = {(topic, partition): 0 for topic, count in partitions.items() for partition in range(count)}
        self._next.update({(topic, partition): offset for topic, partition, offset in positions})
        self._stored = dict(self._next)
        self._others: deque[tuple[int, int, int]] = deque(maxlen=MOST_FOR_OTHERS)

    def require_within(self, ends: Mapping[Topic, Mapping[int, int]]) -> None:
        """Raise ConfigurationError when a topic ends before the place that was read to."""
        problems = [
            f"{topic}/{partition} ends at {ends[topic].get(partition, 0)}, the ledger has read to {offset}: "
            "the broker's data are gone or another broker's; use that broker, or move the ledger away to begin anew"
            for (topic, partition), offset in self._next.items()
            if offset > ends[topic].get(partition, 0)
        ]
        if problems:
            raise ConfigurationError(problems)

    def pass_over_gone(self, oldest: Mapping[Topic, Mapping[int, int]]) -> list[tuple[Position, int]]:
        """Go on at the oldest record where the topic begins after the place that was read to; returns what was passed over, from and to."""
        gone = [
            (Position(topic, partition, offset), oldest[topic].get(partition, 0))
            for (topic, partition), offset in self._next.items()
            if 0 < offset < oldest[topic].get(partition, 0)
        ]
        self._next.update({(place.topic, place.partition): first for place, first in gone})
        return gone

    def read(self, record: Record) -> None:
        """Count a record as read."""
        self._next[record.topic, record.partition] = record.offset + 1

    def leave_for_others(self, session: int, partition: int, offset: int) -> None:
        """Note a record of `hedge-ratios` whose pair is not configured: a successor may be told of it while PAIRS is changed."""
        self._others.append((session, partition, offset))

    def to_read(self) -> list[Position]:
        """Where reading goes on."""
        return [Position(topic, partition, offset) for (topic, partition), offset in self._next.items()]

    def to_store(self, held_from: Mapping[int, tuple[int, int]], session: int) -> list[Position]:
        """Where a successor goes on, as far as it has changed: records that wait, and others' of this session, are read again, so their first offset counts."""
        goes_on = dict(self._next)
        goes_on.update({(HEDGE_RATIOS, partition): first for partition, (first, _) in held_from.items()})
        while self._others and self._is_over(session, *self._others[0]):
            self._others.popleft()
        for _, partition, offset in self._others:
            goes_on[HEDGE_RATIOS, partition] = min(goes_on[HEDGE_RATIOS, partition], offset)
        changed = [Position(*place, offset) for place, offset in goes_on.items() if self._stored[place] != offset]
        self._stored = goes_on
        return changed

    def _is_over(self, session: int, its_session: int, partition: int, offset: int) -> bool:
        return its_session < session or self._next[HEDGE_RATIOS, partition] - offset > MOST_FOR_OTHERS


class Brake:
    """Pauses partitions with too many waiting records, and lets them go on at half of that."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._paused: set[int] = set()

    def change(self, held_from: Mapping[int, tuple[int, int]]) -> tuple[list[int], list[int]]:
        """Partitions to pause and to resume."""
        counts = {partition: count for partition, (_, count) in held_from.items()}
        pause = [partition for partition, count in counts.items() if count > self._most and partition not in self._paused]
        resume = [partition for partition in self._paused if counts.get(partition, 0) <= self._most // 2]
        self._paused = self._paused.union(pause).difference(resume)
        return pause, resume
