"""What execution has committed that is no function of its inputs: a replay takes it from the record instead of the clock.

A live hold that expired, a command that was obeyed and a stop of new exposure are committed with the pair's last seq before
them. A replay applies each at that place, and nothing else of the kind.
"""

from collections import deque
from collections.abc import Iterable, Sequence

from common.messages import PORTFOLIO, Command, CommandApplied, Execution, ExposureStop, HedgeMessage, HoldExpired
from services.execution import processor
from services.execution.state import PairState, Params, where

Fact = HoldExpired | CommandApplied | ExposureStop


class Committed:
    """The facts of a recorded session, by pair, in the order in which they were committed."""

    def __init__(self, facts: Iterable[Fact]) -> None:
        """`facts` may repeat what was published twice."""
        self._left: dict[str, deque[Fact]] = {}
        for fact in dict.fromkeys(facts):
            self._left.setdefault(fact.pair, deque()).append(fact)

    def apply_next(self, params: Params, state: PairState, head: HedgeMessage | None) -> tuple[PairState, Sequence[Execution]] | None:
        """Apply the pair's next fact if this is its place: after the state's last seq, before `head`; None when it is not."""
        left = self._left.get(str(params.pair))
        if not left or not _is_due(left[0], state, head):
            return None
        fact = left.popleft()
        if isinstance(fact, HoldExpired):
            return processor.expire(params, state, fact.bar)
        if isinstance(fact, ExposureStop):
            return processor.limit_exposure(params, state, stopped=fact.stopped, reason=fact.reason, cause=fact.cause)
        command = Command(id=fact.command_id, target=PORTFOLIO, kind=fact.kind, who="", why="", issued_at_ns=0)
        return processor.obey(params, state, command)

    def left(self) -> list[Fact]:
        """Facts whose place has not come."""
        return [fact for facts in self._left.values() for fact in facts]


def _is_due(fact: Fact, state: PairState, head: HedgeMessage | None) -> bool:
    if (fact.session, fact.seq) != (max(state.session, 0), max(state.last_seq, 0)):
        return False
    if not isinstance(fact, HoldExpired):
        return fact.bar == max(state.bar, 0)
    at = where(head) if head else None
    return at is not None and at.session == fact.session and at.bar == fact.bar
