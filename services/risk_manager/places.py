"""Where to go on reading after a restart: before the first record that is still needed."""

from collections import defaultdict, deque
from collections.abc import Iterable

from common.messages import Mark, Thresholds
from common.processor import Position, Record
from common.topics import Topic
from services.risk_manager.state import RiskState, is_used

#: A record of a pair that is not configured keeps the place before so many that are needed at most: its bar may never come.
MOST_AFTER_OTHERS = 1000


class Places:
    """Follows what was read and what of it no close has used; the inboxes need not be stored, they are read again."""

    def __init__(self, positions: Iterable[Position]) -> None:
        self._next: dict[tuple[Topic, int], int] = {(position.topic, position.partition): position.offset for position in positions}
        self._held: defaultdict[tuple[Topic, int], deque[tuple[int, Mark | Thresholds]]] = defaultdict(deque)

    def pass_over(self, record: Record) -> None:
        """Note a record as read."""
        self._next[record.topic, record.partition] = record.offset + 1

    def hold(self, record: Record, message: Mark | Thresholds) -> None:
        """Note that a record has been read and is needed until it is used."""
        self.pass_over(record)
        self._held[record.topic, record.partition].append((record.offset, message))

    def positions(self, state: RiskState) -> list[Position]:
        """Tell the places that go with a state."""
        return [Position(*place, self._first_needed(state, place, following)) for place, following in self._next.items()]

    def _first_needed(self, state: RiskState, place: tuple[Topic, int], following: int) -> int:
        held = self._held[place]
        while held and (is_used(state, held[0][1]) or (len(held) > MOST_AFTER_OTHERS and held[0][1].pair not in state.memories)):
            held.popleft()
        return held[0][0] if held else following
